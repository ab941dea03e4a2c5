//! What is counted of each Wasm filter beside its calls: what it does to its host, and what it takes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tollgate_proxy_wasm::HOST_FUNCTIONS;

use super::cells::{Counter, Gauge, Histogram, HistogramSum, REQUEST_BOUNDS};
use super::encode::Page;
use super::filter::FilterMetrics;
use super::sharded::Sharded;

/// One Wasm filter, on one worker.
#[derive(Debug)]
pub struct GuestCells {
    host_calls: [Counter; HOST_FUNCTIONS.len()],
    side_calls: [SideCallCells; SideCallKind::ALL.len()],
    /// Lines that it logged.
    pub lines_written: Counter,
    /// Lines that were left out, since it logged too many.
    pub lines_left_out: Counter,
    /// The memory of its VM, which other filters may share.
    pub memory_bytes: Gauge,
    /// Its contexts: exchanges and connections that it takes part in, and one of its own.
    pub contexts: Gauge,
}

#[derive(Debug)]
struct SideCallCells {
    outcomes: [Counter; SideCallOutcome::ALL.len()],
    active: Gauge,
    duration: Histogram<17>,
}

/// What a call to another server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideCallKind {
    /// An HTTP request.
    Http,
    /// A gRPC call: one message each way.
    Grpc,
    /// A gRPC stream.
    GrpcStream,
    /// A Redis query.
    Redis,
}

/// How a call to another server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideCallOutcome {
    /// With an answer, whatever it says.
    Answered,
    /// No connection could be made.
    Connect,
    /// The connection ended early, or what came was not understood.
    Reset,
    /// The time was up.
    Timeout,
    /// The answer was larger than the filter may take.
    TooLarge,
    /// Nobody waits for it any more: its filter has gone, or its VM has failed.
    Cancelled,
    /// It was never made: not allowed, not well-formed, or beyond a limit.
    Refused,
}

impl SideCallKind {
    const ALL: [Self; 4] = [Self::Http, Self::Grpc, Self::GrpcStream, Self::Redis];

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::GrpcStream => "grpc_stream",
            Self::Redis => "redis",
        }
    }
}

impl SideCallOutcome {
    const ALL: [Self; 7] = [
        Self::Answered,
        Self::Connect,
        Self::Reset,
        Self::Timeout,
        Self::TooLarge,
        Self::Cancelled,
        Self::Refused,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }
}

impl Default for SideCallCells {
    fn default() -> Self {
        Self {
            outcomes: Default::default(),
            active: Gauge::default(),
            duration: Histogram::new(&REQUEST_BOUNDS),
        }
    }
}

impl Default for GuestCells {
    fn default() -> Self {
        Self {
            host_calls: std::array::from_fn(|_| Counter::default()),
            side_calls: Default::default(),
            lines_written: Counter::default(),
            lines_left_out: Counter::default(),
            memory_bytes: Gauge::default(),
            contexts: Gauge::default(),
        }
    }
}

impl GuestCells {
    /// Adds calls of a host function, by its index in [`HOST_FUNCTIONS`].
    pub fn host_calls(&self, function: usize, calls: u64) {
        if let Some(counter) = self.host_calls.get(function) {
            counter.add(calls);
        }
    }

    /// A call to another server was refused.
    pub fn side_call_refused(&self, kind: SideCallKind) {
        self.side_calls[kind as usize].outcomes[SideCallOutcome::Refused as usize].inc();
    }

    /// A call to another server begins.
    pub fn side_call_begun(&self, kind: SideCallKind) {
        self.side_calls[kind as usize].active.inc();
    }

    /// A call that had begun has ended.
    pub fn side_call_ended(&self, kind: SideCallKind, outcome: SideCallOutcome, duration: Duration) {
        let cells = &self.side_calls[kind as usize];
        cells.active.dec();
        cells.outcomes[outcome as usize].inc();
        cells.duration.observe(duration);
    }
}

type Named = (Arc<str>, Arc<Sharded<FilterMetrics>>);

/// One guest on all workers.
struct Guest<'a> {
    name: &'a str,
    parts: Vec<&'a GuestCells>,
}

