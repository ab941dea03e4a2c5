//! What is counted of each TCP service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::cells::{Counter, Gauge, Histogram, HistogramSum, REQUEST_BOUNDS};
use super::encode::Page;
use super::sharded::Sharded;

/// Connections of one TCP service, on one worker.
#[derive(Debug)]
pub struct TcpMetrics {
    ends: [Counter; ConnectionEnd::ALL.len()],
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// Connections open now.
    pub active: Gauge,
    duration: Histogram<17>,
}

/// How a TCP connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// Both sides had sent all they had.
    Complete,
    /// The service had as many connections as it may; closed at accept.
    Refused,
    /// The client's connection broke.
    ClientReset,
    /// The upstream's connection broke.
    UpstreamReset,
    /// No endpoint of the upstream took a connection.
    NoUpstream,
    /// Nothing moved for too long.
    IdleTimeout,
    /// A filter closed it.
    FilterClosed,
    /// A filter failed, and its policy is to refuse.
    FilterFailed,
    /// A filter held back more than it may.
    BufferLimit,
    /// The gateway ended before it did.
    Drained,
}

impl ConnectionEnd {
    const ALL: [Self; 10] = [
        Self::Complete,
        Self::Refused,
        Self::ClientReset,
        Self::UpstreamReset,
        Self::NoUpstream,
        Self::IdleTimeout,
        Self::FilterClosed,
        Self::FilterFailed,
        Self::BufferLimit,
        Self::Drained,
    ];

    /// As it is written in labels and fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::ClientReset => "client_reset",
            Self::UpstreamReset => "upstream_reset",
            Self::NoUpstream => "no_upstream",
            Self::IdleTimeout => "idle_timeout",
            Self::FilterClosed => "filter_closed",
            Self::FilterFailed => "filter_failed",
            Self::BufferLimit => "buffer_limit",
            Self::Drained => "drained",
        }
    }
}

impl serde::Serialize for ConnectionEnd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Default for TcpMetrics {
    fn default() -> Self {
        Self {
            ends: Default::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            active: Gauge::default(),
            duration: Histogram::new(&REQUEST_BOUNDS),
        }
    }
}

impl TcpMetrics {
    /// Counts a connection that ended, and how long it lived.
    pub fn record(&self, end: ConnectionEnd, duration: Duration) {
        self.ends[end as usize].inc();
        self.duration.observe(duration);
    }

    /// Counts a connection that was closed at accept.
    pub fn refuse(&self) {
        self.ends[ConnectionEnd::Refused as usize].inc();
    }
}

/// Writes the families of TCP services. Ends appear at once, so that their growth from zero is seen.
pub(super) fn encode(page: &mut Page<'_>, services: &[(Arc<str>, Arc<Sharded<TcpMetrics>>)]) -> fmt::Result {
    page.counters("tcp_connections", "TCP connections ended, by how they ended", |family| {
        for (name, all) in services {
            for end in ConnectionEnd::ALL {
                let count = all.sum(|part| part.ends[end as usize].get());
                family.add(&[("service", name), ("end", end.as_str())], count)?;
            }
        }
        Ok(())
    })?;
    page.gauges("tcp_connections_active", "TCP connections open", |family| {
        services
            .iter()
            .try_for_each(|(name, all)| family.add(&[("service", name)], all.sum(|part| part.active.get())))
    })?;
    page.counters("tcp_bytes", "Bytes read from clients (in) and written to them (out)", |family| {
        services.iter().try_for_each(|(name, all)| {
            family.add(&[("service", name), ("direction", "in")], all.sum(|part| part.bytes_in.get()))?;
            family.add(&[("service", name), ("direction", "out")], all.sum(|part| part.bytes_out.get()))
        })
    })?;
    page.histograms("tcp_connection_seconds", "From accept to the end of a TCP connection", |family| {
        services.iter().try_for_each(|(name, all)| {
            family.add(&[("service", name)], &HistogramSum::of(all.parts().map(|part| &part.duration)))
        })
    })
}
