//! `tollgate rollout`: a policy that comes into force in steps.

use std::net::SocketAddr;

use clap::ValueEnum;
use http::Method;
use serde_json::Value;

use super::Exit;
use super::ask::{AskError, ask};

/// Show or end the rollout of a policy in a running gateway.
///
/// A policy with `rollout` serves a share of the traffic first. `status` shows how it fares beside the
/// policy in force, `promote` puts it in force whole, `abort` takes it back. A policy that was taken back
/// is tried again when its file changes, or by a reload that is asked for. Exit code 0: done; 2: no rollout
/// is under way, or no gateway answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate rollout status
  tollgate rollout status --json | jq .running.candidate_served
  tollgate rollout abort --admin 127.0.0.1:9901")]
pub(super) struct Args {
    /// What to do.
    #[arg(value_enum)]
    order: Order,
    /// The gateway's admin address, as its policy says.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Print what the gateway answers, in JSON.
    #[arg(long)]
    json: bool,
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

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("{0}")]
    Refused(String),
    #[error("the gateway answers something else than a rollout: {0}")]
    NotJson(#[from] serde_json::Error),
}

pub(super) fn run(args: &Args) -> Exit {
    match report(args) {
        Ok(text) => {
            print!("{text}");
            Exit::Done
        }
        Err(failure) => {
            eprintln!("tollgate: {failure}");
            Exit::CannotRun
        }
    }
}

fn report(args: &Args) -> Result<String, Failure> {
    let (method, path) = match args.order {
        Order::Status => (Method::GET, "/policy/rollout"),
        Order::Promote => (Method::POST, "/policy/rollout/promote"),
        Order::Abort => (Method::POST, "/policy/rollout/abort"),
    };
    let (status, body) = ask(args.admin, method, path)?;
    if !status.is_success() {
        return Err(Failure::Refused(String::from_utf8_lossy(&body).trim_end().to_owned()));
    }
    let report: Value = serde_json::from_slice(&body)?;
    Ok(if args.json { format!("{report:#}\n") } else { text(&report) })
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
