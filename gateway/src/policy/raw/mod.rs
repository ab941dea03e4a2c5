//! The document as it is written: a mirror of the YAML, checked for shape only.
//!
//! Every value is a [`Field`], so that one wrong value hides no other. Text that has a grammar of
//! its own (durations, addresses, patterns) is still text here; `resolve` reads it. No type here
//! is shown or logged: `config`, `environment` and header values may be secret.

mod field;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Value;

pub(super) use field::{Address, Duration, Entries, Field, FilterUse, OneOrMany, Percentage, Rate, Size};

/// The document.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Policy {
    /// The version of this format: 1.
    pub(super) version: Field<u64>,
    /// Other files of this policy, relative to this one.
    pub(super) include: Field<OneOrMany>,
    /// Where clients connect: at least one. Addresses are fixed while the gateway runs.
    pub(super) listeners: Field<Vec<Field<Listener>>>,
    /// Health, status, metrics. Left out: none. Fixed while the gateway runs; it has no authentication.
    pub(super) admin: Field<Admin>,
    /// What a client may send, hold and wait for.
    pub(super) limits: Field<Limits>,
    /// Peers whose X-Forwarded-For is believed: networks or addresses. Default: none.
    pub(super) trusted_proxies: Field<Vec<Field<String>>>,
    /// Where requests can go, by name.
    pub(super) upstreams: Field<Entries<Upstream>>,
    /// Filters that routes name.
    pub(super) filters: Field<Entries<Filter>>,
    /// Filters under one name, to be used among the filters of routes and TCP services.
    pub(super) filter_sets: Field<Entries<Vec<Field<FilterUse>>>>,
    /// What routes, upstreams and filters have that do not say otherwise.
    pub(super) defaults: Field<Defaults>,
    /// Which requests go where, through which filters. Of those that match, the most specific wins: by
    /// host, path, conditions, and at last the order written.
    pub(super) routes: Field<Vec<Field<Route>>>,
    /// How a new policy takes over: in steps, and back by itself if it does worse.
    pub(super) rollout: Field<Rollout>,
}

impl Policy {
    /// Whether any listener serves HTTP, as far as can be told.
    pub(super) fn has_http_listener(&self) -> bool {
        let listeners = self.listeners.given().map_or(&[][..], Vec::as_slice);
        listeners.is_empty()
            || listeners.iter().any(|entry| entry.given().is_none_or(|listener| listener.tcp.is_absent()))
    }
}

/// What routes, filters and upstreams have that do not say otherwise. It was merged into them before
/// decoding; here it is decoded for what is wrong with it.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Defaults {
    /// Of every route.
    pub(super) routes: Field<Route>,
    /// Of every filter, by kind.
    pub(super) filters: Field<Filter>,
    /// Of every upstream.
    pub(super) upstreams: Field<Upstream>,
}

/// Where clients connect.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listener {
    /// An IP address and a port.
    pub(super) address: Field<Address>,
    /// Bytes instead of HTTP: each connection goes through the filters to one upstream, past all routes.
    pub(super) tcp: Field<TcpService>,
}

/// A service on bytes.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TcpService {
    /// For metrics and the log. Default: `tcp-1`, `tcp-2`, … by the place in the list.
    pub(super) name: Field<String>,
    /// Filters of the kind `wasm`; the client's bytes meet them in this order, the upstream's in reverse.
    pub(super) filters: Field<Vec<Field<FilterUse>>>,
    /// Where connections go.
    pub(super) forward: Field<TcpForward>,
    /// Without a byte either way the connection is closed after this; or `none`. Default 10m.
    pub(super) idle_timeout: Field<Duration>,
    /// Open at once over all workers; beyond: closed at accept. Default: `limits.connections`.
    pub(super) connections: Field<u64>,
    /// Held in one direction while a filter pauses; beyond: reset. Default: `limits.buffer_bytes`.
    pub(super) buffer_bytes: Field<Size>,
}

/// Where connections go.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TcpForward {
    /// The name of an upstream.
    pub(super) upstream: Field<String>,
}

/// The admin API.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    /// An IP address and a port.
    pub(super) address: Field<Address>,
    /// The path of a socket, in the place of an address.
    pub(super) unix: Field<String>,
    /// Whether an address that is not loopback is meant. Default false.
    pub(super) allow_remote: Field<bool>,
}

