//! What surrounds one VM: log, timers, calls, shared state.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tollgate_proxy_wasm::{
    CallError, CallId, CallKind, GuestFault, GuestMetrics, HttpCall, LogLevel, Plugin, PluginId, SharedData,
    SharedQueues,
};

use super::calls::{self, Bounds, Metered, Outbox};
use super::lines::{LINES_PER_SECOND, Line, LineLimit};
use super::network::GuestStream;
use super::plugin::Plugin as Filter;
use super::slot::VmSlot;
use crate::filter::record::Recorder;
use crate::telemetry::metrics::GuestStores;

/// A timer never goes off more often than this, whatever the guest asks.
const TICK_MIN: Duration = Duration::from_millis(10);

/// What guests of all workers share. Made once per process.
#[derive(Debug, Default)]
pub struct Guests {
    /// Shared data, by `vm_id`.
    pub data: SharedData,
    /// Queues, by `vm_id` and name.
    pub queues: SharedQueues,
    /// Metrics that guests define.
    pub metrics: GuestMetrics,
    /// What is recorded of a filter, if anything is.
    pub recorder: Arc<Recorder>,
    unimplemented: Mutex<HashSet<&'static str>>,
}

impl GuestStores for Guests {
    fn shared_data(&self) -> &SharedData {
        &self.data
    }

    fn shared_queues(&self) -> &SharedQueues {
        &self.queues
    }

    fn metrics(&self) -> &GuestMetrics {
        &self.metrics
    }
}

/// The surroundings of one VM.
pub struct Environment {
    guests: Arc<Guests>,
    slot: Weak<VmSlot>,
    /// Which of the slot's VMs this one is.
    build: u64,
    timers: RefCell<HashMap<PluginId, Timer>>,
    outbox: Outbox,
    /// Of the module itself, while it initialises.
    lines: LineLimit,
}

struct Timer {
    period: Duration,
    task: AbortHandle,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Environment {
    pub(super) fn new(guests: Arc<Guests>, slot: Weak<VmSlot>, build: u64) -> Self {
        Self {
            guests,
            slot,
            build,
            timers: RefCell::default(),
            outbox: Outbox::default(),
            lines: LineLimit::default(),
        }
    }

    /// The filter that runs as this in the VM.
    fn filter(&self, plugin: &Plugin) -> Option<Rc<Filter>> {
        self.slot.upgrade()?.caller(self.build, plugin.id())
    }

    /// Whether this line of a filter, or of the module, still fits into the second. Counts it.
    fn may_log(&self, plugin: Option<&Plugin>) -> bool {
        let filter = plugin.and_then(|plugin| self.filter(plugin));
        let limit = filter.as_ref().map_or(&self.lines, |filter| filter.lines());
        let line = limit.admit(Instant::now());
        if let Line::LeftOut { is_first: true } = line {
            let filter = filter.as_ref().map_or("", |filter| filter.name());
            tracing::warn!(filter, limit = LINES_PER_SECOND, "a filter logs too much; lines are left out");
        }
        let written = line == Line::Written;
        if let Some(filter) = filter {
            let cells = filter.metrics().guest();
            if written { cells.lines_written.inc() } else { cells.lines_left_out.inc() }
        }
        written
    }
}

impl tollgate_proxy_wasm::Environment for Environment {
    type Stream = GuestStream;

    fn log(&self, plugin: Option<&Plugin>, stream: Option<&GuestStream>, level: LogLevel, message: &[u8]) {
        if !self.may_log(plugin) {
            return;
        }
        let filter = plugin.map_or("", |plugin| &*plugin.spec().name);
        let request_id = stream.map_or("", GuestStream::id);
        let text = String::from_utf8_lossy(message);
        match level {
            LogLevel::Trace => tracing::trace!(target: "filter", filter, request_id, text = &*text, "guest"),
            LogLevel::Debug => tracing::debug!(target: "filter", filter, request_id, text = &*text, "guest"),
            LogLevel::Info => tracing::info!(target: "filter", filter, request_id, text = &*text, "guest"),
            LogLevel::Warn => tracing::warn!(target: "filter", filter, request_id, text = &*text, "guest"),
            LogLevel::Error | LogLevel::Critical => {
                tracing::error!(target: "filter", filter, request_id, text = &*text, "guest");
            }
        }
    }

