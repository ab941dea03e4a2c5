//! Calls that fail or are not let through, and what cannot be asked at all.

use super::LUA;
use crate::support::{Gate, Gateway, Next, Origin, get, refusing_address, response, wait_for};

/// What a call that is not answered returns as its reason.
const FAILED: &str = "the call failed or took too long";

/// An error behind a call is one as any other: the exchange that waited ends by it.
#[test]
fn an_error_after_the_answer_ends_the_exchange() {
    let (origin, auth) = (Origin::echo(), Origin::answering(response(200, &[], b"{")));
    let script = "
      function on_request(req)
        local told = assert(json.decode(http_call('auth').body))
      end
    ";
    let gateway = LUA.begin(&origin, &auth, script);
    assert_eq!(gateway.get("/").status(), 503);
    assert_eq!(gateway.get("/").status(), 503, "the script lives on");
    assert_eq!((origin.requests().len(), auth.requests().len()), (0, 2));
    let log = gateway.stop().access_log;
    assert_eq!((&log[0]["error"], &log[0]["ended_by"]["filter"]), (&"filter_failed".into(), &"ask".into()));
}

/// Tells the client how a call to `upstream` failed, in both handlers.
fn telling_why(upstream: &str, options: &str) -> String {
    format!(
        r#"
      local function why()
        local answer, why = http_call("{upstream}", {options})
        assert(answer == nil)
        return why
      end
      function on_request(req) req.ctx.why = why() end
      function on_response(resp) resp.headers["x-answer"] = resp.ctx.why .. "; " .. why() end
    "#
    )
}

fn assert_told_twice(gateway: &Gateway, why: &str) {
    let answer = gateway.get("/");
    let told = format!("{why}; {why}");
    assert_eq!((answer.status(), answer.header("x-answer")), (200, Some(&*told)), "{:#?}", gateway.log());
}

#[test]
fn only_what_the_policy_lists_is_called() {
    let (origin, auth) = (Origin::echo(), Origin::echo());
    let not_let = "the gateway does not let this filter call that upstream";
    for (upstream, list) in [("u", "upstreams"), ("nobody", "upstreams"), ("127.0.0.1:80", "hosts")] {
        let gateway = LUA.begin(&origin, &auth, &telling_why(upstream, "{ path = '/forbidden' }"));
        assert_told_twice(&gateway, not_let);
        let help = format!("add it to `allow.{list}` of filters.ask");
        let log = gateway.stop().log;
        assert_eq!(log.iter().filter(|line| line.contains(&help)).count(), 1, "{log:#?}");
    }
    assert!(origin.requests().iter().all(|request| request.target() == "/"));
    assert_eq!(auth.requests().len(), 0);
}

#[test]
fn a_server_that_is_down_is_told() {
    let (origin, (address, _held)) = (Origin::echo(), refusing_address());
    let gateway = LUA.start(&origin, &address.to_string(), &telling_why("auth", "nil"), "");
    assert_told_twice(&gateway, FAILED);
}

#[test]
fn a_connection_that_breaks_is_told() {
    let (origin, auth) = (Origin::echo(), Origin::start(|_| Ok(Next::Close)));
    let gateway = LUA.begin(&origin, &auth, &telling_why("auth", "nil"));
    assert_told_twice(&gateway, FAILED);
}

/// By the script's limit, or by the policy's where that is shorter.
#[test]
fn an_answer_that_does_not_come_is_told() {
    let (origin, auth) = (Origin::echo(), Origin::start(|exchange| exchange.wait_until_closed()));
    let server = auth.address().to_string();
    for (options, more) in [("{ timeout = 0.05 }", ""), ("{ timeout = 600 }", ", calls: { timeout: 50ms }")] {
        let gateway = LUA.start(&origin, &server, &telling_why("auth", options), more);
        assert_told_twice(&gateway, FAILED);
    }
    assert_eq!((auth.requests().len(), origin.requests().len()), (4, 2));
    auth.wait_until_unconnected();
}

/// What asked is gone when the answer comes: the script is told, and serves the next.
#[test]
fn a_client_that_goes_away_leaves_the_script_well() {
    let gate = Gate::new();
    let auth = {
        let gate = gate.clone();
        Origin::start(move |exchange| {
            gate.pass();
            exchange.wire.send(response(200, &[], b"late"))?;
            Ok(Next::Keep)
        })
    };
    let origin = Origin::echo();
    let script = "
      local answers = 0
      function on_request(req)
        if req.path == '/count' then respond(200, nil, tostring(answers)) end
        local answer = http_call('auth')
        answers = answers + 1
        req.headers['x-answer'] = answer.body
      end
    ";
    let gateway = LUA.begin(&origin, &auth, script);
    let mut client = gateway.client();
    client.send(get("/", &[]));
    auth.wait_for_requests(1);
    drop(client);
    gateway.wait_for_access_log(1);
    gate.open();
    wait_for("the late answer", || (gateway.get("/count").text() == "1").then_some(()));
    assert_eq!(origin.requests().len(), 0);
    assert_eq!(gateway.get("/").status(), 200, "{:#?}", gateway.log());
    assert_eq!(origin.request().header("x-answer"), Some("late"));
    assert_eq!(gateway.metric(r#"tollgate_filter_restarts_total{filter="ask"}"#), Some(0.0));
}

/// Under `pcall` a call waits like anywhere else; where a handler cannot be suspended, and with options
/// that make no sense, it is an error that says so.
#[test]
fn what_cannot_be_asked_is_an_error_of_the_script() {
    let (origin, auth) = (Origin::echo(), Origin::answering(response(200, &[], b"ok")));
    let script = r#"
      local function fails(words, f, ...)
        local ok, why = pcall(f, ...)
        assert(not ok and tostring(why):find(words, 1, true), words .. ": " .. tostring(why))
      end
      local place = "works in a handler itself"
      fails(place, http_call, "auth")
      function on_request(req)
        local ok, answer = pcall(http_call, "auth")
        assert(ok and answer.body == "ok")
        fails(place, coroutine.wrap(function() http_call("auth") end))
        fails(place, table.sort, { 1, 2 }, function() http_call("auth") end)
        fails(place, string.gsub, "x", "x", function() http_call("auth") end)
        fails("`timeout` is a positive number", http_call, "auth", { timeout = 0 })
        fails("`timeout` is a positive number", http_call, "auth", { timeout = "soon" })
        fails("`method` is a string", http_call, "auth", { method = {} })
        fails("`body` is a string", http_call, "auth", { body = {} })
        fails("headers are a table", http_call, "auth", { headers = "x: y" })
        fails("do not begin with a colon", http_call, "auth", { headers = { [":path"] = "/other" } })
        fails("the value of a header", http_call, "auth", { headers = { x = true } })
        fails("table expected", http_call, "auth", "/path")
        req.headers["x-answer"] = "all"
      end
    "#;
    let gateway = LUA.begin(&origin, &auth, script);
    assert_eq!(gateway.get("/").status(), 200, "{:#?}", gateway.log());
    assert_eq!(origin.request().header("x-answer"), Some("all"));
    assert_eq!(auth.requests().len(), 1, "what is an error asks nobody");
}
