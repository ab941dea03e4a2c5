// The filter of ../README.md in C++20 with its standard library, exceptions and RTTI off, in the shape
// that Envoy's C++ SDK gives filters: a class for the plugin, a class for the stream, and a registry.
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../c/proxy_wasm.h"

using namespace std::string_view_literals;

namespace {

constexpr uint32_t kTickMs = 20;
constexpr uint32_t kCallTimeoutMs = 5000;

// What the C++ SDK answers with where the specification knows PAUSE alone.
enum class HeadersStatus : uint32_t { Continue = 0, StopAllIterationAndWatermark = 4 };
enum class DataStatus : uint32_t { Continue = 0, StopIterationAndBuffer = 1 };

void log(proxy_log_level level, std::string_view text) { proxy_log(level, text.data(), text.size()); }

// Calls `get(&data, &size)` and takes over what the host allocated.
template <class Get> std::optional<std::string> fetch(Get get) {
  char *data = nullptr;
  size_t size = 0;
  const bool found = get(&data, &size) == PROXY_OK;
  std::optional<std::string> result;
  if (found) result.emplace(data, size);
  std::free(data);
  return result;
}

std::optional<std::string> property(std::initializer_list<std::string_view> path) {
  std::string joined;
  for (auto segment : path) joined.append(joined.empty() ? "" : "\0"sv).append(segment);
  return fetch([&](char **data, size_t *size) { return proxy_get_property(joined.data(), joined.size(), data, size); });
}

std::optional<std::string> buffer(proxy_buffer kind, size_t max) {
  return fetch([&](char **data, size_t *size) { return proxy_get_buffer_bytes(kind, 0, max, data, size); });
}

struct HeaderMap {
  proxy_map map;

  std::optional<std::string> get(std::string_view name) const {
    return fetch([&](char **data, size_t *size) {
      return proxy_get_header_map_value(map, name.data(), name.size(), data, size);
    });
  }
  void set(std::string_view name, std::string_view value) const {
    proxy_replace_header_map_value(map, name.data(), name.size(), value.data(), value.size());
  }
  void add(std::string_view name, std::string_view value) const {
    proxy_add_header_map_value(map, name.data(), name.size(), value.data(), value.size());
  }
  void remove(std::string_view name) const { proxy_remove_header_map_value(map, name.data(), name.size()); }
};

constexpr HeaderMap kRequest{PROXY_REQUEST_HEADERS}, kResponse{PROXY_RESPONSE_HEADERS}, kCall{PROXY_CALL_HEADERS};

// Header pairs in wire form.
std::string serialize(const std::vector<std::pair<std::string_view, std::string_view>> &pairs) {
  std::string lengths, bytes;
  const auto append = [&](uint32_t number) { lengths.append(reinterpret_cast<const char *>(&number), sizeof number); };
  append(pairs.size());
  for (const auto &[name, value] : pairs) {
    append(name.size());
    append(value.size());
    bytes.append(name).append(1, '\0').append(value).append(1, '\0');
  }
  return lengths + bytes;
}

void answer(uint32_t status, std::string_view body) {
  const auto headers = serialize({{"x-denied-by", "cpp"}});
  constexpr auto details = "denied by guest"sv;
  proxy_send_local_response(status, details.data(), details.size(), body.data(), body.size(), headers.data(),
                            headers.size(), -1);
}

uint64_t count_up(std::string_view key) {
  for (;;) {
    uint32_t cas = 0;
    const auto old = fetch([&](char **data, size_t *size) {
      return proxy_get_shared_data(key.data(), key.size(), data, size, &cas);
    });
    uint64_t count = 0;
    if (old) std::from_chars(old->data(), old->data() + old->size(), count);
    const auto text = std::to_string(++count);
    if (proxy_set_shared_data(key.data(), key.size(), text.data(), text.size(), cas) == PROXY_OK) return count;
  }
}

class Plugin;

class Stream {
public:
  Stream(uint32_t id, Plugin &plugin) : id_(id), plugin_(plugin) {}
  HeadersStatus on_request_headers();
  DataStatus on_request_body(size_t size, bool end_of_stream);
  void on_response_headers();
  DataStatus on_response_body(size_t size, bool end_of_stream);
  void on_auth(std::string_view status, std::string_view body);
  void on_log();

private:
  const uint32_t id_;
  Plugin &plugin_;
};

class Plugin {
public:
  bool configure(std::string_view text);
  bool ask(uint32_t stream);
  void on_http_call_response(uint32_t call, size_t body_size);
  void on_request();

