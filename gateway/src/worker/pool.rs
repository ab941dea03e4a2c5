//! The control side's handle on all workers.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tollgate_proxy_wasm::HostFunctions;
use tollgate_wasmedge::{DEFAULT_STACK, GuardedThread, spawn_guarded};

use super::command::Command;
use super::listener::Bound;
use super::{Shared, listener, thread};
use crate::generation::{Blueprint, BuildError, Retirements, Site};
use crate::policy::listener::{Listener, ListenerId};

/// Commands that may wait for one worker.
const COMMANDS_MAX: usize = 16;

/// All workers.
pub struct Workers {
    workers: Vec<mpsc::Sender<Command>>,
    /// Taken by the one drain; never held across an await.
    threads: Mutex<Vec<GuardedThread>>,
    addresses: Vec<SocketAddr>,
    retirements: Arc<Retirements>,
}

/// Why workers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(#[source] io::Error),
}

/// Why a generation cannot be prepared; it has been discarded everywhere.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A worker cannot build it.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A worker is gone.
    #[error("worker {worker} does not answer")]
    Gone {
        /// Which, from zero.
        worker: usize,
    },
}

/// A swap that is done.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    /// From the command to the last worker that points to the new generation.
    pub took: Duration,
}

/// How draining ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every worker ended by itself.
    Clean,
    /// A worker panicked.
    Panicked,
}

impl Workers {
    /// Binds every listener for every worker and starts the threads. Nothing is accepted before the
    /// first commit.
    pub fn start(
        count: NonZeroUsize,
        listeners: &[Listener],
        shared: &Arc<Shared>,
    ) -> Result<Self, StartError> {
        let retirements = Arc::new(Retirements::default());
        let mut all = Self { workers: vec![], threads: Mutex::default(), addresses: vec![], retirements };
        let ids = ListenerId::all(listeners);
        let mut wanted: Vec<_> = ids.iter().map(|id| id.address).collect();
        for worker in 0..count.get() {
            let sockets = bind_all(&ids, &mut wanted)?;
            all.start_one(worker, sockets, shared).map_err(StartError::Thread)?;
        }
        all.addresses = wanted;
        Ok(all)
    }

    fn start_one(&mut self, worker: usize, sockets: Vec<Bound>, shared: &Arc<Shared>) -> io::Result<()> {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (shared, retirements) = (Arc::clone(shared), Arc::clone(&self.retirements));
        let life = move || {
            let guests = Arc::clone(&shared.guests);
            let site = Site { worker, functions: Rc::new(HostFunctions::new()), guests, retirements };
            thread::run(shared, site, sockets, commands);
        };
        let thread = spawn_guarded(&format!("worker-{worker}"), DEFAULT_STACK, life)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        self.workers.push(sender);
        Ok(())
    }

    /// Where clients connect; ports that were 0 are known now.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Has every worker build the generation beside its current one.
    ///
    /// # Errors
    /// [`PrepareError`]; then it is discarded everywhere and nothing has changed.
    pub async fn prepare(&self, blueprint: &Arc<Blueprint>) -> Result<(), PrepareError> {
        let mut answers = Vec::with_capacity(self.workers.len());
        for commands in &self.workers {
            let (done, answer) = oneshot::channel();
            // A worker that is gone drops the command, and with it the other end of `answer`.
            let _ = commands.send(Command::Prepare { blueprint: Arc::clone(blueprint), done }).await;
            answers.push(answer);
        }
        let mut result = Ok(());
        for (worker, answer) in answers.into_iter().enumerate() {
            let built = answer.await.map_err(|_| PrepareError::Gone { worker });
            result = result.and(built.and_then(|built| built.map_err(PrepareError::from)));
        }
        if result.is_err() {
            for commands in &self.workers {
                // A worker that is gone has nothing to discard.
                let _ = commands.send(Command::Discard).await;
            }
        }
        result
    }

    /// Has every worker point to the generation that it prepared last, if that is `number`.
    pub async fn commit(&self, number: u64) -> Commit {
        let started = Instant::now();
        let mut answers = Vec::with_capacity(self.workers.len());
        for commands in &self.workers {
            let (done, answer) = oneshot::channel();
            if commands.send(Command::Commit { number, done }).await.is_ok() {
                answers.push(answer);
            }
        }
        let mut last = started;
        for answer in answers {
            if let Ok(at) = answer.await {
                last = last.max(at);
            }
        }
        Commit { took: last.saturating_duration_since(started) }
    }

    /// Which generations still serve.
    pub fn retirements(&self) -> &Arc<Retirements> {
        &self.retirements
    }

    /// Waits until no worker holds generation `number` any more.
    pub async fn wait_retired(&self, number: u64) {
        self.retirements.wait(number).await;
    }

    /// Stops accepting, lets requests finish within `limit`, and ends the threads.
    pub async fn drain(&self, limit: Duration) -> Drained {
        for commands in &self.workers {
            // A worker that is gone has drained.
            let _ = commands.send(Command::Drain { limit }).await;
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().map(GuardedThread::join).filter(Result::is_err).count()
        });
        match joined.await {
            Ok(0) => Drained::Clean,
            Ok(_) | Err(_) => Drained::Panicked,
        }
    }
}

/// Binds each address. A port 0 becomes the one that the system chose, for the workers that follow.
fn bind_all(ids: &[ListenerId], wanted: &mut [SocketAddr]) -> Result<Vec<Bound>, StartError> {
    let mut sockets = Vec::with_capacity(wanted.len());
    for (id, address) in ids.iter().zip(wanted) {
        let failed = |source| StartError::Bind { address: *address, source };
        let socket = listener::bind(*address).map_err(failed)?;
        *address = socket.local_addr().map_err(|source| StartError::Bind { address: *address, source })?;
        sockets.push(Bound { id: *id, socket });
    }
    Ok(sockets)
}
