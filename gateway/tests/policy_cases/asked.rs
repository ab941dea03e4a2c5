//! Everything that a case can ask, on a policy of filters in Lua and native ones.

use crate::{files, run};

const POLICY: &str = r#"
version: 1
listeners: [{ address: 127.0.0.1:0 }]
limits: { body_bytes: 10B, total_timeout: 10s, header_read_timeout: 5s }
trusted_proxies: [10.0.0.0/8]
upstreams:
  app: { endpoints: ["app.invalid:1"], response_timeout: 40ms, host: endpoint }
  auth: { endpoints: ["auth.invalid:1"] }
  grpc: { endpoints: ["grpc.invalid:1"], protocol: http2 }
filters:
  ask:
    lua:
      allow: { upstreams: [auth], hosts: ["keys.invalid:8080"] }
      inline: |
        local asked = counter("asked")
        function on_request(req)
          asked:add()
          local server = req.headers["x-of"] or "auth"
          local answer = http_call(server, { path = "/check", method = "GET" })
          if not answer then respond(502, {}, "nobody there") end
          if answer.status ~= 200 then respond(401, {}, answer.body) end
          req.headers["x-user"] = answer.body
          log.info("let in", answer.body)
        end
  broken: { lua: { inline: "function on_request(req) error('out of order') end" } }
  broken-open: { lua: { on_failure: open, inline: "function on_request(req) error('out of order') end" } }
  strict: { lua: { on_failure: shadow, inline: "function on_request(req) respond(403) end" } }
  hourly: { rate_limit: { rate: 1/hour, key: { header: x-key } } }
routes:
  - { name: asked, match: { path: { prefix: /asked } }, filters: [ask], forward: { upstream: app } }
  - { name: broken, match: { path: { prefix: /broken } }, filters: [broken], forward: { upstream: app } }
  - { name: open, match: { path: { prefix: /open } }, filters: [broken-open, strict], forward: { upstream: app } }
  - { name: hourly, match: { path: { prefix: /hourly } }, filters: [hourly], forward: { upstream: app } }
  - { name: grpc, match: { path: { prefix: /grpc } }, forward: { upstream: grpc } }
  - { name: here, match: { path: { exact: /here } }, respond: { status: 204 } }
"#;

const CASES: &str = r#"
timeout: 5s
cases:
  - name: a filter's call is answered by the script, and the route's upstream by the case
    calls: { auth: [{ body: ada }, { status: 403, body: go away }] }
    exchanges:
      - request: { path: /asked, client: 192.0.2.7 }
        response: { status: 202, body: [in two, " pieces"] }
        expect:
          route: asked
          upstream: app
          request: { headers: { x-user: ada, host: "app.invalid:1", x-forwarded-for: 192.0.2.7 } }
          response: { status: 202, body: in two pieces }
          logs: [let in ada]
          metrics: { asked: 1 }
          calls: { auth: 1, app: 1 }
      - request: { path: /asked }
        expect: { reply: { status: 401, body: go away }, filter: ask, upstream: { absent: true }, calls: { auth: 2, app: 1 } }
      - request: { path: /asked }
        expect: { reply: { status: 502 }, calls: { auth: 3 }, metrics: { asked: 3 } }
  - name: a server that is called by its address is played as well
    calls: { "keys.invalid:8080": [{ body: bob }] }
    request: { path: /asked, headers: { x-of: "keys.invalid:8080" } }
    expect: { request: { headers: { x-user: bob } }, calls: { "keys.invalid:8080": 1, auth: 0 } }
  - name: the address of a client behind a trusted proxy
    request: { path: /open, client: 10.1.1.1, headers: { x-forwarded-for: 203.0.113.9 } }
    expect: { request: { headers: { x-forwarded-for: "203.0.113.9, 10.1.1.1" } } }
  - name: a filter that fails
    request: { path: /broken }
    expect: { failure: out of order, filter: broken, response: { status: 503 }, calls: { app: 0 } }
  - name: a filter that may fail, and one in shadow
    request: { path: /open }
    expect: { route: open, shadow: { strict: deny }, response: { status: 200 } }
  - name: answers of the gateway's own
    exchanges:
      - { request: { path: /nowhere }, expect: { error: no_route, route: { absent: true }, response: { status: 404 } } }
      - { request: { method: POST, path: /open, body: more than ten bytes }, expect: { error: body_too_large, response: { status: 413 } } }
      - { request: { path: /open }, response: { delay: 60s }, expect: { error: upstream_timeout, response: { status: 504 } } }
      - { request: { path: /here }, expect: { response: { status: 204, body: "" } } }
  - name: HTTP/2 is spoken to who speaks it
    request: { path: /grpc, host: h.example }
    response: { status: 200, body: hello }
    expect: { upstream: grpc, request: { path: /grpc, headers: { host: h.example } }, response: { body: hello } }
  - name: rate limits go by the clock of the case
    exchanges:
      - { request: { path: /hourly, headers: { x-key: a } } }
      - { repeat: 5, request: { path: /hourly, headers: { x-key: a } }, expect: { reply: { status: 429 }, filter: hourly } }
      - { request: { path: /hourly, headers: { x-key: b } } }
      - { wait: 59m, request: { path: /hourly, headers: { x-key: a } }, expect: { reply: { status: 429 } } }
      - { wait: 1m, request: { path: /hourly, headers: { x-key: a } } }
  - name: and start anew in each case
    request: { path: /hourly, headers: { x-key: a } }
"#;

#[test]
fn every_end_and_every_trace_can_be_asked_for() {
    let (_folder, policy, cases) = files(POLICY, CASES);
    let ran = run(&policy, &cases, &[]).expect(0);
    assert!(ran.out.contains("9 passed, 0 failed"), "{}", ran.out);
}

/// Each expectation that holds above fails when it is turned round: none of them is always true.
#[test]
fn what_is_not_so_fails_and_is_told() {
    let table = [
        ("upstream: app\n", "upstream: auth\n", "expected: \"auth\"\n         got:      \"app\""),
        ("route: asked", "route: open", "expected: \"open\"\n         got:      \"asked\""),
        ("filter: ask,", "filter: broken,", "expected: \"broken\"\n         got:      \"ask\""),
        ("x-user: ada", "x-user: eve", "expected: \"eve\"\n         got:      \"ada\""),
        (
            "shadow: { strict: deny }",
            "shadow: { strict: edit }",
            "expected: \"edit\"\n         got:      \"deny\"",
        ),
        ("error: no_route", "error: bad_host", "expected: \"bad_host\"\n         got:      \"no_route\""),
        ("failure: out of order", "failure: budget", "got:      \""),
        ("metrics: { asked: 1 }", "metrics: { asked: 2 }", "expected: 2\n         got:      1"),
        ("calls: { auth: 2, app: 1 }", "calls: { auth: 2, app: 2 }", "expected: 2\n         got:      1"),
        ("wait: 1m,", "wait: 30s,", "got:      the filter `hourly` answered 429"),
        ("repeat: 5", "repeat: 6", ""),
    ];
    for (right, wrong, told) in table {
        assert_eq!(CASES.matches(right).count(), 1, "{right}");
        let is_right = told.is_empty();
        let (_folder, policy, cases) = files(POLICY, &CASES.replace(right, wrong));
        let ran = run(&policy, &cases, &[]).expect(i32::from(!is_right));
        assert!(is_right || ran.out.contains("1 failed"), "{wrong}: {}", ran.out);
        assert!(ran.out.contains(told), "{wrong}: no {told:?} in\n{}", ran.out);
    }
}
