//! What the gateway takes off, puts on and rewrites in heads.

use crate::support::{FORWARD_ALL, Gateway, Message, Origin, get, response, upstream};

fn ok() -> Origin {
    Origin::answering(response(200, &[], b"ok"))
}

/// The request as the origin sees it.
fn forwarded(origin: &Origin, gateway: &Gateway, request: impl AsRef<[u8]>) -> Message {
    assert_eq!(gateway.ask(request).status(), 200);
    origin.requests().pop().unwrap()
}

#[test]
fn hop_by_hop_fields_end_here() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
         proxy-authenticate: Basic\r\nupgrade: h2c\r\nx-end: 1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
         content-length: 0\r\n\r\n",
    );
    let gateway = Gateway::before(&origin);
    let answer = gateway.ask(get(
        "/",
        &[
            ("connection", "x-hop, Upgrade, host, x-forwarded-for"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip"),
            ("upgrade", "websocket"),
            ("x-end", "1"),
            ("cookie", "a=1"),
        ],
    ));
    let request = origin.request();
    for name in ["x-hop", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("connection"), None);
    assert_eq!(request.header("host"), Some("test.example"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!((request.header("x-end"), request.header("cookie")), (Some("1"), Some("a=1")));
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade", "connection"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-end"), Some("1"));
    assert_eq!(answer.headers_named("set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn a_client_is_not_believed_about_itself() {
    let origin = ok();
    let gateway = Gateway::before(&origin);
    let lies = [
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "mine"),
    ];
    let request = forwarded(&origin, &gateway, get("/", &lies));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-forwarded-host"), Some("test.example"));
    assert_eq!(request.header("forwarded"), None);
    let id = request.header("x-request-id").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let next = forwarded(&origin, &gateway, get("/", &[]));
    assert_ne!(next.header("x-request-id"), Some(id));
    let log = gateway.stop().access_log;
    assert_eq!(log[0]["client"], "127.0.0.1");
    assert_eq!(log[0]["request_id"], id);
}

#[test]
fn a_trusted_proxy_is_believed() {
    let origin = ok();
    let policy = format!("trusted_proxies: [127.0.0.1]\n{}{FORWARD_ALL}", upstream(&origin));
    let gateway = Gateway::start(&policy);
    let words = [
        ("x-forwarded-for", "192.0.2.1, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example"),
        ("x-request-id", "theirs"),
    ];
    let request = forwarded(&origin, &gateway, get("/", &words));
    assert_eq!(request.header("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1, 127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    assert_eq!(request.header("x-forwarded-host"), Some("shop.example"));
    assert_eq!(request.header("x-request-id"), Some("theirs"));
    let log = gateway.stop().access_log;
    assert_eq!((&log[0]["client"], &log[0]["request_id"]), (&"192.0.2.1".into(), &"theirs".into()));
}

#[test]
fn the_upstream_sees_the_host_that_the_policy_says() {
    let origin = ok();
    let address = origin.address().to_string();
    let table =
        [("client", "test.example"), ("endpoint", &*address), ("{ fixed: www.example }", "www.example")];
    for (host, expected) in table {
        let gateway = Gateway::start(&format!(
            "upstreams: {{ u: {{ endpoints: ['{address}'], host: {host} }} }}\n{FORWARD_ALL}"
        ));
        let request = forwarded(&origin, &gateway, get("/", &[]));
        assert_eq!(request.header("host"), Some(expected));
        assert_eq!(request.header("x-forwarded-host"), Some("test.example"));
    }
}

#[test]
fn paths_are_forwarded_in_their_normal_form() {
    let origin = ok();
    let gateway = Gateway::before(&origin);
    let table = [
        ("/a/b?q=/../%2f", "/a/b?q=/../%2f"),
        ("/%61dmin", "/admin"),
        ("/x/../admin/./y", "/admin/y"),
        ("//admin//x", "/admin/x"),
        ("/../../etc", "/etc"),
        ("/a%3ab%20c", "/a%3Ab%20c"),
        ("/%2e%2e/a?x", "/a?x"),
        ("/?x", "/?x"),
        ("http://other.example:81/x?y", "/x?y"),
        ("http://other.example?y", "/?y"),
    ];
    for (target, expected) in table {
        assert_eq!(forwarded(&origin, &gateway, get(target, &[])).target(), expected, "{target}");
    }
}

/// RFC 9112, 3.2.2: the target of an absolute form counts, not the field.
#[test]
fn an_absolute_target_names_the_host() {
    let origin = ok();
    let gateway = Gateway::before(&origin);
    let request =
        forwarded(&origin, &gateway, get("http://Other.Example:81/x", &[("host", "field.example")]));
    assert_eq!(request.header("host").unwrap().to_ascii_lowercase(), "other.example:81");
    assert_eq!(request.header("x-forwarded-host").unwrap().to_ascii_lowercase(), "other.example:81");
}
