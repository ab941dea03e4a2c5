//! `routes`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::super::compose::Adjuster;
use super::super::filter::Filter;
use super::super::raw::{self, Field, FilterUse};
use super::super::report::{Problem, quoted};
use super::super::route::Route;
use super::super::upstream::Upstream;
use super::names::Names;
use super::overlap::Overlaps;
use super::pattern::Patterns;
use super::place::Place;
use super::scalar::check_shown_name;
use super::sets::Chains;
use super::{action, matches};

const ROUTES_MAX: usize = 200_000;
const FILTERS_MAX: usize = 64;

/// All routes, in the order written.
pub(super) fn resolve(
    root: Place<'_>,
    field: &Field<Vec<Field<raw::Route>>>,
    upstreams: &Names<'_, Upstream>,
    chains: &Chains<'_>,
) -> Vec<Arc<Route>> {
    root.required(field, "routes", "a list of routes");
    if field.given().is_some_and(Vec::is_empty) {
        root.key("routes").error(Problem::new("no route").expected("at least one"));
    }
    resolve_all(root, field, upstreams, chains)
}

/// The routes of a policy without an HTTP listener: none is needed, and any is told to be idle.
pub(super) fn resolve_unserved(
    root: Place<'_>,
    field: &Field<Vec<Field<raw::Route>>>,
    upstreams: &Names<'_, Upstream>,
    chains: &Chains<'_>,
) -> Vec<Arc<Route>> {
    if field.given().is_some_and(|routes| !routes.is_empty()) {
        let problem = Problem::new("no listener serves HTTP, so no request takes a route");
        root.key("routes").warn(problem.help("add a listener without `tcp`, or remove the routes").on_key());
    }
    resolve_all(root, field, upstreams, chains)
}

fn resolve_all(
    root: Place<'_>,
    field: &Field<Vec<Field<raw::Route>>>,
    upstreams: &Names<'_, Upstream>,
    chains: &Chains<'_>,
) -> Vec<Arc<Route>> {
    let section = root.key("routes");
    let mut patterns = Patterns::default();
    let mut names: HashMap<Arc<str>, usize> = HashMap::new();
    let mut overlaps = Overlaps::default();
    let mut routes = Vec::new();
    for (index, raw) in section.list(field, ROUTES_MAX) {
        let place = section.index(index);
        let name = route_name(place, raw, index);
        match names.entry(Arc::clone(&name)) {
            Entry::Vacant(free) => {
                free.insert(index);
            }
            Entry::Occupied(first) => {
                let first = place.report.place(&section.index(*first.get()).key("name").at, "the first one");
                let problem = Problem::new(format!("a second route is named {}", quoted(&name)));
                place.key("name").error(problem.help("give each route its own name").see(first));
            }
        }
        let matches = matches::resolve(place.key("match"), &raw.matches, &mut patterns);
        if let Some(matches) = &matches {
            overlaps.check(section, index, matches);
        }
        let filters = route_filters(place.key("filters"), &raw.filters, &name, chains);
        let action = action::resolve(place, raw, matches.as_ref(), upstreams);
        if let (Some(matches), Some(action)) = (matches, action) {
            routes.push(Arc::new(Route { name, matches, filters, action }));
        }
    }
    routes
}

fn route_name(place: Place<'_>, raw: &raw::Route, index: usize) -> Arc<str> {
    match raw.name.given() {
        Some(name) => {
            check_shown_name(place.key("name"), name);
            name.as_str().into()
        }
        None => format!("route-{}", index + 1).into(),
    }
}

fn route_filters(
    section: Place<'_>,
    field: &Field<Vec<Field<FilterUse>>>,
    route: &str,
    chains: &Chains<'_>,
) -> Vec<Arc<Filter>> {
    let mut chain: Vec<Arc<Filter>> = Vec::new();
    for (index, entry) in section.list(field, FILTERS_MAX) {
        let place = section.index(index);
        for name in chains.names(place, entry, Adjuster::Route, route) {
            let Some(filter) = chains.filters.find(place, &name) else { continue };
            if chain.iter().any(|earlier| earlier.name == filter.name) {
                let problem = Problem::new(format!("{} is listed twice", quoted(&name)));
                place.error(problem.help("remove one of them"));
            }
            chain.push(filter);
        }
    }
    chain
}
