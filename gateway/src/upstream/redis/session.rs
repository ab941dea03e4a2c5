//! One login: its commands, and one connection after the other that carries them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;

use super::command::Command;
use super::queue::{Queue, Reply};
use super::rest::Rest;
use super::server::Server;
use super::{Login, RedisBounds, RedisError};

/// One login's connection: made when a command comes, gone when it breaks or is idle.
pub(super) struct Session {
    login: Rc<Login>,
    shared: Rc<Shared>,
    task: RefCell<Option<AbortHandle>>,
}

/// What the task and the callers share.
#[derive(Default)]
struct Shared {
    queue: Queue,
    rest: RefCell<Rest>,
    is_connected: Cell<bool>,
    /// Whether a task serves the queue.
    is_served: Cell<bool>,
}

impl Session {
    pub(super) fn new(login: Rc<Login>) -> Self {
        Self { login, shared: Rc::default(), task: RefCell::default() }
    }

    /// Whether it has a connection, is making one, or rests since it could not.
    pub(super) fn is_in_use(&self) -> bool {
        self.shared.is_served.get() || self.shared.rest.borrow().refusal(Instant::now()).is_some()
    }

    /// Whether it has a connection that nothing waits for.
    pub(super) fn is_idle(&self) -> bool {
        self.shared.is_connected.get() && self.shared.queue.is_empty()
    }

    /// Sends a command when its turn comes.
    pub(super) fn submit(
        &self,
        server: &Rc<Server>,
        command: Command,
        bounds: RedisBounds,
    ) -> Result<oneshot::Receiver<Reply>, RedisError> {
        let shared = &self.shared;
        if !shared.is_served.get()
            && let Some(error) = shared.rest.borrow().refusal(Instant::now())
        {
            return Err(error);
        }
        let receiver = shared.queue.push(command, bounds)?;
        if shared.is_connected.get() {
            server.counters.reused.add_one();
        }
        if !shared.is_served.replace(true) {
            let work = serve(Rc::clone(server), Rc::clone(&self.login), Rc::clone(shared));
            *self.task.borrow_mut() = Some(spawn_local(work).abort_handle());
        }
        Ok(receiver)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Connects and carries commands until the connection ends with none left, or none can be made. What a
/// connection leaves unsent the next one carries; each takes some, or there is none.
async fn serve(server: Rc<Server>, login: Rc<Login>, shared: Rc<Shared>) {
    loop {
        let mut wire = match server.connect(&login).await {
            Ok(wire) => wire,
            Err(error) => {
                shared.rest.borrow_mut().begin(error.again(), Instant::now());
                tell(&server, &error, shared.queue.fail_waiting(&error));
                break;
            }
        };
        shared.rest.borrow_mut().end();
        shared.is_connected.set(true);
        let end = wire.carry(&server, &shared.queue).await;
        drop(wire);
        shared.is_connected.set(false);
        tell(&server, &end, shared.queue.fail_sent(&end));
        if shared.queue.is_sent() {
            break;
        }
    }
    shared.is_served.set(false);
}

fn tell(server: &Server, reason: &RedisError, commands: usize) {
    if commands > 0 {
        tracing::debug!(upstream = &*server.definition.name, %reason, commands, "Redis commands failed");
    }
}
