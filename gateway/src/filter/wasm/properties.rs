//! Properties of an exchange, encoded as Envoy encodes them: text raw, numbers 8 bytes
//! little-endian, times and durations in nanoseconds. What a guest sets is kept per exchange, at
//! most 64 properties of 64 KiB together, readable by the filters after it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Version};
use tollgate_proxy_wasm::PropertyError;

use crate::filter::exchange::{Exchange, Property};

const COUNT_MAX: usize = 64;
const BYTES_MAX: usize = 64 << 10;

/// Roots that only the gateway writes.
const OURS: [&[u8]; 8] =
    [b"connection", b"source", b"destination", b"request", b"response", b"upstream", b"xds", b"route_name"];

/// Passes a property to `f`.
pub(in crate::filter) fn read<R>(exchange: &Exchange, path: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    if let Some(field) = path.strip_prefix(b"request\0headers\0") {
        let head = exchange.request();
        return header(&head.headers, field).map(f);
    }
    if let Some(field) = path.strip_prefix(b"response\0headers\0") {
        let head = exchange.response();
        return head.as_ref().and_then(|head| header(&head.headers, field)).map(f);
    }
    match text(exchange, path) {
        Some(text) => return Some(f(text.as_bytes())),
        None => {
            if let Some(number) = number(exchange, path) {
                return Some(f(&number.to_le_bytes()));
            }
        }
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
pub(super) fn store(set: &RefCell<Vec<Property>>, path: &[u8], value: &[u8]) -> Result<(), PropertyError> {
    let root = path.split(|byte| *byte == 0).next().unwrap_or_default();
    if OURS.contains(&root) {
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

fn text(exchange: &Exchange, path: &[u8]) -> Option<String> {
    let head = || exchange.request();
    Some(match path {
        b"source\0address" => SocketAddr::new(exchange.client.address, client_port(exchange)).to_string(),
        b"destination\0address" => exchange.client.local.to_string(),
        b"upstream\0address" => exchange.upstream_address.borrow().as_deref()?.to_owned(),
        b"request\0path" => head().target.as_str().to_owned(),
        b"request\0url_path" => head().target.path().to_owned(),
        b"request\0query" => head().target.query().unwrap_or_default().to_owned(),
        b"request\0method" => head().method.as_str().to_owned(),
        b"request\0scheme" => "http".to_owned(),
        b"request\0host" => field(&head().headers, "host")?,
        b"request\0referer" => field(&head().headers, "referer")?,
        b"request\0useragent" => field(&head().headers, "user-agent")?,
        b"request\0id" => exchange.request_id.to_str().ok()?.to_owned(),
        b"request\0protocol" => protocol(exchange.client.version).to_owned(),
        b"xds\0route_name" | b"route_name" => exchange.route.borrow().as_deref()?.to_owned(),
        _ => return None,
    })
}

fn number(exchange: &Exchange, path: &[u8]) -> Option<i64> {
    Some(match path {
        b"source\0port" => client_port(exchange).into(),
        b"destination\0port" => exchange.client.local.port().into(),
        b"request\0time" => nanoseconds(exchange.time()),
        b"request\0duration" => i64::try_from(exchange.started.elapsed().as_nanos()).unwrap_or(i64::MAX),
        b"request\0size" => declared_length(&exchange.request().headers)?,
        b"response\0code" => exchange.response().as_ref()?.status.as_u16().into(),
        b"response\0size" => declared_length(&exchange.response().as_ref()?.headers)?,
        _ => return None,
    })
}

/// The peer's port; behind a trusted proxy the client's own is not known.
fn client_port(exchange: &Exchange) -> u16 {
    match exchange.client.address == exchange.client.peer.ip().to_canonical() {
        true => exchange.client.peer.port(),
        false => 0,
    }
}

fn header<'a>(map: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    crate::filter::edit::field(map, name)
}

fn field(map: &HeaderMap, name: &str) -> Option<String> {
    map.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn declared_length(map: &HeaderMap) -> Option<i64> {
    map.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_nanos()).ok()).unwrap_or_default()
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
