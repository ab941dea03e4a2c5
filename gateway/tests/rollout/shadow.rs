//! A whole policy in shadow: what it would have done, and that it does nothing.

use std::process::{Command, Output};

use serde_json::Value;

use crate::answering;
use crate::support::guest::{guest, shipped};
use crate::support::{Gateway, Options, Origin, get, post, upstream, wait_for};

fn start(rest: &str) -> Gateway {
    Gateway::start_with_socket(rest, &Options::default())
}

/// `tollgate shadow` for this gateway.
fn shadow(gateway: &Gateway, arguments: &[&str]) -> Output {
    let admin = gateway.admin_socket();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("shadow").args(arguments).args(["--admin", &admin]).output().unwrap()
}

/// Takes a policy into shadow.
fn begin(gateway: &Gateway, rest: &str, arguments: &[&str]) {
    let path = gateway.folder().join("shadow.yaml");
    std::fs::write(&path, format!("{}{rest}", crate::support::PREAMBLE)).unwrap();
    let told = shadow(gateway, &[&[path.to_str().unwrap()], arguments].concat());
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}

fn report(gateway: &Gateway) -> Value {
    serde_json::from_slice(&gateway.admin_get("/policy/shadow").body).unwrap()
}

/// Waits until so many requests were found to be so.
fn until_found(gateway: &Gateway, finding: &str, count: u64) -> Value {
    wait_for(finding, || {
        let report = report(gateway);
        (report["shadow"]["findings"][finding].as_u64() == Some(count)).then_some(report)
    })
}

