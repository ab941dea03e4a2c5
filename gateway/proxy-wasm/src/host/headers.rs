//! Header maps and trailers.
//!
//! A map that is not available reads as empty (NOT_FOUND for one value), since SDKs panic on
//! BAD_ARGUMENT; a write to it is refused (see [`crate::environment`]).
//!
//! So a change of one header is answered OK whatever comes of it, and need not be done at once: the engine has
//! most of them posted ([`tollgate_wasmedge::Posted`]), which spares a call each.

use tollgate_wasmedge::{Caller, Edit, Linker, Posted, Trap};

use super::memory::{Copied, ReturnSlot, return_bytes, status_of};
use super::{Host, State, host_functions};
use crate::abi::AbiVersion;
use crate::abi::status::Status;
use crate::abi::types::{MapType, WireMap};
use crate::environment::{Environment, MapError, RefusalReason, Stream};
use crate::host_calls::index_of;
use crate::limits::{HEADER_NAME_BYTES_MAX, HEADER_VALUE_BYTES_MAX};
use crate::pairs::{self, PairsError};

const SET_PAIRS: &str = "proxy_set_header_map_pairs";
const ADD: &str = "proxy_add_header_map_value";
const REPLACE: &str = "proxy_replace_header_map_value";
const REMOVE: &str = "proxy_remove_header_map_value";

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_get_header_map_size" => size,
        "proxy_get_header_map_pairs" => get_pairs,
        "proxy_set_header_map_pairs" => set_pairs,
        "proxy_get_header_map_value" => get_value,
        "proxy_add_header_map_value" => add_value,
        "proxy_replace_header_map_value" => replace_value,
        "proxy_remove_header_map_value" => remove_value,
    );
}

/// The bytes that `proxy_get_header_map_pairs` would return.
fn size<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (map, size_out): (u32, u32),
) -> Result<Status, Trap> {
    let bytes = match (WireMap::from_wire(map), caller.state().stream()) {
        (None, _) => return Ok(Status::BadArgument),
        (Some(WireMap::Stream(map)), Some(stream)) => pairs::encoded_len(|f| stream.map_pairs(map, f)),
        (Some(WireMap::Call(map)), _) => caller.state().call_reply(map).map_or(0, |reply| {
            pairs::encoded_len(|f| {
                reply.map_pairs(map, f);
                true
            })
        }),
        (Some(WireMap::Stream(_)), None) => 0,
    };
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Ok(status_of(caller.write_u32(size_out, bytes)))
}

fn get_pairs<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (map, address, size): (u32, u32, u32),
) -> Result<Status, Trap> {
    let slot = ReturnSlot { address, size };
    let host = State::<E>::clone(caller.state());
    match (WireMap::from_wire(map), host.stream()) {
        (None, _) => Ok(Status::BadArgument),
        (Some(WireMap::Stream(map)), Some(stream)) => host.with_scratch(|scratch| {
            pairs::encode(scratch, |f| stream.map_pairs(map, f));
            return_bytes(caller, scratch, slot)
        }),
        (Some(WireMap::Call(map)), _) => host.with_scratch(|scratch| {
            let reply = host.call_reply(map);
            pairs::encode(scratch, |f| reply.as_ref().map(|reply| reply.map_pairs(map, f)).is_some());
            return_bytes(caller, scratch, slot)
        }),
        (Some(WireMap::Stream(_)), None) => return_bytes(caller, &[], slot),
    }
}

