// The filter of ../README.md in AssemblyScript on Solo's SDK, as that was published in 2020.
//
// Some of the SDK's wrappers do not work: those for shared data and get_metric pass other arguments
// than the ABI has, and it does not import the one that writes a body. Here the imports are called themselves.
export * from "@solo-io/proxy-runtime/proxy";
import {
  BaseContext, Context, Counter, FilterDataStatusValues, FilterHeadersStatusValues, GrpcStatusValues, HeaderPair,
  Headers, LogLevelValues, RootContext, WasmResultValues, continue_request, log, registerRootContext,
  send_local_response, stream_context,
} from "@solo-io/proxy-runtime";
import {
  BufferTypeValues, HeaderMapTypeValues, Reference, get_buffer_bytes, get_header_map_value, get_property,
  set_tick_period_milliseconds,
} from "@solo-io/proxy-runtime/runtime";
import { proxy_get_metric, proxy_get_shared_data, proxy_set_shared_data } from "@solo-io/proxy-runtime/imports";
import { free } from "@solo-io/proxy-runtime/malloc";

// @ts-ignore: decorator
@external("env", "proxy_set_buffer_bytes")
declare function proxy_set_buffer_bytes(buffer: u32, start: u32, oldSize: u32, data: usize, size: usize): u32;

const TICK_MS: u32 = 20;
const CALL_TIMEOUT_MS: u32 = 5000;

