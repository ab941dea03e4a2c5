//! Workers that panic. Another takes the place, with the policy in force; a gateway that loses them again
//! and again ends, loudly, and leaves it to its supervisor to start anew.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Reloader;
use crate::worker::ReplaceError;

/// Workers that may be replaced within [`WINDOW`].
const REPLACED_MAX: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// When workers were replaced, within the last minute.
#[derive(Debug, Default)]
pub(super) struct Losses(VecDeque<Instant>);

/// Why a worker that panicked is not replaced.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It is not the first.
    #[error("worker {worker} panicked, after {} others within {} s", REPLACED_MAX, WINDOW.as_secs())]
    TooOften {
        /// Which, from zero.
        worker: usize,
    },
    /// There is nothing to replace it with.
    #[error("worker {worker} panicked and cannot be replaced: {source}")]
    Irreplaceable {
        /// Which, from zero.
        worker: usize,
        /// Why.
        source: ReplaceError,
    },
}

impl Losses {
    /// Counts one; false if it is one too many.
    fn count(&mut self, now: Instant) -> bool {
        self.0.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        self.0.push_back(now);
        self.0.len() <= REPLACED_MAX
    }
}

impl Reloader {
    /// Puts another worker into the place of one that panicked.
    pub(super) async fn replace(&mut self, worker: usize) -> Result<(), Lost> {
        if !self.losses.count(Instant::now()) {
            tracing::error!(worker, "a worker panicked once too often");
            return Err(Lost::TooOften { worker });
        }
        tracing::error!(worker, "a worker panicked; what it was doing is lost, another takes its place");
        let Some(current) = &self.current else { return Ok(()) };
        let running = self.rollouts.running.as_ref();
        let on_trial = running.map(|running| (&running.blueprint, &running.trial));
        let replaced = self.workers.replace(worker, current, on_trial).await;
        replaced.map_err(|source| Lost::Irreplaceable { worker, source })?;
        if let Some(shadowing) = &self.shadowing
            && let Err(error) = self.workers.begin_shadow_on(worker, &shadowing.plan).await
        {
            tracing::warn!(worker, %error, "the policy in shadow is not on this worker any more");
        }
        self.shared.metrics.control().worker_restarts.inc();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::{First, Origin};
    use super::*;
    use crate::generation::modules::ModuleStore;
    use crate::history::History;
    use crate::policy;
    use crate::policy::remote::NoFetch;
    use crate::telemetry::access_log::{AccessLog, Sink};
    use crate::telemetry::metrics::Metrics;
    use crate::worker::{Shared, Workers};

    const POLICY: &str = "version: 1\nlisteners: [{ address: '127.0.0.1:0' }]\n\
                          routes: [{ respond: { status: 200, body: here } }]\n";

    #[test]
    fn losses_of_long_ago_do_not_count() {
        let (mut losses, now) = (Losses::default(), Instant::now());
        assert!((0..3).all(|_| losses.count(now)));
        assert!(losses.count(now + WINDOW));
        assert!((0..2).all(|_| losses.count(now + WINDOW)));
        assert!(!losses.count(now + WINDOW));
    }

    async fn ask(workers: &Workers) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(workers.addresses()[0]).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// A connection that has had no request for so long that the worker has parked it.
    async fn parked(workers: &Workers, metrics: &Metrics) -> TcpStream {
        let stream = TcpStream::connect(workers.addresses()[0]).await.unwrap();
        while metrics.worker(0).connections_parked.get() == 0 {
            tokio::task::yield_now().await;
        }
        stream
    }

    /// There is one worker, so whoever is answered is answered by the one that took its place.
    #[tokio::test]
    async fn a_worker_that_panics_is_replaced_until_it_is_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = policy::parse(POLICY, Path::new("policy.yaml"), Path::new("")).unwrap();
        let (access_log, _guard) = AccessLog::start(Sink::Off, 8).unwrap();
        let shared = Arc::new(Shared {
            metrics: Arc::new(Metrics::new(1)),
            access_log,
            guests: Arc::default(),
            connections: AtomicU32::new(0),
            connection_numbers: AtomicU64::new(1),
        });
        let workers = Workers::start(NonZeroUsize::MIN, &loaded.policy.listeners, &shared).unwrap();
        let store = Arc::new(ModuleStore::open(&folder.path().join("cache")).unwrap());
        let (metrics, open) = (Arc::clone(&shared.metrics), Arc::clone(&shared));
        let source = folder.path().join("policy.yaml");
        let history = History::open(None, &source, NonZeroUsize::MIN, Arc::clone(&metrics));
        let (mut reloader, handle) = Reloader::new(
            source,
            NoFetch::shared(),
            workers,
            store,
            shared,
            Arc::new(history),
            Arc::default(),
        );
        let first = First { loaded, parse: Duration::ZERO, origin: Origin::Files };
        reloader.start(first).await.unwrap();
        let workers = Arc::clone(&reloader.workers);
        let mut running = tokio::spawn(reloader.run(std::future::pending()));
        let mut idle = parked(&workers, &metrics).await;
        for restarts in 1..=REPLACED_MAX {
            assert!(ask(&workers).await.unwrap().ends_with("here"));
            workers.break_one(0).await;
            while metrics.control().worker_restarts.get() < restarts as u64 {
                assert!(!running.is_finished());
                tokio::task::yield_now().await;
            }
        }
        assert!(ask(&workers).await.unwrap().ends_with("here"));
        assert_eq!(handle.generation(), Some(1));
        // What the first had parked is closed, and was counted out.
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(metrics.worker(0).connections_parked.get(), 0);
        while open.connections.load(Ordering::Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
        workers.break_one(0).await;
        let ended = (&mut running).await.unwrap();
        assert!(matches!(ended, Err(Lost::TooOften { worker: 0 })));
        assert!(ask(&workers).await.is_err());
    }
}
