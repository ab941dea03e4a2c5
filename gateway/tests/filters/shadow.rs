//! Filters in shadow: what they say is counted and logged, and nothing of it takes effect.

use serde_json::{Value, json};

use crate::guests::{always, callback, tag, trailers_callback, with};
use crate::support::{Gateway, Options, Origin, get, post, wait_for};
use crate::{chain, wasm};

const ONE_WORKER: Options = Options { workers: 1, log: "info" };
const SHADOW: &str = ", on_failure: shadow";

/// Adds `x-edit: yes` to a map; writes `***` over the beginning of a body.
fn edit(phase: &str) -> String {
    match phase {
        "request_body" | "response_body" => {
            let buffer = u32::from(phase == "response_body");
            format!(
                "(drop (call $write (i32.const {buffer}) (i32.const 0) (i32.const 3) (i32.const 96) (i32.const 3)))"
            )
        }
        _ => {
            let map = match phase {
                "request_headers" => 0,
                "request_trailers" => 1,
                "response_headers" => 2,
                _ => 3,
            };
            format!(
                "(drop (call $add (i32.const {map}) (i32.const 64) (i32.const 6) (i32.const 80) (i32.const 3)))"
            )
        }
    }
}

const DATA: &str =
    r#"(data (i32.const 64) "x-edit") (data (i32.const 80) "yes") (data (i32.const 96) "***")"#;
const PHASES: [&str; 6] = [
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
];

/// A guest that does this in one callback; `code` leaves an action.
fn acting_in(phase: &str, code: &str) -> std::path::PathBuf {
    let callback = match phase.ends_with("trailers") {
        true => trailers_callback(phase, code),
        false => callback(phase, code),
    };
    with(&format!("{DATA}{callback}"))
}

fn origin_with_trailers() -> Origin {
    Origin::start(|exchange| {
        exchange.read_body()?;
        let body = exchange.request.text().to_owned();
        let size = body.len();
        exchange.wire.send(format!(
            "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
             {size:x}\r\n{body}\r\n0\r\nx-sum: down\r\n\r\n"
        ))?;
        Ok(crate::support::Next::Keep)
    })
}

fn with_trailers() -> &'static str {
    "POST / HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n\
     transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: up\r\n\r\n"
}

