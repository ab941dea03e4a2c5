//! Calls to Redis: Higress's dialect (0.2.100).
//!
//! A server that the plugin may not reach, or a query that is not one command, is BAD_ARGUMENT; what is
//! beyond a limit is INTERNAL_FAILURE. Its SDKs turn both into errors.

use std::time::Duration;

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::status_of;
use super::{State, host_functions};
use crate::abi::LogLevel;
use crate::abi::status::Status;
use crate::calls::{CallError, CallKind};
use crate::environment::Environment;
use crate::limits::{REDIS_LOGIN_BYTES_MAX, UPSTREAM_NAME_BYTES_MAX};
use crate::redis::{RedisLogin, RedisUpstream};

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_redis_init" => init,
        "proxy_redis_call" => call,
    );
}

/// Says how calls of this plugin to `upstream` log in, and how long they may take.
fn init<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (upstream, upstream_len, user, user_len, password, password_len, timeout_ms): (
        u32,
        u32,
        u32,
        u32,
        u32,
        u32,
        u32,
    ),
) -> Result<Status, Trap> {
    let (Some(upstream), Some(user), Some(password)) = (
        caller.read(upstream, upstream_len),
        caller.read(user, user_len),
        caller.read(password, password_len),
    ) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let timeout = (timeout_ms != 0).then(|| Duration::from_millis(timeout_ms.into()));
    let is_too_large = user.len().max(password.len()) > REDIS_LOGIN_BYTES_MAX;
    let result = match (host.plugin(), RedisUpstream::read(upstream)) {
        (Some(_), Some(_)) if is_too_large => Err(CallError::TooLarge),
        (Some(plugin), Some(upstream)) if upstream.name.len() <= UPSTREAM_NAME_BYTES_MAX => {
            host.env.redis_init(&plugin, upstream, RedisLogin { user, password, timeout })
        }
        (Some(_), _) => Err(CallError::Upstream),
        (None, _) => Err(CallError::Unavailable),
    };
    match result {
        Ok(()) => Ok(Status::Ok),
        Err(error) => {
            host.log(LogLevel::Warn, format!("proxy_redis_init refused: {error}").as_bytes());
            Ok(status_for(error))
        }
    }
}

fn call<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (upstream, upstream_len, query, query_len, id_out): (u32, u32, u32, u32, u32),
) -> Result<Status, Trap> {
    // Written first, so that no call goes out whose id cannot be told.
    if caller.write_u32(id_out, 0).is_none() {
        return Ok(Status::InvalidMemoryAccess);
    }
    let (Some(upstream), Some(query)) = (caller.read(upstream, upstream_len), caller.read(query, query_len))
    else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let upstream = RedisUpstream::read(upstream).filter(|name| name.name.len() <= UPSTREAM_NAME_BYTES_MAX);
    let opened = upstream.ok_or(CallError::Upstream).and_then(|upstream| {
        host.open_call(CallKind::Redis, |id, plugin, _| host.env.redis_call(id, plugin, upstream.name, query))
    });
    match opened {
        Ok(id) => Ok(status_of(caller.write_u32(id_out, id.get()))),
        Err(error) => {
            host.call_refused("proxy_redis_call", CallKind::Redis, error);
            Ok(status_for(error))
        }
    }
}

fn status_for(error: CallError) -> Status {
    match error {
        CallError::Upstream | CallError::Malformed => Status::BadArgument,
        CallError::TooLarge
        | CallError::TooMany
        | CallError::Full
        | CallError::Closed
        | CallError::Unavailable => Status::InternalFailure,
    }
}
