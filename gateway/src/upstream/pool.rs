//! Idle connections: one list for each endpoint, the one used last on top; those of HTTP/2, idle or not,
//! are kept by `http2`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::connection::{Connection, Readiness};
use super::error::EndpointName;
use super::http2::SharedConnections;
use super::pick::Turn;
use super::resolve::Resolver;
use super::stats::{Counters, PoolId, UpstreamStats};
use super::{Endpoints, RequestStream};
use crate::policy::upstream::{Endpoint, HostHeader, Upstream};

/// One upstream on one worker.
pub struct UpstreamPool<B: RequestStream> {
    pub(super) definition: Arc<Upstream>,
    pub(super) endpoints: Vec<Rc<EndpointPool<B>>>,
    pub(super) turn: Turn,
    pub(super) counters: Counters,
}

/// One endpoint of it.
pub(super) struct EndpointPool<B: RequestStream> {
    pub(super) name: EndpointName,
    /// What its Host field is to be; `None`: the client's.
    pub(super) host: Option<HeaderValue>,
    pub(super) resolver: Resolver,
    #[expect(clippy::vec_box, reason = "half a kilobyte that would be moved twice a request")]
    idle: RefCell<Vec<Box<Connection<B>>>>,
    /// Its HTTP/2 connections, if that is what it speaks.
    pub(super) shared: SharedConnections<B>,
    idle_max: usize,
    idle_timeout: Duration,
    paused_until: Cell<Option<Instant>>,
}

impl<B: RequestStream> UpstreamPool<B> {
    /// An empty pool.
    #[must_use]
    pub fn new(definition: Arc<Upstream>) -> Self {
        let endpoint = |endpoint| Rc::new(EndpointPool::new(&definition, endpoint));
        let endpoints = definition.endpoints.iter().map(endpoint).collect();
        Self { endpoints, definition, turn: Turn::default(), counters: Counters::default() }
    }

    /// What it was made from.
    #[must_use]
    pub fn definition(&self) -> &Upstream {
        &self.definition
    }

    /// Closes idle connections that are too old or closed by the upstream.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.endpoints.iter().for_each(|endpoint| endpoint.sweep(now));
    }

    /// The endpoints that are skipped now, by their index in the policy.
    pub fn paused(&self) -> impl Iterator<Item = usize> {
        let now = Instant::now();
        let all = self.endpoints.iter().enumerate();
        all.filter(move |(_, endpoint)| endpoint.is_paused(now)).map(|(index, _)| index)
    }

    /// Which pool it is.
    pub(super) fn id(&self) -> PoolId {
        self.counters.pool
    }

    /// What happened here so far.
    #[must_use]
    pub fn stats(&self) -> UpstreamStats {
        let now = Instant::now();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        UpstreamStats {
            reused: self.counters.reused.get(),
            connected: self.counters.connected.get(),
            connect_failures: self.counters.connect_failures.get(),
            stale_retries: self.counters.stale_retries.get(),
            response_timeouts: self.counters.response_timeouts.get(),
            idle: count(self.endpoints.iter().map(|endpoint| endpoint.idle()).sum()),
            paused_endpoints: count(self.endpoints.iter().filter(|endpoint| endpoint.is_paused(now)).count()),
        }
    }
}

impl<B: RequestStream> Endpoints for UpstreamPool<B> {
    fn each(&self, f: &mut dyn FnMut(&EndpointName, bool)) {
        let now = Instant::now();
        self.endpoints.iter().for_each(|endpoint| f(&endpoint.name, endpoint.is_paused(now)));
    }
}

impl<B: RequestStream> EndpointPool<B> {
    fn new(upstream: &Upstream, endpoint: &Endpoint) -> Self {
        let name = EndpointName::from(endpoint);
        let host = match &upstream.host {
            HostHeader::Client => None,
            HostHeader::Endpoint => Some(name.to_string()),
            HostHeader::Fixed(host) => Some(host.to_string()),
        };
        Self {
            // The policy lets only valid hosts through.
            host: host.and_then(|host| HeaderValue::try_from(host).ok()),
            resolver: Resolver::new(endpoint),
            idle: RefCell::default(),
            shared: SharedConnections::default(),
            idle_max: usize::try_from(upstream.idle_connections_max.get()).unwrap_or(usize::MAX),
            idle_timeout: upstream.idle_timeout,
            paused_until: Cell::new(None),
            name,
        }
    }

    /// The idle connection used last. It may have been closed by now; an exchange finds out before
    /// it sends anything, at no cost if it is open.
    pub(super) fn take(&self) -> Option<Box<Connection<B>>> {
        let mut idle = self.idle.borrow_mut();
        let connection = idle.pop()?;
        if connection.idle_since.elapsed() < self.idle_timeout {
            return Some(connection);
        }
        // All below it are older.
        idle.clear();
        None
    }

    /// Keeps an open connection, unless there are enough.
    pub(super) fn put(&self, mut connection: Box<Connection<B>>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.idle_max {
            connection.idle_since = Instant::now();
            idle.push(connection);
        }
    }

    fn idle(&self) -> usize {
        self.idle.borrow().len() + self.shared.idle()
    }

    fn sweep(&self, now: Instant) {
        self.shared.sweep(now, self.idle_timeout, self.idle_max);
        let mut idle = self.idle.take();
        idle.retain_mut(|connection| {
            now.duration_since(connection.idle_since) < self.idle_timeout
                && connection.check() == Readiness::Ready
        });
        *self.idle.borrow_mut() = idle;
    }

    /// It did not take a connection: it is skipped for a while.
    pub(super) fn pause(&self, pause: Duration) {
        self.paused_until.set(Some(Instant::now() + pause));
    }

    /// It took a connection.
    pub(super) fn resume(&self) {
        self.paused_until.set(None);
    }

    /// Whether it is being skipped.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.get().is_some_and(|until| now < until)
    }
}
