//! What is told when a script fails: to the log all of it, to the access log a line, to the client nothing.

use serde_json::json;

use crate::support::{Gateway, Origin, get, response, wait_for};
use crate::{inline, start, try_policy};

fn traceback(gateway: &Gateway) -> String {
    wait_for("a traceback in the log", || {
        gateway.log().into_iter().find(|line| line.contains("stack traceback"))
    })
}

#[test]
fn an_error_ends_the_exchange_with_its_line_in_the_logs() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let script = "local function look(t)\n  return t.field.deep\nend\nfunction on_request(req)\n  if req.path == '/bad' then look({}) end\nend\n";
    let gateway = start(&origin, &[("guard", inline(script, ""))]);
    let answer = gateway.get("/bad");
    assert_eq!((answer.status(), answer.text()), (503, "Refused by policy.\n"));
    let log = traceback(&gateway);
    for part in [
        "guard.lua:2: attempt to index a nil value (field 'field')",
        "in upvalue 'look'",
        "guard.lua:5: in function 'on_request'",
    ] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    // The instance lives on: nobody else paid for it.
    assert_eq!(gateway.get("/").status(), 200);
    gateway.wait_for_metric(r#"tollgate_filter_failures_total{filter="guard",kind="error"}"#, 1.0);
    assert_eq!(gateway.metric(r#"tollgate_filter_restarts_total{filter="guard"}"#), Some(0.0));
    let log = gateway.stop().access_log;
    let reason = "guard.lua:2: attempt to index a nil value (field 'field')";
    assert_eq!(
        log[0]["ended_by"],
        json!({ "filter": "guard", "phase": "request_headers", "reason": reason })
    );
    assert_eq!((&log[0]["error"], log[1].get("ended_by")), (&json!("filter_failed"), None));
}

#[test]
fn an_open_filter_is_passed_when_its_script_fails() {
    let origin = Origin::echo();
    let script = "
      function on_request(req) if req.headers['x-fail'] == 'request' then error('one') end end
      function on_request_body(req) if req.headers['x-fail'] == 'body' then error({ two = true }) end end
      function on_response(resp) if resp.request.headers['x-fail'] == 'response' then error() end end
      function on_log(req) error('the last') end
    ";
    let gateway =
        start(&origin, &[("open", inline(script, ", on_failure: open, circuit: { failures: 1000 }"))]);
    for phase in ["request", "body", "response", "none"] {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: test.example\r\ncontent-length: 4\r\nx-fail: {phase}\r\n\r\nbody"
        );
        let answer = gateway.ask(head);
        assert_eq!((answer.status(), answer.text()), (200, "body"), "{phase}: {:#?}", gateway.log());
    }
}

#[test]
fn an_error_in_a_body_ends_the_exchange() {
    let origin = Origin::echo();
    let script = "options { request_body = 'buffer' }\nfunction on_request_body(req, body) error('no ' .. #body, 0) end";
    let gateway = start(&origin, &[("body", inline(script, ""))]);
    let answer = gateway.ask("POST / HTTP/1.1\r\nhost: test.example\r\ncontent-length: 4\r\n\r\nbody");
    assert_eq!(answer.status(), 503);
    assert_eq!(gateway.stop().access_log[0]["ended_by"]["reason"], "no 4");
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn a_script_that_cannot_start_is_refused_with_its_line() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let cases = [
        ("function on_request(req)\n  local x = = 1\nend", "guard.lua:2:13: unexpected symbol near '='"),
        (
            "function on_request(req)\n  if req then\n",
            "guard.lua:3:1: 'end' expected (to close 'if' at line 2) near <eof>",
        ),
        ("x = 'open\nfunction on_request() end", "guard.lua:1:5: unfinished string near ''open'"),
        ("error('config.threshold is missing', 0)", "config.threshold is missing"),
        ("local t = nil\nt.x = 1", "guard.lua:2: attempt to index a nil value (local 't')"),
        ("on_request = 7", "`on_request` is not a function"),
        ("function on_reqest(req) end", "the script defines no handler"),
        ("while true do end", "guard.lua:1: the CPU budget is used up"),
        ("local s = 'x'\nwhile true do s = s .. s end", "not enough memory"),
        ("options { request_body = 'whole' }", "guard.lua:1: a body is taken as"),
        ("require 'other'", "guard.lua:1: no module `other`: list it in the policy, under `modules`"),
    ];
    for (script, expected) in cases {
        let said = try_policy(&origin, &[("guard", inline(script, ""))]);
        assert!(said.contains(expected), "{script}\nsaid: {said}");
    }
}

#[test]
fn what_is_past_cannot_be_touched() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let script = "
      local kept, kept_headers
      function on_request(req)
        if not kept then kept, kept_headers = req, req.headers return end
        local first, why = pcall(function() return kept.path end)
        local second, why2 = pcall(function() kept_headers['x-late'] = '1' end)
        assert(not first and why:find('this request is over') and not second and why2:find('over'))
        assert(kept.ctx)
        respond(200, nil, 'guarded')
      end
    ";
    let gateway = start(&origin, &[("keeper", inline(script, ""))]);
    assert_eq!(gateway.get("/").text(), "ok");
    let answer = gateway.ask(get("/", &[]));
    assert_eq!((answer.status(), answer.text()), (200, "guarded"), "{:#?}", gateway.log());
}
