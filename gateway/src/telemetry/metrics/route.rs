//! What is counted of each route.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::cells::{Counter, Histogram, HistogramSum, REQUEST_BOUNDS};
use super::encode::Page;
use super::sharded::Sharded;

/// Requests of one route, on one worker.
#[derive(Debug)]
pub struct RouteMetrics {
    requests: [Counter; StatusClass::ALL.len()],
    duration: Histogram<17>,
}

/// The first digit of an answer, or that there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// 1xx
    Informational,
    /// 2xx
    Success,
    /// 3xx
    Redirection,
    /// 4xx
    ClientError,
    /// 5xx and above
    ServerError,
    /// The client went away, or the connection failed, before an answer was begun.
    None,
}

impl StatusClass {
    const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::None,
    ];

    /// The class of an answer.
    pub fn of(status: Option<StatusCode>) -> Self {
        match status.map(|status| status.as_u16() / 100) {
            None => Self::None,
            Some(1) => Self::Informational,
            Some(2) => Self::Success,
            Some(3) => Self::Redirection,
            Some(4) => Self::ClientError,
            Some(_) => Self::ServerError,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::None => "none",
        }
    }
}

impl Default for RouteMetrics {
    fn default() -> Self {
        Self { requests: Default::default(), duration: Histogram::new(&REQUEST_BOUNDS) }
    }
}

impl RouteMetrics {
    /// Counts a request that ended: its answer, and how long it took from its headers to the last
    /// byte of the answer.
    pub fn record(&self, class: StatusClass, duration: Duration) {
        self.requests[class as usize].inc();
        self.duration.observe(duration);
    }

    fn requests(&self, class: StatusClass) -> u64 {
        self.requests[class as usize].get()
    }
}

/// Writes the families of routes. A route appears with its first request.
pub(super) fn encode(page: &mut Page<'_>, routes: &[(Arc<str>, Arc<Sharded<RouteMetrics>>)]) -> fmt::Result {
    let sums =
        routes.iter().map(|(name, all)| (name, all, HistogramSum::of(all.parts().map(|r| &r.duration))));
    let used: Vec<_> = sums.filter(|(_, _, sum)| sum.count > 0).collect();
    page.counters("requests", "Requests ended, by the class of the answer", |family| {
        for (name, all, _) in &used {
            for class in StatusClass::ALL {
                let count = all.sum(|part| part.requests(class));
                family.add(&[("route", name), ("class", class.as_str())], count)?;
            }
        }
        Ok(())
    })?;
    page.histograms(
        "request_duration_seconds",
        "From request headers to the last byte of the answer",
        |family| used.iter().try_for_each(|(name, _, sum)| family.add(&[("route", name)], sum)),
    )
}
