//! The language and what scripts see. Most of it is told by scripts themselves, which assert.

use crate::support::{Origin, get, post, response};
use crate::{file, inline, repository, start};

#[test]
fn the_language_works_in_its_sandbox() {
    let origin = Origin::answering(response(200, &[], b""));
    let script = file(&repository("filters/lua/tests/language.lua"), ", budget: 1s");
    let gateway = start(&origin, &[("language", script)]);
    for _ in 0..3 {
        let answer = gateway.get("/");
        assert_eq!((answer.status(), answer.text()), (200, "ok"), "{:#?}", gateway.log());
    }
}

#[test]
fn requests_and_responses_are_read_and_changed() {
    let origin = Origin::answering(response(
        200,
        &[("x-origin", "1"), ("set-cookie", "a"), ("set-cookie", "b")],
        b"body",
    ));
    let script = r##"
      function on_request(req)
        assert(req.method == "GET" and req.path == "/a/b" and req.query == "x=1&y=%20&x=2")
        assert(req.params.x == "1" and req.params.y == " " and req.params.z == nil)
        assert(req.uri == "/a/b?x=1&y=%20&x=2" and req.scheme == "http" and req.host == "test.example")
        assert(req.client_ip == "127.0.0.1" and req.client_port > 0 and req.protocol == "HTTP/1.1")
        assert(req.tls == nil and req.route == "all" and #req.id > 8)
        local h = req.headers
        assert(h["user-agent"] == "test" and h["User-Agent"] == "test" and h.absent == nil)
        assert(h:get("x-many") == "1" and table.concat(h:get_all("x-many"), "+") == "1+2" and #h:get_all("none") == 0)
        local names = {}
        for name, value in pairs(h) do names[name] = value end
        assert(names["user-agent"] == "test" and names[":path"] == nil)
        h["x-set"] = "yes"
        h:add("x-many", "3")
        h["user-agent"] = nil
        h:remove("x-gone")
        req.path = "/c"
        req.ctx.seen = req.query
        req.query = "k=v"
        assert(req.params.k == "v" and req.uri == "/c?k=v")
        req.headers["x-absent"] = nil
      end
      function on_response(resp, ...)
        assert(select("#", ...) == 0 and resp.status == 200 and resp.ctx.seen == "x=1&y=%20&x=2")
        assert(resp.request.method == "GET" and resp.request.ctx == resp.ctx)
        assert(#resp.headers:get_all("set-cookie") == 2)
        resp.headers["x-origin"] = nil
        resp.headers["x-seen"] = resp.ctx.seen
        resp.status = 201
      end
    "##;
    let gateway = start(&origin, &[("script", inline(script, ""))]);
    let headers = [("user-agent", "test"), ("x-many", "1"), ("x-many", "2"), ("x-gone", "x")];
    let answer = gateway.ask(get("/a/b?x=1&y=%20&x=2", &headers));
    assert_eq!(answer.status(), 201, "{:#?}", gateway.log());
    assert_eq!((answer.header("x-origin"), answer.header("x-seen")), (None, Some("x=1&y=%20&x=2")));
    let request = origin.request();
    assert_eq!((request.target(), request.header("x-set")), ("/c?k=v", Some("yes")));
    assert_eq!(request.headers_named("x-many"), ["1", "2", "3"]);
    assert_eq!((request.header("user-agent"), request.header("x-gone")), (None, None));
}

#[test]
fn a_script_answers() {
    let origin = Origin::answering(response(200, &[], b""));
    let script = r##"
      function on_request(req)
        if req.path == "/deny" then
          respond(403, { ["x-why"] = "rule 7", ["x-list"] = { "a", 2 } }, "denied\n")
          error("not reached")
        end
        if req.path == "/deep" then
          local ok = pcall(function() string.gsub("x", "x", function() respond(418) end) end)
          req.headers["x-after"] = tostring(ok)
        end
      end
      function on_response(resp)
        if resp.request.path == "/replace" then respond(502, nil, "replaced") end
      end
    "##;
    let gateway = start(&origin, &[("script", inline(script, ""))]);
    let answer = gateway.get("/deny");
    assert_eq!((answer.status(), answer.text(), answer.header("x-why")), (403, "denied\n", Some("rule 7")));
    assert_eq!(answer.headers_named("x-list"), ["a", "2"]);
    // Answered where a thread cannot be suspended: the script runs on, and the answer stands.
    assert_eq!(gateway.get("/deep").status(), 418);
    assert_eq!(gateway.get("/").status(), 200);
    let answer = gateway.get("/replace");
    assert_eq!((answer.status(), answer.text()), (502, "replaced"));
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn bodies_are_streamed_or_buffered() {
    let origin = Origin::echo();
    let streamed = r##"
      function on_request_body(req, piece, last)
        req.ctx.bytes = (req.ctx.bytes or 0) + #piece
        if last then return piece .. "|" .. req.ctx.bytes end
      end
      function on_response_body(resp, piece, last) return (piece:gsub("secret", "******")) end
    "##;
    let buffered = r##"
      options { request_body = "buffer" }
      function on_request_body(req, body, last)
        assert(last)
        local order = json.decode(body:match("^[^|]*"))
        order.total = order.price * order.count
        return json.encode(order)
      end
    "##;
    let gateway = start(&origin, &[("s", inline(streamed, ""))]);
    assert_eq!(gateway.ask(post("/", &[], b"a secret")).text(), "a ******|8");
    let gateway = start(&origin, &[("b", inline(buffered, ""))]);
    let body = br#"{"price": 2.5, "count": 4, "item": "secret"}"#;
    let head = "POST / HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = gateway.client();
    client.send(head);
    for piece in body.chunks(7) {
        client.send(format!("{:x}\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap()));
    }
    client.send("0\r\n\r\n");
    let answer: serde_json::Value = serde_json::from_slice(&client.response().body).unwrap();
    assert_eq!(answer, serde_json::json!({ "price": 2.5, "count": 4, "item": "secret", "total": 10.0 }));
}

/// The libraries, by `filters/lua/tests/library.lua`, which asserts.
#[test]
fn the_library_does_what_it_says() {
    let origin = Origin::answering(response(200, &[], b""));
    let config = ", budget: 1s, config: { threshold: 60, names: [a, b], nested: { on: true, off: null } }";
    let script = file(&repository("filters/lua/tests/library.lua"), config);
    let gateway = start(&origin, &[("library", script)]);
    let answer = gateway.get("/");
    assert_eq!((answer.status(), answer.text()), (200, "ok"), "{:#?}", gateway.log());
}