impl Guest<'_> {
    fn count(&self, counter: impl Fn(&GuestCells) -> &Counter) -> u64 {
        self.parts.iter().map(|part| counter(part).get()).sum()
    }

    fn level(&self, gauge: impl Fn(&GuestCells) -> &Gauge) -> i64 {
        self.parts.iter().map(|part| gauge(part).get()).sum()
    }

    fn side_calls(&self, kind: SideCallKind, outcome: SideCallOutcome) -> u64 {
        self.count(|part| &part.side_calls[kind as usize].outcomes[outcome as usize])
    }

    /// The kinds of calls that it has made or tried to make.
    fn kinds(&self) -> impl Iterator<Item = SideCallKind> {
        SideCallKind::ALL.into_iter().filter(|kind| {
            SideCallOutcome::ALL.into_iter().any(|outcome| self.side_calls(*kind, outcome) > 0)
                || self.level(|part| &part.side_calls[*kind as usize].active) > 0
        })
    }
}

/// Writes the families of guests. A host function and a kind of call appear with their first call.
pub(super) fn encode(page: &mut Page<'_>, filters: &[Named]) -> fmt::Result {
    let guests = filters.iter().map(|(name, all)| Guest {
        name,
        parts: all.parts().filter_map(|part| part.guest_if_any()).collect(),
    });
    let guests: Vec<_> = guests.filter(|guest| !guest.parts.is_empty()).collect();
    encode_host(page, &guests)?;
    encode_side_calls(page, &guests)
}

fn encode_host(page: &mut Page<'_>, guests: &[Guest<'_>]) -> fmt::Result {
    page.counters("filter_host_calls", "Calls of a Wasm filter to its host, by function", |family| {
        for guest in guests {
            for (index, function) in HOST_FUNCTIONS.iter().enumerate() {
                let count = guest.count(|part| &part.host_calls[index]);
                if count > 0 {
                    family.add(&[("filter", guest.name), ("function", function)], count)?;
                }
            }
        }
        Ok(())
    })?;
    page.counters("filter_log_lines", "Lines of log of a Wasm filter, by what became of them", |family| {
        guests.iter().try_for_each(|guest| {
            let labels = |outcome| [("filter", guest.name), ("outcome", outcome)];
            family.add(&labels("written"), guest.count(|part| &part.lines_written))?;
            family.add(&labels("left_out"), guest.count(|part| &part.lines_left_out))
        })
    })?;
    page.gauges("filter_memory_bytes", "Memory of the VMs that a Wasm filter runs in", |family| {
        guests.iter().try_for_each(|guest| {
            family.add(&[("filter", guest.name)], guest.level(|part| &part.memory_bytes))
        })
    })?;
    page.gauges("filter_contexts", "Contexts of a Wasm filter, its own among them", |family| {
        guests
            .iter()
            .try_for_each(|guest| family.add(&[("filter", guest.name)], guest.level(|part| &part.contexts)))
    })
}

fn encode_side_calls(page: &mut Page<'_>, guests: &[Guest<'_>]) -> fmt::Result {
    page.counters("filter_side_calls", "Calls of a filter to other servers, by outcome", |family| {
        each_kind(guests, |guest, kind| {
            SideCallOutcome::ALL.into_iter().try_for_each(|outcome| {
                let labels = [("filter", guest.name), ("kind", kind.as_str()), ("outcome", outcome.as_str())];
                family.add(&labels, guest.side_calls(kind, outcome))
            })
        })
    })?;
    page.gauges("filter_side_calls_active", "Calls of a filter to other servers under way", |family| {
        each_kind(guests, |guest, kind| {
            let active = guest.level(|part| &part.side_calls[kind as usize].active);
            family.add(&[("filter", guest.name), ("kind", kind.as_str())], active)
        })
    })?;
    page.histograms("filter_side_call_seconds", "Time of a filter's calls to other servers", |family| {
        each_kind(guests, |guest, kind| {
            let parts = guest.parts.iter().map(|part| &part.side_calls[kind as usize].duration);
            family.add(&[("filter", guest.name), ("kind", kind.as_str())], &HistogramSum::of(parts))
        })
    })
}

fn each_kind(
    guests: &[Guest<'_>],
    mut write: impl FnMut(&Guest<'_>, SideCallKind) -> fmt::Result,
) -> fmt::Result {
    for guest in guests {
        for kind in guest.kinds() {
            write(guest, kind)?;
        }
    }
    Ok(())
}
