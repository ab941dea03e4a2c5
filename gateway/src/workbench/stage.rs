//! A generation with one route and one filter.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_proxy_wasm::{GuestMetrics, HostFunctions, MetricValue};

use crate::filter::wasm::{Environment, Guests, Plugin};
use crate::filter::{Chain, Client, Exchange, Kind, RequestHead};
use crate::generation::{Blueprint, BuildError, Compiled, Generation, Modules, Site};
use crate::policy::fault::OnFailure;
use crate::policy::filter::{Allow, Filter, FilterKind};
use crate::policy::route::Route;
use crate::policy::{self, Diagnostics, Loaded};
use crate::telemetry::metrics::Metrics;

/// The route that requests take here.
pub(super) const ROUTE: &str = "test";

/// Why a filter is not at work.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// It does not start.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The policy around it is wrong; a fault of ours.
    #[error("the policy of the tool is wrong: {0}")]
    Policy(Diagnostics),
    /// It is no Wasm module.
    #[error("the filter is no module")]
    NoModule,
}

/// A filter at work: a VM of its own, and a chain of it alone.
pub struct Stage {
    chain: Rc<Chain>,
    plugin: Rc<Plugin>,
    guests: Arc<Guests>,
    generation: Generation,
    buffer_bytes_max: usize,
    started_in: Duration,
}

impl Stage {
    /// Starts `filter`, whose code is `compiled`. `upstreams` are those that it may call, each with the
    /// address where it is played. To be called on a guarded thread, in its runtime.
    ///
    /// # Errors
    /// If the filter does not start.
    pub fn start(
        filter: &Arc<Filter>,
        compiled: &Compiled,
        upstreams: &[(Arc<str>, SocketAddr)],
        functions: &Rc<HostFunctions<Environment>>,
    ) -> Result<Self, StageError> {
        let FilterKind::Wasm(wasm) = &filter.kind else { return Err(StageError::NoModule) };
        let loaded = policy_of(filter, upstreams)?;
        let buffer_bytes_max = usize::try_from(loaded.policy.limits.buffer_bytes_max.get());
        let modules = Modules::from([(wasm.digest, compiled.clone())]);
        let guests = Arc::<Guests>::default();
        let site = Site {
            worker: 0,
            functions: Rc::clone(functions),
            guests: Arc::clone(&guests),
            retirements: Arc::default(),
        };
        let blueprint = Arc::new(Blueprint::new(1, loaded, modules, None, &Metrics::new(1)));
        let begun = Instant::now();
        let generation = Generation::build(blueprint, None, &site)?;
        let started_in = begun.elapsed();
        let chain = generation.routes.first().map(|route| Rc::clone(&route.chain)).unwrap_or_default();
        let plugin = chain.filters.iter().find_map(|filter| match &filter.kind {
            Kind::Wasm(plugin) => Some(Rc::clone(plugin)),
            _ => None,
        });
        let plugin = plugin.ok_or(StageError::NoModule)?;
        let buffer_bytes_max = buffer_bytes_max.unwrap_or(usize::MAX);
        Ok(Self { chain, plugin, guests, generation, buffer_bytes_max, started_in })
    }

    /// How long the VM and the filter took to start; the first start of a thread links the host
    /// functions, too.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The guest's memory in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.plugin.slot().memory_bytes()
    }

    /// Fuel that the guest has used since it was started.
    pub fn fuel_used(&self) -> u64 {
        self.plugin.slot().fuel_used()
    }

    /// How often the filter failed.
    pub fn failures(&self) -> u64 {
        self.generation.failures()
    }

    /// Has the filter's timer go off.
    pub fn tick(&self) {
        self.plugin.tick();
    }

    /// Shared data of the filter's VM.
    pub fn shared_data(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.guests.data.value(&self.plugin.definition().vm_id, key)
    }

    /// A metric that the guest defined: a count, a level, or how many values a histogram has.
    pub fn metric(&self, name: &str) -> Option<u64> {
        metric(&self.guests.metrics, name)
    }

    pub(super) fn chain(&self) -> Rc<Chain> {
        Rc::clone(&self.chain)
    }

    /// An exchange whose request has just arrived.
    pub(super) fn exchange(&self, peer: SocketAddr, head: RequestHead) -> Rc<Exchange> {
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        let client =
            Client { address: peer.ip(), peer, local, version: http::Version::HTTP_11, connection: 1 };
        let id = http::HeaderValue::from_static("0123456789abcdef0123456789abcdef");
        let exchange = Exchange::new(client, id, head, Instant::now(), self.buffer_bytes_max);
        if let Some(route) = self.generation.routes.first() {
            exchange.set_route(Arc::clone(&route.route));
        }
        Rc::new(exchange)
    }
}

/// A metric that a guest defined: a count, a level, or how many values a histogram has.
pub(super) fn metric(metrics: &GuestMetrics, name: &str) -> Option<u64> {
    let mut found = None;
    metrics.visit(|given, value| {
        if given == name {
            found = Some(match value {
                MetricValue::Counter(value) | MetricValue::Gauge(value) => value,
                MetricValue::Histogram { buckets, .. } => buckets.iter().sum(),
            });
        }
    });
    found
}

/// The filter, which may call these upstreams and nothing else. What it says takes effect, even if it is
/// in shadow in the policy.
fn allowed(filter: &Filter, upstreams: &[(Arc<str>, SocketAddr)]) -> Arc<Filter> {
    let mut filter = filter.clone();
    if let FilterKind::Wasm(wasm) = &mut filter.kind {
        let names = upstreams.iter().map(|(name, _)| Arc::clone(name)).collect();
        if wasm.on_failure == OnFailure::Shadow {
            wasm.on_failure = OnFailure::Closed;
        }
        wasm.allow = Allow { upstreams: names, hosts: Arc::default(), functions: wasm.allow.functions };
    }
    Arc::new(filter)
}

/// The policy around the filter: every default, one route, and the upstreams that it may call.
fn policy_of(filter: &Arc<Filter>, upstreams: &[(Arc<str>, SocketAddr)]) -> Result<Loaded, StageError> {
    let mut text = format!(
        "version: 1\nlisteners: [{{ address: '127.0.0.1:0' }}]\n\
         routes: [{{ name: {ROUTE}, respond: {{ status: 200 }} }}]\nupstreams:\n"
    );
    for (name, address) in upstreams {
        // Debug of a text is a text in YAML's double quotes, for all that may be a name.
        text.push_str(&format!("  {name:?}: {{ endpoints: ['{address}'] }}\n"));
    }
    let mut loaded = policy::parse(&text, Path::new("tool"), Path::new("")).map_err(StageError::Policy)?;
    let filter = &allowed(filter, upstreams);
    loaded.policy.filters = vec![Arc::clone(filter)];
    for route in &mut loaded.policy.routes {
        *route = Arc::new(Route { filters: vec![Arc::clone(filter)], ..Route::clone(route) });
    }
    Ok(loaded)
}
