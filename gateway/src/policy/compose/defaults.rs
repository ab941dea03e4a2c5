//! `defaults`: what routes, filters and upstreams have that do not say otherwise.
//!
//! `defaults.routes` gives a route `match` and `filters`, `defaults.filters.KIND` each filter of that kind
//! its settings, and `defaults.upstreams` each upstream its own; merged as adjusted filters are (`merge`).
//! The `filters` of a route take the place of the default's.

use serde_yaml::{Mapping, Value};

use super::super::path::OwnedStep;
use super::super::report::Problem;
use super::Faults;
use super::merge::{Budget, merge};

/// Fills in what `whole` says under `defaults`. Gives whether there are any; `None` if they are too large
/// for so many, which is one of the faults.
pub(super) fn apply(whole: &mut Value, faults: &mut Faults) -> Option<bool> {
    let Some(defaults) = whole.get("defaults").and_then(Value::as_mapping).cloned() else {
        return Some(false);
    };
    let mut budget = Budget::default();
    let mut is_enough = true;
    let mut fill = |value: &mut Value, default: &Value| {
        is_enough &= budget.spend(default);
        if is_enough && value.is_mapping() && default.is_mapping() {
            let own = std::mem::replace(value, default.clone());
            merge(value, &own);
        }
    };
    if let (Some(default), Some(Value::Sequence(routes))) = (defaults.get("routes"), whole.get_mut("routes"))
    {
        routes.iter_mut().for_each(|route| fill(route, default));
    }
    if let (Some(default), Some(upstreams)) = (defaults.get("upstreams"), entries(whole, "upstreams")) {
        upstreams.values_mut().for_each(|upstream| fill(upstream, default));
    }
    if let (Some(kinds), Some(filters)) = (defaults.get("filters"), entries(whole, "filters")) {
        for (kind, value) in filters.values_mut().filter_map(Value::as_mapping_mut).flatten() {
            if let Some(default) = kinds.get(kind) {
                fill(value, default);
            }
        }
    }
    if !is_enough {
        let problem = Problem::new("too large for the number of routes, filters and upstreams");
        let problem = problem.help("give only those the settings that need them");
        faults.push((vec![OwnedStep::key("defaults")], problem));
    }
    is_enough.then_some(true)
}

fn entries<'w>(whole: &'w mut Value, section: &str) -> Option<&'w mut Mapping> {
    whole.get_mut(section)?.as_mapping_mut()
}
