//! Policies of thousands of routes, read again and again: what the process holds does not grow with their
//! number.
#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write;

use support::{Gateway, Options, wait_for};

const ROUTES: usize = 2_000;
/// One generation more, since the new one is built beside the old. A generation that stays with each reload is
/// ten times as much, and what a reading leaves on each of the threads that it might be done on, twice.
const TOLERANCE_KIB: u64 = 6 << 10;

/// Many routes, and one that answers `text`.
fn many(text: &str) -> String {
    let mut policy = String::from("routes:\n");
    writeln!(policy, "  - {{name: all, respond: {{status: 200, body: {text}}}}}").unwrap();
    for index in 0..ROUTES {
        writeln!(
            policy,
            "  - {{name: r{index}, match: {{host: h{index}.example, path: {{prefix: /p{index}}}}}, respond: {{status: 204}}}}"
        )
        .unwrap();
    }
    policy
}

/// Memory of the process that no file backs, in KiB.
fn anonymous(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Writes the policy, waits until it serves and nothing of the one before is left.
fn change(gateway: &Gateway, text: &str) {
    gateway.write_policy(&many(text));
    wait_for(text, || (gateway.get("/").text() == text).then_some(()));
    gateway.wait_for_metric("tollgate_generations_retiring", 0.0);
}

#[test]
fn twenty_reloads_hold_hardly_more_than_one() {
    let gateway = Gateway::start_with(&many("first"), &Options::default());
    // What `/metrics` takes is in it.
    change(&gateway, "second");
    let first = anonymous(&gateway);
    for round in 2..=20 {
        change(&gateway, &format!("round-{round}"));
    }
    let last = anonymous(&gateway);
    assert!(
        last < first + TOLERANCE_KIB,
        "{first} KiB after the first reload, {last} KiB after twenty reloads"
    );
}
