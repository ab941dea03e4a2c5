//! `tollgate history`.

use std::fmt::Write;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;

use super::{Admin, Exit, Failure, Format, ask, failed};
use crate::history::{Event, EventKind, Pin, PinReason};

/// Show which policies a running gateway had, and what became of each attempt to change it.
///
/// One line an event, the newest last. Policies marked `kept` are those that `tollgate rollback` can go back
/// to.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tollgate history\n  tollgate history --lines 100\n  \
    tollgate history --format json | jq .kept")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    admin: Admin,
    /// Events to show.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    lines: usize,
    /// How the answer is shown; as JSON it is all there is.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What the admin API tells, as far as it is shown.
#[derive(Deserialize)]
struct Overview {
    generation: Option<u64>,
    pinned: Option<Pin>,
    problem: Option<String>,
    kept: Vec<Kept>,
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Kept {
    digest: String,
}

pub(in crate::cli) fn history(args: &Args) -> Exit {
    try_history(args).unwrap_or_else(|failure| failed(&failure))
}

fn try_history(args: &Args) -> Result<Exit, Failure> {
    // Its only form is JSON; a refusal is text.
    let answer = ask(&args.admin, Method::GET, "/policy/history", args.format, Bytes::new())?;
    if args.format == Format::Json || !answer.status.is_success() {
        return Ok(answer.print());
    }
    let overview: Overview = serde_json::from_slice(&answer.body)?;
    out!("{}", table(&overview, args.lines));
    Ok(Exit::Done)
}

fn table(overview: &Overview, lines: usize) -> String {
    let events = &overview.events[overview.events.len().saturating_sub(lines)..];
    let mut rows = vec![["GENERATION", "TIME", "EVENT", "POLICY", "KEPT", "DETAIL"].map(str::to_owned)];
    rows.extend(events.iter().map(|event| row(event, overview)));
    let mut text = String::new();
    let widths: [usize; 6] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&footer(overview));
    text
}

fn row(event: &Event, overview: &Overview) -> [String; 6] {
    let (name, digest, detail) = match &event.kind {
        EventKind::Applied { digest, trigger, .. } => ("applied", digest.as_str(), trigger.clone()),
        EventKind::Refused { trigger, reason, .. } => ("refused", "", format!("{trigger}: {reason}")),
        EventKind::RolledBack { digest, to, .. } => {
            ("rolled back", digest.as_str(), format!("to generation {to}"))
        }
        EventKind::Fallback { digest, to, reason, .. } => {
            ("fallback", digest.as_str(), format!("to generation {to}: {reason}"))
        }
        EventKind::Rollout { digest, step, detail, .. } => {
            ("rollout", digest.as_str(), format!("{step} {detail}"))
        }
    };
    let generation = match &event.kind {
        // It had no number.
        EventKind::Refused { .. } => "-".to_owned(),
        kind => kind.generation().map_or_else(String::new, |number| number.to_string()),
    };
    let is_kept = overview.kept.iter().any(|kept| kept.digest == digest);
    [
        generation,
        event.at.clone(),
        name.to_owned(),
        digest.get(..12).unwrap_or(digest).to_owned(),
        if is_kept { "kept" } else { "" }.to_owned(),
        // One line an event, whatever the reason.
        detail.replace(|c: char| c.is_control(), " "),
    ]
}

fn footer(overview: &Overview) -> String {
    let mut text = match overview.generation {
        Some(generation) => format!("\ngeneration {generation} is in force"),
        None => "\nno policy is in force".to_owned(),
    };
    if let Some(pin) = &overview.pinned {
        let until = "until the policy's files change or `tollgate reload`";
        // Writing to a string does not fail.
        let _ = match pin.reason {
            PinReason::Rollback => {
                write!(text, ", the policy of generation {} by a rollback, {until}", pin.to)
            }
            PinReason::Trial => write!(text, "; what the policy's files say is on trial"),
            PinReason::TakenBack => {
                write!(text, ", as what the policy's files say was taken back, {until}")
            }
        };
    }
    text.push('\n');
    if let Some(problem) = &overview.problem {
        let _ = writeln!(text, "not kept on disk: {problem}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_event() {
        let text = r#"{"generation": 3, "pinned": {"to": 1, "files": "bb"}, "folder": "/f", "problem": "full",
            "kept": [{"digest": "aaaaaaaaaaaaaaaa"}],
            "events": [
              {"at": "T0", "event": "applied", "generation": 1, "digest": "aaaaaaaaaaaaaaaa", "trigger": "start"},
              {"at": "T1", "event": "applied", "generation": 2, "digest": "bb", "trigger": "file"},
              {"at": "T2", "event": "refused", "generation": 2, "trigger": "file", "reason": "wrong\nhere"},
              {"at": "T3", "event": "rolled_back", "generation": 3, "digest": "aaaaaaaaaaaaaaaa", "to": 1}]}"#;
        let overview: Overview = serde_json::from_str(text).unwrap();
        let expected = "\
GENERATION  TIME  EVENT        POLICY        KEPT  DETAIL
2           T1    applied      bb                  file
-           T2    refused                          file: wrong here
3           T3    rolled back  aaaaaaaaaaaa  kept  to generation 1

generation 3 is in force, the policy of generation 1 by a rollback, until the policy's files change or `tollgate reload`
not kept on disk: full
";
        assert_eq!(table(&overview, 3), expected);
    }
}