  const std::string &option(std::string_view name) const {
    static const std::string none;
    const auto found = options_.find(name);
    return found == options_.end() ? none : found->second;
  }

private:
  std::map<std::string, std::string, std::less<>> options_;
  std::unordered_map<uint32_t, uint32_t> calls_; // call to stream
  uint32_t requests_ = 0;
};

// Made by a static constructor, so it is there only if the host ran `_initialize`.
struct Registry {
  std::unordered_map<uint32_t, std::unique_ptr<Plugin>> plugins;
  std::unordered_map<uint32_t, std::unique_ptr<Stream>> streams;
  Registry() { plugins.max_load_factor(0.5F); }

  Stream *stream(uint32_t id) {
    const auto found = streams.find(id);
    return found == streams.end() ? nullptr : found->second.get();
  }
} registry;

bool Plugin::configure(std::string_view text) {
  while (!text.empty()) {
    const auto part = text.substr(0, text.find(';'));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    const auto equals = part.find('=');
    if (equals == part.npos) return false;
    options_.insert_or_assign(std::string(part.substr(0, equals)), std::string(part.substr(equals + 1)));
  }
  if (option("tag").empty()) return false;
  constexpr auto name = "guest_requests"sv;
  proxy_define_metric(PROXY_COUNTER, name.data(), name.size(), &requests_);
  proxy_set_tick_period_milliseconds(kTickMs);
  log(PROXY_INFO, "configured " + option("tag"));
  return true;
}

void Plugin::on_request() {
  proxy_increment_metric(requests_, 1);
  uint64_t requests = 0;
  proxy_get_metric(requests_, &requests);
  kRequest.set("x-guest", option("tag"));
  kRequest.add("x-added", "1");
  kRequest.add("x-added", "2");
  kRequest.remove("x-debug");
  kRequest.remove("content-length");
  kRequest.set("x-hits", std::to_string(count_up("hits")));
  kRequest.set("x-count", std::to_string(requests));
  if (const auto client = property({"source", "address"})) kRequest.set("x-client", *client);
}

bool Plugin::ask(uint32_t stream) {
  const auto headers = serialize({{":method", "GET"}, {":path", "/check"}, {":authority", "auth.example"}});
  const auto &upstream = option("auth");
  uint32_t call = 0;
  const auto status = proxy_http_call(upstream.data(), upstream.size(), headers.data(), headers.size(), nullptr, 0,
                                      nullptr, 0, kCallTimeoutMs, &call);
  if (status == PROXY_OK) calls_.emplace(call, stream);
  return status == PROXY_OK;
}

void Plugin::on_http_call_response(uint32_t call, size_t body_size) {
  const auto found = calls_.find(call);
  if (found == calls_.end()) return;
  const auto id = found->second;
  calls_.erase(found);
  const auto status = kCall.get(":status"), body = buffer(PROXY_CALL_BODY, body_size);
  auto *stream = registry.stream(id);
  if (stream != nullptr && proxy_set_effective_context(id) == PROXY_OK)
    stream->on_auth(status.value_or(""), body.value_or(""));
}

HeadersStatus Stream::on_request_headers() {
  plugin_.on_request();
  const auto path = kRequest.get(":path").value_or("");
  if (!plugin_.option("deny").empty() && path == plugin_.option("deny")) {
    answer(403, "denied\n");
    return HeadersStatus::StopAllIterationAndWatermark;
  }
  if (path == "/crash") std::abort();
  if (path != "/auth" || plugin_.option("auth").empty()) return HeadersStatus::Continue;
  if (!plugin_.ask(id_)) answer(500, "no call\n");
  return HeadersStatus::StopAllIterationAndWatermark;
}

void Stream::on_auth(std::string_view status, std::string_view body) {
  if (status != "200") return answer(401, "who?\n");
  kRequest.set("x-auth", body);
  proxy_continue_stream(PROXY_STREAM_REQUEST);
}

DataStatus Stream::on_request_body(size_t size, bool end_of_stream) {
  if (!end_of_stream) return DataStatus::StopIterationAndBuffer;
  auto body = buffer(PROXY_REQUEST_BODY, size).value_or("");
  const auto upper = [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; };
  std::transform(body.begin(), body.end(), body.begin(), upper);
  proxy_set_buffer_bytes(PROXY_REQUEST_BODY, 0, size, body.data(), body.size());
  return DataStatus::Continue;
}

void Stream::on_response_headers() {
  kResponse.set("x-guest", plugin_.option("tag"));
  kResponse.remove("server");
  kResponse.remove("content-length");
}

DataStatus Stream::on_response_body(size_t size, bool end_of_stream) {
  if (!end_of_stream) return DataStatus::StopIterationAndBuffer;
  auto body = buffer(PROXY_RESPONSE_BODY, size).value_or("");
  constexpr auto word = "secret"sv, instead = "[hidden]"sv;
  for (auto at = body.find(word); at != body.npos; at = body.find(word, at + instead.size()))
    body.replace(at, word.size(), instead);
  proxy_set_buffer_bytes(PROXY_RESPONSE_BODY, 0, size, body.data(), body.size());
  return DataStatus::Continue;
}

void Stream::on_log() {
  const auto code = property({"response", "code"});
  uint64_t status = 0;
  if (!code || code->size() != sizeof status) return;
  std::copy(code->begin(), code->end(), reinterpret_cast<char *>(&status));
  log(PROXY_INFO, plugin_.option("tag") + " saw " + std::to_string(status));
}

} // namespace

