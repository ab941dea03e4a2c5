//! What takes a policy back: each margin, with the others out of the way.

use std::process::Command;

use serde_json::Value;

use crate::support::guest::guest;
use crate::support::{Gateway, deaf_address, wait_for};
use crate::{all, answering, ended, events, report, rollout, try_out};

/// Half of the users for an hour, with one margin.
fn judged_by(margin: &str) -> String {
    let mut margins: Vec<&str> = ["errors: none", "traps: none", "denials: none", "latency: none"]
        .into_iter()
        .filter(|none| margin.split(':').next() != none.split(':').next())
        .collect();
    margins.push(margin);
    let margins = margins.join(", ");
    rollout(&format!("steps: [{{ share: 50%, time: 1h }}], margins: {{ {margins} }}"))
}

/// The policy is on trial, users ask, and it is taken back; the reason.
fn taken_back(gateway: &Gateway, policy: &str) -> String {
    try_out(gateway, policy);
    wait_for("the end of the rollout", || {
        all(gateway, 50);
        report(gateway)["running"].is_null().then_some(())
    });
    let last = ended(gateway);
    assert_eq!((&last["event"], &last["generation"]), (&Value::from("taken_back"), &Value::from(2)));
    assert!(all(gateway, 50).iter().all(|answer| answer == "old"));
    assert_eq!(gateway.status()["generation"]["number"], 1);
    last["reason"].as_str().unwrap().to_owned()
}

#[test]
fn errors() {
    let gateway = crate::old();
    let broken = "routes: [{ respond: { status: 500 } }]\n".to_owned() + &judged_by("errors: 5%");
    let reason = taken_back(&gateway, &broken);
    assert!(reason.starts_with("errors: 100.00% of "), "{reason}");
    assert!(reason.ends_with("margin 5%"), "{reason}");
    assert_eq!(gateway.metric(r#"tollgate_rollout_events_total{event="taken_back"}"#), Some(1.0));
    let faults = r#"tollgate_rollout_faults_total{side="candidate",kind="error"}"#;
    assert!(gateway.metric(faults).unwrap() >= 20.0);
    assert!(gateway.log().iter().any(|line| line.contains("policy taken back")));
}

#[test]
fn denials_by_a_filter_and_by_the_lack_of_a_route() {
    let none = "filters: { no: { rate_limit: { rate: 1/hour, burst: 1, key: { fixed: all } } } }\n\
                routes: [{ filters: [no], respond: { status: 200, body: new } }]\n";
    let nowhere = "routes: [{ match: { path: { exact: /elsewhere } }, respond: { status: 200 } }]\n";
    for policy in [none, nowhere] {
        let gateway = crate::old();
        let reason = taken_back(&gateway, &(policy.to_owned() + &judged_by("denials: 2%")));
        assert!(reason.starts_with("denials: "), "{reason}");
    }
}

/// The filter fails open, so that clients see nothing of it.
#[test]
fn traps() {
    let traps = guest(
        "",
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (unreachable))"#,
    );
    let policy = format!(
        "filters: {{ bad: {{ wasm: {{ module: {}, on_failure: open }} }} }}\n\
         routes: [{{ filters: [bad], respond: {{ status: 200, body: new }} }}]\n",
        traps.display()
    );
    let reason = taken_back(&crate::old(), &(policy + &judged_by("traps: 0.1%")));
    assert!(reason.starts_with("traps: 100.00% of "), "{reason}");
}

/// The upstream never takes a connection, and what the gateway says instead takes 100 ms.
#[test]
fn latency() {
    let gateway = crate::old();
    let (deaf, _sockets) = deaf_address();
    let policy = format!(
        "upstreams: {{ slow: {{ endpoints: ['{deaf}'], connect_timeout: 100ms }} }}\n\
         routes: [{{ forward: {{ upstream: slow }} }}]\n"
    );
    let reason = taken_back(&gateway, &(policy + &judged_by("latency: 20ms")));
    assert!(reason.starts_with("latency: 95% of "), "{reason}");
}

/// Both policies are as bad: it is not the new one's fault.
#[test]
fn what_is_wrong_on_both_sides_takes_nothing_back() {
    let broken = "routes: [{ respond: { status: 500 } }]\n";
    let gateway = Gateway::start(broken);
    let steps = rollout("minimum_requests: 50, steps: [{ share: 50%, time: 1ms }]");
    try_out(&gateway, &(broken.to_owned() + &steps));
    wait_for("the end of the rollout", || {
        all(&gateway, 50);
        report(&gateway)["running"].is_null().then_some(())
    });
    assert_eq!(events(&gateway), ["begun", "promoted"]);
}

/// The file is as it was: the watch does not try it again. Another text is another policy.
#[test]
fn what_was_taken_back_is_tried_again_when_it_changes() {
    let gateway = crate::old();
    let broken = "routes: [{ respond: { status: 500 } }]\n".to_owned() + &judged_by("errors: 5%");
    taken_back(&gateway, &broken);
    let unchanged = r#"tollgate_policy_swaps_total{outcome="unchanged"}"#;
    let before = gateway.metric(unchanged).unwrap();
    gateway.write_policy(&broken);
    wait_for("the watch", || (gateway.metric(unchanged).unwrap() > before).then_some(()));
    assert!(report(&gateway)["running"].is_null());
    gateway.write_policy(&(answering("new") + &judged_by("errors: 5%")));
    wait_for("the next trial", || (report(&gateway)["running"]["generation"] == 3).then_some(()));
}

/// A policy whose filter takes four seconds of CPU to be found out.
fn busy() -> String {
    let loops = guest(
        "",
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (loop $on (br $on)) (i32.const 1))"#,
    );
    format!(
        "filters: {{ slow: {{ wasm: {{ module: {}, start_budget: 4s }} }} }}\n\
         routes: [{{ filters: [slow], respond: {{ status: 200, body: busy }} }}]\n",
        loops.display()
    )
}

