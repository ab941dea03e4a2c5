//! What one worker builds from a blueprint, beside the generation that it runs.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tollgate_proxy_wasm::{HostFunctions, StartError};

use super::blueprint::Blueprint;
use super::modules::wasm_filters;
use super::retire::{Retirements, Serving};
use super::tcp::Serves;
use crate::filter::wasm::{Environment, Guests, Plugin, Reach, Server, VmKey, VmSlot};
use crate::filter::{Chain, FilterInstance, Kind, Shadows};
use crate::policy::Policy;
use crate::policy::fault::OnFailure;
use crate::policy::filter::{Filter, FilterKind, WasmFilter};
use crate::policy::listener::ListenerId;
use crate::policy::route::{Action, DirectResponse, Redirect, Route};
use crate::policy::upstream::{Protocol, Upstream};
use crate::proxy::Outgoing;
use crate::telemetry::metrics::{Handle, RouteMetrics, UpstreamMetrics};
use crate::upstream::{Courier, EndpointName, UpstreamPool, Upstreams};

/// The worker that builds.
pub struct Site {
    /// Its number, from zero.
    pub worker: usize,
    /// Host functions for its VMs.
    pub functions: Rc<HostFunctions<Environment>>,
    /// What guests of all workers share.
    pub guests: Arc<Guests>,
    /// Who still serves.
    pub retirements: Arc<Retirements>,
}

/// One policy at work on one worker.
pub struct Generation {
    /// What it was built from.
    pub blueprint: Arc<Blueprint>,
    /// What each listener serves.
    listeners: Vec<(ListenerId, Serves)>,
    /// By the index of the route.
    pub routes: Vec<RouteRuntime>,
    /// Its pools.
    pub upstreams: Upstreams<Outgoing>,
    /// Pools of servers that no upstream names, which filters may call.
    pub hosts: Upstreams<Outgoing>,
    /// The chain of requests that no route takes: empty.
    pub no_chain: Rc<Chain>,
    /// Where those are counted.
    pub unrouted: Handle<RouteMetrics>,
    /// Each upstream's metrics, for the sweep.
    pub upstream_metrics: Vec<(Arc<str>, Handle<UpstreamMetrics>)>,
    /// Its guests, for the sweep.
    guests: Vec<Rc<FilterInstance>>,
    /// What its guests may call, for when it is in force.
    reaches: Vec<(Rc<Plugin>, Rc<Reach>)>,
    slots: Vec<Rc<VmSlot>>,
    _serving: Serving,
}

/// A route on one worker.
pub struct RouteRuntime {
    /// The route.
    pub route: Arc<Route>,
    /// Its filters.
    pub chain: Rc<Chain>,
    /// What comes after them.
    pub next: Next,
    /// Where it is counted.
    pub metrics: Handle<RouteMetrics>,
}

/// What comes after the filters.
pub enum Next {
    /// Send it on.
    Forward {
        /// Where to.
        pool: Rc<UpstreamPool<Outgoing>>,
        /// Replaces the route's prefix.
        rewrite_prefix: Option<Arc<str>>,
        /// Where it is counted.
        metrics: Handle<UpstreamMetrics>,
    },
    /// Send the client elsewhere.
    Redirect(Redirect),
    /// Answer.
    Respond(DirectResponse),
}

/// Why a worker cannot build a generation.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A filter does not start.
    #[error("filter {filter} does not start: {source}")]
    Filter {
        /// Which.
        filter: Arc<str>,
        /// Why.
        source: StartError,
    },
    /// The blueprint lacks something that its policy names; a fault of ours.
    #[error("the blueprint has no {what} {name}")]
    Incomplete {
        /// What is missing.
        what: &'static str,
        /// Its name.
        name: Arc<str>,
    },
}

