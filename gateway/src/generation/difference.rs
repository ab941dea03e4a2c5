//! What a reload from one policy to another would change: for people, before it goes live.
//!
//! Names tell what is the same thing in both; [`facts`] tell whether it is set otherwise. What is
//! carried over follows the rules that [`Blueprint`](super::Blueprint) and
//! [`Generation`](super::Generation) keep: an upstream's connections and a limiter's buckets by name
//! and equal settings, a VM by its [`VmKey`], a plugin in it by name and equal settings.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use tollgate_wasmedge::OptLevel;

use crate::filter::wasm::VmKey;
use crate::policy::Policy;
use crate::policy::facts::{self, Fact};
use crate::policy::filter::{Filter, FilterKind};
use crate::policy::listener::Service;
use crate::policy::route::{Action, Route};
use crate::policy::upstream::Upstream;
use crate::policy::variables::Owner;

/// What would change.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Settings for all: limits and trusted proxies.
    pub settings: Vec<Setting>,
    /// Upstreams that come, go or are set otherwise.
    pub upstreams: Vec<Change>,
    /// Filters that come, go or are set otherwise.
    pub filters: Vec<Change>,
    /// Routes that come, go, are set otherwise, or use something that is.
    pub routes: Vec<Change>,
    /// TCP services likewise; connections that are open stay as they are.
    pub tcp: Vec<Change>,
    /// Whether routes that are in both stand in another order.
    pub is_reordered: bool,
    /// What goes on as it is.
    pub kept: Kept,
}

/// What goes on with its state.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Upstreams with their connections.
    pub upstreams: usize,
    /// VMs, each on every worker, with the state in their memory.
    pub vms: usize,
    /// Wasm filters that are not started again.
    pub plugins: usize,
    /// Rate limits with their buckets.
    pub limiters: usize,
}

/// A setting that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Before; `null` if it is new.
    pub old: Option<String>,
    /// After; `null` if it is gone.
    pub new: Option<String>,
}

/// A named thing that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub kind: ChangeKind,
    /// Settings that differ, if it is in both.
    pub settings: Vec<Setting>,
    /// What follows from it, in words.
    pub effects: Vec<String>,
}

/// What becomes of a named thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It comes.
    Added,
    /// It goes.
    Removed,
    /// It is set otherwise.
    Changed,
    /// It is as it was, and uses something that changes.
    Affected,
}

impl Difference {
    /// Compares two policies.
    #[must_use]
    pub fn between(old: &Policy, new: &Policy) -> Self {
        let upstreams = changes(
            named(
                old.upstreams
                    .iter()
                    .map(|upstream| (&*upstream.name, old.origins.facts_of_upstream(upstream))),
            ),
            named(
                new.upstreams
                    .iter()
                    .map(|upstream| (&*upstream.name, new.origins.facts_of_upstream(upstream))),
            ),
            |_, kind| match kind {
                ChangeKind::Changed => vec!["connections are made anew".to_owned()],
                _ => Vec::new(),
            },
        );
        let filters = filters(old, new);
        let routes = routes(old, new, &upstreams, &filters);
        let tcp = tcp(old, new, &upstreams, &filters);
        Self {
            settings: settings(&of_all(old), &of_all(new)),
            kept: Kept::between(old, new, &upstreams, &filters),
            is_reordered: is_reordered(old, new),
            upstreams,
            filters,
            routes,
            tcp,
        }
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { settings, upstreams, filters, routes, tcp, is_reordered, kept: _ } = self;
        settings.is_empty()
            && upstreams.is_empty()
            && filters.is_empty()
            && routes.is_empty()
            && tcp.is_empty()
            && !is_reordered
    }
}

fn of_all(policy: &Policy) -> Vec<Fact> {
    let mut all = facts::of_limits(&policy.limits);
    let trusted: Vec<_> = policy.trusted_proxies.iter().map(ToString::to_string).collect();
    all.push(("trusted_proxies", trusted.join(", ")));
    all.extend(policy.rollout.as_ref().map(facts::of_rollout));
    policy.origins.sealed(&Owner::Whole, all)
}

type Named<'p> = Vec<(&'p str, Vec<Fact>)>;

fn named<'p>(items: impl Iterator<Item = (&'p str, Vec<Fact>)>) -> Named<'p> {
    items.collect()
}

/// What differs between two lists, in the order of the new one; what goes comes last.
fn changes(old: Named<'_>, new: Named<'_>, effects: impl Fn(&str, ChangeKind) -> Vec<String>) -> Vec<Change> {
    let before: HashMap<&str, &Vec<Fact>> = old.iter().map(|(name, facts)| (*name, facts)).collect();
    let after: HashSet<&str> = new.iter().map(|(name, _)| *name).collect();
    let change = |name: &str, kind, settings| Change {
        name: name.to_owned(),
        kind,
        settings,
        effects: effects(name, kind),
    };
    let come_or_differ = new.iter().filter_map(|(name, facts)| match before.get(name) {
        None => Some(change(name, ChangeKind::Added, Vec::new())),
        Some(old) if *old == facts => None,
        Some(old) => Some(change(name, ChangeKind::Changed, settings(old, facts))),
    });
    let go = old.iter().filter(|(name, _)| !after.contains(name));
    come_or_differ.chain(go.map(|(name, _)| change(name, ChangeKind::Removed, Vec::new()))).collect()
}

