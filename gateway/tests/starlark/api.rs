//! The language and what scripts see. Most of it is told by scripts themselves, which fail.

use serde_json::{Value, json};

use crate::support::script::repository;
use crate::support::{Origin, get, post, response};
use crate::{file, inline, start};

/// The libraries, by `filters/starlark/tests/library.star`.
#[test]
fn the_library_does_what_it_says() {
    let origin = Origin::answering(response(200, &[], b""));
    let words = repository("filters/starlark/tests/words.star");
    let more = format!(
        ", modules: {{ lib.words: '{}' }}, config: {{ threshold: 60, names: [a, b], nested: {{ on: true, off: null }} }}",
        words.display()
    );
    let script = file(&repository("filters/starlark/tests/library.star"), &more);
    let gateway = start(&origin, &[("library", script)]);
    let answer = gateway.get("/");
    assert_eq!((answer.status(), answer.text()), (200, "ok"), "{:#?}", gateway.log());
    gateway.wait_for_metric("tollgate_guest_starlark_library_level", 7.0);
    let log = gateway.stop().log;
    for line in ["one 2 None", "printed"] {
        assert!(log.iter().any(|logged| logged.contains(line)), "{line} is not in {log:#?}");
    }
    assert!(!log.iter().any(|line| line.contains("quiet")));
}

#[test]
fn requests_and_responses_are_read_and_changed() {
    let origin = Origin::answering(response(
        200,
        &[("x-origin", "1"), ("set-cookie", "a"), ("set-cookie", "b")],
        b"body",
    ));
    let script = r##"
def equal(a, b):
    if a != b:
        fail("%r is not %r" % (a, b))

def on_request(req):
    equal((req.method, req.path, req.query), ("GET", "/a/b", "x=1&y=%20&x=2"))
    equal((req.uri, req.scheme, req.host), ("/a/b?x=1&y=%20&x=2", "http", "test.example"))
    equal((req.client_ip, req.protocol, req.route), ("127.0.0.1", "HTTP/1.1", "all"))
    equal(req.params, {"x": "1", "y": " "})
    h = req.headers
    equal((h["user-agent"], h["User-Agent"], h.get("absent"), h.get("absent", 1)), ("test", "test", None, 1))
    equal(("user-agent" in h, "absent" in h), (True, False))
    equal((h.get_all("x-many"), h.get_all("none")), (["1", "2"], []))
    equal([name for name in h if name in ("x-many", "x-gone")], ["x-many", "x-many", "x-gone"])
    equal({name: value for name, value in h.items() if name == "user-agent"}, {"user-agent": "test"})
    h["x-set"] = "yes"
    h["x-number"] = 7
    h.add("x-many", "3")
    h.remove("x-gone")
    h.remove("x-absent")
    req.path = "/c"
    equal(req.uri, "/c?x=1&y=%20&x=2")
    req.query = "k=v"
    equal((req.params, req.uri), ({"k": "v"}, "/c?k=v"))
    metadata.set("seen", req.query)

def on_response(resp):
    equal((resp.status, resp.request.path, metadata.get("seen")), (200, "/c", "k=v"))
    equal(len(resp.headers.get_all("set-cookie")), 2)
    resp.headers.remove("x-origin")
    resp.headers["x-seen"] = metadata.get("seen")
    resp.status = 201
"##;
    let gateway = start(&origin, &[("script", inline(script, ""))]);
    let headers = [("user-agent", "test"), ("x-many", "1"), ("x-many", "2"), ("x-gone", "x")];
    let answer = gateway.ask(get("/a/b?x=1&y=%20&x=2", &headers));
    assert_eq!(answer.status(), 201, "{:#?}", gateway.log());
    assert_eq!((answer.header("x-origin"), answer.header("x-seen")), (None, Some("k=v")));
    let request = origin.request();
    assert_eq!((request.target(), request.header("x-set")), ("/c?k=v", Some("yes")));
    assert_eq!((request.header("x-number"), request.header("x-gone")), (Some("7"), None));
    assert_eq!(request.headers_named("x-many"), ["1", "2", "3"]);
}

#[test]
fn a_script_answers() {
    let origin = Origin::answering(response(200, &[], b"passed"));
    let script = r##"
def deny(why):
    respond(403, {"X-Why": why, "x-list": ["a", 2]}, "denied\n")
    fail("not reached")

def on_request(req):
    if req.path == "/deny":
        deny("rule 7")

def on_response(resp):
    if resp.request.path == "/replace":
        respond(502, body = b"replaced")
"##;
    let gateway = start(&origin, &[("script", inline(script, ""))]);
    let answer = gateway.get("/deny");
    assert_eq!((answer.status(), answer.text(), answer.header("x-why")), (403, "denied\n", Some("rule 7")));
    assert_eq!(answer.headers_named("x-list"), ["a", "2"]);
    assert_eq!(gateway.get("/").text(), "passed");
    let answer = gateway.get("/replace");
    assert_eq!((answer.status(), answer.text()), (502, "replaced"));
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn bodies_are_transformed_as_a_whole() {
    let origin = Origin::echo();
    let script = r##"
def on_request_body(req, body):
    order = body.json()
    order["total"] = order["price"] * order["count"]
    order["items"] = [item["name"].upper() for item in order["items"] if item["name"] != "secret"]
    return json.encode(order)

def on_response_body(resp, body):
    if "total" not in body.text() or len(body) != len(body.bytes()):
        fail("another body")
    return body.text().replace("APPLE", "apple")
"##;
    let gateway = start(&origin, &[("orders", inline(script, ""))]);
    let body = br#"{"price": 2.5, "count": 4, "items": [{"name": "secret"}, {"name": "apple"}]}"#;
    let head = "POST / HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = gateway.client();
    client.send(head);
    for piece in body.chunks(7) {
        client.send(format!("{:x}\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap()));
    }
    client.send("0\r\n\r\n");
    let answer: Value = serde_json::from_slice(&client.response().body).unwrap();
    assert_eq!(answer, json!({ "price": 2.5, "count": 4, "items": ["apple"], "total": 10.0 }));
    // What is no JSON is an error, unless the script names a default; what is no UTF-8 has bytes alone.
    assert_eq!(gateway.ask(post("/", &[], b"{")).status(), 503);
    let script = "def on_request_body(req, body):\n    return body.bytes()[1:] if body.json(default = None) == None else None\n";
    let gateway = start(&origin, &[("bytes", inline(script, ""))]);
    assert_eq!(gateway.ask(post("/", &[], b"\xff!")).body, b"!");
    assert_eq!(gateway.ask(post("/", &[], b"[1]")).body, b"[1]");
}

/// A script's own data is its filter's; a space has its name for all scripts.
#[test]
fn scripts_share_a_space_and_nothing_else() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let first = "both = shared.space(\"both\")\ndef on_request(req):\n    both.set(\"key\", \"here\")\n    shared.set(\"key\", \"mine\")\n    both.incr(\"count\", by = 2)\n";
    let second = "def on_request(req):\n    both = shared.space(\"both\")\n    req.headers[\"x-seen\"] = \"%s %r %d %r\" % (both.get(\"key\"), shared.get(\"key\"), both.incr(\"count\"), both.add(\"key\", 1))\n    both.delete(\"key\")\n";
    let gateway = start(&origin, &[("first", inline(first, "")), ("second", inline(second, ""))]);
    assert_eq!(gateway.get("/").status(), 200, "{:#?}", gateway.log());
    assert_eq!(origin.request().header("x-seen"), Some("here None 3 False"));
}
