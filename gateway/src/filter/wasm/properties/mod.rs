//! Properties of an exchange: what the gateway knows of it (`attributes`), and what guests set, kept per
//! exchange, at most 64 properties of 64 KiB together, readable by the filters after it.
//!
//! Names and encodings are Envoy's: text raw, numbers 8 bytes little-endian, truth one byte, times and
//! durations in nanoseconds, maps as pairs. Nothing is computed that nobody asks for.

mod attributes;
mod flags;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use tollgate_proxy_wasm::PropertyError;

use crate::filter::exchange::{Exchange, Property};

const COUNT_MAX: usize = 64;
const BYTES_MAX: usize = 64 << 10;

/// Roots that only the gateway writes.
const OURS: [&[u8]; 10] = [
    b"connection",
    b"source",
    b"destination",
    b"request",
    b"response",
    b"upstream",
    b"xds",
    b"route_name",
    b"cluster_name",
    b"listener_direction",
];

/// Passes a property to `f`.
pub(in crate::filter) fn read<R>(exchange: &Exchange, path: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let (root, name) = split(path);
    if OURS.contains(&root) {
        return attributes::read(exchange, root, name, f);
    }
    find(&exchange.properties, path, f)
}

/// Passes a property that a guest has set to `f`.
pub(in crate::filter) fn find<R>(
    set: &RefCell<Vec<Property>>,
    path: &[u8],
    f: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    let set = set.borrow();
    set.iter().find(|property| is_at(property, path)).map(|property| f(&property.value))
}

/// Stores a property of a guest's own.
pub(in crate::filter) fn write(exchange: &Exchange, path: &[u8], value: &[u8]) -> Result<(), PropertyError> {
    store(&exchange.properties, path, value)
}

/// Stores a property among those that guests have set.
pub(in crate::filter) fn store(
    set: &RefCell<Vec<Property>>,
    path: &[u8],
    value: &[u8],
) -> Result<(), PropertyError> {
    if OURS.contains(&split(path).0) {
        return Err(PropertyError::ReadOnly);
    }
    let mut set = set.borrow_mut();
    let others = set.iter().filter(|property| !is_at(property, path));
    let (count, bytes) = others.fold((0, 0), |(count, bytes), property| {
        (count + 1, bytes + property.key.len() + property.value.len())
    });
    if count >= COUNT_MAX || bytes + path.len() + value.len() > BYTES_MAX {
        return Err(PropertyError::TooLarge);
    }
    set.retain(|property| !is_at(property, path));
    set.push(Property { key: key(path), value: value.into() });
    Ok(())
}

/// A path's first segment and what follows it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == 0) {
        Some(end) => (&path[..end], &path[end + 1..]),
        None => (path, &[]),
    }
}

const FILTER_STATE: &[u8] = b"filter_state\0";
/// What Envoy puts before the path of a property that a guest sets.
const GUEST: &[u8] = b"wasm.";

/// The name in the filter state that a path stands for: `filter_state`, name; or a path of the
/// guest's own.
fn key(path: &[u8]) -> Box<[u8]> {
    match path.strip_prefix(FILTER_STATE) {
        Some(name) => name.into(),
        None => [GUEST, path].concat().into(),
    }
}

fn is_at(property: &Property, path: &[u8]) -> bool {
    match path.strip_prefix(FILTER_STATE) {
        Some(name) => *property.key == *name,
        None => property.key.strip_prefix(GUEST) == Some(path),
    }
}