/// CPU time that the gateway has taken, in hundredths of a second: `proc_pid_stat(5)`.
fn ticks(gateway: &Gateway) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// While another policy is tried, which may take minutes, nothing of a bad one is served any more.
#[test]
fn at_once_while_another_policy_is_tried() {
    let abort = |gateway: &Gateway| {
        // Its answer comes when the attempt is through.
        let (admin, program) = (gateway.admin().to_string(), env!("CARGO_BIN_EXE_tollgate"));
        Command::new(program).args(["rollout", "abort", "--admin", &admin]).spawn().unwrap()
    };
    for is_aborted in [false, true] {
        let gateway = crate::old();
        let margin = if is_aborted { "errors: none" } else { "errors: 5%" };
        try_out(&gateway, &("routes: [{ respond: { status: 500 } }]\n".to_owned() + &judged_by(margin)));
        assert!(all(&gateway, 10).iter().any(|answer| answer != "old"));
        let idle = ticks(&gateway);
        gateway.write_policy(&busy());
        std::thread::scope(|scope| {
            let attempt = scope.spawn(|| gateway.reload().status());
            wait_for("the attempt to begin", || (ticks(&gateway) > idle + 20).then_some(()));
            let mut aborting = is_aborted.then(|| abort(&gateway));
            wait_for("the end of its share", || {
                all(&gateway, 50).iter().all(|answer| answer == "old").then_some(())
            });
            assert!(!attempt.is_finished());
            assert!(!report(&gateway)["running"].is_null(), "what else follows comes later");
            assert_eq!(attempt.join().unwrap(), 422);
            if let Some(aborting) = &mut aborting {
                assert!(aborting.wait().unwrap().success());
            }
        });
        let event = if is_aborted { "aborted" } else { "taken_back" };
        assert_eq!(ended(&gateway)["event"], event);
        assert!(gateway.status()["pinned"]["reason"] == "taken_back", "{}", gateway.status());
    }
}
