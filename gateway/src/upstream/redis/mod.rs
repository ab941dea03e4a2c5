//! Redis upstreams: commands that filters send, answered as Redis wrote it.
//!
//! 1. `command`: what a filter sends must be exactly one command, and one whose answer is exactly one
//!    reply and leaves no trace on the connection, which others share.
//! 2. [`RedisUpstream::call`] hands it to the `session` of its login: one connection per worker, upstream
//!    and login, opened for the first command, on which commands are pipelined.
//! 3. `reply` finds where a reply ends; nothing is decoded, as the filter does that.
//!
//! A connection that breaks, or on which the oldest command is not answered in time, is closed: all that was
//! sent on it fails, the next command connects anew (`server`: to the endpoint used last, if it can). Nothing
//! is sent twice, and nothing that its caller does not wait for any more (`queue`). A session that gets no
//! connection, or whose login is refused, rests before it tries again (`rest`).
//!
//! Limits: commands and their bytes waiting per session, sessions per upstream, bytes and depth of a
//! reply, time to connect and to log in (`connect_timeout` each), for a command, and of idleness
//! (`idle_timeout`).

mod command;
mod queue;
mod reply;
mod rest;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod wire;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::command::{Command, CommandError};
pub use self::reply::ReplyError;
use self::server::Server;
use self::session::Session;
use super::error::SendError;
use super::stats::{PoolId, UpstreamStats};
use crate::policy::upstream::Upstream;

/// Logins with a connection of their own.
const SESSIONS_MAX: usize = 64;

/// One Redis upstream on one worker.
pub struct RedisUpstream {
    server: Rc<Server>,
    sessions: RefCell<HashMap<Rc<Login>, Rc<Session>>>,
}

/// As whom a connection speaks, and where; commands of different logins never share one.
#[derive(Default, PartialEq, Eq, Hash)]
pub struct Login {
    /// Empty: Redis's default user.
    pub user: Box<str>,
    /// Empty: no authentication.
    pub password: Box<str>,
    /// The database to select.
    pub database: u32,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("database", &self.database).finish_non_exhaustive()
    }
}

/// What one command may cost.
#[derive(Debug, Clone, Copy)]
pub struct RedisBounds {
    /// From the call to the last byte of the reply.
    pub timeout: Duration,
    /// Bytes of the reply.
    pub reply_bytes_max: usize,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// No endpoint took the connection; this is the last one tried.
    #[error("no connection")]
    Connect(#[source] Arc<SendError>),
    /// The server does not take the login.
    #[error("the server refused the login or the database")]
    Login,
    /// The connection ended before the reply.
    #[error("the connection was closed before the reply")]
    Closed,
    /// The reply did not come in time.
    #[error("no reply in time")]
    Timeout,
    /// What came is not a reply, or one beyond the limits.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// Too much is waiting for this server already.
    #[error("too many commands or logins wait for this upstream")]
    Busy,
}

impl RedisUpstream {
    /// An upstream without connections.
    #[must_use]
    pub fn new(definition: Arc<Upstream>) -> Self {
        Self { server: Rc::new(Server::new(definition)), sessions: RefCell::default() }
    }

    /// What it was made from.
    #[must_use]
    pub fn definition(&self) -> &Upstream {
        &self.server.definition
    }

    /// Sends a command and waits for its reply, as Redis encoded it; an error reply is a reply. A future
    /// that is dropped takes its command back if it has not been sent, else it drops the reply. Must be called within a `LocalSet` or a local
    /// runtime.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn call(
        self: Rc<Self>,
        login: &Rc<Login>,
        command: Command,
        bounds: RedisBounds,
    ) -> Result<Bytes, RedisError> {
        let reply = self.session(login)?.submit(&self.server, command, bounds)?;
        match tokio::time::timeout(bounds.timeout, reply).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(RedisError::Closed),
            Err(_) => Err(RedisError::Timeout),
        }
        .inspect_err(|error| {
            if matches!(error, RedisError::Timeout) {
                self.server.counters.response_timeouts.add_one();
            }
        })
    }

    fn session(&self, login: &Rc<Login>) -> Result<Rc<Session>, RedisError> {
        let mut sessions = self.sessions.borrow_mut();
        if let Some(session) = sessions.get(login) {
            return Ok(Rc::clone(session));
        }
        if sessions.len() >= SESSIONS_MAX {
            sessions.retain(|_, session| session.is_in_use());
        }
        if sessions.len() >= SESSIONS_MAX {
            return Err(RedisError::Busy);
        }
        let session = Rc::new(Session::new(Rc::clone(login)));
        sessions.insert(Rc::clone(login), Rc::clone(&session));
        Ok(session)
    }

    /// Which pool it is.
    pub(super) fn id(&self) -> PoolId {
        self.server.counters.pool
    }

    /// What happened here so far.
    #[must_use]
    pub fn stats(&self) -> UpstreamStats {
        let sessions = self.sessions.borrow();
        let idle = sessions.values().filter(|session| session.is_idle()).count();
        let counters = &self.server.counters;
        UpstreamStats {
            reused: counters.reused.get(),
            connected: counters.connected.get(),
            connect_failures: counters.connect_failures.get(),
            response_timeouts: counters.response_timeouts.get(),
            idle: u64::try_from(idle).unwrap_or(u64::MAX),
            paused_endpoints: u64::try_from(self.server.paused()).unwrap_or(u64::MAX),
            ..UpstreamStats::default()
        }
    }
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
