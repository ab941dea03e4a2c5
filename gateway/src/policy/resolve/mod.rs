//! From the raw form to a [`Policy`]: binds names, checks bounds, compiles patterns, reads modules.
//!
//! One file a section. Every function reports what is wrong and goes on with what is right, so
//! that one run tells everything; the policy is handed out only if nothing was reported. Upstreams
//! and filters come before the TCP services and routes that name them.

mod action;
mod allow;
mod bodies;
mod defaults;
mod fault;
mod filter;
mod headers;
mod host;
mod limits;
mod listener;
mod matches;
mod module;
mod names;
mod overlap;
mod pattern;
mod place;
mod remote;
mod rollout;
mod route;
mod scalar;
mod script;
mod sense;
mod sets;
mod tcp;
mod upstream;

use std::sync::Arc;

use super::Policy;
use super::files::Files;
use super::raw;
use super::report::{Problem, Report};
pub(super) use filter::{configuration, environment, resolve_wasm};
pub(super) use headers::resolve_name;
pub(super) use module::Modules;
pub use module::read_module;
pub(super) use names::Names;
pub(super) use place::Place;
pub(super) use remote::Named;
pub(super) use scalar::duration;
pub(super) use script::resolve_script;
use sets::Chains;

/// Files and patterns under `include`, of all files together; they were followed before.
const INCLUDES_MAX: usize = 1_000;

/// The version of the format that this page reads.
const VERSION: u64 = 1;

/// The policy, and the digests of the modules that it names in the order first named. `None` if
/// anything is wrong. The policy does not know its inputs and origins yet.
pub(super) fn resolve(
    raw: &raw::Policy,
    adjusted: &raw::Entries<raw::Filter>,
    report: &Report<'_>,
    files: &Files,
) -> Option<(Policy, Vec<[u8; 32]>)> {
    let root = Place::root(report);
    check_version(root, raw);
    root.key("include").texts(&raw.include, INCLUDES_MAX, |_, _| {});
    let (addresses, admin) = listener::resolve(root, raw);
    let limits = limits::resolve(root.key("limits"), &raw.limits);
    let trusted_proxies = listener::resolve_proxies(root.key("trusted_proxies"), &raw.trusted_proxies);
    let total = limits.as_ref().and_then(|limits| limits.total_timeout);
    let upstreams = upstream::resolve(root.key("upstreams"), &raw.upstreams, total);
    let mut modules = Modules::new(files);
    if let Some(defaults) = raw.defaults.given() {
        defaults::check(root.key("defaults"), defaults);
    }
    let filters = filter::resolve(root.key("filters"), &raw.filters, adjusted, &mut modules, &upstreams);
    let chains = Chains::resolve(root.key("filter_sets"), &raw.filter_sets, &filters);
    let services = tcp::resolve(root.key("listeners"), raw, limits.as_ref(), &upstreams, &chains);
    let routes = match raw.has_http_listener() {
        true => route::resolve(root, &raw.routes, &upstreams, &chains),
        false => route::resolve_unserved(root, &raw.routes, &upstreams, &chains),
    };
    let rollout = rollout::resolve(root.key("rollout"), &raw.rollout, raw.has_http_listener());
    if report.has_errors() {
        return None;
    }
    upstream::warn_of_http_options(root.key("upstreams"), &raw.upstreams, &upstreams);
    upstreams.warn_of_unused(root.key("upstreams"));
    chains.warn_of_unused(root.key("filter_sets"));
    drop(chains);
    filters.warn_of_unused(root.key("filters"));
    let policy = Policy {
        listeners: tcp::join(addresses, services),
        admin,
        limits: limits?,
        trusted_proxies,
        upstreams: upstreams.into_values(),
        filters: filters.into_values(),
        routes,
        rollout,
        inputs: Arc::default(),
        origins: Arc::default(),
    };
    sense::warn(root, raw, &policy);
    Some((policy, modules.digests().to_vec()))
}

fn check_version(root: Place<'_>, raw: &raw::Policy) {
    let version = root.required(&raw.version, "version", "`version: 1`");
    if let Some(version) = version.filter(|version| **version != VERSION) {
        let problem = Problem::new("a version of the format that is not known").expected(VERSION.to_string());
        root.key("version").error(problem.found(version.to_string()));
    }
}
