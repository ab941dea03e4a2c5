//! What surrounds one VM: log, timers, calls, shared state.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tollgate_proxy_wasm::{
    CallError, CallId, CallKind, GrpcCall, GrpcKind, GuestFault, GuestMetrics, HttpCall, LogLevel,
    MessageEnd, Plugin, PluginId, RedisLogin, RedisUpstream, SharedData, SharedQueues,
};

use super::calls::{self, Bounds, Metered, Outbox, grpc, redis};
use super::lines::{LINES_PER_SECOND, Line, LineLimit};
use super::network::GuestStream;
use super::plugin::Plugin as Filter;
use super::slot::VmSlot;
use crate::filter::record::Recorder;
use crate::telemetry::metrics::GuestStores;
use crate::upstream::{FeedError, feed};

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
        let courier = filter.reach().http(filter.name(), call.upstream).ok_or(CallError::Upstream)?;
        let room = self.outbox.admit(calls::bytes_of(&call))?;
        let work = calls::exchange(courier, request, Bounds::of(limits, call.timeout), room);
        let (slot, build, plugin) = (self.slot.clone(), self.build, plugin.id());
        let metered = Metered::begin(filter.metrics(), CallKind::Http);
        self.outbox.start(id, None, work, move |reply| {
            metered.end(reply.outcome());
            if let Some(slot) = slot.upgrade() {
                slot.http_call_ended(build, plugin, id, reply);
            }
        });
        Ok(())
    }

    fn grpc_open(&self, id: CallId, plugin: &Plugin, call: GrpcCall<'_>) -> Result<(), CallError> {
        let filter = self.filter(plugin).ok_or(CallError::Unavailable)?;
        let limits = &filter.definition().calls;
        let (feed, body) = feed(grpc::room_for(limits.request_bytes_max));
        let names: Vec<_> = call.upstream.names().collect();
        let courier = filter.reach().grpc(filter.name(), &names).ok_or(CallError::Upstream)?;
        let metadata = calls::bytes_of_fields(call.metadata);
        let (slot, build, plugin) = (self.slot.clone(), self.build, plugin.id());
        let tell = move |reply| {
            if let Some(slot) = slot.upgrade() {
                slot.grpc_told(build, plugin, id, reply);
            }
        };
        match call.kind {
            GrpcKind::Unary { message, timeout } => {
                let bounds = Bounds::of(limits, timeout);
                let request = grpc::grpc_request(&call, Some(bounds.timeout), body)?;
                let message = grpc::framed(message).ok_or(CallError::TooLarge)?;
                let room = self.outbox.admit(metadata + message.len())?;
                feed.push(message, ()).map_err(|_| CallError::TooLarge)?;
                feed.end();
                let metered = Metered::begin(filter.metrics(), CallKind::GrpcCall);
                self.outbox.start(id, None, grpc::unary(courier, request, bounds, room), move |reply| {
                    metered.end(reply.outcome());
                    tell(reply);
                });
            }
            GrpcKind::Stream => {
                let bytes_max = Bounds::of(limits, None).response_bytes_max;
                let request = grpc::grpc_request(&call, None, body)?;
                let room = self.outbox.admit(metadata)?;
                let work = grpc::stream(courier, request, bytes_max, room, tell.clone());
                let metered = Metered::begin(filter.metrics(), CallKind::GrpcStream);
                self.outbox.start(id, Some(feed), work, move |reply| {
                    metered.end(reply.outcome());
                    tell(reply);
                });
            }
        }
        Ok(())
    }

    fn grpc_send(&self, id: CallId, message: &[u8], end: MessageEnd) -> Result<(), CallError> {
        let message = grpc::framed(message).ok_or(CallError::TooLarge)?;
        let room = self.outbox.admit(message.len()).map_err(|_| CallError::Full)?;
        let pushed = self.outbox.feed(id, |feed| {
            feed.push(message, room)?;
            match end {
                MessageEnd::More => {}
                MessageEnd::Last => feed.end(),
            }
            Ok(())
        });
        pushed.unwrap_or(Err(FeedError::Closed)).map_err(|error| match error {
            FeedError::Full => CallError::Full,
            FeedError::Closed => CallError::Closed,
        })
    }

    fn grpc_close(&self, id: CallId) {
        self.outbox.feed(id, |feed| feed.end());
    }

    fn redis_init(
        &self,
        plugin: &Plugin,
        upstream: RedisUpstream<'_>,
        login: RedisLogin<'_>,
    ) -> Result<(), CallError> {
        let filter = self.filter(plugin).ok_or(CallError::Unavailable)?;
        let (name, _) = filter.reach().redis(filter.name(), upstream.name).ok_or(CallError::Upstream)?;
        filter.redis().set(&name, upstream.database, login)
    }

    fn redis_call(
        &self,
        id: CallId,
        plugin: &Plugin,
        upstream: &[u8],
        command: &[u8],
    ) -> Result<(), CallError> {
        let filter = self.filter(plugin).ok_or(CallError::Unavailable)?;
        let limits = &filter.definition().calls;
        let command = redis::redis_command(command, limits.request_bytes_max)?;
        let (name, server) = filter.reach().redis(filter.name(), upstream).ok_or(CallError::Upstream)?;
        let setup = filter.redis().get(&name);
        let room = self.outbox.admit(command.len())?;
        let bounds = Bounds::of(limits, setup.timeout);
        let (slot, build, plugin) = (self.slot.clone(), self.build, plugin.id());
        let metered = Metered::begin(filter.metrics(), CallKind::Redis);
        self.outbox.start(id, None, redis::ask(server, setup, command, bounds, room), move |reply| {
            metered.end(reply.outcome());
            if let Some(slot) = slot.upgrade() {
                slot.redis_call_ended(build, plugin, id, reply);
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
}