impl Generation {
    /// Builds the generation; pools, VMs and plugins of `old` that go on are carried over. On an error
    /// nothing that `old` uses has changed.
    pub fn build(blueprint: Arc<Blueprint>, old: Option<&Self>, site: &Site) -> Result<Self, BuildError> {
        let upstreams = Upstreams::build(&blueprint.policy.upstreams, old.map(|old| &old.upstreams));
        let hosts = Upstreams::build(&called_hosts(&blueprint.policy), old.map(|old| &old.hosts));
        let mut slots: Vec<Rc<VmSlot>> = Vec::new();
        let mut reaches = Vec::new();
        let mut filters = HashMap::with_capacity(blueprint.policy.filters.len());
        for (index, filter) in blueprint.policy.filters.iter().enumerate() {
            let reach = Rc::new(reach(filter, &upstreams, &hosts));
            let instance = instance(&blueprint, index, filter, old, site, &mut slots, &reach)?;
            reaches.extend(instance.guest().map(|(plugin, _)| (Rc::clone(plugin), reach)));
            filters.insert(Arc::clone(&filter.name), Rc::new(instance));
        }
        let upstream_metrics: Vec<_> = blueprint
            .policy
            .upstreams
            .iter()
            .zip(&blueprint.upstreams)
            .map(|(upstream, metrics)| (Arc::clone(&upstream.name), metrics.worker(site.worker)))
            .collect();
        let by_name: HashMap<_, _> = upstream_metrics.iter().cloned().collect();
        let listeners = super::tcp::build(&blueprint, site.worker, &filters, &upstreams, &by_name)?;
        let mut routes = Vec::with_capacity(blueprint.policy.routes.len());
        for (route, metrics) in blueprint.policy.routes.iter().zip(&blueprint.routes) {
            routes.push(RouteRuntime {
                chain: chain(route, &filters)?,
                next: next(route, &upstreams, &by_name)?,
                metrics: metrics.worker(site.worker),
                route: Arc::clone(route),
            });
        }
        let guests = filters.into_values().filter(|filter| filter.guest().is_some()).collect();
        Ok(Self {
            listeners,
            routes,
            upstreams,
            hosts,
            no_chain: Rc::default(),
            unrouted: blueprint.unrouted.worker(site.worker),
            upstream_metrics,
            guests,
            reaches,
            slots,
            _serving: site.retirements.serve(blueprint.number),
            blueprint,
        })
    }

    /// Failures of its filters so far, on all workers.
    pub fn failures(&self) -> u64 {
        self.blueprint.filters.iter().map(|metrics| metrics.failures()).sum()
    }

    /// It is in force from now on: guests carried over call out by its pools.
    pub fn come_into_force(&self) {
        for (plugin, reach) in &self.reaches {
            plugin.set_reach(Rc::clone(reach));
        }
    }

    /// What the listener serves now.
    pub fn serves(&self, listener: ListenerId) -> Option<&Serves> {
        self.listeners.iter().find(|(id, _)| *id == listener).map(|(_, serves)| serves)
    }

    /// The VMs of its guests.
    pub fn slots(&self) -> &[Rc<VmSlot>] {
        &self.slots
    }

    /// Publishes how its guests are. For the sweep.
    pub fn publish_guests(&self) {
        for filter in &self.guests {
            filter.sweep_shadows();
            let Some((plugin, metrics)) = filter.guest() else { continue };
            metrics.set_health(plugin.health());
            metrics.restarts.add(plugin.take_restarts());
            plugin.publish();
        }
    }
}

fn instance(
    blueprint: &Blueprint,
    index: usize,
    filter: &Arc<Filter>,
    old: Option<&Generation>,
    site: &Site,
    slots: &mut Vec<Rc<VmSlot>>,
    reach: &Rc<Reach>,
) -> Result<FilterInstance, BuildError> {
    let missing = |what| BuildError::Incomplete { what, name: Arc::clone(&filter.name) };
    let metrics = blueprint.filters.get(index).ok_or_else(|| missing("metrics for"))?.worker(site.worker);
    let (kind, on_failure) = match &filter.kind {
        FilterKind::RateLimit(_) => {
            let limiter = blueprint.limiters.get(&filter.name).ok_or_else(|| missing("limiter for"))?;
            (Kind::RateLimit(Arc::clone(limiter)), OnFailure::Closed)
        }
        FilterKind::Headers(edits) => (Kind::Headers(Arc::new((**edits).clone())), OnFailure::Closed),
        FilterKind::Wasm(wasm) => {
            let slot = slot(blueprint, wasm, old, site, slots).ok_or_else(|| missing("module for"))?;
            let plugin = Plugin::start(&slot, &filter.name, wasm, reach, metrics.clone())
                .map_err(|source| BuildError::Filter { filter: Arc::clone(&filter.name), source })?;
            (Kind::Wasm(plugin), wasm.on_failure)
        }
    };
    let name = Arc::clone(&filter.name);
    Ok(FilterInstance { name, kind, on_failure, metrics, shadows: Shadows::default() })
}