fn set_pairs<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (map, address, len): (u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(blob) = caller.read(address, len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let pairs = match pairs::decode(blob) {
        Ok(pairs) => pairs,
        Err(PairsError::TooLarge) => return Ok(host.refuse(SET_PAIRS, RefusalReason::TooLarge)),
        Err(PairsError::Malformed) => return Ok(host.refuse(SET_PAIRS, RefusalReason::Malformed)),
    };
    Ok(write(caller, SET_PAIRS, map, |stream, map| {
        pairs.iter().try_for_each(|(name, value)| check_lengths(name, value))?;
        stream.map_replace_all(map, &pairs)
    }))
}

/// The hot one: the name is copied to the stack, the value goes straight into the guest.
fn get_value<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (map, name, name_len, address, size): (u32, u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let slot = ReturnSlot { address, size };
    if name_len as usize > HEADER_NAME_BYTES_MAX {
        return missing(caller, slot);
    }
    let Some(name) = Copied::read(caller, name, name_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let map = match WireMap::from_wire(map) {
        Some(WireMap::Stream(map)) => map,
        Some(WireMap::Call(map)) => {
            let reply = caller.state().call_reply(map);
            return match reply.as_ref().and_then(|reply| reply.map_get(map, name.as_slice())) {
                Some(value) => return_bytes(caller, value, slot),
                None => missing(caller, slot),
            };
        }
        None => return Ok(Status::BadArgument),
    };
    let Some(stream) = caller.state().stream() else {
        return missing(caller, slot);
    };
    let found = stream.map_get(map, name.as_slice(), |value| match value {
        Some(value) => return_bytes(caller, value, slot),
        None => missing(caller, slot),
    });
    found.unwrap_or_else(|| missing(caller, slot))
}

/// What a header that is not there reads as: ABI 0.1.0 has no status for it.
fn missing<E: Environment>(caller: &mut Caller<'_, State<E>>, slot: ReturnSlot) -> Result<Status, Trap> {
    match caller.state().abi {
        AbiVersion::V0_1_0 => return_bytes(caller, &[], slot),
        AbiVersion::V0_2_0 | AbiVersion::V0_2_1 | AbiVersion::V0_2_100 => Ok(Status::NotFound),
    }
}

type NameAndValue = (u32, u32, u32, u32, u32);

fn add_value<E: Environment>(caller: &mut Caller<'_, State<E>>, args: NameAndValue) -> Result<Status, Trap> {
    write_value(caller, ADD, args, E::Stream::map_add)
}

fn replace_value<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    args: NameAndValue,
) -> Result<Status, Trap> {
    write_value(caller, REPLACE, args, E::Stream::map_set)
}

fn write_value<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    function: &'static str,
    (map, name, name_len, value, value_len): NameAndValue,
    change: impl FnOnce(&E::Stream, MapType, &[u8], &[u8]) -> Result<(), MapError>,
) -> Result<Status, Trap> {
    let (Some(name), Some(value)) = (caller.read(name, name_len), caller.read(value, value_len)) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    Ok(write(caller, function, map, |stream, map| {
        check_lengths(name, value)?;
        change(stream, map, name, value)
    }))
}

/// Does what the guest was told is done: changes that it has posted. Before each host function, since any may
/// tell the difference.
#[inline]
pub(super) fn do_posted<E: Environment>(caller: &mut Caller<'_, State<E>>) {
    if caller.has_posted() {
        let host = State::<E>::clone(caller.state());
        caller.take_posted(|posted| do_one(&host, posted));
    }
}

/// A change that the guest has posted, to the exchange that is active.
pub(crate) fn do_one<E: Environment>(host: &Host<E>, posted: Posted<'_>) {
    let Posted { edit, map, name, value } = posted;
    // Only changes of these maps are posted.
    let Some(WireMap::Stream(map)) = WireMap::from_wire(map) else { return };
    let (function, index) = match edit {
        Edit::Add => const { (ADD, index_of(ADD)) },
        Edit::Replace => const { (REPLACE, index_of(REPLACE)) },
        Edit::Remove => const { (REMOVE, index_of(REMOVE)) },
    };
    host.count_call(index);
    host.write(function, |stream| {
        check_lengths(name, value)?;
        match edit {
            Edit::Add => stream.map_add(map, name, value),
            Edit::Replace => stream.map_set(map, name, value),
            Edit::Remove => stream.map_remove(map, name),
        }
    });
}

fn remove_value<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (map, name, name_len): (u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(name) = caller.read(name, name_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    Ok(write(caller, REMOVE, map, |stream, map| {
        check_lengths(name, &[])?;
        stream.map_remove(map, name)
    }))
}

fn write<E: Environment>(
    caller: &Caller<'_, State<E>>,
    function: &'static str,
    map: u32,
    change: impl FnOnce(&E::Stream, MapType) -> Result<(), MapError>,
) -> Status {
    let host = caller.state();
    match WireMap::from_wire(map) {
        Some(WireMap::Stream(map)) => host.write(function, |stream| change(stream, map)),
        Some(WireMap::Call(_)) => host.refuse(function, RefusalReason::Unavailable),
        None => Status::BadArgument,
    }
}

fn check_lengths(name: &[u8], value: &[u8]) -> Result<(), MapError> {
    let fits = name.len() <= HEADER_NAME_BYTES_MAX && value.len() <= HEADER_VALUE_BYTES_MAX;
    if fits { Ok(()) } else { Err(MapError::TooLarge) }
}
