//! Calls that fail or are not let through, and what cannot be asked at all.

use super::STARLARK;
use crate::support::asking::{telling_targets, telling_targets_behind};
use crate::support::{Gate, Gateway, Next, Origin, get, refusing_address, response, wait_for};

/// Tells the client, by the response's handler, that a call has failed.
const TELLING: &str = r##"
def on_response(resp):
    def told(resp, answer):
        resp.headers["x-answer"] = "failed" if answer == None else str(answer.status)
    http_call("auth", timeout = 0.05, then = told)
"##;

fn assert_told(gateway: &Gateway) {
    let answer = gateway.get("/");
    assert_eq!((answer.status(), answer.header("x-answer")), (200, Some("failed")), "{:#?}", gateway.log());
}

#[test]
fn a_call_that_fails_has_no_answer() {
    let (origin, (address, _held)) = (Origin::echo(), refusing_address());
    assert_told(&STARLARK.start(&origin, &address.to_string(), TELLING, ""));
    let closing = Origin::start(|_| Ok(Next::Close));
    assert_told(&STARLARK.begin(&origin, &closing, TELLING));
    let silent = Origin::start(|exchange| exchange.wait_until_closed());
    assert_told(&STARLARK.begin(&origin, &silent, TELLING));
    silent.wait_until_unconnected();
}

/// What a script forgets to look at ends the exchange, as any error does.
#[test]
fn an_error_after_the_answer_ends_the_exchange() {
    let (origin, auth) = (Origin::echo(), Origin::start(|_| Ok(Next::Close)));
    let script = "
def on_request(req):
    http_call(\"auth\", then = checked)

def checked(req, answer):
    if answer.status != 200:
        respond(403)
";
    let gateway = STARLARK.begin(&origin, &auth, script);
    assert_eq!(gateway.get("/").status(), 503);
    assert_eq!(gateway.get("/").status(), 503, "the script lives on");
    assert_eq!(origin.requests().len(), 0);
    let log = gateway.stop().access_log;
    assert_eq!((&log[0]["error"], &log[0]["ended_by"]["filter"]), (&"filter_failed".into(), &"ask".into()));
    let reason = log[0]["ended_by"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("ask.star:6:8: ") && reason.contains("NoneType"), "{reason}");
}

/// Nothing can catch an error in this language, so what is not allowed ends the exchange.
#[test]
fn what_cannot_be_asked_is_an_error_of_the_script() {
    let (origin, auth) = (Origin::echo(), telling_targets());
    let cases = [
        ("http_call(\"nobody\", then = done)", "does not let this filter call `nobody`"),
        ("http_call(\"auth\")", "then"),
        ("http_call(\"auth\", then = 7)", "then"),
        ("http_call(\"auth\", timeout = 0, then = done)", "`timeout` is a positive number of seconds"),
        ("http_call(\"auth\", headers = 7, then = done)", "headers are a dict"),
        ("http_call(\"auth\", headers = {\":path\": \"/\"}, then = done)", "do not begin with a colon"),
        ("http_call(\"auth\", headers = {\"x\": True}, then = done)", "the value of a header"),
        ("http_call(\"auth\", body = 7, then = done)", "text or bytes are needed"),
        ("[http_call(\"auth\", then = done) for _ in range(2)]", "one call at a time"),
    ];
    let mut script =
        "def done(req, answer):\n    respond(200, body = \"asked\")\n\ndef on_request(req):\n".to_owned();
    for (number, (call, _)) in cases.iter().enumerate() {
        script.push_str(&format!("    if req.path == \"/{number}\":\n        {call}\n"));
    }
    script.push_str("    if req.path == \"/well\":\n        http_call(\"auth\", then = done)\n");
    script.push_str(
        "\ndef on_log(req, resp):\n    if req.path == \"/well\":\n        http_call(\"auth\", then = done)\n",
    );
    let more = ", circuit: { failures: 1000 }";
    let gateway = STARLARK.start(&origin, &auth.address().to_string(), &script, more);
    for (number, (call, _)) in cases.iter().enumerate() {
        assert_eq!(gateway.get(&format!("/{number}")).status(), 503, "{call}");
    }
    assert_eq!(gateway.get("/well").text(), "asked");
    wait_for("the error in on_log", || {
        gateway.log().iter().any(|line| line.contains("does not work in `on_log`")).then_some(())
    });
    let log = gateway.stop().access_log;
    for (number, (call, expected)) in cases.iter().enumerate() {
        let reason = log[number]["ended_by"]["reason"].as_str().unwrap();
        let line = 6 + 2 * number;
        assert!(
            reason.starts_with(&format!("ask.star:{line}:")) && reason.contains(expected),
            "{call}: {reason}"
        );
    }
    assert_eq!(origin.requests().len(), 0);
}

/// A body that has been seen cannot be replaced by what goes on.
#[test]
fn a_body_is_replaced_before_the_call_or_not_at_all() {
    let (origin, auth) = (Origin::answering(response(200, &[], b"body")), telling_targets());
    let script =
        "def on_response_body(resp, body):\n    http_call(\"auth\", then = lambda resp, answer: \"late\")\n";
    let gateway = STARLARK.begin(&origin, &auth, script);
    let mut client = gateway.client();
    client.send(get("/", &[]));
    wait_for("the error", || {
        gateway
            .log()
            .iter()
            .any(|line| line.contains("a body cannot be replaced after http_call"))
            .then_some(())
    });
}

/// What asked is gone when the answer comes: nothing goes on, and the script serves the next.
#[test]
fn a_client_that_goes_away_leaves_the_script_well() {
    let gate = Gate::new();
    let (origin, auth) = (Origin::echo(), telling_targets_behind(&gate));
    let script = r##"
def on_request(req):
    http_call("auth", path = req.path, then = told)

def told(req, answer):
    shared.incr("answers")
    req.headers["x-answer"] = "%s %d" % (answer.body.text(), shared.get("answers"))
"##;
    let gateway = STARLARK.begin(&origin, &auth, script);
    let mut client = gateway.client();
    client.send(get("/gone", &[]));
    auth.wait_for_requests(1);
    drop(client);
    gateway.wait_for_access_log(1);
    gate.open();
    assert_eq!(gateway.get("/next").status(), 200, "{:#?}", gateway.log());
    assert_eq!(origin.request().header("x-answer"), Some("/next 1"));
    assert_eq!(gateway.metric(r#"tollgate_filter_restarts_total{filter="ask"}"#), Some(0.0));
}