/// What a client may send, hold and wait for.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Request line and headers; 8KiB to 1MiB. Beyond: 431. Default 64KiB.
    pub(super) header_bytes: Field<Size>,
    /// Header fields; 1 to 10000. Beyond: 431. Default 100.
    pub(super) header_count: Field<u64>,
    /// A request body. Beyond: 413. Default 64MiB.
    pub(super) body_bytes: Field<Size>,
    /// Held while a filter pauses. Beyond: 413 for a request, 502 for a response. Default 1MiB.
    pub(super) buffer_bytes: Field<Size>,
    /// Open at once over all workers. Beyond: closed at accept. Default 10000.
    pub(super) connections: Field<u64>,
    /// To the end of the request headers. Beyond: 408. Default 10s.
    pub(super) header_read_timeout: Field<Duration>,
    /// A kept connection without a request is closed after this. Default 75s.
    pub(super) idle_timeout: Field<Duration>,
    /// From the request headers to the last byte of the response; or `none`. Default 5m.
    pub(super) total_timeout: Field<Duration>,
    /// At shutdown, for requests that run and TCP connections. Default 30s.
    pub(super) drain_timeout: Field<Duration>,
}

/// A named group of endpoints.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    /// What they speak. Default `http1`.
    pub(super) protocol: Field<Protocol>,
    /// A name or an address, and a port; taken in turn.
    pub(super) endpoints: Field<Vec<Field<String>>>,
    /// Beyond: the next endpoint, at last 504. Default 2s.
    pub(super) connect_timeout: Field<Duration>,
    /// From the request sent to the response headers. Beyond: 504. Default 60s.
    pub(super) response_timeout: Field<Duration>,
    /// An idle connection is closed after this. Default 60s.
    pub(super) idle_timeout: Field<Duration>,
    /// Kept for each worker and endpoint; 1 to 10000. Default 64.
    pub(super) idle_connections: Field<u64>,
    /// An endpoint that refused a connection is left out for so long. Default 5s.
    pub(super) refused_pause: Field<Duration>,
    /// The Host that it sees. Default: the client's.
    pub(super) host: Field<HostHeader>,
}

/// What an upstream speaks.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 in the clear, many requests on one connection.
    Http2,
    /// Redis, for calls of filters only.
    Redis,
}

/// Which Host an upstream sees.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum HostHeader {
    /// The client's.
    Client,
    /// The endpoint's own.
    Endpoint,
    /// This one.
    Fixed(String),
}

/// Exactly one of these.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Filter {
    /// A Proxy-Wasm module.
    pub(super) wasm: Field<WasmFilter>,
    /// A policy in Lua 5.4.
    pub(super) lua: Field<WasmFilter>,
    /// A policy in Starlark, the dialect of Python.
    pub(super) starlark: Field<WasmFilter>,
    /// A token bucket. Beyond: 429 with Retry-After.
    pub(super) rate_limit: Field<RateLimit>,
    /// Header edits, on either side: remove, then set, then add.
    pub(super) headers: Field<HeaderEdits>,
}

/// A module with `wasm`, a script with `lua` or `starlark`; the options are the same.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WasmFilter {
    /// Of `wasm`: the module's file, relative to this one.
    pub(super) module: Field<String>,
    /// Of a script: its file, relative to this one.
    pub(super) file: Field<String>,
    /// Of a script: the script itself.
    pub(super) inline: Field<String>,
    /// Of a script: what it may `require`, by name, and the files.
    pub(super) modules: Field<Entries<String>>,
    /// For the filter: text as it is, anything else as JSON.
    #[schemars(with = "Field<serde_json::Value>")]
    pub(super) config: Field<Value>,
    /// Modules of equal bytes, `vm_id` and `vm_config` share a VM.
    pub(super) vm_id: Field<String>,
    /// For the VM, like `config`.
    #[schemars(with = "Field<serde_json::Value>")]
    pub(super) vm_config: Field<Value>,
    /// For SDKs that dispatch on it.
    pub(super) root_id: Field<String>,
    /// The VM's variables, and no others.
    pub(super) environment: Field<Entries<String>>,
    /// CPU time of a callback; 100us to 1s. Default 10ms.
    pub(super) budget: Field<Duration>,
    /// CPU time of start and configure; 1ms to 10s. Default 500ms.
    pub(super) start_budget: Field<Duration>,
    /// 64KiB to 1GiB, in whole pages of 64KiB; of a script at most 128MiB. Default 16MiB.
    pub(super) memory: Field<Size>,
    /// What it is shown of bodies and trailers. Default `stream`.
    pub(super) body: Field<BodyMode>,
    /// The same, for requests.
    pub(super) request_body: Field<BodyMode>,
    /// The same, for responses.
    pub(super) response_body: Field<BodyMode>,
    /// What becomes of a request when the filter fails. Default `closed`.
    pub(super) on_failure: Field<OnFailure>,
    /// What it may reach and call. Default: no server, all functions.
    pub(super) allow: Field<Allow>,
    /// What its calls may cost, on each worker.
    pub(super) calls: Field<Calls>,
    /// When a filter that keeps failing is kept from running, on each worker.
    pub(super) circuit: Field<Circuit>,
    /// What others rely on it for: then it may not fail open.
    pub(super) role: Field<Role>,
}