/// What the filter may call.
fn reach(filter: &Filter, upstreams: &Upstreams<Outgoing>, hosts: &Upstreams<Outgoing>) -> Reach {
    let FilterKind::Wasm(wasm) = &filter.kind else { return Reach::default() };
    let upstream = |name: &str| match upstreams.get(name) {
        Some(pool) => Some(match pool.definition().protocol {
            Protocol::Http2 => Server::Http2(Rc::clone(pool) as Rc<dyn Courier>),
            Protocol::Http1 | Protocol::Redis => Server::Http1(Rc::clone(pool) as Rc<dyn Courier>),
        }),
        None => upstreams.redis(name).map(|redis| Server::Redis(Rc::clone(redis))),
    };
    // What a host speaks is for its caller to know.
    let host = |name: &str| hosts.get(name).map(|pool| Server::Http2(Rc::clone(pool) as Rc<dyn Courier>));
    Reach::new(&wasm.allow, upstream, host)
}

/// An upstream with all defaults for each server that a filter may call by `host:port`.
fn called_hosts(policy: &Policy) -> Vec<Arc<Upstream>> {
    let hosts = wasm_filters(policy).flat_map(|(_, wasm)| wasm.allow.hosts.iter());
    hosts.map(|host| Arc::new(Upstream::of_one(EndpointName::from(host).text(), host.clone()))).collect()
}

/// The VM that a filter runs in: one of this generation, else of the old one, else a new one.
fn slot(
    blueprint: &Blueprint,
    wasm: &WasmFilter,
    old: Option<&Generation>,
    site: &Site,
    slots: &mut Vec<Rc<VmSlot>>,
) -> Option<Rc<VmSlot>> {
    let compiled = blueprint.modules.get(&wasm.digest)?;
    let key = VmKey::new(wasm, compiled.level);
    if let Some(slot) = slots.iter().find(|slot| *slot.key() == key) {
        return Some(Rc::clone(slot));
    }
    let carried = old.and_then(|old| old.slots.iter().find(|slot| *slot.key() == key));
    let slot = carried.cloned().unwrap_or_else(|| {
        let functions = Rc::clone(&site.functions);
        VmSlot::new(key, compiled.module.clone(), functions, Arc::clone(&site.guests))
    });
    slots.push(Rc::clone(&slot));
    Some(slot)
}

fn chain(route: &Route, filters: &HashMap<Arc<str>, Rc<FilterInstance>>) -> Result<Rc<Chain>, BuildError> {
    let find = |filter: &Arc<Filter>| {
        let missing = || BuildError::Incomplete { what: "filter", name: Arc::clone(&filter.name) };
        filters.get(&filter.name).cloned().ok_or_else(missing)
    };
    let filters: Result<_, _> = route.filters.iter().map(find).collect();
    Ok(Rc::new(Chain::new(filters?)))
}

fn next(
    route: &Route,
    upstreams: &Upstreams<Outgoing>,
    metrics: &HashMap<Arc<str>, Handle<UpstreamMetrics>>,
) -> Result<Next, BuildError> {
    Ok(match &route.action {
        Action::Forward { upstream, rewrite_prefix } => {
            let missing = || BuildError::Incomplete { what: "upstream", name: Arc::clone(&upstream.name) };
            Next::Forward {
                pool: Rc::clone(upstreams.get(&upstream.name).ok_or_else(missing)?),
                rewrite_prefix: rewrite_prefix.clone(),
                metrics: metrics.get(&upstream.name).cloned().ok_or_else(missing)?,
            }
        }
        Action::Redirect(redirect) => Next::Redirect(redirect.clone()),
        Action::Respond(response) => Next::Respond(response.clone()),
    })
}