/// The settings that differ.
fn settings(old: &[Fact], new: &[Fact]) -> Vec<Setting> {
    let find = |facts: &[Fact], wanted: &str| {
        facts.iter().find(|(name, _)| *name == wanted).map(|(_, text)| text.clone())
    };
    let gone = old.iter().filter(|(name, _)| find(new, name).is_none());
    let names = new.iter().chain(gone).map(|(name, _)| *name);
    names
        .map(|name| Setting { name, old: find(old, name), new: find(new, name) })
        .filter(|setting| setting.old != setting.new)
        .collect()
}

fn filters(old: &Policy, new: &Policy) -> Vec<Change> {
    let vms = vms(old);
    let effects = |name: &str, kind: ChangeKind| {
        let filter = new.filters.iter().find(|filter| *filter.name == *name);
        match (kind, filter.map(|filter| &filter.kind)) {
            (ChangeKind::Changed, Some(FilterKind::RateLimit(_))) => {
                vec!["every bucket is full again".to_owned()]
            }
            (ChangeKind::Added | ChangeKind::Changed, Some(FilterKind::Wasm(wasm))) => {
                let goes_on = vms.contains(&VmKey::new(wasm, OptLevel::O2));
                vec![if goes_on { "starts in a VM that goes on" } else { "starts in a new VM" }.to_owned()]
            }
            _ => Vec::new(),
        }
    };
    changes(
        named(old.filters.iter().map(|filter| (&*filter.name, old.origins.facts_of_filter(filter)))),
        named(new.filters.iter().map(|filter| (&*filter.name, new.origins.facts_of_filter(filter)))),
        effects,
    )
}

fn routes(old: &Policy, new: &Policy, upstreams: &[Change], filters: &[Change]) -> Vec<Change> {
    let mut routes = changes(
        named(old.routes.iter().map(|route| (&*route.name, old.origins.facts_of_route(route)))),
        named(new.routes.iter().map(|route| (&*route.name, new.origins.facts_of_route(route)))),
        |_, _| Vec::new(),
    );
    for Route { name, filters: chain, action, .. } in new.routes.iter().map(|route| &**route) {
        let upstream = match action {
            Action::Forward { upstream, .. } => Some(&**upstream),
            Action::Redirect(_) | Action::Respond(_) => None,
        };
        note_uses(&mut routes, name, uses_of_what_changes(chain, upstream, upstreams, filters));
    }
    routes
}

fn tcp(old: &Policy, new: &Policy, upstreams: &[Change], filters: &[Change]) -> Vec<Change> {
    let mut services = changes(
        named(old.listeners.iter().filter_map(|listener| old.origins.facts_of_tcp(listener))),
        named(new.listeners.iter().filter_map(|listener| new.origins.facts_of_tcp(listener))),
        |_, _| Vec::new(),
    );
    for listener in &new.listeners {
        let Service::Tcp(service) = &listener.service else { continue };
        let uses = uses_of_what_changes(&service.filters, Some(&service.upstream), upstreams, filters);
        note_uses(&mut services, &service.name, uses);
    }
    services
}

/// Tells what `name` uses that changes.
fn note_uses(changes: &mut Vec<Change>, name: &str, uses: Vec<String>) {
    if uses.is_empty() {
        return;
    }
    match changes.iter_mut().find(|change| *change.name == *name) {
        Some(change) if change.kind == ChangeKind::Changed => change.effects = uses,
        Some(_) => {}
        None => changes.push(Change {
            name: name.to_owned(),
            kind: ChangeKind::Affected,
            settings: Vec::new(),
            effects: uses,
        }),
    }
}

fn uses_of_what_changes(
    chain: &[Arc<Filter>],
    upstream: Option<&Upstream>,
    upstreams: &[Change],
    filters: &[Change],
) -> Vec<String> {
    let changed = |changes: &[Change], name: &str| {
        changes.iter().any(|change| change.kind == ChangeKind::Changed && change.name == name)
    };
    let chain = chain.iter().filter(|filter| changed(filters, &filter.name));
    let mut uses: Vec<String> = chain.map(|filter| format!("its filter {} changes", filter.name)).collect();
    if let Some(upstream) = upstream.filter(|upstream| changed(upstreams, &upstream.name)) {
        uses.push(format!("its upstream {} changes", upstream.name));
    }
    uses
}

fn is_reordered(old: &Policy, new: &Policy) -> bool {
    let names = |policy: &Policy, other: &Policy| -> Vec<String> {
        let there: HashSet<&str> = other.routes.iter().map(|route| &*route.name).collect();
        let both = policy.routes.iter().filter(|route| there.contains(&*route.name));
        both.map(|route| route.name.to_string()).collect()
    };
    names(old, new) != names(new, old)
}

/// The VMs that a policy needs on each worker.
fn vms(policy: &Policy) -> HashSet<VmKey> {
    let key = |filter: &Arc<Filter>| match &filter.kind {
        FilterKind::Wasm(wasm) => Some(VmKey::new(wasm, OptLevel::O2)),
        _ => None,
    };
    policy.filters.iter().filter_map(key).collect()
}

impl Kept {
    fn between(old: &Policy, new: &Policy, upstreams: &[Change], filters: &[Change]) -> Self {
        let is_kept = |changes: &[Change], name: &str| !changes.iter().any(|change| change.name == name);
        let kept = || new.filters.iter().filter(|filter| is_kept(filters, &filter.name));
        let is = |filter: &&Arc<Filter>, kind: &str| facts::kind(&filter.kind) == kind;
        Self {
            upstreams: new.upstreams.iter().filter(|upstream| is_kept(upstreams, &upstream.name)).count(),
            vms: vms(old).intersection(&vms(new)).count(),
            plugins: kept().filter(|filter| is(filter, "wasm")).count(),
            limiters: kept().filter(|filter| is(filter, "rate_limit")).count(),
        }
    }
}