/// Every verdict in every phase: the exchange is as if the filter were not there.
#[test]
fn no_verdict_takes_effect() {
    for phase in PHASES {
        let verdicts = [
            ("deny", "(call $deny (i32.const 403)) (i32.const 1)".to_owned()),
            ("respond", "(call $deny (i32.const 302)) (i32.const 1)".to_owned()),
            ("close", "(drop (call $close (i32.const 0))) (i32.const 1)".to_owned()),
            ("pause", "(i32.const 1)".to_owned()),
            ("fail", "(unreachable)".to_owned()),
            ("edit", format!("{} (i32.const 0)", edit(phase))),
        ];
        for (verdict, code) in verdicts {
            let case = format!("{verdict} in {phase}");
            // Behind a body that it let go it can only cut.
            let verdict = match (phase, verdict) {
                ("response_trailers", "deny" | "respond") => "close",
                _ => verdict,
            };
            let origin = origin_with_trailers();
            let filter = wasm(&acting_in(phase, &code), SHADOW);
            let gateway = Gateway::start_with(&chain(&origin, &[("shadow", filter)]), &ONE_WORKER);
            let mut client = gateway.client();
            // Twice: the connection outlives it.
            for _ in 0..2 {
                let answer = client.ask(with_trailers());
                let seen = (answer.status(), answer.text(), answer.header("x-edit"));
                assert_eq!(seen, (200, "body", None), "{case}");
                assert_eq!(
                    (answer.trailer("x-sum"), answer.trailer("x-edit")),
                    (Some("down"), None),
                    "{case}"
                );
            }
            for request in origin.requests() {
                let seen = (request.text(), request.header("x-edit"), request.trailer("x-sum"));
                assert_eq!(seen, ("body", None, Some("up")), "{case}");
                assert_eq!(request.trailer("x-edit"), None, "{case}");
            }
            let counted = format!(r#"tollgate_filter_shadow_total{{filter="shadow",verdict="{verdict}"}}"#);
            wait_for(&case, || gateway.metric(&counted).filter(|count| *count >= 2.0));
            drop(client);
            let log = gateway.stop().access_log;
            assert_eq!((log[0].get("ended_by"), log[0].get("error")), (None, None), "{case}");
            let said = &log[0]["shadow"][0];
            assert_eq!(
                (&said["filter"], &said["phase"], &said["verdict"]),
                (&json!("shadow"), &json!(phase), &json!(verdict)),
                "{case}: {}",
                log[0]
            );
            let status = match verdict {
                "deny" => json!(403),
                "respond" => json!(302),
                _ => Value::Null,
            };
            assert_eq!(said["status"], status, "{case}");
            if verdict == "deny" {
                assert_eq!(said["reason"], "denied", "{case}");
            }
        }
    }
}

/// It sees what came to it, its own edits included; its neighbours see nothing of it.
#[test]
fn it_sees_its_own_edits_and_nobody_else_does() {
    let origin = Origin::echo();
    // Denies if it sees the field that it added itself, or what the filter before it added.
    let looks = |name_at: u32, length: u32| {
        format!(
            "(if (result i32) (call $get (i32.const 0) (i32.const {name_at}) (i32.const {length}) (i32.const 0) (i32.const 4))
      (then (i32.const 0)) (else (call $deny (i32.const 403)) (i32.const 1)))"
        )
    };
    for (name_at, length, verdict) in [(64, 6, "deny"), (112, 7, "deny"), (128, 7, "edit")] {
        let fields = format!(
            r#"{DATA} (data (i32.const 112) "x-order") (data (i32.const 128) "x-other") {}{}"#,
            callback("request_headers", &format!("{} (i32.const 0)", edit("request_headers"))),
            callback("response_headers", &looks(name_at, length))
        );
        let filters = [
            ("before", wasm(&tag("before"), "")),
            ("shadow", wasm(&with(&fields), SHADOW)),
            ("behind", wasm(&tag("behind"), "")),
        ];
        let gateway = Gateway::start_with(&chain(&origin, &filters), &ONE_WORKER);
        let answer = gateway.get("/");
        assert_eq!((answer.status(), answer.header("x-edit")), (200, None));
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.header("x-edit"), None);
        let log = gateway.stop().access_log;
        let said = log[0]["shadow"].as_array().unwrap();
        assert_eq!(said.last().unwrap()["verdict"], verdict, "{said:?}");
    }
}

/// Bodies pass untouched and at once in every mode; what would have been too large is said.
#[test]
fn bodies_pass_whatever_the_mode() {
    let large: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    for (mode, too_large) in [
        ("stream", false),
        ("{ buffer: 1MiB }", false),
        ("{ buffer: 1KiB }", true),
        ("{ peek: 1KiB }", false),
    ] {
        for phase in ["request_body", "response_body"] {
            let case = format!("{mode} in {phase}");
            let origin = Origin::echo();
            let filter = wasm(
                &acting_in(phase, &format!("{} (i32.const 0)", edit(phase))),
                &format!("{SHADOW}, body: {mode}"),
            );
            let gateway = Gateway::start_with(&chain(&origin, &[("shadow", filter)]), &ONE_WORKER);
            let answer = gateway.ask(post("/", &[], &large));
            assert!(answer.status() == 200 && answer.body == large, "{case}");
            assert_eq!(answer.header("content-length"), Some("300000"), "{case}");
            let log = gateway.stop().access_log;
            let verdict = if too_large { "too_large" } else { "edit" };
            assert_eq!(log[0]["shadow"][0]["verdict"], verdict, "{case}: {}", log[0]);
        }
    }
}

