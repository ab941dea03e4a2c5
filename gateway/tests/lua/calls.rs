//! `http_call`: what is asked, what it returns, and in which handlers. What a script is told it puts into
//! `x-answer`, for the origin or the client.

mod failures;

use crate::support::asking::{Language, telling_targets};
use crate::support::{Origin, post, response, wait_for};
use crate::{inline, ready};

const LUA: Language = Language { ready, inline };

#[test]
fn an_answer_has_its_status_headers_and_body() {
    let origin = Origin::echo();
    let fields = [("X-One", "1"), ("x-many", "a"), ("x-many", "b")];
    let auth = Origin::answering(response(201, &fields, b"alice\0bob"));
    let script = r#"
      function on_request(req)
        local answer, why = http_call("auth", {
          method = "PUT", path = "/check?user=1", host = "auth.example",
          headers = { ["X-Kind"] = "score", ["x-number"] = 7, ["x-list"] = { "one", 2 } },
          body = "what\0ever", timeout = 20,
        })
        assert(why == nil and answer.status == 201 and math.type(answer.status) == "integer")
        assert(answer.headers["x-one"] == "1" and answer.headers["x-many"] == "a, b")
        assert(answer.headers[":status"] == nil and answer.headers["content-length"] == "9")
        assert(answer.body == "alice\0bob")
        req.headers["x-answer"] = "read"
      end
    "#;
    let gateway = LUA.begin(&origin, &auth, script);
    let answer = gateway.ask(post("/", &[], b"body"));
    assert_eq!((answer.status(), answer.text()), (200, "body"), "{:#?}", gateway.log());
    assert_eq!(origin.request().header("x-answer"), Some("read"));
    let asked = auth.request();
    assert_eq!((asked.method(), asked.target()), ("PUT", "/check?user=1"));
    assert_eq!((asked.header("host"), asked.body.as_slice()), (Some("auth.example"), &b"what\0ever"[..]));
    assert_eq!((asked.header("x-kind"), asked.header("x-number")), (Some("score"), Some("7")));
    assert_eq!(asked.headers_named("x-list"), ["one", "2"]);
}

/// Without options it is a GET of `/`; an answer without a body has an empty one.
#[test]
fn what_is_left_out_has_a_default() {
    let script = r#"
      function on_request(req)
        local answer = http_call("auth")
        req.headers["x-answer"] = answer.status .. "|" .. answer.body .. "|"
      end
    "#;
    LUA.leaves_out_what_has_a_default(script);
}

/// The second call needs what the first was told, and is made to another path.
#[test]
fn two_calls_are_made_one_after_the_other() {
    let script = r#"
      function on_request(req)
        local first = http_call("auth", { path = req.path .. "/first" })
        local second = http_call("auth", { path = first.body .. "/second" })
        req.headers["x-answer"] = second.body
      end
    "#;
    LUA.asks_twice(script);
}

/// Each handler that an exchange has asks, and everything goes on when it is told.
#[test]
fn every_handler_can_ask() {
    let (origin, auth) = (Origin::echo(), telling_targets());
    let script = r#"
      options { request_body = "buffer", response_body = "buffer" }
      local function ask(of, name)
        of.ctx.told = (of.ctx.told or "") .. http_call("auth", { path = "/" .. name }).body
      end
      function on_request(req) ask(req, "1") end
      function on_request_body(req, body)
        assert(body == "a body")
        ask(req, "2")
      end
      function on_response(resp)
        ask(resp, "3")
        resp.status, resp.headers["x-answer"] = 202, resp.ctx.told
      end
      function on_response_body(resp, body)
        assert(body == "a body")
        ask(resp, "4")
        log(resp.ctx.told)
      end
    "#;
    let gateway = LUA.begin(&origin, &auth, script);
    let answer = gateway.ask(post("/", &[], b"a body"));
    let told = (answer.status(), answer.text(), answer.header("x-answer"));
    assert_eq!(told, (202, "a body", Some("/1/2/3")), "{:#?}", gateway.log());
    assert_eq!(origin.request().body, b"a body");
    let log = gateway.stop().log;
    assert!(log.iter().any(|line| line.contains("/1/2/3/4")), "{log:#?}");
}

/// A timer's handler asks as well, outside any exchange.
#[test]
fn a_tick_can_ask() {
    let (origin, auth) = (Origin::echo(), Origin::answering(response(200, &[], b"keys")));
    let script = r#"
      options { tick = 0.01 }
      local keys = "none"
      function on_tick() keys = http_call("auth", { path = "/keys" }).body end
      function on_request(req) req.headers["x-answer"] = keys end
    "#;
    let gateway = LUA.begin(&origin, &auth, script);
    wait_for("the keys", || {
        assert_eq!(gateway.get("/").status(), 200);
        (origin.requests().last()?.header("x-answer") == Some("keys")).then_some(())
    });
    assert_eq!(auth.requests()[0].target(), "/keys");
}

/// While one request waits, the same script serves others; each goes on with locals of its own.
#[test]
fn a_worker_serves_others_while_a_script_waits() {
    let script = r#"
      function on_request(req)
        local path = req.path
        if path == "/free" then return end
        local answer = http_call("auth", { path = path })
        assert(answer.body == path and req.path == path)
        req.headers["x-answer"] = answer.body
      end
    "#;
    LUA.serves_others_while_it_waits(script);
}

#[test]
fn an_answer_can_deny() {
    let script = r#"
      function on_request(req)
        local answer = http_call("auth", { headers = { authorization = req.headers.authorization } })
        if answer.status ~= 200 then respond(answer.status, nil, answer.body) end
        error("not reached")
      end
    "#;
    LUA.denies(script);
}
