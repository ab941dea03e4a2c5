//! A gateway in this process, for one case.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::filter::wasm::Guests;
use crate::generation::{Blueprint, Modules};
use crate::limit::{HeldClock, LimitClock, LimiterSet};
use crate::policy::Loaded;
use crate::telemetry::access_log::{AccessLog, CAPACITY_DEFAULT, Kept, Record};
use crate::telemetry::metrics::Metrics;
use crate::worker::{Beside, PrepareError, Shared, StartError, Workers};

/// The number of its only generation.
const FIRST: u64 = 1;
/// What is left of a case is not waited for.
const DRAIN_MAX: Duration = Duration::ZERO;

/// One worker that serves a policy.
pub(super) struct Gateway {
    workers: Workers,
    shared: Arc<Shared>,
    records: Kept,
    clock: HeldClock,
    /// Where clients connect; what is accepted here is handed to the worker.
    door: TcpListener,
}

impl Gateway {
    /// Starts it; the inner error is the policy's.
    pub(super) async fn start(loaded: Loaded, modules: Modules) -> io::Result<Result<Self, PrepareError>> {
        let (access_log, records) = AccessLog::kept(CAPACITY_DEFAULT);
        let metrics = Arc::new(Metrics::new(1));
        let shared = Arc::new(Shared {
            metrics: Arc::clone(&metrics),
            access_log,
            guests: Arc::<Guests>::default(),
            connections: AtomicU32::new(0),
            connection_numbers: AtomicU64::new(1),
        });
        let clock = HeldClock::default();
        let mut blueprint = Blueprint::new(FIRST, loaded, modules, None, &metrics);
        let held = LimitClock::Held(clock.clone());
        blueprint.limiters = LimiterSet::build_on(&blueprint.policy.filters, None, &held);
        let workers = Workers::start(NonZeroUsize::MIN, &[], &shared).map_err(|error| match error {
            StartError::Bind { source, .. } | StartError::Thread(source) => source,
        })?;
        if let Err(error) = workers.prepare(&Arc::new(blueprint), Beside::Current).await {
            workers.drain(DRAIN_MAX).await;
            return Ok(Err(error));
        }
        workers.commit(FIRST).await;
        let door = TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Ok(Self { workers, shared, records, clock, door }))
    }

    /// A connection to it that seems to come from `client`.
    pub(super) async fn connect(&self, client: SocketAddr) -> io::Result<TcpStream> {
        let own = TcpStream::connect(self.door.local_addr()?).await?;
        own.set_nodelay(true)?;
        loop {
            let (accepted, peer) = self.door.accept().await?;
            // Others on this machine may knock as well.
            if peer == own.local_addr()? {
                accepted.set_nodelay(true)?;
                self.workers.adopt(accepted.into_std()?, client).await;
                return Ok(own);
            }
        }
    }

    /// The next record of its access log, if there is one by now.
    pub(super) fn record(&self) -> Option<Record> {
        self.records.next()
    }

    /// The clock of its rate limits.
    pub(super) fn clock(&self) -> &HeldClock {
        &self.clock
    }

    /// What its guests keep in common.
    pub(super) fn guests(&self) -> &Guests {
        &self.shared.guests
    }

    /// Ends it.
    pub(super) async fn end(self) {
        self.workers.drain(DRAIN_MAX).await;
    }
}
