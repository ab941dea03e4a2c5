//! What the gateway knows of an exchange, by the names and in the encodings of Envoy's attributes.
//!
//! Left out, as there is nothing behind them here: TLS (every listener is in the clear), metadata, the
//! node, the upstream's locality, durations inside the upstream's pool. A sum that grows (`size`,
//! `total_size`, `duration`) is that of the moment; all are whole in `proxy_on_log`.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, StatusCode, Version};
use tollgate_proxy_wasm::{MapType, encode_pairs};

use super::super::seat::walk;
use super::flags;
use crate::filter::edit;
use crate::filter::exchange::{self, Client, Exchange, Side};
use crate::policy::route::{Action, Route};
use crate::policy::upstream::Upstream;

/// Passes the attribute `root`, `name` to `f`; the segments of `name` are separated by NUL.
pub(super) fn read<R>(
    exchange: &Exchange,
    root: &[u8],
    name: &[u8],
    f: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    match root {
        b"request" => request(exchange, name, f),
        b"response" => response(exchange, name, f),
        b"connection" => connection(&exchange.client, name, f),
        b"source" => source(&exchange.client, name, f),
        b"destination" => address(exchange.client.local, name, f),
        b"upstream" => upstream(exchange, name, f),
        b"xds" => configuration(exchange, name, f),
        // The names of older filters.
        _ if name.is_empty() => configuration(exchange, root, f),
        _ => None,
    }
}

fn request<R>(exchange: &Exchange, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let head = exchange.request();
    let value = |name: &str| head.headers.get(name).map(HeaderValue::as_bytes);
    match name {
        b"path" => Some(f(head.target.as_str().as_bytes())),
        b"url_path" => Some(f(head.target.path().as_bytes())),
        b"query" => Some(f(head.target.query().unwrap_or_default().as_bytes())),
        b"method" => Some(f(head.method.as_str().as_bytes())),
        b"host" => edit::request_pseudo(&head, b":authority").map(f),
        b"scheme" => edit::request_pseudo(&head, b":scheme").map(f),
        b"referer" => value("referer").map(f),
        b"useragent" => value("user-agent").map(f),
        b"id" => Some(f(exchange.request_id.as_bytes())),
        b"protocol" => Some(f(protocol(exchange.client.version))),
        b"time" => Some(int(nanoseconds(exchange.time()), f)),
        b"duration" => Some(int(saturated(exchange.started.elapsed().as_nanos()), f)),
        b"size" => Some(int(declared_length(&head.headers).unwrap_or_else(|| received(exchange)), f)),
        b"total_size" => {
            Some(int(received(exchange).saturating_add(bytes_of(exchange, MapType::RequestHeaders)), f))
        }
        b"headers" => pairs(exchange, MapType::RequestHeaders, f),
        b"headers_bytes" => Some(int(bytes_of(exchange, MapType::RequestHeaders), f)),
        _ => match name.strip_prefix(b"headers\0")? {
            pseudo @ [b':', ..] => edit::request_pseudo(&head, pseudo).map(f),
            name => joined(&head.headers, name, f),
        },
    }
}

fn response<R>(exchange: &Exchange, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let sent = || saturated(exchange.course.sent.get().into());
    let sum = |maps: &[MapType]| maps.iter().map(|map| bytes_of(exchange, *map)).sum::<i64>();
    match name {
        b"code" => status(exchange).map(|status| int(status.as_u16().into(), f)),
        b"code_details" => details(exchange, f),
        b"flags" => Some(int(flags::of(exchange.course.error.get()), f)),
        b"grpc_status" => grpc_status(exchange).map(|status| int(status.into(), f)),
        b"size" => Some(int(sent(), f)),
        b"total_size" => {
            let heads = sum(&[MapType::ResponseHeaders, MapType::ResponseTrailers]);
            Some(int(sent().saturating_add(heads), f))
        }
        b"headers" => pairs(exchange, MapType::ResponseHeaders, f),
        b"headers_bytes" => Some(int(sum(&[MapType::ResponseHeaders]), f)),
        b"trailers" => pairs(exchange, MapType::ResponseTrailers, f),
        b"headers\0:status" => status(exchange).map(|status| f(status.as_str().as_bytes())),
        _ => {
            if let Some(name) = name.strip_prefix(b"headers\0") {
                return joined(&exchange.response().as_ref()?.headers, name, f);
            }
            let name = name.strip_prefix(b"trailers\0")?;
            joined(exchange.trailers(Side::Response).borrow().as_ref()?, name, f)
        }
    }
}

/// Every listener is in the clear.
fn connection<R>(client: &Client, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    match name {
        b"id" => Some(f(&client.connection.to_le_bytes())),
        b"mtls" => Some(f(&[0])),
        b"requested_server_name" => Some(f(b"")),
        _ => None,
    }
}

