//! Families of series, in the terms of prometheus-client's encoder.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::cells::HistogramSum;

/// Labels of one series.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The exposition while it is written.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    /// A family of counters; `_total` is added to the name.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Counters<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut Counters(self.0.encode_descriptor(name, help, None, MetricType::Counter)?))
    }

    /// A family of gauges.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Gauges<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut Gauges(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?))
    }

    /// A family of histograms of seconds.
    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        write: impl FnOnce(&mut Histograms<'_>) -> fmt::Result,
    ) -> fmt::Result {
        write(&mut Histograms(self.0.encode_descriptor(name, help, None, MetricType::Histogram)?))
    }

    /// A constant whose labels are what matters; `_info` is added to the name.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: Labels<'_>) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }
}

/// A family of counters.
pub(super) struct Counters<'a>(MetricEncoder<'a>);

impl Counters<'_> {
    pub(super) fn add(&mut self, labels: Labels<'_>, value: u64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// The one series of a family without labels.
    pub(super) fn single(&mut self, value: u64) -> fmt::Result {
        self.0.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }
}

/// A family of gauges.
pub(super) struct Gauges<'a>(MetricEncoder<'a>);

impl Gauges<'_> {
    pub(super) fn add(&mut self, labels: Labels<'_>, value: i64) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }

    /// The one series of a family without labels.
    pub(super) fn single(&mut self, value: i64) -> fmt::Result {
        self.0.encode_gauge(&value)
    }
}

/// A family of histograms.
pub(super) struct Histograms<'a>(MetricEncoder<'a>);

impl Histograms<'_> {
    pub(super) fn add(&mut self, labels: Labels<'_>, value: &HistogramSum) -> fmt::Result {
        self.0.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
            value.sum_seconds,
            value.count,
            &value.buckets,
            None,
        )
    }
}
