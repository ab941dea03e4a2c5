//! One connection and the commands on it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use super::command::Command;
use super::reply::Scanner;
use super::{Login, RedisBounds, RedisError, Server};

/// Commands that wait for their reply.
const COMMANDS_MAX: usize = 10_000;
/// Bytes of commands that wait to be sent.
const BYTES_MAX: usize = 16 << 20;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Answers to a login are short.
const LOGIN_REPLY_BYTES_MAX: usize = 4 * 1024;

/// What comes of a command.
type Reply = Result<Bytes, RedisError>;

/// One login's connection: made when a command comes, gone when it breaks or is idle.
pub(super) struct Session {
    login: Rc<Login>,
    shared: Rc<Shared>,
    task: RefCell<Option<AbortHandle>>,
}

/// What the task and the callers share.
#[derive(Default)]
struct Shared {
    /// Not yet on the wire.
    queue: RefCell<VecDeque<Waiting>>,
    /// Sent, or about to be.
    sent: RefCell<VecDeque<Waiting>>,
    bytes: Cell<usize>,
    changed: Notify,
    is_connected: Cell<bool>,
    /// Whether a task serves the queue.
    is_served: Cell<bool>,
}

/// A command, and who waits for its reply.
struct Waiting {
    command: Command,
    deadline: Instant,
    reply_bytes_max: usize,
    reply: oneshot::Sender<Reply>,
}

impl Session {
    pub(super) fn new(login: Rc<Login>) -> Self {
        Self { login, shared: Rc::default(), task: RefCell::default() }
    }

    /// Whether it has a connection, or is making one.
    pub(super) fn is_connected(&self) -> bool {
        self.shared.is_served.get()
    }

    /// Whether it has a connection that nothing waits for.
    pub(super) fn is_idle(&self) -> bool {
        let is_empty = self.shared.queue.borrow().is_empty() && self.shared.sent.borrow().is_empty();
        self.shared.is_connected.get() && is_empty
    }

