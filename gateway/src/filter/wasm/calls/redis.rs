//! Calls to Redis: what filters of Higress's dialect send, and what they read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tollgate_proxy_wasm::{CallError, CallMap, CallReply, RedisLogin};

use super::{Bounds, Outcome, Share};
use crate::upstream::{Command, CommandError, Login, RedisBounds, RedisError, RedisUpstream, ReplyError};

/// The status of a call that brought no reply. Any but 0 is a failure to Higress's SDKs.
const FAILED: u32 = 1;

/// How a filter logs in to its servers, by the names that the policy gives them, however the filter writes
/// them: what it set up last.
#[derive(Default)]
pub(in crate::filter::wasm) struct RedisSetups(RefCell<HashMap<Arc<str>, Setup>>);

/// How calls to one server are made.
#[derive(Clone, Default)]
pub(in crate::filter::wasm) struct Setup {
    login: Rc<Login>,
    /// For each call, if the filter wants less than it may take.
    pub(in crate::filter::wasm) timeout: Option<Duration>,
}

impl RedisSetups {
    /// Sets a server up that the filter may reach; there are no more of those than the policy lists.
    ///
    /// # Errors
    /// [`CallError::Malformed`] if the login is no text.
    pub(in crate::filter::wasm) fn set(
        &self,
        name: &Arc<str>,
        database: u32,
        login: RedisLogin<'_>,
    ) -> Result<(), CallError> {
        let text =
            |bytes: &[u8]| std::str::from_utf8(bytes).map(Box::<str>::from).map_err(|_| CallError::Malformed);
        let timeout = login.timeout;
        let login = Rc::new(Login { user: text(login.user)?, password: text(login.password)?, database });
        self.0.borrow_mut().insert(Arc::clone(name), Setup { login, timeout });
        Ok(())
    }

    /// How calls to a server are made; one that was not set up has no password.
    pub(in crate::filter::wasm) fn get(&self, name: &str) -> Setup {
        self.0.borrow().get(name).cloned().unwrap_or_default()
    }
}

/// What a filter wants sent, if it is one command that Redis answers once.
///
/// # Errors
/// [`CallError`].
pub(in crate::filter::wasm) fn redis_command(query: &[u8], bytes_max: u64) -> Result<Command, CallError> {
    if query.len() as u64 > bytes_max {
        return Err(CallError::TooLarge);
    }
    Command::parse(query).map_err(|error| match error {
        CommandError::TooLarge => CallError::TooLarge,
        CommandError::Malformed => CallError::Malformed,
        CommandError::OnTheConnection | CommandError::Blocking => {
            tracing::debug!(%error, "a command of a filter was refused");
            CallError::Malformed
        }
    })
}

/// Sends a command and waits for its reply; its room in the outbox is free again then.
pub(in crate::filter::wasm) async fn ask(
    upstream: Rc<RedisUpstream>,
    setup: Setup,
    command: Command,
    bounds: Bounds,
    _room: Share,
) -> RedisReply {
    let Bounds { timeout, response_bytes_max: reply_bytes_max } = bounds;
    let result = upstream.call(&setup.login, command, RedisBounds { timeout, reply_bytes_max }).await;
    RedisReply(result.inspect_err(|error| tracing::debug!(%error, "a Redis call of a filter failed")))
}

/// The reply, as Redis encoded it, or how the call failed.
pub(in crate::filter::wasm) struct RedisReply(Result<Bytes, RedisError>);

impl RedisReply {
    /// How it ended, for metrics.
    pub(in crate::filter::wasm) fn outcome(&self) -> Outcome {
        match &self.0 {
            Ok(_) => Outcome::Answered,
            Err(RedisError::Connect(_) | RedisError::Login) => Outcome::Connect,
            Err(RedisError::Timeout) => Outcome::Timeout,
            Err(RedisError::Reply(ReplyError::TooLarge)) => Outcome::TooLarge,
            Err(RedisError::Closed | RedisError::Reply(_) | RedisError::Busy) => Outcome::Reset,
        }
    }

    /// How it ended, for the log and the guest.
    pub(in crate::filter::wasm) fn word(&self) -> &'static str {
        match &self.0 {
            Ok(_) => "answered",
            Err(RedisError::Connect(_)) => "connect",
            Err(RedisError::Login) => "login",
            Err(RedisError::Closed) => "reset",
            Err(RedisError::Timeout) => "timeout",
            Err(RedisError::Reply(_)) => "bad_reply",
            Err(RedisError::Busy) => "busy",
        }
    }
}

impl CallReply for RedisReply {
    fn map_len(&self, _: CallMap) -> usize {
        0
    }

    fn map_pairs(&self, _: CallMap, _: &mut dyn FnMut(&[u8], &[u8])) {}

    fn map_get(&self, _: CallMap, _: &[u8]) -> Option<&[u8]> {
        None
    }

    fn body(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    fn status(&self) -> (u32, &[u8]) {
        match self.0 {
            Ok(_) => (0, b""),
            Err(_) => (FAILED, self.word().as_bytes()),
        }
    }
}
