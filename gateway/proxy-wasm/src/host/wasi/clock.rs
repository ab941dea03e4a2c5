//! Clocks and waiting.

use rustix::time::{ClockId as SystemClock, clock_gettime};
use tollgate_wasmedge::{Caller, Linker};

use super::{WasiResult, errno_of, wasi};
use crate::abi::status::Errno;
use crate::abi::types::ClockId;
use crate::environment::Environment;
use crate::host::State;
use crate::host::log_time::unix_time_ns;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    wasi!(linker,
        "clock_res_get" => clock_res_get,
        "clock_time_get" => clock_time_get,
        "poll_oneoff" => poll_oneoff,
    );
}

fn clock_res_get<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (clock, resolution_out): (u32, u32),
) -> WasiResult {
    match ClockId::from_wire(clock) {
        Some(_) => Ok(errno_of(caller.write_u64(resolution_out, 1))),
        None => Ok(Errno::NotSup),
    }
}

fn clock_time_get<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (clock, _precision, time_out): (u32, u64, u32),
) -> WasiResult {
    let time = match ClockId::from_wire(clock) {
        Some(ClockId::Realtime) => unix_time_ns(),
        Some(ClockId::Monotonic) => monotonic_ns(),
        None => return Ok(Errno::NotSup),
    };
    Ok(errno_of(caller.write_u64(time_out, time)))
}

/// Nothing to wait for, and no waiting: Go's scheduler needs success with no events.
fn poll_oneoff<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (_subscriptions, _events, _count, events_out): (u32, u32, u32, u32),
) -> WasiResult {
    Ok(errno_of(caller.write_u32(events_out, 0)))
}

fn monotonic_ns() -> u64 {
    let time = clock_gettime(SystemClock::Monotonic);
    // The kernel counts from boot: neither part is negative.
    time.tv_sec.unsigned_abs().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs())
}
