//! What the access log counts of itself.

use std::fmt;

use super::encode::Page;
use crate::telemetry::access_log::Stats;

/// Writes the family of the access log.
pub(super) fn encode(page: &mut Page<'_>, stats: &Stats) -> fmt::Result {
    page.counters("access_log_records", "Access log records, by what became of them", |family| {
        family.add(&[("outcome", "written")], stats.written.get())?;
        family.add(&[("outcome", "dropped")], stats.dropped.get())?;
        family.add(&[("outcome", "failed")], stats.failed.get())
    })
}
