//! Filters that a route, a TCP service or a filter set adjusts: `filters: [{ calm: { rate: 10/second } }]`.
//!
//! The adjusted filter is the named one with the settings that are written there: mappings are merged key
//! by key, `null` takes a key away, all else takes its place. It is a filter of its own, with its own
//! buckets and counters, and is called `calm@ROUTE`, `calm@tcp:SERVICE` or `calm@set:SET`, which no policy
//! can name. It is made here, before decoding, so that it is decoded and resolved as any other.

use serde_yaml::{Mapping, Value};

use super::super::path::OwnedStep::{self, Index};
use super::super::report::Problem;
use super::super::source::Adjustment;
use super::super::variables::text_of;
use super::Faults;
use super::merge::{Budget, merge};

/// Who adjusts a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Adjuster {
    Route,
    TcpService,
    FilterSet,
}

impl Adjuster {
    /// The name of the adjusted filter.
    pub(in super::super) fn name(self, filter: &str, owner: &str) -> String {
        match self {
            Adjuster::Route => format!("{filter}@{owner}"),
            Adjuster::TcpService => format!("{filter}@tcp:{owner}"),
            Adjuster::FilterSet => format!("{filter}@set:{owner}"),
        }
    }
}

/// The filters that are adjusted, by their new names.
#[derive(Default)]
pub(super) struct Adjusted {
    pub(super) filters: Mapping,
    pub(super) places: Vec<(String, Adjustment)>,
}

/// All filters that `whole` adjusts. `None` if they are too large together, which is one of the faults.
pub(super) fn adjusted(whole: &Value, faults: &mut Faults) -> Option<Adjusted> {
    let mut work = Work { whole, faults, made: Adjusted::default(), budget: Budget::default() };
    let lists = |section: &str| whole.get(section).and_then(Value::as_sequence).into_iter().flatten();
    for (index, route) in lists("routes").enumerate() {
        let owner = name_or(route, || format!("route-{}", index + 1));
        let place = vec![OwnedStep::key("routes"), Index(index), OwnedStep::key("filters")];
        work.chain(Adjuster::Route, &owner, route.get("filters"), place)?;
    }
    for (index, listener) in lists("listeners").enumerate() {
        let Some(service) = listener.get("tcp") else { continue };
        let owner = name_or(service, || format!("tcp-{}", index + 1));
        let keys =
            [OwnedStep::key("listeners"), Index(index), OwnedStep::key("tcp"), OwnedStep::key("filters")];
        work.chain(Adjuster::TcpService, &owner, service.get("filters"), keys.to_vec())?;
    }
    let sets = whole.get("filter_sets").and_then(Value::as_mapping);
    for (name, chain) in sets.into_iter().flatten() {
        let Some(owner) = name.as_str() else { continue };
        let place = vec![OwnedStep::key("filter_sets"), OwnedStep::key(owner)];
        work.chain(Adjuster::FilterSet, owner, Some(chain), place)?;
    }
    Some(work.made)
}

fn name_or(owner: &Value, default: impl FnOnce() -> String) -> String {
    owner.get("name").and_then(text_of).map_or_else(default, str::to_owned)
}

struct Work<'w> {
    whole: &'w Value,
    faults: &'w mut Faults,
    made: Adjusted,
    budget: Budget,
}

impl Work<'_> {
    fn chain(
        &mut self,
        adjuster: Adjuster,
        owner: &str,
        chain: Option<&Value>,
        place: Vec<OwnedStep>,
    ) -> Option<()> {
        let entries = chain.and_then(Value::as_sequence).into_iter().flatten().enumerate();
        for (index, entry) in entries {
            // What is no mapping of one key is refused when it is decoded.
            let Some(entry) = entry.as_mapping().filter(|entry| entry.len() == 1) else { continue };
            let Some((Value::String(base), settings)) = entry.iter().next() else { continue };
            let mut place = place.clone();
            place.extend([Index(index), OwnedStep::key(base)]);
            self.adjust(base, adjuster.name(base, owner), settings, place)?;
        }
        Some(())
    }

    fn adjust(&mut self, base: &str, name: String, settings: &Value, place: Vec<OwnedStep>) -> Option<()> {
        if !matches!(settings, Value::Mapping(_)) {
            let problem =
                Problem::new("wrong type of value").expected("a mapping with settings of the filter");
            self.faults.push((place, problem));
            return Some(());
        }
        // A filter that is not there or is none is refused where it is named or written.
        let filter = self.whole.get("filters").and_then(|filters| filters.get(base)?.as_mapping());
        let Some((kind, own)) =
            filter.filter(|filter| filter.len() == 1).and_then(|filter| filter.iter().next())
        else {
            return Some(());
        };
        if self.made.filters.contains_key(name.as_str()) {
            let problem = Problem::new("the filter is adjusted twice in this chain");
            self.faults.push((place, problem.help("put the settings together")));
            return Some(());
        }
        if !self.budget.spend(own) || !self.budget.spend(settings) {
            let problem = Problem::new("the filters that are adjusted are too large together");
            self.faults.push((place, problem.help("adjust fewer, or give them less configuration")));
            return None;
        }
        let mut value = own.clone();
        merge(&mut value, settings);
        let filter = Mapping::from_iter([(kind.clone(), value)]);
        self.made.filters.insert(Value::String(name.clone()), Value::Mapping(filter));
        self.made.places.push((name, Adjustment { place, base: base.to_owned() }));
        Some(())
    }
}
