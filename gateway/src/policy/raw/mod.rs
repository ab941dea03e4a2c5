//! The document as it is written: a mirror of the YAML, checked for shape only.
//!
//! Every value is a [`Field`], so that one wrong value hides no other. Text that has a grammar of
//! its own (durations, addresses, patterns) is still text here; `resolve` reads it. No type here
//! is shown or logged: `config`, `environment` and header values may be secret.

mod field;

use serde::Deserialize;
use serde_yaml::Value;

pub(super) use field::{Address, Duration, Entries, Field, FilterUse, OneOrMany, Percentage, Rate, Size};

/// The document.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) version: Field<u64>,
    pub(super) include: Field<OneOrMany>,
    pub(super) listeners: Field<Vec<Field<Listener>>>,
    pub(super) admin: Field<Admin>,
    pub(super) limits: Field<Limits>,
    pub(super) trusted_proxies: Field<Vec<Field<String>>>,
    pub(super) upstreams: Field<Entries<Upstream>>,
    pub(super) filters: Field<Entries<Filter>>,
    pub(super) filter_sets: Field<Entries<Vec<Field<FilterUse>>>>,
    pub(super) defaults: Field<Defaults>,
    pub(super) routes: Field<Vec<Field<Route>>>,
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
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Defaults {
    pub(super) routes: Field<Route>,
    pub(super) filters: Field<Filter>,
    pub(super) upstreams: Field<Upstream>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) address: Field<Address>,
    pub(super) tcp: Field<TcpService>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TcpService {
    pub(super) name: Field<String>,
    pub(super) filters: Field<Vec<Field<FilterUse>>>,
    pub(super) forward: Field<TcpForward>,
    pub(super) idle_timeout: Field<Duration>,
    pub(super) connections: Field<u64>,
    pub(super) buffer_bytes: Field<Size>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TcpForward {
    pub(super) upstream: Field<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) address: Field<Address>,
    pub(super) unix: Field<String>,
    pub(super) allow_remote: Field<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) header_bytes: Field<Size>,
    pub(super) header_count: Field<u64>,
    pub(super) body_bytes: Field<Size>,
    pub(super) buffer_bytes: Field<Size>,
    pub(super) connections: Field<u64>,
    pub(super) header_read_timeout: Field<Duration>,
    pub(super) idle_timeout: Field<Duration>,
    pub(super) total_timeout: Field<Duration>,
    pub(super) drain_timeout: Field<Duration>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    pub(super) protocol: Field<Protocol>,
    pub(super) endpoints: Field<Vec<Field<String>>>,
    pub(super) connect_timeout: Field<Duration>,
    pub(super) response_timeout: Field<Duration>,
    pub(super) idle_timeout: Field<Duration>,
    pub(super) idle_connections: Field<u64>,
    pub(super) refused_pause: Field<Duration>,
    pub(super) host: Field<HostHeader>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum Protocol {
    Http1,
    Http2,
    Redis,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HostHeader {
    Client,
    Endpoint,
    Fixed(String),
}

/// Exactly one of these.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Filter {
    pub(super) wasm: Field<WasmFilter>,
    pub(super) lua: Field<WasmFilter>,
    pub(super) starlark: Field<WasmFilter>,
    pub(super) rate_limit: Field<RateLimit>,
    pub(super) headers: Field<HeaderEdits>,
}

