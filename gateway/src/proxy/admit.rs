//! What is checked and made uniform before anything else looks at a request.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};

use super::error::ProxyError;
use super::flight::{Flight, Seen};
use crate::filter::{Client, Exchange, RequestHead};
use crate::generation::Generation;
use crate::http::forwarded::{Scheme, Trust, client_address};
use crate::http::request_id::{X_REQUEST_ID, inbound};
use crate::http::{framing, hop, host, path};
use crate::worker::{ConnectionState, Worker};

/// The request's life begins: whatever happens now is logged.
pub(super) fn begin(
    worker: Rc<Worker>,
    connection: &Rc<ConnectionState>,
    parts: Parts,
) -> (Rc<Flight>, Origin) {
    let mut generation = worker.generation();
    let Parts { method, uri, version, headers, .. } = parts;
    let (mut trust, mut address) = client_of(&generation, connection, &headers);
    let mut on_trial = None;
    if let Some(assigned) = worker.assign(address, &headers) {
        generation = assigned.generation;
        (trust, address) = client_of(&generation, connection, &headers);
        on_trial = Some(assigned.on_trial);
    }
    let limits = &generation.blueprint.policy.limits;
    let client = Client {
        address,
        peer: connection.peer_address,
        local: connection.local_address,
        version,
        connection: connection.id,
    };
    let known = if trust == Trust::Trusted { inbound(&headers).cloned() } else { None };
    let request_id = known.unwrap_or_else(|| HeaderValue::from(worker.request_ids().next_id()));
    let seen = worker.access_log().is_on().then(|| Seen {
        method: method.clone(),
        target: uri.path_and_query().cloned(),
        host: headers.get(HOST).cloned(),
        user_agent: headers.get(USER_AGENT).cloned(),
    });
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let buffer_max = usize::try_from(limits.buffer_bytes_max.get()).unwrap_or(usize::MAX);
    let head = RequestHead { method, target, headers };
    let exchange = Rc::new(Exchange::new(client, request_id, head, Instant::now(), buffer_max));
    connection.begin(generation.blueprint.number);
    let flight = Flight::new(worker, Rc::clone(connection), Rc::clone(&generation), exchange, seen, on_trial);
    (flight, Origin { uri, trust })
}

/// Whether the peer is believed, and who the client is.
fn client_of(generation: &Generation, connection: &ConnectionState, headers: &HeaderMap) -> (Trust, IpAddr) {
    let trusted = &generation.blueprint.policy.trusted_proxies;
    let trust = connection.peer.trust(trusted);
    let address = match trust {
        Trust::Untrusted => connection.peer.address(),
        Trust::Trusted => client_address(connection.peer.address(), headers, trusted),
    };
    (trust, address)
}

/// What is left of the head.
pub(super) struct Origin {
    uri: http::Uri,
    trust: Trust,
}

/// Checks the head and makes it uniform; returns the host that it is for, lower-case, without port.
pub(super) fn check(
    flight: &Flight,
    connection: &ConnectionState,
    parts: &Origin,
) -> Result<Option<String>, ProxyError> {
    flight.exchange.with_request(|head| {
        framing::check_request(&head.method, &head.headers)?;
        let host = authority(flight, head, &parts.uri)?;
        head.target = normal_target(&head.target)?;
        hop::strip_request(&mut head.headers)?;
        check_length(&head.headers, flight.generation.blueprint.policy.limits.body_bytes_max.get())?;
        let forwarded_host = head.headers.get(HOST).cloned();
        connection.peer.set_forwarded(&mut head.headers, parts.trust, forwarded_host.as_ref(), Scheme::Http);
        head.headers.insert(X_REQUEST_ID, flight.exchange.request_id.clone());
        if forwarded_host.is_none() {
            // HTTP/1.0 without Host. Upstreams get HTTP/1.1, which must have one (RFC 9110 §7.2).
            head.headers.insert(HOST, HeaderValue::from_static(""));
        }
        Ok(host)
    })
}

/// The host name; an absolute-form target replaces the Host field.
fn authority(flight: &Flight, head: &mut RequestHead, uri: &http::Uri) -> Result<Option<String>, ProxyError> {
    let host = host::of_request(flight.exchange.client.version, uri, &head.headers)?;
    // A name that no route asks for is checked, and not kept.
    let is_asked_for = flight.generation.blueprint.table.has_hosts();
    let name = host.as_ref().filter(|_| is_asked_for).map(|host| host.name.clone().into_owned());
    if host.is_some_and(|host| host.source == host::HostSource::Target)
        && let Some(authority) = uri.authority()
    {
        let value = HeaderValue::try_from(authority.as_str()).map_err(|_| host::HostError::Malformed)?;
        head.headers.insert(HOST, value);
    }
    Ok(name)
}

/// The host name that a request is for after filters have changed it.
pub(super) fn edited_host(exchange: &Exchange) -> Result<Option<String>, ProxyError> {
    let head = exchange.request();
    // What a request of HTTP/1.0 without Host was given.
    if head.headers.get(HOST).is_none_or(HeaderValue::is_empty) {
        return Ok(None);
    }
    let no_target = http::Uri::default();
    let host = host::of_request(exchange.client.version, &no_target, &head.headers)?;
    Ok(host.map(|host| host.name.into_owned()))
}

/// The target with its path in normal form.
fn normal_target(target: &PathAndQuery) -> Result<PathAndQuery, ProxyError> {
    // `OPTIONS *` asks about the server as a whole; no route has such a path.
    let normal = match path::normalise(target.path())? {
        std::borrow::Cow::Borrowed(_) => return Ok(target.clone()),
        std::borrow::Cow::Owned(normal) => normal,
    };
    let whole = match target.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal,
    };
    PathAndQuery::try_from(whole).map_err(|_| ProxyError::Path(path::PathError::NotAbsolute))
}

fn check_length(headers: &HeaderMap, max: u64) -> Result<(), ProxyError> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match declared.is_some_and(|length| length > max) {
        true => Err(ProxyError::BodyTooLarge { max }),
        false => Ok(()),
    }
}
