#![allow(clippy::unwrap_used)]

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::super::super::exchange::{Client, Exchange, RequestHead, ResponseHead, Side};
use super::super::super::run::Ended;
use crate::telemetry::Phase;

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(field).collect()
}

fn exchange(headers: &[(&'static str, &'static str)]) -> Exchange {
    let client = Client {
        address: "192.0.2.7".parse().unwrap(),
        peer: "192.0.2.7:4711".parse().unwrap(),
        local: "[2001:db8::1]:443".parse().unwrap(),
        version: Version::HTTP_11,
        connection: 9,
    };
    let head =
        RequestHead { method: Method::PUT, target: "/a/b?c=d".parse().unwrap(), headers: fields(headers) };
    Exchange::new(client, HeaderValue::from_static("id-1"), head, Instant::now(), 1 << 20)
}

fn respond(exchange: &Exchange, status: u16, headers: &[(&'static str, &'static str)]) {
    let status = StatusCode::from_u16(status).unwrap();
    exchange.set_response(ResponseHead { status, headers: fields(headers) });
}

/// A path as people write it.
fn get(exchange: &Exchange, path: &str) -> Option<Vec<u8>> {
    exchange.property(path.replace('.', "\0").as_bytes())
}

fn int(number: i64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

#[test]
fn requests() {
    let exchange = exchange(&[
        ("host", "shop.test:80"),
        ("referer", "/from"),
        ("user-agent", "curl"),
        ("x-one", "1"),
        ("x-many", "1"),
        ("x-many", "2"),
        ("x-many", "3"),
    ]);
    exchange.course.received.set(5);
    // Names and values, the four pseudo-headers among them.
    let bytes = ":authorityshop.test:80:path/a/b?c=d:methodPUT:schemehttp".len()
        + "referer/fromuser-agentcurlx-one1x-many1x-many2x-many3".len();
    let bytes = i64::try_from(bytes).unwrap();
    let table: [(&str, Option<Vec<u8>>); 26] = [
        ("request.path", Some(b"/a/b?c=d".to_vec())),
        ("request.url_path", Some(b"/a/b".to_vec())),
        ("request.query", Some(b"c=d".to_vec())),
        ("request.method", Some(b"PUT".to_vec())),
        ("request.host", Some(b"shop.test:80".to_vec())),
        ("request.scheme", Some(b"http".to_vec())),
        ("request.referer", Some(b"/from".to_vec())),
        ("request.useragent", Some(b"curl".to_vec())),
        ("request.id", Some(b"id-1".to_vec())),
        ("request.protocol", Some(b"HTTP/1.1".to_vec())),
        ("request.size", Some(int(5))),
        ("request.total_size", Some(int(5 + bytes))),
        ("request.headers_bytes", Some(int(bytes))),
        ("request.headers.x-one", Some(b"1".to_vec())),
        ("request.headers.x-many", Some(b"1,2,3".to_vec())),
        ("request.headers.:path", Some(b"/a/b?c=d".to_vec())),
        ("request.headers.:authority", Some(b"shop.test:80".to_vec())),
        ("request.headers.:status", None),
        ("request.headers.x-none", None),
        ("request.headers.X-One", Some(b"1".to_vec())),
        ("request.unknown", None),
        ("request", None),
        ("request.path.more", None),
        ("connection.id", Some(9_u64.to_le_bytes().to_vec())),
        ("connection.mtls", Some(vec![0])),
        ("connection.tls_version", None),
    ];
    for (path, expected) in table {
        assert_eq!(get(&exchange, path), expected, "{path}");
    }
    let time = i64::from_le_bytes(get(&exchange, "request.time").unwrap().try_into().unwrap());
    assert!(time > 1_700_000_000_000_000_000, "nanoseconds since 1970");
    assert_eq!(get(&exchange, "request.duration").unwrap().len(), 8);
}

#[test]
fn a_declared_length_is_the_size() {
    let exchange = exchange(&[("content-length", "12")]);
    exchange.course.received.set(5);
    assert_eq!(get(&exchange, "request.size"), Some(int(12)));
}

#[test]
fn whole_maps_are_pairs() {
    let exchange = exchange(&[]);
    assert_eq!(get(&exchange, "response.headers"), Some(vec![]), "an absent map is empty");
    respond(&exchange, 200, &[("a", "bc")]);
    let expected = b"\x02\0\0\0\x07\0\0\0\x03\0\0\0\x01\0\0\0\x02\0\0\0:status\x00200\0a\0bc\0".to_vec();
    assert_eq!(get(&exchange, "response.headers"), Some(expected));
    assert_eq!(get(&exchange, "response.trailers"), Some(vec![]));
}

#[test]
fn ends_of_connections() {
    let mut exchange = exchange(&[]);
    let table: [(&str, Vec<u8>); 5] = [
        ("source.address", b"192.0.2.7:4711".to_vec()),
        ("source.port", int(4711)),
        ("destination.address", b"[2001:db8::1]:443".to_vec()),
        ("destination.port", int(443)),
        ("connection.requested_server_name", vec![]),
    ];
    for (path, expected) in table {
        assert_eq!(get(&exchange, path), Some(expected), "{path}");
    }
    exchange.client.address = "198.51.100.1".parse().unwrap();
    assert_eq!(get(&exchange, "source.address").unwrap(), b"198.51.100.1:0", "behind a trusted proxy");
}

#[test]
fn responses() {
    let exchange = exchange(&[]);
    for path in ["response.code", "response.code_details", "response.grpc_status", "upstream.address"] {
        assert_eq!(get(&exchange, path), None, "{path} before there is a response");
    }
    assert_eq!(get(&exchange, "upstream.request_attempt_count"), Some(int(0)));
    respond(&exchange, 404, &[("x-one", "1")]);
    exchange.set_upstream_address("[::1]:8080".into());
    exchange.course.sent.set(7);
    let table: [(&str, Option<Vec<u8>>); 14] = [
        ("response.code", Some(int(404))),
        ("response.code_details", Some(b"via_upstream".to_vec())),
        ("response.flags", Some(int(0))),
        ("response.grpc_status", Some(int(12))),
        ("response.size", Some(int(7))),
        ("response.headers_bytes", Some(int(7 + 3 + 6))),
        ("response.total_size", Some(int(7 + 16))),
        ("response.headers.x-one", Some(b"1".to_vec())),
        ("response.headers.:status", Some(b"404".to_vec())),
        ("response.trailers.x-one", None),
        ("upstream.address", Some(b"[::1]:8080".to_vec())),
        ("upstream.port", Some(int(8080))),
        ("upstream.request_attempt_count", Some(int(1))),
        ("upstream.local_address", None),
    ];
    for (path, expected) in table {
        assert_eq!(get(&exchange, path), expected, "{path}");
    }
}

#[test]
fn the_status_of_grpc_is_the_latest_that_is_told() {
    let exchange = exchange(&[]);
    respond(&exchange, 200, &[]);
    assert_eq!(get(&exchange, "response.grpc_status"), Some(int(2)), "unknown");
    respond(&exchange, 200, &[("grpc-status", "3")]);
    assert_eq!(get(&exchange, "response.grpc_status"), Some(int(3)));
    exchange.course.grpc_status.set(Some(4));
    assert_eq!(get(&exchange, "response.grpc_status"), Some(int(4)));
    exchange.trailers(Side::Response).replace(Some(fields(&[("grpc-status", "5"), ("x-one", "1")])));
    assert_eq!(get(&exchange, "response.grpc_status"), Some(int(5)));
    assert_eq!(get(&exchange, "response.trailers.x-one").unwrap(), b"1");
}

#[test]
fn what_went_wrong() {
    let failed = exchange(&[]);
    failed.course.status.set(Some(StatusCode::BAD_GATEWAY));
    failed.course.error.set(Some("upstream_connect"));
    assert_eq!(get(&failed, "response.code"), Some(int(502)));
    assert_eq!(get(&failed, "response.code_details").unwrap(), b"upstream_connect");
    assert_eq!(get(&failed, "response.flags"), Some(int(1 << 5)));
    let denied = exchange(&[]);
    respond(&denied, 403, &[]);
    assert_eq!(get(&denied, "response.code_details").unwrap(), b"direct_response");
    let ended = Ended { filter: "f".into(), phase: Phase::RequestHeaders, reason: "no_token".into() };
    denied.course.ended.replace(Some(ended));
    assert_eq!(get(&denied, "response.code_details").unwrap(), b"no_token");
}

#[test]
fn guests_set_their_own_and_not_ours() {
    let exchange = exchange(&[]);
    exchange.set_property(b"mine\0one", b"1").unwrap();
    exchange.set_property(b"mine\0one", b"2").unwrap();
    assert_eq!(get(&exchange, "mine.one").unwrap(), b"2");
    assert_eq!(exchange.property(b"filter_state\0wasm.mine\0one").unwrap(), b"2");
    for ours in ["request.path", "response.code", "cluster_name", "xds.route_name", "connection.id"] {
        assert!(exchange.set_property(ours.replace('.', "\0").as_bytes(), b"").is_err(), "{ours}");
    }
    for number in 1..64 {
        exchange.set_property(format!("mine\0{number}").as_bytes(), b"").unwrap();
    }
    assert!(exchange.set_property(b"one\0more", b"").is_err());
}
