//! The control side's handle on all workers.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tollgate_proxy_wasm::HostFunctions;
use tollgate_wasmedge::{DEFAULT_STACK, GuardedThread, spawn_guarded};

use super::candidate::Beside;
use super::command::Command;
use super::listener::Bound;
use super::loss::Losses;
use super::shadow::ShadowPlan;
use super::{Shared, listener, thread};
use crate::generation::{Blueprint, BuildError, Retirements, Site, Trial};
use crate::policy::listener::{Listener, ListenerId};

/// Commands that may wait for one worker.
const COMMANDS_MAX: usize = 16;

/// All workers.
pub struct Workers {
    posts: Vec<Post>,
    listeners: Vec<ListenerId>,
    /// Of the listeners; ports that were 0 are known.
    addresses: Vec<SocketAddr>,
    retirements: Arc<Retirements>,
    losses: Arc<Losses>,
    shared: Arc<Shared>,
}

/// The place of one worker. Another takes it if it panics. Locks are never held across an await.
struct Post {
    commands: Mutex<mpsc::Sender<Command>>,
    /// Taken by who joins it.
    thread: Mutex<Option<GuardedThread>>,
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

/// Why a worker that panicked cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// Its thread or its sockets.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What it is to serve.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It ended at once.
    #[error("it ended at once")]
    Gone,
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
        let listeners = ListenerId::all(listeners);
        let addresses = listeners.iter().map(|id| id.address).collect();
        let (losses, shared) = (Arc::default(), Arc::clone(shared));
        let mut all = Self { posts: vec![], listeners, addresses, retirements, losses, shared };
        for worker in 0..count.get() {
            let sockets = bind_all(&all.listeners, &mut all.addresses)?;
            let (commands, thread) = all.start_one(worker, sockets).map_err(StartError::Thread)?;
            all.posts.push(Post { commands: Mutex::new(commands), thread: Mutex::new(Some(thread)) });
        }
        Ok(all)
    }

    fn start_one(
        &self,
        worker: usize,
        sockets: Vec<Bound>,
    ) -> io::Result<(mpsc::Sender<Command>, GuardedThread)> {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (shared, retirements) = (Arc::clone(&self.shared), Arc::clone(&self.retirements));
        let losses = Arc::clone(&self.losses);
        let life = move || {
            let _watch = losses.watch(worker);
            let guests = Arc::clone(&shared.guests);
            let site = Site { worker, functions: Rc::new(HostFunctions::new()), guests, retirements };
            thread::run(shared, site, sockets, commands);
        };
        let thread = spawn_guarded(&format!("worker-{worker}"), DEFAULT_STACK, life)?;
        Ok((sender, thread))
    }

    /// Waits for a worker that panics, and gives its number. One at a time may wait.
    pub async fn lost(&self) -> usize {
        self.losses.next().await
    }

    /// Puts another worker, with sockets of its own, into the place of one that panicked; it serves
    /// `blueprint`, and what is on trial beside it. What the lost one was doing is lost.
    ///
    /// # Errors
    /// [`ReplaceError`]; then nobody is in that place.
    pub async fn replace(
        &self,
        worker: usize,
        blueprint: &Arc<Blueprint>,
        on_trial: Option<(&Arc<Blueprint>, &Arc<Trial>)>,
    ) -> Result<(), ReplaceError> {
        let Some(post) = self.posts.get(worker) else { return Ok(()) };
        if let Some(thread) = lock(&post.thread).take() {
            // It panicked, which is known.
            let _ = thread.join();
        }
        let sockets = bind_all(&self.listeners, &mut self.addresses.clone())?;
        let (commands, thread) = self.start_one(worker, sockets).map_err(StartError::Thread)?;
        *lock(&post.thread) = Some(thread);
        *lock(&post.commands) = commands.clone();
        prepare_one(&commands, blueprint).await?;
        let (done, answer) = oneshot::channel();
        let _ = commands.send(Command::Commit { number: blueprint.number, done }).await;
        answer.await.map_err(|_| ReplaceError::Gone)?;
        let Some((candidate, trial)) = on_trial else { return Ok(()) };
        prepare_one(&commands, candidate).await?;
        let (done, answer) = oneshot::channel();
        let trial = Arc::clone(trial);
        let _ = commands.send(Command::TryOut { number: candidate.number, trial, done }).await;
        answer.await.map(drop).map_err(|_| ReplaceError::Gone)
    }

    /// Cuts connections whose request began under generation `through` or one before, unless it is in
    /// force or on trial.
    pub async fn cut(&self, through: u64) {
        for commands in self.commands() {
            // A worker that is gone has no connections.
            let _ = commands.send(Command::Cut { through }).await;
        }
    }

    fn commands(&self) -> impl Iterator<Item = mpsc::Sender<Command>> {
        self.posts.iter().map(|post| lock(&post.commands).clone())
    }

    /// Where clients connect; ports that were 0 are known now.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.posts.len()
    }

    /// Has every worker build the generation beside another.
    ///
    /// # Errors
    /// [`PrepareError`]; then it is discarded everywhere and nothing has changed.
    pub async fn prepare(&self, blueprint: &Arc<Blueprint>, beside: Beside) -> Result<(), PrepareError> {
        let mut answers = Vec::with_capacity(self.posts.len());
        for commands in self.commands() {
            let (done, answer) = oneshot::channel();
            // A worker that is gone drops the command, and with it the other end of `answer`.
            let _ = commands.send(Command::Prepare { blueprint: Arc::clone(blueprint), beside, done }).await;
            answers.push(answer);
        }
        let mut result = Ok(());
        for (worker, answer) in answers.into_iter().enumerate() {
            let built = answer.await.map_err(|_| PrepareError::Gone { worker });
            result = result.and(built.and_then(|built| built.map_err(PrepareError::from)));
        }
        if result.is_err() {
            for commands in self.commands() {
                // A worker that is gone has nothing to discard.
                let _ = commands.send(Command::Discard).await;
            }
        }
        result
    }

    /// Has every worker point to the generation that it prepared last, if that is `number`.
    pub async fn commit(&self, number: u64) -> Commit {
        self.tell_all(|done| Command::Commit { number, done }).await
    }

    /// Has every worker put the generation that it prepared last on trial, if that is `number`, in the
    /// place of the one that was.
    pub async fn try_out(&self, number: u64, trial: &Arc<Trial>) -> Commit {
        self.tell_all(|done| Command::TryOut { number, trial: Arc::clone(trial), done }).await
    }

    /// Has every worker point to the generation on trial, if that is `number`.
    pub async fn promote(&self, number: u64) -> Commit {
        self.tell_all(|done| Command::Promote { number, done }).await
    }

    /// Ends the trial of generation `number` on every worker.
    pub async fn withdraw(&self, number: u64) {
        self.tell_all(|done| Command::Withdraw { number, done }).await;
    }

    /// Has every worker take a policy into shadow, in the place of the one there is.
    ///
    /// # Errors
    /// [`PrepareError`]; then no policy is in shadow.
    pub async fn begin_shadow(&self, plan: &Arc<ShadowPlan>) -> Result<(), PrepareError> {
        let mut result = Ok(());
        for worker in 0..self.posts.len() {
            result = result.and(self.begin_shadow_on(worker, plan).await);
        }
        if result.is_err() {
            self.end_shadow().await;
        }
        result
    }

    /// The same on one worker; what the others do stays.
    pub async fn begin_shadow_on(&self, worker: usize, plan: &Arc<ShadowPlan>) -> Result<(), PrepareError> {
        let Some(commands) = self.posts.get(worker).map(|post| lock(&post.commands).clone()) else {
            return Ok(());
        };
        let (done, answer) = oneshot::channel();
        // A worker that is gone drops the command, and with it the other end of `answer`.
        let _ = commands.send(Command::Shadow { plan: Some(Arc::clone(plan)), done }).await;
        Ok(answer.await.map_err(|_| PrepareError::Gone { worker })??)
    }

    /// Ends the shadow on every worker.
    pub async fn end_shadow(&self) {
        for commands in self.commands() {
            let (done, answer) = oneshot::channel();
            // A worker that is gone has none.
            let _ = commands.send(Command::Shadow { plan: None, done }).await;
            let _ = answer.await;
        }
    }

    async fn tell_all(&self, command: impl Fn(oneshot::Sender<Instant>) -> Command) -> Commit {
        let started = Instant::now();
        let mut answers = Vec::with_capacity(self.posts.len());
        for commands in self.commands() {
            let (done, answer) = oneshot::channel();
            if commands.send(command(done)).await.is_ok() {
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

    /// Hands worker 0 a connection that was accepted elsewhere, to serve HTTP on it as if it came from
    /// `peer`. For tools, whose clients must seem to be anywhere.
    pub async fn adopt(&self, stream: std::net::TcpStream, peer: SocketAddr) {
        if let Some(commands) = self.commands().next() {
            // A worker that is gone drops the connection, which closes it.
            let _ = commands.send(Command::Adopt { stream, peer }).await;
        }
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
        for commands in self.commands() {
            // A worker that is gone has drained.
            let _ = commands.send(Command::Drain { limit }).await;
        }
        let threads: Vec<_> = self.posts.iter().filter_map(|post| lock(&post.thread).take()).collect();
        let joined = tokio::task::spawn_blocking(move || {
            threads.into_iter().map(GuardedThread::join).filter(Result::is_err).count()
        });
        match joined.await {
            Ok(0) => Drained::Clean,
            Ok(_) | Err(_) => Drained::Panicked,
        }
    }
}

#[cfg(test)]
impl Workers {
    /// Has a worker panic.
    pub async fn break_one(&self, worker: usize) {
        let commands = lock(&self.posts[worker].commands).clone();
        // If it is gone it has panicked already.
        let _ = commands.send(Command::Panic).await;
    }
}

/// Has a worker of its own build a generation beside what it has.
async fn prepare_one(
    commands: &mpsc::Sender<Command>,
    blueprint: &Arc<Blueprint>,
) -> Result<(), ReplaceError> {
    let (blueprint, (done, answer)) = (Arc::clone(blueprint), oneshot::channel());
    // A worker that is gone drops the command, and with it the other end of `answer`.
    let _ = commands.send(Command::Prepare { blueprint, beside: Beside::Current, done }).await;
    Ok(answer.await.map_err(|_| ReplaceError::Gone)??)
}

/// A panic elsewhere leaves what is behind it whole: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
