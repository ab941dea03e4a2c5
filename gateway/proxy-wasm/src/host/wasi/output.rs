//! Standard output and error, which become lines of the guest's log.

use tollgate_wasmedge::{Caller, Linker};

use super::{WasiResult, errno_of, wasi};
use crate::abi::LogLevel;
use crate::abi::status::Errno;
use crate::environment::Environment;
use crate::host::State;
use crate::limits::{IOVECS_MAX, LOG_LINE_BYTES_MAX};

const STDOUT: u32 = 1;
const STDERR: u32 = 2;
/// `__wasi_filetype_t`: character device.
const CHARACTER_DEVICE: u8 = 2;
/// `__WASI_RIGHTS_FD_WRITE`.
const RIGHT_WRITE: u64 = 1 << 6;

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    wasi!(linker,
        "fd_write" => fd_write,
        "fd_fdstat_get" => fd_fdstat_get,
    );
}

/// One call is one line: cut at 8 KiB, less one newline at its end.
fn fd_write<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (fd, vectors, count, written_out): (u32, u32, u32, u32),
) -> WasiResult {
    let level = match fd {
        STDOUT => LogLevel::Info,
        STDERR => LogLevel::Error,
        _ => return Ok(Errno::BadF),
    };
    if count > IOVECS_MAX {
        return Ok(Errno::Inval);
    }
    let host = State::<E>::clone(caller.state());
    let gathered = host.with_scratch(|line| {
        line.clear();
        let total = gather(caller, vectors, count, line)?;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if !line.is_empty() && host.wants_log(level) {
            host.log(level, line);
        }
        Some(total)
    });
    Ok(errno_of(gathered.and_then(|total| caller.write_u32(written_out, total))))
}

/// Appends what the vectors point to, up to a line's limit; returns the bytes they name in all.
fn gather<E: Environment>(
    caller: &Caller<'_, State<E>>,
    vectors: u32,
    count: u32,
    line: &mut Vec<u8>,
) -> Option<u32> {
    let mut total = 0u32;
    for index in 0..count {
        let vector = vectors.checked_add(index * 8)?; // index < IOVECS_MAX
        let (address, len) = (caller.read_u32(vector)?, caller.read_u32(vector.checked_add(4)?)?);
        let bytes = caller.read(address, len)?;
        let room = LOG_LINE_BYTES_MAX - line.len();
        line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        total = total.checked_add(len)?;
    }
    Some(total)
}

/// `__wasi_fdstat_t`: file type, flags, rights, inherited rights; 24 bytes.
fn fd_fdstat_get<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (fd, stat_out): (u32, u32),
) -> WasiResult {
    if fd != STDOUT && fd != STDERR {
        return Ok(Errno::BadF);
    }
    let mut stat = [0; 24];
    stat[0] = CHARACTER_DEVICE;
    stat[8..16].copy_from_slice(&RIGHT_WRITE.to_le_bytes());
    Ok(errno_of(caller.write(stat_out, &stat)))
}
