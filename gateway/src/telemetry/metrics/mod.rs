//! Metrics for Prometheus: atomics that workers add to, encoded by prometheus-client when scraped.
//!
//! A handle is resolved once, when a worker builds a generation
//! (`metrics.route("api").worker(0)`), and is one pointer to that worker's own cells from then on:
//! no look-up, no lock, no shared cache line on the way of a request. A scrape sums the cells.
//!
//! Names are held weakly. A series stays while some generation holds its handles, is continued
//! when the next generation asks for the same name, and is gone with the last; so the number of
//! series follows the policy, not the history of policies.

mod access_log;
mod cells;
mod custom;
mod encode;
mod filter;
mod guest;
mod limiter;
mod policy_shadow;
mod process;
mod rollout;
mod route;
mod sharded;
mod stores;
mod tcp;
mod upstream;

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

pub use cells::{Counter, Gauge, Histogram};
pub use filter::{
    CircuitHealth, FilterFailure, FilterHealth, FilterHealthSum, FilterMetrics, FilterOutcome, LastFailure,
    ShadowVerdict,
};
pub use guest::{GuestCells, SideCallKind, SideCallOutcome};
pub use process::{ControlMetrics, SwapOutcome, SwapPhase, WorkerMetrics};
pub use rollout::{
    Durations, Ending, Fate, RolloutCells, RolloutEvent, RolloutHandle, RolloutMetrics, RolloutSide, Tally,
    cells as rollout_cells,
};
pub use route::{RouteMetrics, StatusClass};
pub use sharded::{Handle, Sharded};
pub use stores::GuestStores;
pub use tcp::{ConnectionEnd, TcpMetrics};
pub use upstream::UpstreamMetrics;

use super::access_log::Stats;
use super::shadow::ShadowLedger;
use crate::limit::Limiter;
use encode::Page;
use policy_shadow::PolicyShadows;
use sharded::Names;

/// The media type of [`Metrics::render`]: OpenMetrics text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process. Kept in an `Arc`; all methods may be called from any thread.
#[derive(Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
    registry: Registry,
}

#[derive(Debug)]
struct Inner {
    workers: usize,
    per_worker: Arc<Sharded<WorkerMetrics>>,
    control: ControlMetrics,
    rollouts: RolloutMetrics,
    policy_shadows: PolicyShadows,
    routes: Names<Sharded<RouteMetrics>>,
    filters: Names<Sharded<FilterMetrics>>,
    upstreams: Names<Sharded<UpstreamMetrics>>,
    tcp: Names<Sharded<TcpMetrics>>,
    limiters: Names<Limiter>,
    access_log: OnceLock<Arc<Stats>>,
    guests: OnceLock<Arc<dyn GuestStores>>,
}

impl Metrics {
    /// Metrics for so many workers.
    pub fn new(workers: usize) -> Self {
        let inner = Arc::new(Inner {
            workers,
            per_worker: Arc::new(Sharded::new(workers)),
            control: ControlMetrics::default(),
            rollouts: RolloutMetrics::default(),
            policy_shadows: PolicyShadows::default(),
            routes: Names::default(),
            filters: Names::default(),
            upstreams: Names::default(),
            tcp: Names::default(),
            limiters: Names::default(),
            access_log: OnceLock::new(),
            guests: OnceLock::new(),
        });
        let mut registry = Registry::with_prefix("tollgate");
        registry.register_collector(Box::new(Scrape(Arc::clone(&inner))));
        Self { inner, registry }
    }

    /// Requests by route. A policy cannot name a route `-`: use that for requests that no route takes.
    pub fn route(&self, name: &str) -> Arc<Sharded<RouteMetrics>> {
        self.inner.routes.get_or_insert_with(name, || Sharded::new(self.inner.workers))
    }

    /// Calls by filter.
    pub fn filter(&self, name: &str) -> Arc<Sharded<FilterMetrics>> {
        self.inner.filters.get_or_insert_with(name, || Sharded::new(self.inner.workers))
    }

    /// Connections and requests by upstream.
    pub fn upstream(&self, name: &str) -> Arc<Sharded<UpstreamMetrics>> {
        self.inner.upstreams.get_or_insert_with(name, || Sharded::new(self.inner.workers))
    }

    /// Connections by TCP service.
    pub fn tcp(&self, name: &str) -> Arc<Sharded<TcpMetrics>> {
        self.inner.tcp.get_or_insert_with(name, || Sharded::new(self.inner.workers))
    }

