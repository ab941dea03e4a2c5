//! The endpoints of an upstream, and who gets a connection to one of them.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::wire::Wire;
use super::{Login, RedisError};
use crate::policy::upstream::Upstream;
use crate::upstream::connect::{connect, is_endpoint_down};
use crate::upstream::error::{EndpointName, SendError};
use crate::upstream::pick::Turn;
use crate::upstream::resolve::Resolver;
use crate::upstream::send::no_endpoint;
use crate::upstream::stats::Counters;

/// Refused logins are told of once in this time.
const COMPLAINT_EVERY: Duration = Duration::from_secs(60);

/// What the connections of an upstream know of it.
pub(super) struct Server {
    pub(super) definition: Arc<Upstream>,
    pub(super) counters: Counters,
    endpoints: Vec<Endpoint>,
    /// The one that took the last login. It is asked first: servers need not hold the same data.
    last_used: Cell<Option<usize>>,
    complaints: Complaints,
}

struct Endpoint {
    name: EndpointName,
    resolver: Resolver,
    /// It did not take a connection: until then others are asked before it.
    paused_until: Cell<Option<Instant>>,
}

impl Server {
    pub(super) fn new(definition: Arc<Upstream>) -> Self {
        let endpoint = |endpoint| Endpoint {
            name: EndpointName::from(endpoint),
            resolver: Resolver::new(endpoint),
            paused_until: Cell::new(None),
        };
        Self {
            endpoints: definition.endpoints.iter().map(endpoint).collect(),
            definition,
            counters: Counters::default(),
            last_used: Cell::new(None),
            complaints: Complaints::default(),
        }
    }

    /// A connection that has logged in: to the endpoint used last, else to the first that takes one. A
    /// login that an endpoint refuses is not tried at another.
    pub(super) async fn connect(&self, login: &Login) -> Result<Wire, RedisError> {
        let count = self.endpoints.len();
        let mut candidates = Turn::default().take(count, self.last_used.get());
        let mut last = None;
        let is_paused = |index| self.endpoints.get(index).is_some_and(Endpoint::is_paused);
        while let Some(index) = candidates.next(count, is_paused) {
            let Some(endpoint) = self.endpoints.get(index) else { break };
            match self.open(endpoint, login).await {
                Ok(wire) => {
                    endpoint.paused_until.set(None);
                    self.last_used.set(Some(index));
                    return Ok(wire);
                }
                Err(RedisError::Login) => {
                    self.complaints.refused(&self.definition.name);
                    return Err(RedisError::Login);
                }
                Err(error) => {
                    self.failed(endpoint, &error);
                    candidates.failed(index);
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| RedisError::Connect(Arc::new(no_endpoint(&self.definition.name)))))
    }

    /// A connection to this endpoint; it may take `connect_timeout` to be made, and as long to log in.
    async fn open(&self, endpoint: &Endpoint, login: &Login) -> Result<Wire, RedisError> {
        let limit = self.definition.connect_timeout;
        let failed = |error| RedisError::Connect(Arc::new(error));
        let stream = connect(&endpoint.name, &endpoint.resolver, limit).await.map_err(failed)?;
        self.counters.connected.add_one();
        let mut wire = Wire::new(stream);
        let late = || SendError::ConnectTimeout { endpoint: endpoint.name.clone(), after: limit };
        timeout(limit, wire.log_in(login)).await.unwrap_or_else(|_| Err(failed(late())))?;
        Ok(wire)
    }

    fn failed(&self, endpoint: &Endpoint, error: &RedisError) {
        self.counters.connect_failures.add_one();
        // A machine that is short of sockets says nothing about the endpoint.
        if !matches!(error, RedisError::Connect(source) if !is_endpoint_down(source)) {
            endpoint.paused_until.set(Some(Instant::now() + self.definition.refused_pause));
        }
        tracing::debug!(upstream = &*self.definition.name, endpoint = %endpoint.name, %error, "connection failed");
    }

    /// Endpoints that are asked after the others now.
    pub(super) fn paused(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_paused()).count()
    }
}

impl Endpoint {
    fn is_paused(&self) -> bool {
        self.paused_until.get().is_some_and(|until| Instant::now() < until)
    }
}

/// Logins that were refused: the first is told of, then one in a while.
#[derive(Default)]
struct Complaints {
    told: Cell<Option<Instant>>,
    left_out: Cell<u64>,
}

impl Complaints {
    fn refused(&self, upstream: &str) {
        if let Some(left_out) = self.due(Instant::now()) {
            tracing::warn!(upstream, left_out, "Redis refused a filter's login");
        }
    }

    /// How many were left out, if one is to be told of now.
    fn due(&self, now: Instant) -> Option<u64> {
        if self.told.get().is_some_and(|told| now.saturating_duration_since(told) < COMPLAINT_EVERY) {
            self.left_out.set(self.left_out.get().saturating_add(1));
            return None;
        }
        self.told.set(Some(now));
        Some(self.left_out.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_complaint_in_a_while() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.due(now), Some(0));
        assert_eq!((complaints.due(now), complaints.due(now + COMPLAINT_EVERY / 2)), (None, None));
        assert_eq!(complaints.due(now + COMPLAINT_EVERY), Some(2));
        assert_eq!(complaints.due(now + COMPLAINT_EVERY), None);
    }
}