/// Behind a trusted proxy the client's own port is not known, and said to be 0.
fn source<R>(client: &Client, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let port = match client.address == client.peer.ip().to_canonical() {
        true => client.peer.port(),
        false => 0,
    };
    address(SocketAddr::new(client.address, port), name, f)
}

fn address<R>(end: SocketAddr, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    match name {
        b"address" => Some(f(end.to_string().as_bytes())),
        b"port" => Some(int(end.port().into(), f)),
        _ => None,
    }
}

/// Where the endpoint was given by name, its address is that name.
fn upstream<R>(exchange: &Exchange, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let endpoint = exchange.upstream_address.borrow();
    match name {
        b"address" => endpoint.as_deref().map(|endpoint| f(endpoint.as_bytes())),
        b"port" => endpoint.as_deref()?.rsplit(':').next()?.parse().ok().map(|port| int(port, f)),
        b"num_endpoints" => {
            let route = exchange.route.borrow();
            let count = upstream_of(route.as_deref()?)?.endpoints.len() as u64;
            Some(f(&count.to_le_bytes()))
        }
        b"request_attempt_count" => Some(f(&u64::from(endpoint.is_some()).to_le_bytes())),
        b"transport_failure_reason" => endpoint.is_some().then(|| f(b"")),
        _ => None,
    }
}

fn configuration<R>(exchange: &Exchange, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let route = exchange.route.borrow();
    let route = route.as_deref();
    match name {
        b"route_name" => route.map(|route| f(route.name.as_bytes())),
        b"cluster_name" => upstream_of(route?).map(|upstream| f(upstream.name.as_bytes())),
        // Neither inbound nor outbound: an edge has no direction.
        b"listener_direction" => Some(int(0, f)),
        _ => None,
    }
}

fn upstream_of(route: &Route) -> Option<&Upstream> {
    match &route.action {
        Action::Forward { upstream, .. } => Some(upstream),
        Action::Redirect(_) | Action::Respond(_) => None,
    }
}

/// That of the response's head while there is one, later what was answered.
fn status(exchange: &Exchange) -> Option<StatusCode> {
    let head = exchange.response().as_ref().map(|head| head.status);
    head.or(exchange.course.status.get())
}

/// Why the answer is what it is: the gateway's error, a filter's reason, or who answered.
fn details<R>(exchange: &Exchange, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    status(exchange)?;
    if let Some(error) = exchange.course.error.get() {
        return Some(f(error.as_bytes()));
    }
    if let Some(ended) = &*exchange.course.ended.borrow() {
        return Some(f(ended.reason.as_bytes()));
    }
    match exchange.upstream_address.borrow().is_some() {
        true => Some(f(b"via_upstream")),
        false => Some(f(b"direct_response")),
    }
}

/// From trailers, from the head, or what gRPC makes of the HTTP status.
fn grpc_status(exchange: &Exchange) -> Option<u32> {
    let trailers = exchange.trailers(Side::Response).borrow();
    let head = exchange.response();
    let told = trailers.as_ref().and_then(exchange::grpc_status).or(exchange.course.grpc_status.get());
    let told = told.or_else(|| exchange::grpc_status(&head.as_ref()?.headers));
    drop(head);
    told.or_else(|| status(exchange).map(|status| from_http(status.as_u16())))
}

/// What gRPC makes of an HTTP status ("HTTP to gRPC Status Code Mapping").
fn from_http(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// All values of a field, joined by commas.
fn joined<R>(map: &HeaderMap, name: &[u8], f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let mut values = map.get_all(std::str::from_utf8(name).ok()?).iter().map(HeaderValue::as_bytes);
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(f(first)) };
    let mut all = [first, b",", second].concat();
    for value in values {
        all.push(b',');
        all.extend_from_slice(value);
    }
    Some(f(&all))
}

/// A whole map; an absent one is empty.
fn pairs<R>(exchange: &Exchange, map: MapType, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let mut encoded = Vec::new();
    encode_pairs(&mut encoded, |each| walk(exchange, map, each));
    Some(f(&encoded))
}

/// Names and values of a map.
fn bytes_of(exchange: &Exchange, map: MapType) -> i64 {
    let mut bytes = 0;
    walk(exchange, map, &mut |name, value| bytes += name.len() + value.len());
    saturated(bytes as u128)
}

fn received(exchange: &Exchange) -> i64 {
    saturated(exchange.course.received.get().into())
}

fn declared_length(map: &HeaderMap) -> Option<i64> {
    map.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn int<R>(number: i64, f: impl FnOnce(&[u8]) -> R) -> R {
    f(&number.to_le_bytes())
}

fn saturated(number: u128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| saturated(since.as_nanos()))
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2",
        _ => b"HTTP/1.1",
    }
}