// The host finds the allocator under the name that C++ guests give it: `malloc`.
extern "C" {
void PROXY_WASM_EXPORT(proxy_abi_version_0_2_1)() {}

void PROXY_WASM_EXPORT(proxy_on_context_create)(uint32_t id, uint32_t parent) {
  if (parent == 0)
    registry.plugins.emplace(id, std::make_unique<Plugin>());
  else
    registry.streams.emplace(id, std::make_unique<Stream>(id, *registry.plugins.at(parent)));
}

void PROXY_WASM_EXPORT(proxy_on_delete)(uint32_t id) {
  registry.streams.erase(id);
  registry.plugins.erase(id);
}

uint32_t PROXY_WASM_EXPORT(proxy_on_vm_start)(uint32_t, size_t) { return 1; }

uint32_t PROXY_WASM_EXPORT(proxy_on_configure)(uint32_t id, size_t size) {
  const auto text = buffer(PROXY_PLUGIN_CONFIGURATION, size).value_or("");
  const bool accepted = registry.plugins.at(id)->configure(text);
  if (!accepted) log(PROXY_ERROR, "the configuration has no tag");
  return accepted;
}

void PROXY_WASM_EXPORT(proxy_on_tick)(uint32_t) {
  if (count_up("ticks") == 1) log(PROXY_INFO, "first tick");
}

void PROXY_WASM_EXPORT(proxy_on_http_call_response)(uint32_t plugin, uint32_t call, uint32_t, size_t body_size, uint32_t) {
  registry.plugins.at(plugin)->on_http_call_response(call, body_size);
}

uint32_t PROXY_WASM_EXPORT(proxy_on_request_headers)(uint32_t id, uint32_t, uint32_t) {
  return static_cast<uint32_t>(registry.stream(id)->on_request_headers());
}

uint32_t PROXY_WASM_EXPORT(proxy_on_request_body)(uint32_t id, size_t size, uint32_t end_of_stream) {
  return static_cast<uint32_t>(registry.stream(id)->on_request_body(size, end_of_stream != 0));
}

uint32_t PROXY_WASM_EXPORT(proxy_on_response_headers)(uint32_t id, uint32_t, uint32_t) {
  registry.stream(id)->on_response_headers();
  return static_cast<uint32_t>(HeadersStatus::Continue);
}

uint32_t PROXY_WASM_EXPORT(proxy_on_response_body)(uint32_t id, size_t size, uint32_t end_of_stream) {
  return static_cast<uint32_t>(registry.stream(id)->on_response_body(size, end_of_stream != 0));
}

void PROXY_WASM_EXPORT(proxy_on_log)(uint32_t id) { registry.stream(id)->on_log(); }
}