    fn log_level(&self) -> LogLevel {
        if tracing::enabled!(target: "filter", tracing::Level::TRACE) {
            LogLevel::Trace
        } else if tracing::enabled!(target: "filter", tracing::Level::DEBUG) {
            LogLevel::Debug
        } else if tracing::enabled!(target: "filter", tracing::Level::INFO) {
            LogLevel::Info
        } else {
            LogLevel::Warn
        }
    }

    fn set_tick(&self, plugin: PluginId, period: Option<Duration>) {
        let Some(period) = period.map(|period| period.max(TICK_MIN)) else {
            self.timers.borrow_mut().remove(&plugin);
            return;
        };
        if self.timers.borrow().get(&plugin).is_some_and(|timer| timer.period == period) {
            return;
        }
        let (slot, build) = (self.slot.clone(), self.build);
        let task = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(slot) = slot.upgrade() else { return };
                slot.tick(build, plugin);
            }
        });
        self.timers.borrow_mut().insert(plugin, Timer { period, task: task.abort_handle() });
    }

    fn http_call(
        &self,
        id: CallId,
        plugin: &Plugin,
        _: Option<&GuestStream>,
        call: HttpCall<'_>,
    ) -> Result<(), CallError> {
        let filter = self.filter(plugin).ok_or(CallError::Unavailable)?;
        let limits = &filter.definition().calls;
        let request = calls::http_request(&call, limits.request_bytes_max)?;
        let courier = filter.reach().find(filter.name(), call.upstream).ok_or(CallError::Upstream)?;
        let room = self.outbox.admit(&call)?;
        let bounds = Bounds {
            timeout: call.timeout.map_or(limits.timeout, |asked| asked.min(limits.timeout)),
            response_bytes_max: usize::try_from(limits.response_bytes_max).unwrap_or(usize::MAX),
        };
        let (slot, build, plugin) = (self.slot.clone(), self.build, plugin.id());
        let metered = Metered::begin(filter.metrics(), CallKind::Http);
        self.outbox.start(id, calls::exchange(courier, request, bounds, room), move |reply| {
            metered.end(reply.outcome());
            if let Some(slot) = slot.upgrade() {
                slot.http_call_ended(build, plugin, id, reply);
            }
        });
        Ok(())
    }

    fn call_refused(&self, plugin: &Plugin, kind: CallKind) {
        if let Some(filter) = self.filter(plugin) {
            filter.metrics().guest().side_call_refused(calls::label(kind));
        }
    }

    fn cancel_call(&self, id: CallId) {
        self.outbox.cut(id);
    }

    fn fault(&self, plugin: &Plugin, stream: Option<&GuestStream>, fault: GuestFault) {
        if let Some(slot) = self.slot.upgrade() {
            slot.guest_failed(self.build, plugin.id(), &fault);
        }
        if let Some(stream) = stream {
            stream.fail(fault);
        }
    }

    fn shared_data(&self) -> &SharedData {
        &self.guests.data
    }

    fn shared_queues(&self) -> &SharedQueues {
        &self.guests.queues
    }

    fn metrics(&self) -> &GuestMetrics {
        &self.guests.metrics
    }

    fn unimplemented(&self, function: &'static str) {
        // A set of names that are compiled in, so bounded; held for one insertion, on a rare path.
        let mut seen = self.guests.unimplemented.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.insert(function) {
            tracing::warn!(function, "a filter called a function that this gateway does not carry out yet");
        }
    }
}
