//! What a script cannot do: take all the time or memory, see another's globals, or keep state by accident.

use crate::support::{Origin, get, response, wait_for};
use crate::{file, inline, start};

#[test]
fn a_loop_ends_with_its_line_and_the_instance_lives_on() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let looping = "
      function on_request(req)
        if req.path == '/lua' then while true do end end
        if req.path == '/c' then local s = string.rep('a', 4000); s:find(('.-'):rep(40) .. 'b') end
        if req.path == '/pcall' then while true do pcall(function() while true do end end) end end
        if req.path == '/sort' then table.sort({ 3, 1, 2 }, function() while true do end end) end
        if req.path == '/co' then coroutine.wrap(function() while true do end end)() end
      end
    ";
    let neighbour =
        "local seen = 0\nfunction on_request(req) seen = seen + 1; req.headers['x-seen'] = seen end";
    let filters =
        [("loop", inline(looping, ", circuit: { failures: 1000 }")), ("neighbour", inline(neighbour, ""))];
    let gateway = start(&origin, &filters);
    for path in ["/lua", "/pcall", "/sort", "/co"] {
        assert_eq!(gateway.get(path).status(), 503, "{path}");
        assert_eq!(gateway.get("/").status(), 200);
    }
    for line in [3, 5, 6, 7] {
        let said = format!("loop.lua:{line}: the CPU budget is used up");
        wait_for(&said, || gateway.log().iter().any(|line| line.contains(&said)).then_some(()));
    }
    gateway.wait_for_metric(r#"tollgate_filter_failures_total{filter="loop",kind="budget"}"#, 4.0);
    assert_eq!(gateway.metric(r#"tollgate_filter_restarts_total{filter="loop"}"#), Some(0.0));
    // The neighbour counted on: its state is the same.
    assert_eq!(origin.requests().last().unwrap().header("x-seen"), Some("4"));
}

/// A single function in C that does not come back is what the meter is for: the instance goes, and the
/// scripts in it start anew.
#[test]
fn what_the_hook_cannot_stop_the_meter_does() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let script = "function on_request(req)
      if req.path == '/c' then local s = string.rep('a', 4000); s:find(('.-'):rep(40) .. 'b') end
    end";
    let gateway = start(&origin, &[("match", inline(script, ""))]);
    assert_eq!(gateway.get("/c").status(), 503);
    assert_eq!(gateway.get("/").status(), 200);
    gateway.wait_for_metric(r#"tollgate_filter_failures_total{filter="match",kind="budget"}"#, 1.0);
}

#[test]
fn memory_runs_out_as_an_error_of_that_script_alone() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let greedy = "
      local kept = {}
      function on_request(req)
        if req.path == '/rep' then string.rep('x', 1 << 28) end
        if req.path == '/keep' then while true do kept[#kept + 1] = ('x'):rep(1 << 16) .. #kept end end
        if req.path == '/drop' then kept = {} end
      end
    ";
    let neighbour = "function on_request(req) local t = {}; for i = 1, 1000 do t[i] = { i } end end";
    let filters = [
        ("greedy", inline(greedy, ", memory: 4MiB, circuit: { failures: 1000 }")),
        ("neighbour", inline(neighbour, ", memory: 2MiB")),
    ];
    let gateway = start(&origin, &filters);
    assert_eq!(gateway.get("/rep").status(), 503);
    assert_eq!(gateway.get("/keep").status(), 503);
    let said = "not enough memory";
    wait_for(said, || gateway.log().iter().any(|line| line.contains(said)).then_some(()));
    // It may drop what it kept: nothing is lost but what was asked for.
    assert_eq!(gateway.get("/drop").status(), 200);
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(gateway.metric(r#"tollgate_filter_restarts_total{filter="greedy"}"#), Some(0.0));
}

#[test]
fn scripts_and_requests_share_nothing_by_accident() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let one = "
      answer = 42
      string.mine = function() return 'one' end
      function on_request(req) req.headers['x-one'] = tostring(answer) .. string.mine(); req.ctx.secret = 1 end
    ";
    let two = "
      function on_request(req)
        req.headers['x-two'] = tostring(rawget(_G, 'answer')) .. tostring(string.mine) .. tostring(req.ctx.secret)
      end
    ";
    let leaking = "function on_request(req) if req.path == '/leak' then last_user = req.path end end";
    let filters = [("one", inline(one, "")), ("two", inline(two, "")), ("leaking", inline(leaking, ""))];
    let gateway = start(&origin, &filters);
    assert_eq!(gateway.get("/").status(), 200, "{:#?}", gateway.log());
    let request = origin.request();
    assert_eq!((request.header("x-one"), request.header("x-two")), (Some("42one"), Some("nilnilnil")));
    assert_eq!(gateway.get("/leak").status(), 503);
    let log = gateway.stop().access_log;
    let reason = log.last().unwrap()["ended_by"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("assignment to the undeclared global `last_user`"), "{reason}");
}

#[test]
fn modules_are_those_that_the_policy_lists() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("greet.lua"), "local M = {}\nfunction M.hello(n) return 'hello ' .. n end\nreturn M")
        .unwrap();
    std::fs::write(
        path("main.lua"),
        "local greet = require 'lib.greet'\nassert(require 'lib.greet' == greet)\n\
         function on_request(req) respond(200, nil, greet.hello(config.name)) end",
    )
    .unwrap();
    let more =
        format!(", modules: {{ lib.greet: '{}' }}, config: {{ name: ada }}", path("greet.lua").display());
    let gateway = start(&origin, &[("main", file(&path("main.lua"), &more))]);
    assert_eq!(gateway.ask(get("/", &[])).text(), "hello ada");
}

/// A chain of three, which tell each other what they found.
#[test]
fn scripts_of_a_chain_share_metadata() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let first = "function on_request(req) metadata['risk.score'] = 40 end
                 function on_response(resp) resp.headers['x-final'] = metadata['risk.score'] end";
    let second =
        "function on_request(req) metadata['risk.score'] = tonumber(metadata['risk.score']) + 30 end";
    let third = "function on_request(req) if tonumber(metadata['risk.score']) > 60 and req.path ~= '/free' then respond(403, nil, metadata['risk.score']) end end";
    let filters =
        [("first", inline(first, "")), ("second", inline(second, "")), ("third", inline(third, ""))];
    let gateway = start(&origin, &filters);
    let answer = gateway.get("/");
    assert_eq!((answer.status(), answer.text(), answer.header("x-final")), (403, "70", Some("70")));
    let answer = gateway.get("/free");
    assert_eq!((answer.status(), answer.header("x-final")), (200, Some("70")));
}
