//! A worker's life.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::Shared;
use super::candidate::Candidate;
use super::command::Command;
use super::connection::Notice;
use super::listener::Bound;
use super::shadow::{Shadow, ShadowPlan};
use super::state::Worker;
use super::{listener, parking, sweep};
use crate::generation::{BuildError, Generation, Site};

/// Runs a worker until it has drained or the control side is gone.
pub(super) fn run(shared: Arc<Shared>, site: Site, listeners: Vec<Bound>, commands: Receiver<Command>) {
    let runtime =
        match tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
        {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "a worker has no runtime");
                return;
            }
        };
    runtime.block_on(live(shared, site, listeners, commands));
    // What is left, connections beyond the drain limit, is dropped with the runtime.
}

async fn live(shared: Arc<Shared>, site: Site, listeners: Vec<Bound>, mut commands: Receiver<Command>) {
    let Some((worker, mut prepared)) = first_generation(shared, site, &mut commands).await else { return };
    let mut vital = JoinSet::new();
    let accepting = accepting(&worker, listeners, &mut vital);
    // Goes on while the worker drains: connections that wait too long are ended then as well.
    vital.spawn_local(sweep::run(Rc::clone(&worker)));
    vital.spawn_local(parking::watch(Rc::clone(&worker)));
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            Some(ended) = vital.join_next() => {
                pass_on_panic(ended);
                continue;
            }
        };
        let Some(command) = command else { return };
        match command {
            Command::Prepare { blueprint, beside, done } => {
                let built = Generation::build(blueprint, Some(&worker.beside(beside)), &worker.site);
                let _ = done.send(built.map(|generation| prepared = Some(Rc::new(generation))));
            }
            Command::Commit { number, done } => {
                if let Some(next) = prepared.take_if(|next| next.blueprint.number == number) {
                    put_in_force(&worker, next, done);
                }
            }
            Command::TryOut { number, trial, done } => {
                if let Some(next) = prepared.take_if(|next| next.blueprint.number == number) {
                    worker.try_out(Candidate::new(next, trial, worker.site.worker));
                    let _ = done.send(Instant::now());
                }
            }
            Command::Promote { number, done } => {
                if let Some(next) = worker.take_candidate(number) {
                    put_in_force(&worker, next, done);
                }
            }
            Command::Withdraw { number, done } => {
                drop(worker.take_candidate(number));
                let _ = done.send(Instant::now());
            }
            Command::Shadow { plan, done } => {
                let _ = done.send(put_in_shadow(&worker, plan));
            }
            Command::Discard => prepared = None,
            Command::Cut { through } => cut(&worker, through),
            Command::Adopt { stream, peer } => listener::adopt(stream, peer, &worker),
            #[cfg(test)]
            Command::Panic => panic!("a test asked for it"),
            Command::Drain { limit } => {
                accepting.iter().for_each(AbortHandle::abort);
                drain(&worker, limit).await;
                return;
            }
        }
    }
}

/// The old one is freed here, or by the last request that holds it.
fn put_in_force(worker: &Worker, next: Rc<Generation>, done: oneshot::Sender<Instant>) {
    next.come_into_force();
    let old = worker.current.replace(next);
    let _ = done.send(Instant::now());
    drop(old);
}

/// One that cannot be built leaves none in shadow.
fn put_in_shadow(worker: &Worker, plan: Option<Arc<ShadowPlan>>) -> Result<(), BuildError> {
    worker.set_shadow(None);
    if let Some(plan) = plan {
        worker.set_shadow(Some(Shadow::build(&plan, &worker.site.functions, worker.site.worker)?));
    }
    Ok(())
}

/// Waits for the first commit.
async fn first_generation(
    shared: Arc<Shared>,
    site: Site,
    commands: &mut Receiver<Command>,
) -> Option<(Rc<Worker>, Option<Rc<Generation>>)> {
    let mut prepared: Option<Rc<Generation>> = None;
    loop {
        match commands.recv().await? {
            Command::Prepare { blueprint, beside: _, done } => {
                let built = Generation::build(blueprint, None, &site);
                let _ = done.send(built.map(|generation| prepared = Some(Rc::new(generation))));
            }
            Command::Commit { number, done } => {
                if let Some(first) = prepared.take_if(|next| next.blueprint.number == number) {
                    let worker = Worker::new(shared, site, first);
                    let _ = done.send(Instant::now());
                    return Some((worker, None));
                }
            }
            Command::Discard => prepared = None,
            // Nothing is on trial or in shadow before anything is in force.
            Command::TryOut { .. }
            | Command::Promote { .. }
            | Command::Withdraw { .. }
            | Command::Shadow { .. } => {}
            Command::Cut { .. } | Command::Adopt { .. } => {}
            #[cfg(test)]
            Command::Panic => panic!("a test asked for it"),
            Command::Drain { .. } => return None,
        }
    }
}

fn accepting(worker: &Rc<Worker>, listeners: Vec<Bound>, vital: &mut JoinSet<()>) -> Vec<AbortHandle> {
    let mut tasks = Vec::new();
    for Bound { id, socket } in listeners {
        match TcpListener::from_std(socket) {
            Ok(listener) => {
                tasks.push(vital.spawn_local(listener::accept(listener, id, Rc::clone(worker))));
            }
            Err(error) => tracing::error!(%error, "a listener cannot be used"),
        }
    }
    tasks
}

/// Without what has panicked the worker would look well and do nothing: it ends too.
fn pass_on_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Cuts connections whose request is of a generation that is too old.
fn cut(worker: &Worker, through: u64) {
    let live: Vec<u64> = worker.generations().map(|generation| generation.blueprint.number).collect();
    for connection in worker.connections.borrow().iter() {
        if connection.retire(through, &live) {
            worker.metrics.connections_cut.inc();
        }
    }
}

/// Lets requests and TCP connections end; idle HTTP connections end at once.
async fn drain(worker: &Rc<Worker>, limit: Duration) {
    worker.is_draining.set(true);
    let end = tokio::time::Instant::now() + limit;
    worker.connections.borrow().iter().for_each(|connection| connection.tell(Notice::Finish));
    worker.close_parked(None);
    while worker.open_connections() > 0 && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let left = worker.open_connections();
    if left > 0 {
        tracing::warn!(connections = left, "connections cut at the drain limit");
    }
}
