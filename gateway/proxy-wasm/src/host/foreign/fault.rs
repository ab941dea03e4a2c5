//! A guest that interprets something, a script say, and cannot go on: it says so, and lives on. A trap
//! would take its instance, and every other script in it.

use super::Outcome;
use crate::abi::status::Status;
use crate::environment::{Environment, FaultKind, GuestFault};
use crate::host::Host;

/// Bytes of a reason; the rest is cut.
const REASON_MAX: usize = 256;

/// BAD_ARGUMENT for a kind that is not known, and while the VM starts, where a refused start says it all.
pub(super) fn fail<E: Environment>(host: &Host<E>, arguments: &[u8]) -> Outcome {
    let (kind, reason) = arguments.split_first().ok_or(Status::BadArgument)?;
    let kind = match kind {
        0 => FaultKind::Error,
        1 => FaultKind::Budget,
        _ => return Err(Status::BadArgument),
    };
    let plugin = host.plugin().ok_or(Status::BadArgument)?;
    let reason = String::from_utf8_lossy(&reason[..reason.len().min(REASON_MAX)]);
    let reason = reason[..reason.floor_char_boundary(REASON_MAX)].into();
    host.env.fault(&plugin, host.stream().as_deref(), GuestFault { kind, reason });
    Ok(Vec::new())
}
