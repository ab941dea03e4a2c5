//! The document as it is written: a mirror of the YAML, checked for shape only.
//!
//! Every value is a [`Field`], so that one wrong value hides no other. Text that has a grammar of
//! its own (durations, addresses, patterns) is still text here; `resolve` reads it. No type here
//! is shown or logged: `config`, `environment` and header values may be secret.

mod field;
mod filter;
mod module;
mod rollout;
mod route;

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use field::{Address, Duration, Entries, Field, FilterUse, OneOrMany, Percentage, Rate, Size};
pub(super) use filter::{
    Allow, BodyMode, Calls, Circuit, Filter, HeaderEdit, HeaderEdits, OnFailure, RateLimit, RateLimitKey,
    Role, WasmFilter,
};
pub(super) use module::{ModuleFrom, ModuleSource};
pub(super) use rollout::{Margins, Rollout, RolloutKey, RolloutStep};
pub(super) use route::{Forward, Match, PathMatch, Redirect, Respond, Route, ValueMatch};

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
