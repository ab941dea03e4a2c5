//! Arguments (none), environment, exit, scheduling and random bytes; and the two functions that
//! Emscripten's runtime imports beside WASI.

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::{MODULES, WasiResult, errno_of, wasi};
use crate::abi::status::Errno;
use crate::environment::Environment;
use crate::host::{ENV, State};
use crate::limits::RANDOM_BYTES_MAX;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    wasi!(linker,
        "args_sizes_get" => args_sizes_get,
        "args_get" => args_get,
        "environ_sizes_get" => environ_sizes_get,
        "environ_get" => environ_get,
        "random_get" => random_get,
        "sched_yield" => sched_yield,
        "proc_raise" => proc_raise,
    );
    for module in MODULES {
        linker.func(module, "proc_exit", proc_exit);
    }
    linker.func(ENV, "pthread_equal", pthread_equal);
    linker.func(ENV, "emscripten_notify_memory_growth", notify_memory_growth);
}

fn args_sizes_get<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (count_out, bytes_out): (u32, u32),
) -> WasiResult {
    Ok(errno_of(caller.write_u32(count_out, 0).and(caller.write_u32(bytes_out, 0))))
}

fn args_get<E: Environment>(_: &mut Caller<'_, State<E>>, _: (u32, u32)) -> WasiResult {
    Ok(Errno::Success)
}

fn environ_sizes_get<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (count_out, bytes_out): (u32, u32),
) -> WasiResult {
    let variables = &caller.state().spec.environment;
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let (Ok(count), Ok(bytes)) = (u32::try_from(variables.len()), u32::try_from(bytes)) else {
        return Ok(Errno::Inval);
    };
    Ok(errno_of(caller.write_u32(count_out, count).and(caller.write_u32(bytes_out, bytes))))
}

fn environ_get<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (pointers, bytes): (u32, u32),
) -> WasiResult {
    let host = State::<E>::clone(caller.state());
    let (mut pointer, mut address) = (Some(pointers), Some(bytes));
    for (name, value) in &host.spec.environment {
        let variable = format!("{name}={value}\0");
        let written = (|| {
            caller.write_u32(pointer?, address?)?;
            caller.write(address?, variable.as_bytes())
        })();
        if written.is_none() {
            return Ok(Errno::Fault);
        }
        pointer = pointer.and_then(|at| at.checked_add(4));
        address = address.and_then(|at| at.checked_add(u32::try_from(variable.len()).ok()?));
    }
    Ok(Errno::Success)
}

/// Bytes from the operating system, at most 64 KiB a call.
fn random_get<E: Environment>(caller: &mut Caller<'_, State<E>>, (address, len): (u32, u32)) -> WasiResult {
    if len as usize > RANDOM_BYTES_MAX {
        return Ok(Errno::Inval);
    }
    let mut chunk = [0; 256];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(256);
        let wanted = &mut chunk[..want as usize];
        match rustix::rand::getrandom(&mut *wanted, rustix::rand::GetRandomFlags::empty()) {
            Ok(read) if read == want as usize => {}
            // Up to 256 bytes come whole once the pool is ready; anything else is the kernel's refusal.
            _ => return Ok(Errno::NoSys),
        }
        let written = address.checked_add(done).and_then(|at| caller.write(at, wanted));
        if written.is_none() {
            return Ok(Errno::Fault);
        }
        done += want;
    }
    Ok(Errno::Success)
}

fn sched_yield<E: Environment>(_: &mut Caller<'_, State<E>>, (): ()) -> WasiResult {
    Ok(Errno::Success)
}

fn proc_raise<E: Environment>(_: &mut Caller<'_, State<E>>, _: u32) -> WasiResult {
    Ok(Errno::NoSys)
}

fn proc_exit<E: Environment>(_: &mut Caller<'_, State<E>>, code: u32) -> Result<(), Trap> {
    Err(Trap::Exit(code))
}

fn pthread_equal<E: Environment>(
    _: &mut Caller<'_, State<E>>,
    (left, right): (u32, u32),
) -> Result<u32, Trap> {
    Ok(u32::from(left == right))
}

fn notify_memory_growth<E: Environment>(_: &mut Caller<'_, State<E>>, _: u32) -> Result<(), Trap> {
    Ok(())
}
