//! Metrics of the gateway: `metrics.count(name, by = 1)`, `metrics.set(name, value)` for a gauge,
//! `metrics.observe(name, value)` for a histogram.

use anyhow::anyhow;
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::none::NoneType;
use tollgate_guest::abi::{self, Metric, Status};

#[starlark_module]
pub(super) fn metrics(builder: &mut GlobalsBuilder) {
    fn count(
        #[starlark(require = pos)] name: &str,
        #[starlark(default = 1)] by: i64,
    ) -> anyhow::Result<NoneType> {
        abi::increment_metric(id(Metric::Counter, name)?, by).map_err(refused)?;
        Ok(NoneType)
    }

    fn set(
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] value: i64,
    ) -> anyhow::Result<NoneType> {
        abi::record_metric(id(Metric::Gauge, name)?, whole(value)?).map_err(refused)?;
        Ok(NoneType)
    }

    fn observe(
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] value: i64,
    ) -> anyhow::Result<NoneType> {
        abi::record_metric(id(Metric::Histogram, name)?, whole(value)?).map_err(refused)?;
        Ok(NoneType)
    }
}

/// The host finds a metric that it knows by its name.
fn id(kind: Metric, name: &str) -> anyhow::Result<u32> {
    abi::define_metric(kind, name.as_bytes()).map_err(refused)
}

fn whole(value: i64) -> anyhow::Result<u64> {
    u64::try_from(value).map_err(|_| anyhow!("a metric is not negative"))
}

fn refused(status: Status) -> anyhow::Error {
    anyhow!("the metric was not changed: {status}")
}