    /// Shows a limiter's own figures under its filter's name, in place of an earlier one of that
    /// name. To be called for each limiter of a generation when it is committed.
    pub fn limiter(&self, limiter: &Arc<Limiter>) {
        self.inner.limiters.replace(limiter.name(), limiter);
    }

    /// Client connections of one worker; workers count from zero.
    pub fn worker(&self, worker: usize) -> Handle<WorkerMetrics> {
        self.inner.per_worker.worker(worker)
    }

    /// Policy swaps.
    pub fn control(&self) -> &ControlMetrics {
        &self.inner.control
    }

    /// Policies that come into force in steps.
    pub fn rollouts(&self) -> &RolloutMetrics {
        &self.inner.rollouts
    }

    /// Shows what this policy in shadow finds, in the place of the one before.
    pub fn policy_shadow(&self, ledger: &Arc<ShadowLedger>) {
        self.inner.policy_shadows.replace(ledger);
    }

    /// Shows the figures of the access log; only the first call counts.
    pub fn access_log(&self, stats: &Arc<Stats>) {
        let _ = self.inner.access_log.set(Arc::clone(stats));
    }

    /// Shows what guests keep and the metrics that they define; only the first call counts.
    pub fn guests(&self, stores: Arc<dyn GuestStores>) {
        let _ = self.inner.guests.set(stores);
    }

    /// The exposition in the format of [`CONTENT_TYPE`]. Takes time in proportion to the policy:
    /// for the control thread.
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail, and the encoder has no error of its own for our types.
        if text::encode(&mut out, &self.registry).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        out
    }
}