    /// Sends a command when its turn comes.
    pub(super) fn submit(
        &self,
        server: &Rc<Server>,
        command: Command,
        bounds: RedisBounds,
    ) -> Result<oneshot::Receiver<Reply>, RedisError> {
        let shared = &self.shared;
        let bytes = shared.bytes.get() + command.bytes().len();
        if shared.queue.borrow().len() + shared.sent.borrow().len() >= COMMANDS_MAX || bytes > BYTES_MAX {
            return Err(RedisError::Busy);
        }
        shared.bytes.set(bytes);
        let (reply, receiver) = oneshot::channel();
        let deadline = Instant::now() + bounds.timeout;
        let reply_bytes_max = bounds.reply_bytes_max;
        shared.queue.borrow_mut().push_back(Waiting { command, deadline, reply_bytes_max, reply });
        if shared.is_connected.get() {
            server.counters.reused.add_one();
        }
        if shared.is_served.replace(true) {
            shared.changed.notify_one();
        } else {
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

/// Connects and carries commands until the connection ends; then all that waited fail.
async fn serve(server: Rc<Server>, login: Rc<Login>, shared: Rc<Shared>) {
    let end = carry(&server, &login, &shared).await;
    shared.is_connected.set(false);
    shared.is_served.set(false);
    shared.bytes.set(0);
    let waiting: Vec<_> = shared.sent.take().into_iter().chain(shared.queue.take()).collect();
    if waiting.is_empty() {
        return;
    }
    tracing::debug!(
        upstream = &*server.definition.name, reason = %end, commands = waiting.len(), "Redis commands failed"
    );
    for Waiting { reply, .. } in waiting {
        // Who does not wait any more need not know.
        let _ = reply.send(Err(end.again()));
    }
}

/// Carries commands; comes back with what ended it.
async fn carry(server: &Server, login: &Login, shared: &Shared) -> RedisError {
    let stream = match server.connect().await {
        Ok(stream) => stream,
        Err(error) => return RedisError::Connect(Arc::new(error)),
    };
    let mut wire = Wire { stream, input: BytesMut::new(), output: BytesMut::new() };
    let limit = server.definition.connect_timeout;
    match tokio::time::timeout(limit, wire.log_in(login)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            if matches!(error, RedisError::Login) {
                tracing::warn!(upstream = &*server.definition.name, "Redis refused a filter's login");
            }
            return error;
        }
        Err(_) => return RedisError::Timeout,
    }
    shared.is_connected.set(true);
    wire.run(server, shared).await
}

/// A connection and its buffers.
struct Wire {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Wire {
    async fn log_in(&mut self, login: &Login) -> Result<(), RedisError> {
        if !login.password.is_empty() {
            let (user, password) = (login.user.as_bytes(), login.password.as_bytes());
            let command = match login.user.is_empty() {
                true => Command::of(&[b"AUTH", password]),
                false => Command::of(&[b"AUTH", user, password]),
            };
            self.ask(&command).await?;
        }
        if login.database != 0 {
            self.ask(&Command::of(&[b"SELECT", login.database.to_string().as_bytes()])).await?;
        }
        Ok(())
    }

    /// Sends a command that must be answered with OK.
    async fn ask(&mut self, command: &[u8]) -> Result<(), RedisError> {
        self.stream.write_all(command).await.map_err(|_| RedisError::Closed)?;
        let mut scanner = Scanner::default();
        loop {
            if let Some(length) = scanner.scan(&self.input, LOGIN_REPLY_BYTES_MAX)? {
                let reply = self.input.split_to(length);
                return if reply.starts_with(b"+") { Ok(()) } else { Err(RedisError::Login) };
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), RedisError> {
        self.input.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(RedisError::Closed),
            Ok(_) => Ok(()),
        }
    }

    async fn run(&mut self, server: &Server, shared: &Shared) -> RedisError {
        let mut scanner = Scanner::default();
        loop {
            self.take_commands(shared);
            let deadline = shared.sent.borrow().front().map(|oldest| oldest.deadline);
            let idle = Instant::now() + server.definition.idle_timeout;
            let Self { stream, input, output } = &mut *self;
            let (mut reader, mut writer) = stream.split();
            input.reserve(READ_BYTES);
            let result = tokio::select! {
                read = reader.read_buf(input) => read.map(|count| count > 0),
                written = write(&mut writer, output) => written.map(|()| true),
                () = shared.changed.notified() => Ok(true),
                () = sleep_until(deadline.unwrap_or(idle)) => {
                    return if deadline.is_some() { RedisError::Timeout } else { RedisError::Closed };
                }
            };
            if !matches!(result, Ok(true)) {
                return RedisError::Closed;
            }
            if let Err(error) = deliver(input, &mut scanner, shared) {
                return error;
            }
        }
    }

    /// Moves what waits into the buffer of what is being written.
    fn take_commands(&mut self, shared: &Shared) {
        let mut queue = shared.queue.borrow_mut();
        if queue.is_empty() {
            return;
        }
        let mut sent = shared.sent.borrow_mut();
        for waiting in queue.drain(..) {
            self.output.extend_from_slice(waiting.command.bytes());
            sent.push_back(waiting);
        }
    }
}

/// Writes some of `output`; waits for ever if there is nothing.
async fn write(writer: &mut tokio::net::tcp::WriteHalf<'_>, output: &mut BytesMut) -> io::Result<()> {
    if !output.has_remaining() {
        return pending().await;
    }
    match writer.write_buf(output).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}

/// Hands out the replies that are all there, in the order of their commands.
fn deliver(input: &mut BytesMut, scanner: &mut Scanner, shared: &Shared) -> Result<(), RedisError> {
    while !input.is_empty() {
        let Some(bytes_max) = shared.sent.borrow().front().map(|oldest| oldest.reply_bytes_max) else {
            // Nobody asked.
            return Err(RedisError::Closed);
        };
        let Some(length) = scanner.scan(input, bytes_max)? else { return Ok(()) };
        *scanner = Scanner::default();
        let bytes = input.split_to(length).freeze();
        let answered = shared.sent.borrow_mut().pop_front();
        if let Some(Waiting { command, reply, .. }) = answered {
            shared.bytes.set(shared.bytes.get().saturating_sub(command.bytes().len()));
            let _ = reply.send(Ok(bytes));
        }
    }
    Ok(())
}

impl RedisError {
    /// The same for another command.
    fn again(&self) -> Self {
        match self {
            Self::Connect(source) => Self::Connect(Arc::clone(source)),
            Self::Login => Self::Login,
            Self::Closed => Self::Closed,
            Self::Timeout => Self::Timeout,
            Self::Reply(error) => Self::Reply(*error),
            Self::Busy => Self::Busy,
        }
    }
}