/// What a filter may reach and call.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Allow {
    /// Upstreams that it may call, by name.
    pub(super) upstreams: Field<Vec<Field<String>>>,
    /// Servers that it may call as `host:port`, without an upstream.
    pub(super) hosts: Field<Vec<Field<String>>>,
    /// Host functions that it may call, by name or group: headers, body_changes, local_response,
    /// properties, shared_data, queues, metrics, timer, http_call, grpc, redis, foreign_functions, routing.
    pub(super) functions: Field<Vec<Field<String>>>,
}

/// What the calls of a filter may cost, on each worker.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Calls {
    /// Under way at once; 1 to 100000. Default 1000.
    pub(super) at_once: Field<u64>,
    /// Of a call, whatever the filter asks, but of no gRPC stream; 1ms to 1h. Default 15s.
    pub(super) timeout: Field<Duration>,
    /// Body of a request; at most 64MiB. Default 1MiB.
    pub(super) request_bytes: Field<Size>,
    /// Body of a response; at most 64MiB. Default 256KiB.
    pub(super) response_bytes: Field<Size>,
}

/// When a filter that keeps failing is kept from running.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Circuit {
    /// More of them than exchanges that go well; a spent budget counts as ten. Default 32.
    pub(super) failures: Field<u64>,
    /// It does not run for so long; then one exchange decides, or twice as long. Default 100ms.
    pub(super) rest: Field<Duration>,
    /// The longest rest. Default 10s.
    pub(super) longest_rest: Field<Duration>,
}

/// What others rely on a filter for.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// It lets in whom it knows.
    Authentication,
}

/// What a filter is shown of a body.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BodyMode {
    /// Nothing.
    None,
    /// Each piece, with what it held back.
    Stream,
    /// The whole, of at most so many bytes.
    Buffer(Size),
    /// The beginning, of so many bytes.
    Peek(Size),
}

/// What becomes of a request when a filter fails.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnFailure {
    /// It ends with 503.
    Closed,
    /// It goes on.
    Open,
    /// What the filter says is counted and logged, and nothing takes effect.
    Shadow,
}

/// A token bucket.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateLimit {
    /// A number per `second`, `minute` or `hour`.
    pub(super) rate: Field<Rate>,
    /// So many at once. Default: the number of `rate`.
    pub(super) burst: Field<u64>,
    /// What shares a bucket.
    pub(super) key: Field<RateLimitKey>,
    /// Buckets held at once. Default 100000.
    pub(super) keys: Field<u64>,
}

/// What shares a bucket.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RateLimitKey {
    /// The client's address, IPv6 by its /64.
    ClientAddress,
    /// The route.
    Route,
    /// The value of this header.
    Header(String),
    /// All requests: one bucket of this name.
    Fixed(String),
}

/// Header edits.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HeaderEdits {
    /// Towards the upstream.
    pub(super) request: Field<HeaderEdit>,
    /// Towards the client.
    pub(super) response: Field<HeaderEdit>,
}

/// Edits on one side.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HeaderEdit {
    /// Removed, all values.
    pub(super) remove: Field<Vec<Field<String>>>,
    /// Set, in the place of all values.
    pub(super) set: Field<Entries<String>>,
    /// Added beside what is there.
    pub(super) add: Field<Entries<OneOrMany>>,
}