#[test]
fn what_agrees_is_counted_and_no_more() {
    let gateway = start(&answering("old"));
    begin(&gateway, &answering("new"), &[]);
    for _ in 0..5 {
        assert_eq!(gateway.get("/").text(), "old");
    }
    let report = until_found(&gateway, "agree", 5);
    assert_eq!(report["samples"].as_array().unwrap().len(), 0);
    assert_eq!(gateway.metric(r#"tollgate_policy_shadow_total{finding="agree"}"#), Some(5.0));
    // What it does is not counted as the policy's in force.
    assert_eq!(gateway.metric(r#"tollgate_requests_total{route="all",class="2xx"}"#), Some(5.0));
}

#[test]
fn a_filter_that_would_deny_denies_nobody() {
    let rules = shipped("rules");
    let origin = Origin::echo();
    let policy = format!("{}routes: [{{ name: all, forward: {{ upstream: u }} }}]\n", upstream(&origin));
    let guarded = format!(
        "{}filters: {{ guard: {{ wasm: {{ module: {}, config: {{ default: allow, rules: [{{ action: deny, \
         paths: [{{ prefix: /admin }}] }}] }} }} }} }}\n\
         routes: [{{ name: all, filters: [guard], forward: {{ upstream: u }} }}]\n",
        upstream(&origin),
        rules.display()
    );
    let gateway = start(&policy);
    begin(&gateway, &guarded, &[]);
    assert_eq!(gateway.get("/admin?token=s3cret").status(), 200);
    assert_eq!(gateway.ask(post("/else", &[], b"body")).status(), 200);
    until_found(&gateway, "agree", 1);
    let report = until_found(&gateway, "would_deny", 1);
    let sample = &report["samples"][0];
    assert_eq!((sample["path"].as_str(), sample["method"].as_str()), (Some("/admin"), Some("GET")));
    assert_eq!((&sample["live"]["fate"], &sample["shadow"]["filter"]), (&"allowed".into(), &"guard".into()));
    assert_eq!(sample["shadow"]["status"], 403);
    assert!(!report.to_string().contains("s3cret"));
    // The other way round, and each request reached the origin once.
    assert_eq!(origin.requests().len(), 2);
    gateway.write_policy(&guarded);
    gateway.reload();
    begin(&gateway, &policy, &[]);
    assert_eq!(gateway.get("/admin").status(), 403);
    until_found(&gateway, "would_allow", 1);
    let text = String::from_utf8(shadow(&gateway, &[]).stdout).unwrap();
    assert!(
        text.contains("would_allow GET /admin: all denied by guard with 403, in shadow all allowed"),
        "{text}"
    );
}

/// The shadow sees no body, so on what a body decided there is nothing to compare.
#[test]
fn a_denial_for_the_body_is_no_difference() {
    let denies = guest(
        r#"(import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#,
        r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (drop (call $respond (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const -1)))
    (i32.const 1))"#,
    );
    let origin = Origin::echo();
    let plain = format!("{}routes: [{{ name: all, forward: {{ upstream: u }} }}]\n", upstream(&origin));
    let limited = format!("limits: {{ body_bytes: 16B }}\n{plain}");
    let guarded = format!(
        "{}filters: {{ guard: {{ wasm: {{ module: {} }} }} }}\n\
         routes: [{{ name: all, filters: [guard], forward: {{ upstream: u }} }}]\n",
        upstream(&origin),
        denies.display()
    );
    let chunked = "POST / HTTP/1.1\r\nhost: test.example\r\ntransfer-encoding: chunked\r\n\r\n\
                   20\r\n0123456789abcdef0123456789abcdef\r\n0\r\n\r\n";
    for (policy, status) in [(limited, 413), (guarded, 403)] {
        let gateway = start(&policy);
        begin(&gateway, &plain, &[]);
        assert_eq!(gateway.ask(chunked).status(), status);
        let report = until_found(&gateway, "undecided", 1);
        let sample = &report["samples"][0];
        assert_eq!(
            (&sample["live"]["fate"], &sample["shadow"]["fate"]),
            (&"undecided".into(), &"allowed".into())
        );
    }
}

#[test]
fn its_memory_is_seen() {
    let rules = shipped("rules");
    let options = Options { workers: 1, ..Default::default() };
    let gateway = Gateway::start_with_socket(&answering("old"), &options);
    gateway.wait_for_metric("tollgate_wasm_vms", 0.0);
    let guarded = format!(
        "filters: {{ guard: {{ wasm: {{ module: {}, config: {{ default: allow, rules: [] }} }} }} }}\n\
         routes: [{{ name: all, filters: [guard], respond: {{ status: 200 }} }}]\n",
        rules.display()
    );
    begin(&gateway, &guarded, &[]);
    gateway.wait_for_metric("tollgate_wasm_vms", 1.0);
    assert!(gateway.metric("tollgate_wasm_memory_bytes").unwrap() > 65_535.0);
    assert!(shadow(&gateway, &["--stop"]).status.success());
    gateway.wait_for_metric("tollgate_wasm_vms", 0.0);
}

#[test]
fn another_route_is_noticed() {
    let gateway = start("routes: [{ name: one, respond: { status: 200 } }]\n");
    let two = "routes: [{ name: two, match: { host: test.example }, respond: { status: 204 } },\n\
               { name: one, respond: { status: 200 } }]\n";
    begin(&gateway, two, &[]);
    gateway.get("/");
    gateway.ask(get("/", &[("host", "elsewhere.example")]));
    let report = until_found(&gateway, "other_route", 1);
    assert_eq!(report["samples"][0]["shadow"]["route"], "two");
    until_found(&gateway, "agree", 1);
}

#[test]
fn a_filter_that_traps_in_shadow_fails_nobody() {
    let traps = guest(
        "",
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (unreachable))"#,
    );
    let gateway = start(&answering("old"));
    let policy = format!("filters: {{ bad: {{ wasm: {{ module: {} }} }} }}\n", traps.display())
        + "routes: [{ name: all, filters: [bad], respond: { status: 200 } }]\n";
    begin(&gateway, &policy, &[]);
    assert_eq!(gateway.get("/").text(), "old");
    let report = until_found(&gateway, "failed", 1);
    assert_eq!(report["samples"][0]["shadow"]["filter"], "bad");
    assert!(gateway.status()["filters"].as_array().unwrap().is_empty());
}

/// One bucket of one token: the shadow's is empty after the first request, that of the policy in force
/// is another.
#[test]
fn its_buckets_are_its_own() {
    let limited = |burst: u32| {
        format!(
            "filters: {{ few: {{ rate_limit: {{ rate: 1/hour, burst: {burst}, key: {{ fixed: all }} }} }} }}\n\
             routes: [{{ name: all, filters: [few], respond: {{ status: 200, body: old }} }}]\n"
        )
    };
    let gateway = start(&limited(3));
    begin(&gateway, &limited(1), &[]);
    let answers: Vec<u16> = (0..4).map(|_| gateway.get("/").status()).collect();
    assert_eq!(answers, [200, 200, 200, 429]);
    until_found(&gateway, "would_deny", 2);
    until_found(&gateway, "agree", 2);
}

#[test]
fn it_sees_its_share_and_nothing_after_its_end() {
    let one_worker = Options { workers: 1, ..Options::default() };
    let gateway = Gateway::start_with_socket(&answering("old"), &one_worker);
    begin(&gateway, &answering("new"), &["--share", "25%"]);
    (0..40).for_each(|_| drop(gateway.get("/")));
    until_found(&gateway, "agree", 10);
    assert!(shadow(&gateway, &["--stop"]).status.success());
    assert_eq!(gateway.get("/").text(), "old");
    assert!(report(&gateway)["shadow"].is_null());
    assert_eq!(gateway.metric(r#"tollgate_policy_shadow_total{finding="agree"}"#), Some(10.0));
    let again = shadow(&gateway, &["--stop"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("no policy is in shadow"));
}

/// What is in the file is not told to whoever asks.
#[test]
fn a_wrong_policy_is_refused_without_its_text() {
    let gateway = start(&answering("old"));
    let path = gateway.folder().join("wrong.yaml");
    std::fs::write(&path, "password: hunter2\n").unwrap();
    let told = shadow(&gateway, &[path.to_str().unwrap()]);
    let text = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(text.contains("the policy is wrong in") && !text.contains("hunter2"), "{text}");
    assert!(report(&gateway)["shadow"].is_null());
    assert_eq!(gateway.get("/").text(), "old");
}

/// It would be waited for until somebody writes.
#[test]
fn a_pipe_is_no_policy() {
    let gateway = start(&answering("old"));
    let path = gateway.folder().join("pipe.yaml");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert_eq!(shadow(&gateway, &[path.to_str().unwrap()]).status.code(), Some(1));
    assert_eq!(gateway.reload().status(), 200, "control goes on");
}

/// Others of the machine reach the TCP address: they would have the gateway read its secrets for them.
#[test]
fn only_the_user_of_the_gateway_may_begin_and_end_one() {
    let gateway = start(&answering("old"));
    begin(&gateway, &answering("new"), &[]);
    let admin = gateway.admin().to_string();
    let path = gateway.folder().join("shadow.yaml");
    for arguments in [&["shadow", "--stop"][..], &["shadow", path.to_str().unwrap()]] {
        let (code, text) = gateway.command(&[arguments, &["--admin", &admin]].concat());
        assert!(code == Some(1) && text.contains("only on a Unix socket"), "{code:?} {text}");
    }
    assert!(!report(&gateway)["shadow"].is_null());
}
