//! Log and clock. Allowed at any time, also while the guest is restricted.

use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::status_of;
use super::{State, host_functions};
use crate::abi::LogLevel;
use crate::abi::status::Status;
use crate::environment::Environment;
use crate::limits::LOG_LINE_BYTES_MAX;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, open,
        "proxy_log" => log,
        "proxy_get_log_level" => log_level,
        "proxy_get_current_time_nanoseconds" => current_time,
    );
}

/// A line that nobody wants is not even read.
fn log<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (level, message, len): (u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(level) = LogLevel::from_wire(level) else {
        return Ok(Status::BadArgument);
    };
    let host = caller.state();
    if !host.wants_log(level) {
        return Ok(Status::Ok);
    }
    let Some(message) = caller.read(message, len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    host.log(level, &message[..message.len().min(LOG_LINE_BYTES_MAX)]);
    Ok(Status::Ok)
}

fn log_level<E: Environment>(caller: &mut Caller<'_, State<E>>, level_out: u32) -> Result<Status, Trap> {
    let level = caller.state().env.log_level();
    Ok(status_of(caller.write_u32(level_out, level.wire())))
}

fn current_time<E: Environment>(caller: &mut Caller<'_, State<E>>, time_out: u32) -> Result<Status, Trap> {
    Ok(status_of(caller.write_u64(time_out, unix_time_ns())))
}

/// Nanoseconds since 1970; 0 if the machine's clock stands before.
pub(super) fn unix_time_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