function utf8(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

function pair(name: string, value: string): HeaderPair {
  return new HeaderPair(utf8(name), utf8(value));
}

function none(): Headers {
  return new Array<HeaderPair>();
}

function deny(status: u32, body: string): void {
  const headers = none();
  headers.push(pair("x-denied-by", "assemblyscript"));
  send_local_response(status, "denied by guest", utf8(body), headers, GrpcStatusValues.InvalidCode);
}

function replaceBody(buffer: BufferTypeValues, size: usize, body: string): void {
  const bytes = utf8(body);
  proxy_set_buffer_bytes(buffer, 0, size as u32, changetype<usize>(bytes), bytes.byteLength);
}

// Counts up in the shared data and returns the new count.
function countUp(key: string): i32 {
  const name = utf8(key);
  while (true) {
    const data = new Reference<usize>();
    const size = new Reference<usize>();
    const cas = new Reference<u32>();
    let count = 1;
    if (proxy_get_shared_data(changetype<usize>(name), name.byteLength, data.ptr(), size.ptr(), cas.ptr()) == WasmResultValues.Ok) {
      count = I32.parseInt(String.UTF8.decodeUnsafe(data.data, size.data)) + 1;
      free(data.data);
    }
    const value = utf8(count.toString());
    if (proxy_set_shared_data(changetype<usize>(name), name.byteLength, changetype<usize>(value), value.byteLength, cas.data) == WasmResultValues.Ok) {
      return count;
    }
  }
  return 0;
}

class Guest extends RootContext {
  tag: string = "";
  denied: string = "";
  auth: string = "";
  requests: Counter | null = null;

  createContext(id: u32): Context {
    return new Stream(id, this);
  }

  onConfigure(size: u32): bool {
    const parts = String.UTF8.decode(get_buffer_bytes(BufferTypeValues.PluginConfiguration, 0, size)).split(";");
    for (let index = 0; index < parts.length; index++) {
      const part = parts[index];
      if (part.startsWith("tag=")) this.tag = part.substring(4);
      if (part.startsWith("deny=")) this.denied = part.substring(5);
      if (part.startsWith("auth=")) this.auth = part.substring(5);
    }
    if (this.tag.length == 0) {
      log(LogLevelValues.error, "the configuration has no tag");
      return false;
    }
    this.requests = new Counter("guest_requests");
    set_tick_period_milliseconds(TICK_MS);
    log(LogLevelValues.info, "configured " + this.tag);
    return true;
  }

  onTick(): void {
    if (countUp("ticks") == 1) log(LogLevelValues.info, "first tick");
  }

  // Counts the request and returns how many there were.
  count(): u64 {
    const counter = this.requests as Counter;
    const value = new Reference<u64>();
    counter.increment(1);
    proxy_get_metric(counter.metric_id, value.ptr());
    return value.data;
  }
}

class Stream extends Context {
  guest: Guest;

  constructor(id: u32, guest: Guest) {
    super(id, guest);
    this.guest = guest;
  }

  onRequestHeaders(_count: u32, _end: bool): FilterHeadersStatusValues {
    const headers = stream_context.headers.request;
    headers.replace("x-guest", this.guest.tag);
    headers.add("x-added", "1");
    headers.add("x-added", "2");
    headers.remove("x-debug");
    headers.remove("content-length");
    headers.replace("x-hits", countUp("hits").toString());
    headers.replace("x-count", this.guest.count().toString());
    headers.replace("x-client", String.UTF8.decode(get_property("source\0address")));
    const path = headers.get(":path");
    if (this.guest.denied.length > 0 && path == this.guest.denied) {
      deny(403, "denied\n");
      return FilterHeadersStatusValues.StopIteration;
    }
    if (path == "/crash") throw new Error("asked to crash");
    if (path != "/auth" || this.guest.auth.length == 0) return FilterHeadersStatusValues.Continue;
    this.ask();
    return FilterHeadersStatusValues.StopAllIterationAndWatermark;
  }

  ask(): void {
    const headers = none();
    headers.push(pair(":method", "GET"));
    headers.push(pair(":path", "/check"));
    headers.push(pair(":authority", "auth.example"));
    const sent = this.guest.httpCall(this.guest.auth, headers, new ArrayBuffer(0), none(), CALL_TIMEOUT_MS, this,
      (origin: BaseContext, _headers: u32, size: usize, _trailers: u32): void => {
        const status = String.UTF8.decode(get_header_map_value(HeaderMapTypeValues.HttpCallResponseHeaders, utf8(":status")));
        if (status != "200") {
          deny(401, "who?\n");
          return;
        }
        const body = get_buffer_bytes(BufferTypeValues.HttpCallResponseBody, 0, size as u32);
        stream_context.headers.request.replace("x-auth", String.UTF8.decode(body));
        continue_request();
      });
    if (sent != WasmResultValues.Ok) deny(500, "no call\n");
  }

  onRequestBody(size: usize, end: bool): FilterDataStatusValues {
    if (!end) return FilterDataStatusValues.StopIterationAndBuffer;
    const body = String.UTF8.decode(get_buffer_bytes(BufferTypeValues.HttpRequestBody, 0, size as u32));
    replaceBody(BufferTypeValues.HttpRequestBody, size, body.toUpperCase());
    return FilterDataStatusValues.Continue;
  }

  onResponseHeaders(_count: u32, _end: bool): FilterHeadersStatusValues {
    const headers = stream_context.headers.response;
    headers.replace("x-guest", this.guest.tag);
    headers.remove("server");
    headers.remove("content-length");
    return FilterHeadersStatusValues.Continue;
  }

  onResponseBody(size: usize, end: bool): FilterDataStatusValues {
    if (!end) return FilterDataStatusValues.StopIterationAndBuffer;
    const body = String.UTF8.decode(get_buffer_bytes(BufferTypeValues.HttpResponseBody, 0, size as u32));
    replaceBody(BufferTypeValues.HttpResponseBody, size, body.split("secret").join("[hidden]"));
    return FilterDataStatusValues.Continue;
  }

  onLog(): void {
    const code = get_property("response\0code");
    if (code.byteLength == 8) {
      log(LogLevelValues.info, this.guest.tag + " saw " + Uint64Array.wrap(code)[0].toString());
    }
  }
}

registerRootContext((id: u32): RootContext => new Guest(id), "guest");
