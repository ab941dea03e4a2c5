//! Filters: named, configured once, used by any number of routes.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tollgate_proxy_wasm::Capabilities;

use super::bodies::BodyModes;
use super::fault::{Circuit, OnFailure, Role};
use super::upstream::Endpoint;

/// A named filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Its name, unique; a metric label and log field.
    pub name: Arc<str>,
    /// What it does.
    pub kind: FilterKind,
}

/// The closed set of filters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FilterKind {
    /// A Proxy-Wasm module.
    Wasm(Box<WasmFilter>),
    /// A token bucket.
    RateLimit(RateLimit),
    /// Header edits, native.
    Headers(Box<HeaderEdits>),
}

/// A Proxy-Wasm plugin: a module and the configuration it gets. Two are equal if all but the paths and
/// the code are; the digest stands for the code.
#[derive(Clone)]
pub struct WasmFilter {
    /// Where the module, or the script, was read from; relative paths are relative to the policy file.
    pub path: PathBuf,
    /// The files that it was made from.
    pub files: Arc<[PathBuf]>,
    /// SHA-256 of the module's bytes: with `vm_id` and `vm_configuration`, the identity of the VM.
    pub digest: [u8; 32],
    /// The module's bytes.
    pub code: Arc<[u8]>,
    /// Plugins with equal module, `vm_id` and `vm_configuration` share one VM per worker. Default "".
    pub vm_id: Arc<str>,
    /// Given to `proxy_on_vm_start`.
    pub vm_configuration: Arc<[u8]>,
    /// Property `plugin_root_id`, handed to SDKs that dispatch on it. Default "".
    pub root_id: Arc<str>,
    /// Given to `proxy_on_configure`: a YAML string as it is, anything else as JSON.
    pub configuration: Arc<[u8]>,
    /// Environment variables of the VM, and no others.
    pub environment: Arc<[(Arc<str>, Arc<str>)]>,
    /// CPU time that one callback may take; a context's creation and its request headers count as one, and
    /// so do done, log and delete. Default 10 ms; 100 µs to 1 s.
    pub budget: Duration,
    /// CPU time that start and configure may take. Default 500 ms; 1 ms to 10 s.
    pub start_budget: Duration,
    /// Ceiling of the instance's memory, in 64 KiB pages. Default 256 (16 MiB); at most 16 384 (1 GiB).
    pub memory_pages_max: NonZeroU32,
    /// How much of bodies it is shown. Default: each piece as it comes.
    pub bodies: BodyModes,
    /// What becomes of a request when the filter fails.
    pub on_failure: OnFailure,
    /// What the guest may reach and call. Default: no server, all functions.
    pub allow: Allow,
    /// What its calls may cost.
    pub calls: CallLimits,
    /// When it is kept from running after failures.
    pub circuit: Circuit,
    /// What others rely on it for.
    pub role: Option<Role>,
}

/// What a guest may reach outside its VM.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Allow {
    /// Upstreams of the policy that it may call, by name.
    pub upstreams: Arc<[Arc<str>]>,
    /// Servers that it may call as `host:port`, without an upstream in the policy.
    pub hosts: Arc<[Endpoint]>,
    /// Host functions that it may call. Default: all.
    pub functions: Capabilities,
}

/// What the calls of a filter may cost, on each worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallLimits {
    /// Calls under way at once. Default 1000.
    pub at_once: NonZeroU32,
    /// A call takes no longer, whatever the guest asks. Default 15 s.
    pub timeout: Duration,
    /// Body of a request. Default 1 MiB.
    pub request_bytes_max: u64,
    /// Body of a response. Default 256 KiB.
    pub response_bytes_max: u64,
}

/// A token bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Requests per `period`.
    pub rate: NonZeroU32,
    /// A second, a minute or an hour.
    pub period: Period,
    /// How many requests may come at once. Default: `rate`.
    pub burst: NonZeroU32,
    /// What shares a bucket.
    pub key: RateLimitKey,
    /// Keys held at once. Default 100 000.
    pub keys_max: NonZeroU32,
}

/// The unit of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    /// 1 s
    Second,
    /// 60 s
    Minute,
    /// 3600 s
    Hour,
}

/// What shares a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    /// The client's address after the trusted-proxy rule; IPv6 by its /64.
    ClientAddress,
    /// The first value of this header; requests without it share one bucket.
    Header(HeaderName),
    /// The route's name.
    Route,
    /// One bucket for all.
    Fixed(Arc<str>),
}

/// Edits on the headers of either side, carried out as remove, then set, then add.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HeaderEdits {
    /// Towards the upstream.
    pub request: HeaderEdit,
    /// Towards the client.
    pub response: HeaderEdit,
}

/// Edits on one side.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HeaderEdit {
    /// Removed, all values.
    pub remove: Vec<HeaderName>,
    /// Set, replacing all values.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Added beside what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl WasmFilter {
    /// What makes it what it is.
    fn identity(&self) -> impl PartialEq + std::hash::Hash + '_ {
        (
            (&self.digest, &self.vm_id, &self.vm_configuration, &self.root_id, &self.configuration),
            (&self.environment, self.budget, self.start_budget, self.memory_pages_max, self.on_failure),
            (self.bodies, self.circuit, self.role),
            (&self.allow, &self.calls),
        )
    }
}

impl PartialEq for WasmFilter {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for WasmFilter {}

impl std::hash::Hash for WasmFilter {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl std::fmt::Debug for WasmFilter {
    /// Neither code nor configuration: one is long, the other may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmFilter")
            .field("path", &self.path)
            .field("vm_id", &self.vm_id)
            .field("root_id", &self.root_id)
            .field("budget", &self.budget)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}
