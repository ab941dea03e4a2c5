//! "Ended by": which filter ended an exchange, where, and why, on every way there is.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::guests::{always, later};
use crate::support::{Gateway, Next, Origin, get, post, response};
use crate::{policy, start};

/// One request, ended by the filter `seen`.
struct End {
    module: PathBuf,
    /// Further keys of the filter.
    more: &'static str,
    phase: &'static str,
    reason: &'static str,
    status: Option<u16>,
    error: Option<&'static str>,
}

impl End {
    fn answered(module: PathBuf, phase: &'static str) -> Self {
        Self { module, more: "", phase, reason: "denied", status: Some(403), error: None }
    }

    fn closed(module: PathBuf, phase: &'static str) -> Self {
        let error = Some("filter_closed");
        Self { module, more: "", phase, reason: "closed the stream", status: None, error }
    }

    fn failed(module: PathBuf, phase: &'static str, reason: &'static str) -> Self {
        Self { module, more: "", phase, reason, status: Some(503), error: Some("filter_failed") }
    }

    fn with(self, more: &'static str) -> Self {
        Self { more, ..self }
    }

    fn check(&self) {
        let gateway = start(&policy(&self.module, &Origin::echo(), self.more));
        let mut client = gateway.client();
        client.send(post("/", &[], b"body"));
        let status = client.try_response().ok().map(|answer| answer.status());
        assert_eq!(status, self.status, "{} {}", self.phase, self.reason);
        let expected = json!({ "filter": "seen", "phase": self.phase, "reason": self.reason });
        let [line] = gateway.stop().access_log.try_into().unwrap();
        assert_eq!(line["ended_by"], expected);
        assert_eq!(line.get("error").and_then(Value::as_str), self.error, "{} {}", self.phase, self.reason);
    }
}

const DENY: &str = "(call $deny) (i32.const 0)";
const CLOSE: &str = "(drop (call $close (i32.const 0)))";

#[test]
fn by_an_answer() {
    for phase in ["request_headers", "request_body", "response_headers"] {
        End::answered(always(phase, DENY), phase).check();
    }
    // The head waits for the body, so that it can still be another.
    End::answered(always("response_body", DENY), "response_body")
        .with(", response_body: { buffer: 1KiB }")
        .check();
    let silent =
        "(drop (call $respond (i32.const 404) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const -1))) (i32.const 0)";
    let end = End::answered(always("request_headers", silent), "request_headers");
    End { reason: "answered 404", status: Some(404), ..end }.check();
}

#[test]
fn by_an_answer_from_the_timer() {
    for phase in ["request_headers", "request_body", "response_headers"] {
        End::answered(later(phase, 1, "(call $deny)"), phase).check();
    }
    End::answered(later("response_body", 1, "(call $deny)"), "response_body").check();
}

#[test]
fn by_closing_the_stream() {
    for phase in ["request_headers", "request_body", "response_headers", "response_body"] {
        End::closed(always(phase, &format!("{CLOSE} (i32.const 0)")), phase).check();
    }
    for phase in ["request_headers", "request_body", "response_headers"] {
        End::closed(later(phase, 1, CLOSE), phase).check();
    }
}

#[test]
fn while_the_upstream_works() {
    for (code, reason, status) in [("(call $deny)", "denied", Some(403)), (CLOSE, "closed the stream", None)]
    {
        let origin = Origin::start(|exchange| exchange.wait_until_closed());
        let gateway = start(&policy(&later("request_headers", 0, code), &origin, ""));
        let mut client = gateway.client();
        client.send(get("/", &[]));
        assert_eq!(client.try_response().ok().map(|answer| answer.status()), status);
        let expected = json!({ "filter": "seen", "phase": "background", "reason": reason });
        assert_eq!(gateway.stop().access_log[0]["ended_by"], expected);
    }
}

/// The body goes past a filter that looks only at headers, and closes the stream in the middle of it.
#[test]
fn in_the_middle_of_a_body() {
    let origin = Origin::start(|exchange| {
        exchange.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")?;
        exchange.wait_until_closed()?;
        Ok(Next::Close)
    });
    let gateway = start(&policy(&later("response_headers", 0, CLOSE), &origin, ""));
    let mut client = gateway.client();
    client.send(get("/", &[]));
    assert!(client.try_response().is_err());
    let log = gateway.stop().access_log;
    let expected = json!({ "filter": "seen", "phase": "response_body", "reason": "closed the stream" });
    assert_eq!((&log[0]["ended_by"], &log[0]["error"]), (&expected, &json!("filter_closed")));
}

#[test]
fn by_a_failure() {
    let headers = |code: &str| always("request_headers", &format!("{code} (i32.const 0)"));
    let ends = [
        End::failed(
            headers("unreachable"),
            "request_headers",
            "the filter trapped in proxy_on_request_headers: the guest executed `unreachable`",
        ),
        End::failed(
            always("request_body", "unreachable"),
            "request_body",
            "the filter trapped in proxy_on_request_body: the guest executed `unreachable`",
        ),
        End::failed(
            always("response_headers", "unreachable"),
            "response_headers",
            "the filter trapped in proxy_on_response_headers: the guest executed `unreachable`",
        ),
        End::failed(
            headers("(loop (br 0))"),
            "request_headers",
            "the filter used up its CPU budget in proxy_on_request_headers",
        )
        .with(", budget: 1ms"),
        End::failed(
            headers("(call $forge)"),
            "request_headers",
            "proxy_add_header_map_value: the name is not valid",
        ),
        End::failed(
            later("request_headers", 1, "unreachable"),
            "request_headers",
            "its VM failed while the exchange waited for it: the filter trapped in proxy_on_tick: \
             the guest executed `unreachable`",
        ),
        End::failed(
            later("request_headers", 1, "(call $forge)"),
            "request_headers",
            "proxy_add_header_map_value: the name is not valid",
        ),
        End::failed(
            later("request_body", 1, "(call $forge)"),
            "request_body",
            "proxy_add_header_map_value: the name is not valid",
        ),
    ];
    ends.iter().for_each(End::check);
}

#[test]
fn by_a_body_that_is_too_large_for_a_filter() {
    let end =
        End::failed(always("request_body", "(i32.const 0)"), "request_body", "the body is too large for it");
    let end = End { status: Some(413), error: Some("body_too_large"), ..end };
    end.with(", request_body: { buffer: 2B }").check();
}

#[test]
fn by_an_open_circuit() {
    let trap = always("request_headers", "unreachable");
    let more = ", circuit: { failures: 1, rest: 10s }";
    let gateway = start(&policy(&trap, &Origin::echo(), more));
    (0..2).for_each(|_| assert_eq!(gateway.get("/").status(), 503));
    let expected = json!({
        "filter": "seen", "phase": "request_headers", "reason": "the filter rests after failures",
    });
    assert_eq!(gateway.stop().access_log[1]["ended_by"], expected);
}

#[test]
fn by_a_rate_limit_and_by_nobody() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = Gateway::start(&format!(
        "{}filters: {{ calm: {{ rate_limit: {{ rate: 1/hour, burst: 1, key: client_address }} }} }}\n\
         routes: [{{ name: all, filters: [calm], forward: {{ upstream: u }} }}]\n",
        crate::support::upstream(&origin)
    ));
    assert_eq!((gateway.get("/").status(), gateway.get("/").status()), (200, 429));
    let log = gateway.stop().access_log;
    assert_eq!(log[0].get("ended_by"), None);
    let expected = json!({ "filter": "calm", "phase": "request_headers", "reason": "over the limit" });
    assert_eq!(log[1]["ended_by"], expected);
}
