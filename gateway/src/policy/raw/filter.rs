//! Filters as they are written: modules and scripts, rate limits, edits.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Value;

use super::field::{Duration, Entries, Field, OneOrMany, Rate, Size};
use super::module::ModuleSource;

/// Exactly one of these.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Filter {
    /// A Proxy-Wasm module.
    pub(in super::super) wasm: Field<WasmFilter>,
    /// A policy in Lua 5.4.
    pub(in super::super) lua: Field<WasmFilter>,
    /// A policy in Starlark, the dialect of Python.
    pub(in super::super) starlark: Field<WasmFilter>,
    /// A token bucket. Beyond: 429 with Retry-After.
    pub(in super::super) rate_limit: Field<RateLimit>,
    /// Header edits, on either side: remove, then set, then add.
    pub(in super::super) headers: Field<HeaderEdits>,
}

/// A module with `wasm`, a script with `lua` or `starlark`; the options are the same.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct WasmFilter {
    /// Of `wasm`: the module's file, relative to this one, or where else it is.
    pub(in super::super) module: Field<ModuleSource>,
    /// Of a script: its file, relative to this one.
    pub(in super::super) file: Field<String>,
    /// Of a script: the script itself.
    pub(in super::super) inline: Field<String>,
    /// Of a script: what it may `require`, by name, and the files.
    pub(in super::super) modules: Field<Entries<String>>,
    /// For the filter: text as it is, anything else as JSON.
    #[schemars(with = "Field<serde_json::Value>")]
    pub(in super::super) config: Field<Value>,
    /// Modules of equal bytes, `vm_id` and `vm_config` share a VM.
    pub(in super::super) vm_id: Field<String>,
    /// For the VM, like `config`.
    #[schemars(with = "Field<serde_json::Value>")]
    pub(in super::super) vm_config: Field<Value>,
    /// For SDKs that dispatch on it.
    pub(in super::super) root_id: Field<String>,
    /// The VM's variables, and no others.
    pub(in super::super) environment: Field<Entries<String>>,
    /// CPU time of a callback; 100us to 1s. Default 10ms.
    pub(in super::super) budget: Field<Duration>,
    /// CPU time of start and configure; 1ms to 10s. Default 500ms.
    pub(in super::super) start_budget: Field<Duration>,
    /// 64KiB to 1GiB, in whole pages of 64KiB; of a script at most 128MiB. Default 16MiB.
    pub(in super::super) memory: Field<Size>,
    /// What it is shown of bodies and trailers. Default `stream`.
    pub(in super::super) body: Field<BodyMode>,
    /// The same, for requests.
    pub(in super::super) request_body: Field<BodyMode>,
    /// The same, for responses.
    pub(in super::super) response_body: Field<BodyMode>,
    /// What becomes of a request when the filter fails. Default `closed`.
    pub(in super::super) on_failure: Field<OnFailure>,
    /// What it may reach and call. Default: no server, all functions.
    pub(in super::super) allow: Field<Allow>,
    /// What its calls may cost, on each worker.
    pub(in super::super) calls: Field<Calls>,
    /// When a filter that keeps failing is kept from running, on each worker.
    pub(in super::super) circuit: Field<Circuit>,
    /// What others rely on it for: then it may not fail open.
    pub(in super::super) role: Field<Role>,
}

/// What a filter may reach and call.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Allow {
    /// Upstreams that it may call, by name.
    pub(in super::super) upstreams: Field<Vec<Field<String>>>,
    /// Servers that it may call as `host:port`, without an upstream.
    pub(in super::super) hosts: Field<Vec<Field<String>>>,
    /// Host functions that it may call, by name or group: headers, body_changes, local_response,
    /// properties, shared_data, queues, metrics, timer, http_call, grpc, redis, foreign_functions, routing.
    pub(in super::super) functions: Field<Vec<Field<String>>>,
}

/// What the calls of a filter may cost, on each worker.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Calls {
    /// Under way at once; 1 to 100000. Default 1000.
    pub(in super::super) at_once: Field<u64>,
    /// Of a call, whatever the filter asks, but of no gRPC stream; 1ms to 1h. Default 15s.
    pub(in super::super) timeout: Field<Duration>,
    /// Body of a request; at most 64MiB. Default 1MiB.
    pub(in super::super) request_bytes: Field<Size>,
    /// Body of a response; at most 64MiB. Default 256KiB.
    pub(in super::super) response_bytes: Field<Size>,
}

/// When a filter that keeps failing is kept from running.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct Circuit {
    /// More of them than exchanges that go well; a spent budget counts as ten. Default 32.
    pub(in super::super) failures: Field<u64>,
    /// It does not run for so long; then one exchange decides, or twice as long. Default 100ms.
    pub(in super::super) rest: Field<Duration>,
    /// The longest rest. Default 10s.
    pub(in super::super) longest_rest: Field<Duration>,
}

/// What others rely on a filter for.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Role {
    /// It lets in whom it knows.
    Authentication,
}

/// What a filter is shown of a body.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum BodyMode {
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
pub(in super::super) enum OnFailure {
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
pub(in super::super) struct RateLimit {
    /// A number per `second`, `minute` or `hour`.
    pub(in super::super) rate: Field<Rate>,
    /// So many at once. Default: the number of `rate`.
    pub(in super::super) burst: Field<u64>,
    /// What shares a bucket.
    pub(in super::super) key: Field<RateLimitKey>,
    /// Buckets held at once. Default 100000.
    pub(in super::super) keys: Field<u64>,
}

/// What shares a bucket.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum RateLimitKey {
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
pub(in super::super) struct HeaderEdits {
    /// Towards the upstream.
    pub(in super::super) request: Field<HeaderEdit>,
    /// Towards the client.
    pub(in super::super) response: Field<HeaderEdit>,
}

/// Edits on one side.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(default, deny_unknown_fields)]
pub(in super::super) struct HeaderEdit {
    /// Removed, all values.
    pub(in super::super) remove: Field<Vec<Field<String>>>,
    /// Set, in the place of all values.
    pub(in super::super) set: Field<Entries<String>>,
    /// Added beside what is there.
    pub(in super::super) add: Field<Entries<OneOrMany>>,
}
