//! `http_call`: what is asked, what goes on with the answer, and in which handlers. What a script is told it puts
//! into `x-answer`, for the origin or the client.

mod failures;

use crate::support::asking::{Language, telling_targets};
use crate::support::{Origin, post, response, wait_for};
use crate::{inline, ready};

const STARLARK: Language = Language { ready, inline };

/// The function that goes on knows what its handler knew.
#[test]
fn an_answer_has_its_status_headers_and_body() {
    let origin = Origin::echo();
    let fields = [("X-One", "1"), ("x-many", "a"), ("x-many", "b")];
    let auth = Origin::answering(response(201, &fields, br#"{"user": "alice"}"#));
    let script = r##"
def on_request(req):
    known = {"path": req.path}

    def checked(req, answer):
        if (answer.status, answer.headers["x-one"], answer.headers["x-many"]) != (201, "1", "a, b"):
            fail("another head: %r" % answer)
        if ":status" in answer.headers or answer.headers.get("absent") != None:
            fail("more headers: %r" % answer)
        if len(answer.body) != 17 or answer.body.text() != str(answer.body.bytes()):
            fail("another body: %s" % answer.body.text())
        req.headers["x-answer"] = answer.body.json()["user"] + known["path"]

    http_call(
        "auth",
        method = "PUT",
        path = "/check?user=1",
        host = "auth.example",
        headers = {"X-Kind": "score", "x-number": 7, "x-list": ["one", 2]},
        body = b"what\x00ever",
        timeout = 20,
        then = checked,
    )
    req.headers["x-after"] = "the call"
"##;
    let gateway = STARLARK.begin(&origin, &auth, script);
    let answer = gateway.ask(post("/p", &[], b"body"));
    assert_eq!((answer.status(), answer.text()), (200, "body"), "{:#?}", gateway.log());
    let request = origin.request();
    assert_eq!((request.header("x-answer"), request.header("x-after")), (Some("alice/p"), Some("the call")));
    let asked = auth.request();
    assert_eq!((asked.method(), asked.target()), ("PUT", "/check?user=1"));
    assert_eq!((asked.header("host"), asked.body.as_slice()), (Some("auth.example"), &b"what\0ever"[..]));
    assert_eq!((asked.header("x-kind"), asked.header("x-number")), (Some("score"), Some("7")));
    assert_eq!(asked.headers_named("x-list"), ["one", "2"]);
}

/// Without more than a name it is a GET of `/`; an answer without a body has an empty one.
#[test]
fn what_is_left_out_has_a_default() {
    let script = r##"
def on_request(req):
    return http_call("auth", then = checked)

def checked(req, answer):
    req.headers["x-answer"] = "%d|%s|" % (answer.status, answer.body.text())
"##;
    STARLARK.leaves_out_what_has_a_default(script);
}

/// The second call needs what the first was told, and knows the argument of its own.
#[test]
fn a_call_follows_another() {
    let script = r##"
def on_request(req):
    http_call("auth", path = req.path + "/first", then = partial(second, "/second"))

def second(part, req, answer):
    http_call("auth", path = answer.body.text() + part, then = lambda req, answer: finish(req, answer))

def finish(req, answer):
    req.headers["x-answer"] = answer.body.text()
"##;
    STARLARK.asks_twice(script);
}

/// Each handler that an exchange has asks, and everything goes on when it is told; a body may be replaced before.
#[test]
fn every_handler_can_ask() {
    let (origin, auth) = (Origin::echo(), telling_targets());
    let script = r##"
def ask(name):
    def told(_, answer):
        metadata.set("told", metadata.get("told", "") + answer.body.text())
    http_call("auth", path = "/" + name, then = told)

def on_request(req):
    ask("1")

def on_request_body(req, body):
    ask("2")
    return body.text() + "!"

def on_response(resp):
    def told(resp, answer):
        resp.status = 202
        resp.headers["x-answer"] = metadata.get("told") + answer.body.text() + resp.request.path
    http_call("auth", path = "/3", then = told)

def on_response_body(resp, body):
    ask("4")

def on_log(req, resp):
    log.info("%s %s %d %s" % (metadata.get("told"), req.path, resp.status, resp.headers["x-answer"]))
"##;
    let gateway = STARLARK.begin(&origin, &auth, script);
    let answer = gateway.ask(post("/p", &[], b"a body"));
    let told = (answer.status(), answer.text(), answer.header("x-answer"));
    assert_eq!(told, (202, "a body!", Some("/1/2/3/p")), "{:#?}", gateway.log());
    assert_eq!(origin.request().body, b"a body!");
    let log = gateway.stop().log;
    assert!(log.iter().any(|line| line.contains("/1/2/4 /p 202 /1/2/3/p")), "{log:#?}");
}

/// A timer's handler asks as well, outside any exchange, and keeps what it is told where all see it.
#[test]
fn a_tick_can_ask() {
    let (origin, auth) = (Origin::echo(), Origin::answering(response(200, &[], b"keys")));
    let script = r##"
options(tick = 0.01)

def on_tick():
    http_call("auth", path = "/keys", then = lambda answer: shared.set("keys", answer.body.text()))

def on_request(req):
    req.headers["x-answer"] = shared.get("keys", "none")
"##;
    let gateway = STARLARK.begin(&origin, &auth, script);
    wait_for("the keys", || {
        assert_eq!(gateway.get("/").status(), 200);
        (origin.requests().last()?.header("x-answer") == Some("keys")).then_some(())
    });
    assert_eq!(auth.requests()[0].target(), "/keys");
}

/// While one request waits, the same script serves others.
#[test]
fn a_worker_serves_others_while_a_script_waits() {
    let script = r##"
def on_request(req):
    path = req.path
    if path == "/free":
        return

    def told(req, answer):
        if (answer.body.text(), req.path) != (path, path):
            fail("another request's")
        req.headers["x-answer"] = path

    http_call("auth", path = path, then = told)
"##;
    STARLARK.serves_others_while_it_waits(script);
}

#[test]
fn an_answer_can_deny() {
    let script = r##"
def on_request(req):
    http_call("auth", headers = {"authorization": req.headers["authorization"]}, then = checked)

def checked(req, answer):
    if answer.status != 200:
        respond(answer.status, body = answer.body.bytes())
    fail("not reached")
"##;
    STARLARK.denies(script);
}
