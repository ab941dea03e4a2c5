//! What limiters count of themselves.

use std::fmt;
use std::sync::Arc;

use super::encode::Page;
use crate::limit::Limiter;

/// Writes the families of limiters.
pub(super) fn encode(page: &mut Page<'_>, limiters: &[(Arc<str>, Arc<Limiter>)]) -> fmt::Result {
    let figures: Vec<_> = limiters.iter().map(|(name, limiter)| (&**name, limiter.figures())).collect();
    page.counters("rate_limit_requests", "Requests that a rate limit let pass or denied", |family| {
        figures.iter().try_for_each(|(name, figures)| {
            family.add(&[("filter", name), ("decision", "allowed")], figures.allowed)?;
            family.add(&[("filter", name), ("decision", "denied")], figures.denied)
        })
    })?;
    page.counters(
        "rate_limit_overflowed",
        "Requests charged to a shared bucket for want of room",
        |family| {
            figures.iter().try_for_each(|(name, figures)| family.add(&[("filter", name)], figures.overflowed))
        },
    )?;
    page.gauges("rate_limit_keys", "Keys held by a rate limit", |family| {
        figures.iter().try_for_each(|(name, figures)| {
            family.add(&[("filter", name)], i64::try_from(figures.keys).unwrap_or(i64::MAX))
        })
    })
}
