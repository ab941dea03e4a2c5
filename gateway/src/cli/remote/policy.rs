//! `tollgate reload` and `tollgate rollback`.

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::{Admin, Answer, Exit, Failure, Format, ask, failed};

/// Have a running gateway read its policy's files again.
///
/// It does so by itself when they change; this waits and tells how it went, and ends a rollback. Exit code 0 if
/// what the files say is in force, 1 if it was refused (the old policy goes on), 2 if the gateway cannot be
/// asked.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate reload\n  tollgate reload --admin 127.0.0.1:9901 --format json"
)]
pub(in crate::cli) struct ReloadArgs {
    #[command(flatten)]
    admin: Admin,
    /// How the answer is shown.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Have a running gateway go back to a policy that it had before.
///
/// The policy's files are left alone. The gateway stands by the earlier policy until they change or `tollgate
/// reload` is called, also over a restart; SIGHUP does not end it. Called again without a number it goes one
/// step further back. The earlier policy becomes a generation of its own, with a new number. Exit codes as for
/// `reload`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tollgate rollback\n  tollgate history && tollgate rollback 7")]
pub(in crate::cli) struct RollbackArgs {
    /// The number of a generation, as `tollgate history` shows it. Default: the policy before the one in force.
    generation: Option<u64>,
    #[command(flatten)]
    admin: Admin,
    /// How the answer is shown.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(in crate::cli) fn reload(args: &ReloadArgs) -> Exit {
    let answer = ask(&args.admin, Method::POST, "/policy/reload", args.format, Bytes::new());
    told(answer, args.format, "the files say what is in force")
}

pub(in crate::cli) fn roll_back(args: &RollbackArgs) -> Exit {
    let target = match args.generation {
        Some(number) => format!("/policy/rollback?to={number}"),
        None => "/policy/rollback".to_owned(),
    };
    let answer = ask(&args.admin, Method::POST, &target, args.format, Bytes::new());
    told(answer, args.format, "that policy is in force")
}

fn told(answer: Result<Answer, Failure>, format: Format, unchanged: &str) -> Exit {
    let shown = answer.and_then(|answer| match format {
        Format::Text if answer.status.is_success() => {
            outln!("{}", in_words(&answer.json()?, unchanged));
            Ok(Exit::Done)
        }
        _ => Ok(answer.print()),
    });
    shown.unwrap_or_else(|failure| failed(&failure))
}

fn in_words(outcome: &Value, unchanged: &str) -> String {
    let generation = &outcome["generation"];
    if outcome["outcome"] == "unchanged" {
        return format!("nothing to do: {unchanged} (generation {generation})");
    }
    let phases = ["parse_ms", "compile_ms", "prepare_ms", "commit_ms"];
    let took: f64 = phases.iter().filter_map(|phase| outcome["phases"][phase].as_f64()).sum();
    if outcome["outcome"] == "on_trial" {
        return format!(
            "generation {generation} is on trial, after {took:.1} ms: see `tollgate rollout status`"
        );
    }
    format!("generation {generation} is in force on every worker, after {took:.1} ms")
}