#[derive(Debug)]
struct Scrape(Arc<Inner>);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (page, inner) = (&mut Page(encoder), &self.0);
        page.info("build", "The running build", &[("version", env!("CARGO_PKG_VERSION"))])?;
        process::encode_workers(page, &inner.per_worker)?;
        process::encode_control(page, &inner.control)?;
        rollout::encode(page, &inner.rollouts)?;
        policy_shadow::encode(page, &inner.policy_shadows)?;
        route::encode(page, &inner.routes.live())?;
        let filters = inner.filters.live();
        filter::encode(page, &filters)?;
        guest::encode(page, &filters)?;
        upstream::encode(page, &inner.upstreams.live())?;
        tcp::encode(page, &inner.tcp.live())?;
        limiter::encode(page, &inner.limiters.live())?;
        inner.access_log.get().map_or(Ok(()), |stats| access_log::encode(page, stats))?;
        inner.guests.get().map_or(Ok(()), |stores| stores::encode(page, &**stores))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::policy::filter::{Period, RateLimit, RateLimitKey};
    use crate::telemetry::Phase;

    /// The value of a series as it is written in the exposition.
    fn value(metrics: &Metrics, series: &str) -> Option<String> {
        let text = metrics.render();
        let line =
            text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next().map(str::to_owned)
    }

    #[test]
    fn requests_are_summed_over_workers_and_classes() {
        let metrics = Metrics::new(2);
        let route = metrics.route("api");
        let ok = StatusClass::of(Some(StatusCode::OK));
        route.worker(0).record(ok, Duration::from_micros(90));
        route.worker(1).record(ok, Duration::from_millis(40));
        route.worker(1).record(StatusClass::of(None), Duration::from_secs(60));
        let is = |series: &str, expected: &str| {
            assert_eq!(value(&metrics, series).as_deref(), Some(expected), "{series}")
        };
        is(r#"tollgate_requests_total{route="api",class="2xx"}"#, "2");
        is(r#"tollgate_requests_total{route="api",class="none"}"#, "1");
        is(r#"tollgate_request_duration_seconds_bucket{le="0.0001",route="api"}"#, "1");
        is(r#"tollgate_request_duration_seconds_bucket{le="0.05",route="api"}"#, "2");
        is(r#"tollgate_request_duration_seconds_bucket{le="+Inf",route="api"}"#, "3");
        is(r#"tollgate_request_duration_seconds_count{route="api"}"#, "3");
        is("tollgate_workers", "2");
    }

    #[test]
    fn a_series_goes_with_its_last_handle_and_continues_before_that() {
        let metrics = Metrics::new(1);
        let old = metrics.filter("f").worker(0);
        old.call(Phase::RequestHeaders, FilterOutcome::Continue, Duration::from_micros(1));
        let new = metrics.filter("f").worker(0);
        drop(old);
        new.call(Phase::RequestHeaders, FilterOutcome::Continue, Duration::from_micros(1));
        let series = r#"tollgate_filter_calls_total{filter="f",phase="request_headers",outcome="continue"}"#;
        assert_eq!(value(&metrics, series).as_deref(), Some("2"));
        drop(new);
        assert!(!metrics.render().contains("filter=\"f\""));
    }

    #[test]
    fn every_kind_is_shown() {
        let metrics = Metrics::new(1);
        let (filter, upstream) = (metrics.filter("f").worker(0), metrics.upstream("u").worker(0));
        filter.failure(FilterFailure::Trap);
        filter.restarts.inc();
        filter.circuit_open.set(1);
        upstream.opened.inc();
        upstream.active.inc();
        upstream.response.observe(Duration::from_millis(1));
        metrics.worker(0).connections_accepted.add(3);
        metrics.control().generation.set(7);
        metrics.control().swap(SwapOutcome::Refused);
        metrics.control().phase(SwapPhase::Commit, Duration::from_micros(50));
        let is = |series: &str, expected: &str| {
            assert_eq!(value(&metrics, series).as_deref(), Some(expected), "{series}")
        };
        is(r#"tollgate_filter_failures_total{filter="f",kind="trap"}"#, "1");
        is(r#"tollgate_filter_failures_total{filter="f",kind="budget"}"#, "0");
        is(r#"tollgate_filter_restarts_total{filter="f"}"#, "1");
        is(r#"tollgate_filter_circuits_open{filter="f"}"#, "1");
        is(r#"tollgate_upstream_connections_opened_total{upstream="u"}"#, "1");
        is(r#"tollgate_upstream_connections{upstream="u",state="active"}"#, "1");
        is(r#"tollgate_upstream_response_seconds_count{upstream="u"}"#, "1");
        is(r#"tollgate_client_connections_total{outcome="accepted"}"#, "3");
        is("tollgate_client_connections_active", "0");
        is("tollgate_generation", "7");
        is(r#"tollgate_policy_swaps_total{outcome="refused"}"#, "1");
        is(r#"tollgate_policy_swap_phase_seconds_bucket{le="0.0001",phase="commit"}"#, "1");
        is(&format!(r#"tollgate_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION")), "1");
    }

    #[test]
    fn a_limiter_is_shown_while_it_lives() {
        let one = NonZeroU32::MIN;
        let definition = RateLimit {
            rate: one,
            period: Period::Hour,
            burst: one,
            key: RateLimitKey::Route,
            keys_max: one,
        };
        let (metrics, limiter) = (Metrics::new(1), Arc::new(Limiter::new(&Arc::from("l"), &definition)));
        metrics.limiter(&limiter);
        let subject = crate::limit::Subject {
            client: [127, 0, 0, 1].into(),
            headers: &http::HeaderMap::new(),
            route: "r",
        };
        let _ = limiter.check(&limiter.key(&subject));
        let _ = limiter.check(&limiter.key(&subject));
        for decision in ["allowed", "denied"] {
            let series = format!(r#"tollgate_rate_limit_requests_total{{filter="l",decision="{decision}"}}"#);
            assert_eq!(value(&metrics, &series).as_deref(), Some("1"));
        }
        assert_eq!(value(&metrics, r#"tollgate_rate_limit_keys{filter="l"}"#).as_deref(), Some("1"));
        drop(limiter);
        assert!(!metrics.render().contains("filter=\"l\""));
    }

    #[test]
    fn the_exposition_is_well_formed() {
        let metrics = Metrics::new(1);
        let odd = metrics.route("a\"b\\c\nd");
        odd.worker(0).record(StatusClass::Success, Duration::ZERO);
        let text = metrics.render();
        assert!(text.ends_with("# EOF\n"));
        let mut families = std::collections::HashSet::new();
        for line in text.lines().filter(|line| !line.starts_with("# HELP") && *line != "# EOF") {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                assert!(families.insert(family.to_owned()), "twice: {family}");
            } else {
                assert!(line.starts_with("tollgate_"), "{line}");
                let (_, number) = line.rsplit_once(' ').unwrap();
                assert!(number.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains(r#"route="a\"b\\c\nd""#));
    }
}