/// A module with `wasm`, a script with `lua` or `starlark`; the options are the same.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WasmFilter {
    pub(super) module: Field<String>,
    pub(super) file: Field<String>,
    pub(super) inline: Field<String>,
    pub(super) modules: Field<Entries<String>>,
    pub(super) config: Field<Value>,
    pub(super) vm_id: Field<String>,
    pub(super) vm_config: Field<Value>,
    pub(super) root_id: Field<String>,
    pub(super) environment: Field<Entries<String>>,
    pub(super) budget: Field<Duration>,
    pub(super) start_budget: Field<Duration>,
    pub(super) memory: Field<Size>,
    pub(super) body: Field<BodyMode>,
    pub(super) request_body: Field<BodyMode>,
    pub(super) response_body: Field<BodyMode>,
    pub(super) on_failure: Field<OnFailure>,
    pub(super) allow: Field<Allow>,
    pub(super) calls: Field<Calls>,
    pub(super) circuit: Field<Circuit>,
    pub(super) role: Field<Role>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Allow {
    pub(super) upstreams: Field<Vec<Field<String>>>,
    pub(super) hosts: Field<Vec<Field<String>>>,
    pub(super) functions: Field<Vec<Field<String>>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Calls {
    pub(super) at_once: Field<u64>,
    pub(super) timeout: Field<Duration>,
    pub(super) request_bytes: Field<Size>,
    pub(super) response_bytes: Field<Size>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Circuit {
    pub(super) failures: Field<u64>,
    pub(super) rest: Field<Duration>,
    pub(super) longest_rest: Field<Duration>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    Authentication,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BodyMode {
    None,
    Stream,
    Buffer(Size),
    Peek(Size),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnFailure {
    Closed,
    Open,
    Shadow,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateLimit {
    pub(super) rate: Field<Rate>,
    pub(super) burst: Field<u64>,
    pub(super) key: Field<RateLimitKey>,
    pub(super) keys: Field<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RateLimitKey {
    ClientAddress,
    Route,
    Header(String),
    Fixed(String),
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HeaderEdits {
    pub(super) request: Field<HeaderEdit>,
    pub(super) response: Field<HeaderEdit>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HeaderEdit {
    pub(super) remove: Field<Vec<Field<String>>>,
    pub(super) set: Field<Entries<String>>,
    pub(super) add: Field<Entries<OneOrMany>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Route {
    pub(super) name: Field<String>,
    #[serde(rename = "match")]
    pub(super) matches: Field<Match>,
    pub(super) filters: Field<Vec<Field<FilterUse>>>,
    pub(super) forward: Field<Forward>,
    pub(super) redirect: Field<Redirect>,
    pub(super) respond: Field<Respond>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Match {
    pub(super) host: Field<OneOrMany>,
    pub(super) path: Field<PathMatch>,
    pub(super) methods: Field<Vec<Field<String>>>,
    pub(super) headers: Field<Vec<Field<ValueMatch>>>,
    pub(super) query: Field<Vec<Field<ValueMatch>>>,
}

/// Exactly one of these.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PathMatch {
    pub(super) exact: Field<String>,
    pub(super) prefix: Field<String>,
    pub(super) regex: Field<String>,
}

/// A name, and exactly one of the others.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ValueMatch {
    pub(super) name: Field<String>,
    pub(super) exact: Field<String>,
    pub(super) regex: Field<String>,
    pub(super) present: Field<bool>,
    pub(super) absent: Field<bool>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Forward {
    pub(super) upstream: Field<String>,
    pub(super) rewrite_prefix: Field<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Redirect {
    pub(super) status: Field<u64>,
    pub(super) scheme: Field<String>,
    pub(super) host: Field<String>,
    pub(super) port: Field<u64>,
    pub(super) path: Field<String>,
    pub(super) prefix: Field<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Respond {
    pub(super) status: Field<u64>,
    pub(super) headers: Field<Entries<OneOrMany>>,
    pub(super) body: Field<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rollout {
    pub(super) steps: Field<Vec<Field<RolloutStep>>>,
    pub(super) key: Field<RolloutKey>,
    pub(super) minimum_requests: Field<u64>,
    pub(super) margins: Field<Margins>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RolloutStep {
    pub(super) share: Field<Percentage>,
    pub(super) time: Field<Duration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RolloutKey {
    ClientAddress,
    Header(String),
    Cookie(String),
}

/// Each may be `none`.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Margins {
    pub(super) errors: Field<Percentage>,
    pub(super) traps: Field<Percentage>,
    pub(super) denials: Field<Percentage>,
    pub(super) latency: Field<Duration>,
}