/// Which requests go where, through which filters. Exactly one of `forward`, `redirect` and `respond`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Route {
    /// For metrics and the log. Default: `route-1`, `route-2`, …
    pub(super) name: Field<String>,
    /// What a request must be like; left out: every request.
    #[serde(rename = "match")]
    pub(super) matches: Field<Match>,
    /// In this order; a response meets them in reverse.
    pub(super) filters: Field<Vec<Field<FilterUse>>>,
    /// It is sent to an upstream.
    pub(super) forward: Field<Forward>,
    /// The client is sent elsewhere.
    pub(super) redirect: Field<Redirect>,
    /// It is answered from here.
    pub(super) respond: Field<Respond>,
}

/// What a request must be like. All of it must hold.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Match {
    /// A host name, `*.` before one, or a list of which one must hold.
    pub(super) host: Field<OneOrMany>,
    /// The path.
    pub(super) path: Field<PathMatch>,
    /// One must hold.
    pub(super) methods: Field<Vec<Field<String>>>,
    /// All must hold; of several values of a name, one must.
    pub(super) headers: Field<Vec<Field<ValueMatch>>>,
    /// The same of query parameters.
    pub(super) query: Field<Vec<Field<ValueMatch>>>,
}

/// Exactly one of these.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct PathMatch {
    /// The whole path.
    pub(super) exact: Field<String>,
    /// By whole segments: `/v1` takes `/v1` and `/v1/x`, not `/v10`.
    pub(super) prefix: Field<String>,
    /// The whole path matches.
    pub(super) regex: Field<String>,
}

/// A name, and exactly one of the others.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ValueMatch {
    /// Of the header or query parameter.
    pub(super) name: Field<String>,
    /// It is this.
    pub(super) exact: Field<String>,
    /// The whole of it matches.
    pub(super) regex: Field<String>,
    /// It is there.
    pub(super) present: Field<bool>,
    /// It is not there.
    pub(super) absent: Field<bool>,
}

/// Where a request is sent.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Forward {
    /// The name of an upstream.
    pub(super) upstream: Field<String>,
    /// Takes the place of the matched prefix.
    pub(super) rewrite_prefix: Field<String>,
}

/// Where the client is sent; what is left out is as the request has it.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Redirect {
    /// 301, 302, 303, 307 or 308. Default 308.
    pub(super) status: Field<u64>,
    /// `http` or `https`.
    pub(super) scheme: Field<String>,
    /// A host name.
    pub(super) host: Field<String>,
    /// A port.
    pub(super) port: Field<u64>,
    /// The whole path.
    pub(super) path: Field<String>,
    /// In the place of the matched prefix.
    pub(super) prefix: Field<String>,
}

/// An answer.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Respond {
    /// From 200 to 599.
    pub(super) status: Field<u64>,
    /// Its fields.
    pub(super) headers: Field<Entries<OneOrMany>>,
    /// At most 64KiB.
    pub(super) body: Field<String>,
}

/// How a new policy takes over.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rollout {
    /// Shares of the traffic that the new policy serves, one after the other.
    pub(super) steps: Field<Vec<Field<RolloutStep>>>,
    /// What a client is known by, so that it stays on one side.
    pub(super) key: Field<RolloutKey>,
    /// No step is judged by fewer requests on each side.
    pub(super) minimum_requests: Field<u64>,
    /// How much worse the new policy may do before it is taken back.
    pub(super) margins: Field<Margins>,
}

/// A step of a rollout.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RolloutStep {
    /// Of the traffic.
    pub(super) share: Field<Percentage>,
    /// How long it takes at least.
    pub(super) time: Field<Duration>,
}

/// What a client is known by.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RolloutKey {
    /// Its address.
    ClientAddress,
    /// The value of this header.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
}

/// Each may be `none`.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Margins {
    /// More of its answers are 5xx.
    pub(super) errors: Field<Percentage>,
    /// More of its requests see a filter fail.
    pub(super) traps: Field<Percentage>,
    /// More of its requests are denied.
    pub(super) denials: Field<Percentage>,
    /// Its requests take longer.
    pub(super) latency: Field<Duration>,
}
