//! A worker, as its connections and requests see it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Shared;
use super::candidate::Candidate;
use super::connection::ConnectionState;
use super::parking::Parking;
use super::shadow::Shadow;
use crate::generation::{Generation, Site};
use crate::http::request_id::RequestIds;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{Handle, WorkerMetrics};

/// One worker.
pub struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) site: Site,
    pub(super) metrics: Handle<WorkerMetrics>,
    /// There from the first commit on; nothing is accepted before.
    pub(super) current: RefCell<Rc<Generation>>,
    /// The generation on trial.
    pub(super) candidate: RefCell<Option<Candidate>>,
    /// Whether there is one: all that a request looks at if there is none.
    pub(super) has_candidate: Cell<bool>,
    /// The policy in shadow.
    pub(super) shadow: RefCell<Option<Rc<Shadow>>>,
    /// Whether there is one: all that a request looks at if there is none.
    pub(super) has_shadow: Cell<bool>,
    /// Those that are served; each knows its place.
    pub(super) connections: RefCell<Vec<Rc<ConnectionState>>>,
    /// Those that are not, for want of requests; none if the system has no place for them.
    pub(super) parking: Option<Parking>,
    pub(super) is_draining: Cell<bool>,
    /// Connections of TCP services, open now.
    tcp_connections: Cell<usize>,
    request_ids: RequestIds,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, site: Site, first: Rc<Generation>) -> Rc<Self> {
        let metrics = shared.metrics.worker(site.worker);
        Rc::new(Self {
            shared,
            site,
            metrics,
            current: RefCell::new(first),
            candidate: RefCell::default(),
            has_candidate: Cell::new(false),
            shadow: RefCell::default(),
            has_shadow: Cell::new(false),
            connections: RefCell::default(),
            parking: Parking::open(),
            is_draining: Cell::new(false),
            tcp_connections: Cell::new(0),
            request_ids: RequestIds::new(),
        })
    }

    /// The generation in force; read once per request, see also [`Worker::assign`].
    pub fn generation(&self) -> Rc<Generation> {
        Rc::clone(&self.current.borrow())
    }

    /// Where requests are logged.
    pub fn access_log(&self) -> &AccessLog {
        &self.shared.access_log
    }

    /// Where request ids come from.
    pub fn request_ids(&self) -> &RequestIds {
        &self.request_ids
    }

    /// A number that no other connection of this process has.
    pub(crate) fn next_connection(&self) -> u64 {
        self.shared.connection_numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection of a TCP service begins. It was counted in before.
    pub(crate) fn tcp_opened(&self) {
        self.tcp_connections.set(self.tcp_connections.get() + 1);
    }

    /// It is over: counts it out.
    pub(crate) fn tcp_closed(&self) {
        self.tcp_connections.set(self.tcp_connections.get().saturating_sub(1));
        self.release();
    }

    /// Client connections open now, of either kind.
    pub(super) fn open_connections(&self) -> usize {
        self.connections.borrow().len() + self.parked() + self.tcp_connections.get()
    }

    /// Adds a connection to the list.
    pub(super) fn enlist(&self, connection: &Rc<ConnectionState>) {
        let mut all = self.connections.borrow_mut();
        connection.place.set(all.len());
        all.push(Rc::clone(connection));
    }

    /// Takes one that was added off it; the last one takes its place.
    pub(super) fn strike(&self, connection: &ConnectionState) {
        let mut all = self.connections.borrow_mut();
        let place = connection.place.get();
        all.swap_remove(place);
        if let Some(moved) = all.get(place) {
            moved.place.set(place);
        }
    }

    fn parked(&self) -> usize {
        self.parking.as_ref().map_or(0, Parking::len)
    }

    /// Whether idle connections are to be parked. While it drains they are closed.
    pub(super) fn parks(&self) -> bool {
        self.parking.is_some() && !self.is_draining.get()
    }

    /// Closes parked connections that nothing has come on since `before`; none given: all.
    pub(super) fn close_parked(&self, before: Option<Instant>) {
        let Some(parking) = &self.parking else { return };
        for _ in 0..parking.close(before) {
            self.metrics.connections_parked.dec();
            self.release();
        }
    }

    /// Counts a connection in, or refuses it when there are too many.
    pub(super) fn admit(&self) -> bool {
        let max = self.generation().blueprint.policy.limits.connections_max.get();
        let open = self.shared.connections.fetch_add(1, Ordering::Relaxed);
        if open >= max {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
            self.metrics.connections_refused.inc();
            return false;
        }
        self.metrics.connections_accepted.inc();
        self.metrics.connections_active.inc();
        true
    }

    /// Counts a connection out.
    pub(crate) fn release(&self) {
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        self.metrics.connections_active.dec();
    }
}

/// A worker that panicked has them still.
impl Drop for Worker {
    fn drop(&mut self) {
        self.close_parked(None);
    }
}
