//! Where the filters of a policy are written, for what is found out about them after it was read.

use std::collections::HashMap;
use std::sync::Arc;

use super::Policy;
use super::diagnostics::Diagnostic;
use super::filter::{Filter, FilterKind};
use super::path::At;
use super::report::Report;
use super::script;

/// Where each guest of a policy is written: errors without a message.
#[derive(Debug, Clone, Default)]
pub struct Places {
    filters: HashMap<Arc<str>, Diagnostic>,
}

impl Places {
    /// Of the guests of `policy`, which `report` is about.
    pub(super) fn of(policy: &Policy, report: &Report<'_>) -> Self {
        let root = At::ROOT;
        let section = root.key("filters");
        let guests = policy.filters.iter().filter(|filter| matches!(filter.kind, FilterKind::Wasm(_)));
        let filters =
            guests.map(|filter| (Arc::clone(&filter.name), report.about(&section.key(&filter.name))));
        Self { filters: filters.collect() }
    }

    /// An error about `filter`: `what` is wrong, and `said` is what its guest said of it. If that names a line
    /// of the filter's script, the error points there; else it points to the filter in the policy.
    pub fn filter_error(&self, filter: &Filter, what: &str, said: Option<&str>) -> Diagnostic {
        let nowhere = || Diagnostic::about_filter(&filter.name);
        let mut error = self.filters.get(&filter.name).cloned().unwrap_or_else(nowhere);
        let Some(said) = said else {
            what.clone_into(&mut error.message);
            return error;
        };
        match script::Mistake::find(filter, said) {
            Some(mistake) => mistake.tell(error, what),
            None => {
                error.message = format!("{what}: {}", script::first_line(said));
                error
            }
        }
    }
}
