//! `tollgate rollout`: a policy that comes into force in steps.

use bytes::Bytes;
use clap::ValueEnum;
use http::Method;
use serde_json::Value;

use super::{Admin, Exit, Failure, Format, ask, failed};

/// Show or end the rollout of a policy in a running gateway.
///
/// A policy with `rollout` serves a share of the traffic first. `status` shows how it fares beside the
/// policy in force, `promote` puts it in force whole, `abort` takes it back. A policy that was taken back
/// is tried again when its files change, or by `tollgate reload`. Exit code 0: done; 1: no rollout is under
/// way; 2: the gateway cannot be asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate rollout status
  tollgate rollout status --format json | jq .running.candidate_served
  tollgate rollout abort --admin 127.0.0.1:9901")]
pub(in crate::cli) struct Args {
    /// What to do.
    #[arg(value_enum)]
    order: Order,
    #[command(flatten)]
    admin: Admin,
    /// How the answer is shown.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Show the policy on trial, and what happened lately.
    Status,
    /// Put it in force whole, now.
    Promote,
    /// Take it back, now.
    Abort,
}

pub(in crate::cli) fn rollout(args: &Args) -> Exit {
    try_rollout(args).unwrap_or_else(|failure| failed(&failure))
}

fn try_rollout(args: &Args) -> Result<Exit, Failure> {
    let (method, path) = match args.order {
        Order::Status => (Method::GET, "/policy/rollout"),
        Order::Promote => (Method::POST, "/policy/rollout/promote"),
        Order::Abort => (Method::POST, "/policy/rollout/abort"),
    };
    let answer = ask(&args.admin, method, path, args.format, Bytes::new())?;
    if args.format == Format::Json || !answer.status.is_success() {
        return Ok(answer.print());
    }
    out!("{}", text(&answer.json()?));
    Ok(Exit::Done)
}

/// For people: the policy on trial beside the one in force, and what happened lately.
fn text(report: &Value) -> String {
    let mut text = match &report["running"] {
        Value::Null => "no rollout is under way\n".to_owned(),
        running => of_running(running),
    };
    for note in report["events"].as_array().into_iter().flatten() {
        let word = |key: &str| note[key].as_str().unwrap_or_default();
        let reason = note["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
        text += &format!(
            "{}  generation {} {} at {}%{reason}\n",
            word("at"),
            note["generation"],
            word("event"),
            note["share_percent"]
        );
    }
    text
}

fn of_running(running: &Value) -> String {
    let mut text = format!(
        "generation {} serves {}% beside generation {}: step {} of {}, since {}\n",
        running["generation"],
        running["share_percent"],
        running["base"],
        running["step"],
        running["steps"],
        running["step_begun"].as_str().unwrap_or_default()
    );
    text += &format!(
        "{:>12}{:>12}{:>10}{:>10}{:>10}{:>14}\n",
        "", "requests", "errors", "denials", "traps", "p95 ms"
    );
    for (name, key) in [("candidate", "candidate_served"), ("base", "base_served")] {
        let served = &running[key];
        text += &format!(
            "{name:>12}{:>12}{:>10}{:>10}{:>10}{:>14}\n",
            served["requests"].to_string(),
            served["errors"].to_string(),
            served["denials"].to_string(),
            served["traps"].to_string(),
            served["latency_p95_ms"].to_string()
        );
    }
    let (seconds, requests) = (&running["step_seconds"], &running["minimum_requests"]);
    text + &format!("the step takes {seconds} s and {requests} requests of the candidate, at least\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_shown_as_text() {
        let served = json!({"requests": 120, "errors": 1, "denials": 0, "traps": 0, "latency_p95_ms": 2.25});
        let note = json!({"at": "2026-11-21T12:00:00Z", "event": "taken_back", "generation": 2,
                          "share_percent": 1.0, "reason": "errors"});
        let running = json!({"generation": 3, "base": 1, "step": 1, "steps": 3, "share_percent": 0.5,
            "step_begun": "2026-11-21T12:00:01Z", "step_seconds": 60.0, "minimum_requests": 100,
            "candidate_served": served, "base_served": served});
        let shown = text(&json!({"running": running, "last": note, "events": [note]}));
        assert!(shown.starts_with("generation 3 serves 0.5% beside generation 1: step 1 of 3"), "{shown}");
        assert!(shown.contains("   candidate         120         1         0         0          2.25\n"));
        assert!(
            shown.ends_with("2026-11-21T12:00:00Z  generation 2 taken_back at 1.0%: errors\n"),
            "{shown}"
        );
        assert!(text(&json!({"running": null, "events": []})).starts_with("no rollout"));
    }
}
