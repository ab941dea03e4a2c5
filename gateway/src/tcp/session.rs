//! One connection's life, from accept to its line in the access log.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tollgate_proxy_wasm::PeerType;

use crate::filter::Side;
use crate::filter::network::{Connection, Passage, Stop};
use crate::generation::{Generation, TcpRuntime};
use crate::telemetry::Timestamp;
use crate::telemetry::access_log::{ConnectionRecord, EndedBy, Text, UpstreamRecord};
use crate::telemetry::metrics::ConnectionEnd;
use crate::upstream::EndpointName;
use crate::worker::Worker;

/// One connection's life.
pub(super) struct Session {
    worker: Rc<Worker>,
    generation: Rc<Generation>,
    pub(super) runtime: Rc<TcpRuntime>,
    pub(super) connection: Rc<Connection>,
    pub(super) passage: Passage,
    bytes_in: u64,
    bytes_out: u64,
    /// Whether that end closed its connection itself.
    pub(super) client_left: Cell<bool>,
    pub(super) upstream_left: Cell<bool>,
    upstream: Option<UpstreamRecord>,
    /// There once it is over; without it, the worker has ended.
    end: Option<ConnectionEnd>,
}

impl Session {
    /// A connection that was counted in.
    pub(super) fn new(
        worker: Rc<Worker>,
        generation: Rc<Generation>,
        runtime: Rc<TcpRuntime>,
        connection: Connection,
    ) -> Self {
        let connection = Rc::new(connection);
        worker.tcp_opened();
        Self {
            passage: Passage::new(Rc::clone(&runtime.chain), Rc::clone(&connection)),
            worker,
            generation,
            runtime,
            connection,
            bytes_in: 0,
            bytes_out: 0,
            client_left: Cell::new(false),
            upstream_left: Cell::new(false),
            upstream: None,
            end: None,
        }
    }

    /// Connecting to the upstream came to this.
    pub(super) fn note_upstream(&mut self, endpoint: Option<&EndpointName>, duration: Option<Duration>) {
        let Some(endpoint) = endpoint else { return };
        self.connection.set_upstream_address(Arc::clone(endpoint.text()));
        if duration.is_some() {
            self.runtime.upstream_metrics.active.inc();
        }
        self.upstream = Some(UpstreamRecord {
            name: Arc::clone(&self.runtime.service.upstream.name),
            endpoint: Arc::clone(endpoint.text()),
            attempts: 1,
            duration,
        });
    }

    /// Bytes came from the client.
    pub(super) fn received(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.bytes_in += count;
        self.runtime.metrics.bytes_in.add(count);
    }

    /// Bytes went to the client.
    pub(super) fn sent(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.bytes_out += count;
        self.runtime.metrics.bytes_out.add(count);
    }

    /// An end of the connection closed it.
    pub(super) fn left(&self, side: Side) {
        match side {
            Side::Request => self.client_left.set(true),
            Side::Response => self.upstream_left.set(true),
        }
    }

    /// It is over.
    pub(super) fn end(&mut self, end: ConnectionEnd) {
        self.end = Some(end);
    }

    fn was_connected(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| upstream.duration.is_some())
    }

    fn record(&mut self, end: ConnectionEnd, duration: Duration) -> ConnectionRecord {
        let now = SystemTime::now();
        let ended_by = self.passage.ended().map(|ended| EndedBy {
            filter: Arc::clone(&ended.filter),
            phase: ended.phase,
            reason: Text::clip(&ended.reason, Text::SHORT_MAX),
        });
        ConnectionRecord {
            time: Timestamp(now.checked_sub(duration).unwrap_or(now)),
            connection_id: Text::clip(self.connection.id.as_str(), Text::SHORT_MAX),
            client: self.connection.peer.ip().to_canonical(),
            service: Arc::clone(&self.runtime.service.name),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration,
            upstream: self.upstream.take(),
            end,
            ended_by,
            generation: self.generation.blueprint.number,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let who = |left: &Cell<bool>| if left.get() { PeerType::Remote } else { PeerType::Local };
        let was_connected = self.was_connected();
        self.passage.close(who(&self.client_left), was_connected.then(|| who(&self.upstream_left)));
        if was_connected {
            self.runtime.upstream_metrics.active.dec();
        }
        let end = self.end.unwrap_or(ConnectionEnd::Drained);
        let duration = Instant::now().saturating_duration_since(self.connection.started);
        self.runtime.metrics.record(end, duration);
        if self.worker.access_log().is_on() {
            let record = self.record(end, duration);
            self.worker.access_log().push_connection(record);
        }
        self.runtime.release();
        self.worker.tcp_closed();
    }
}

/// How a connection ends that its filters stopped.
pub(super) fn end_of(stop: &Stop) -> ConnectionEnd {
    match stop {
        Stop::Failed { .. } => ConnectionEnd::FilterFailed,
        Stop::Closed { .. } => ConnectionEnd::FilterClosed,
        Stop::TooLarge { .. } => ConnectionEnd::BufferLimit,
    }
}
