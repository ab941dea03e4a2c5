//! What the ABI's shared data lack: delete, time to live, and counting without a loop of reads and
//! writes. The layouts stand in the table of `foreign`.

use std::time::Duration;

use super::Outcome;
use crate::abi::status::Status;
use crate::environment::Environment;
use crate::host::Host;
use crate::shared_data::{IncrementError, Lifetime};

/// NOT_FOUND if there is no such key.
pub(super) fn delete<E: Environment>(host: &Host<E>, key: &[u8]) -> Outcome {
    if host.shared.delete(key) { Ok(Vec::new()) } else { Err(Status::NotFound) }
}

/// NOT_FOUND if there is no such key.
pub(super) fn set_ttl<E: Environment>(host: &Host<E>, arguments: &[u8]) -> Outcome {
    let (ttl, key) = take_u64(arguments)?;
    if host.shared.set_lifetime(key, lifetime(ttl)) { Ok(Vec::new()) } else { Err(Status::NotFound) }
}

/// BAD_ARGUMENT if the key holds something that is no number, INTERNAL_FAILURE beyond a limit.
pub(super) fn increment<E: Environment>(host: &Host<E>, arguments: &[u8]) -> Outcome {
    let (delta, rest) = take_u64(arguments)?;
    let (ttl, key) = take_u64(rest)?;
    match host.shared.increment(key, delta.cast_signed(), lifetime(ttl)) {
        Ok(sum) => Ok(sum.to_le_bytes().to_vec()),
        Err(IncrementError::NotANumber) => Err(Status::BadArgument),
        Err(IncrementError::TooLarge) => Err(Status::InternalFailure),
    }
}

fn lifetime(milliseconds: u64) -> Lifetime {
    match milliseconds {
        0 => Lifetime::Endless,
        some => Lifetime::For(Duration::from_millis(some)),
    }
}

fn take_u64(bytes: &[u8]) -> Result<(u64, &[u8]), Status> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(Status::BadArgument)?;
    Ok((u64::from_le_bytes(*number), rest))
}