/// One that would hold a body back holds nobody up, and what it would hold has a limit.
#[test]
fn a_held_body_is_not_held() {
    let origin = Origin::echo();
    let filter = wasm(&always("request_body", "(i32.const 1)"), SHADOW);
    let limits = "limits: { buffer_bytes: 1000 }\n";
    let gateway =
        Gateway::start_with(&format!("{limits}{}", chain(&origin, &[("shadow", filter)])), &ONE_WORKER);
    for (size, verdicts) in [(1000, vec!["pause"]), (300_000, vec!["pause", "too_large"])] {
        let body = vec![b'a'; size];
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n"));
        client.send(&body[..500]);
        // The first piece has come to the origin before the others are sent.
        origin.wait_for_requests(1);
        client.send(&body[500..]);
        assert!(client.response().body == body, "{size}");
        drop(client);
        let log = gateway.wait_for_access_log(if size == 1000 { 1 } else { 2 });
        let said = log.last().unwrap()["shadow"].as_array().unwrap().clone();
        let said: Vec<_> = said.iter().map(|said| said["verdict"].as_str().unwrap()).collect();
        assert_eq!(said, verdicts, "{size}");
    }
}

/// It waits for the answer to something; the exchange does not wait for it, and its verdict counts yet.
#[test]
fn a_verdict_that_comes_late_counts() {
    let origin = Origin::echo();
    let fields = format!(
        r#"(global $waiting (mut i32) (i32.const 0)) (global $armed (mut i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $tick (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (if (i32.and (global.get $armed) (i32.ne (global.get $waiting) (i32.const 0))) (then
      (drop (call $effective (global.get $waiting)))
      (global.set $waiting (i32.const 0))
      (call $deny (i32.const 401)))))
  {}"#,
        callback(
            "request_headers",
            "(if (call $trigger) (then (global.set $armed (i32.const 1)) (return (i32.const 0))))
    (global.set $waiting (local.get $id)) (i32.const 1)"
        )
    );
    let gateway =
        Gateway::start_with(&chain(&origin, &[("late", wasm(&with(&fields), SHADOW))]), &ONE_WORKER);
    assert_eq!(gateway.get("/").status(), 200);
    // Only now that the exchange is over does it decide.
    let log = gateway.wait_for_access_log(1);
    assert_eq!(log[0]["shadow"][0]["verdict"], "pause");
    assert_eq!(gateway.ask(get("/", &[("x-trigger", "1")])).status(), 200);
    gateway.wait_for_metric(r#"tollgate_filter_shadow_total{filter="late",verdict="deny"}"#, 1.0);
    wait_for("the verdict in the log", || {
        let lines = gateway.log();
        let line = lines.iter().find(|line| line.contains("a filter in shadow decided"))?;
        (line.contains("401") && line.contains("denied")).then_some(())
    });
}

/// Its failures open its own circuit; a filter of the same module that counts has a VM to itself.
#[test]
fn its_failures_are_its_own() {
    let origin = Origin::echo();
    let module = crate::guests::triggered("response_headers", "unreachable");
    let never = ", circuit: { failures: 3, rest: 1h, longest_rest: 1h }";
    let filters = [("real", wasm(&module, "")), ("shadow", wasm(&module, &format!("{SHADOW}{never}")))];
    let gateway = Gateway::start_with(&chain(&origin, &filters), &ONE_WORKER);
    assert_eq!(gateway.get("/").status(), 200);
    // The response comes to the one in shadow first, which traps, then to the other.
    for _ in 0..5 {
        assert_eq!(gateway.ask(get("/", &[("x-trigger", "1")])).status(), 503);
    }
    let status = wait_for("the open circuit", || {
        let status = gateway.status();
        (status["filters"][1]["state"] == "circuit_open").then_some(status)
    });
    assert_eq!(
        (&status["filters"][0]["state"], &status["filters"][0]["failures"]),
        (&json!("ok"), &json!(5))
    );
    assert_eq!(gateway.get("/").status(), 200);
}
