//! `tollgate shadow`: a whole policy in shadow.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::Exit;
use super::remote::{self, Admin, Format};
use super::style::printable;

/// Try a policy on the traffic of a running gateway, with no effect.
///
/// The policy decides on copies of the requests that the policy in force serves: its routes and the request
/// side of its filters, bodies left out. How its decisions compare is counted, and the last requests on which
/// they differ are shown. Its token buckets, VMs and shared data are its own; calls of its filters to other
/// servers are real. Without POLICY: what was found so far. To begin and to end it, the gateway's Unix socket
/// (`admin.unix` in its policy) is needed. Exit code 0: done; 1: the gateway refused; 2: it could not be asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate shadow new.yaml --share 10%
  tollgate shadow                        what was found so far
  tollgate shadow --json | jq '.samples[] | select(.finding == \"would_deny\")'
  tollgate shadow --stop")]
pub(super) struct Args {
    /// The policy to try, a file on the gateway's machine.
    policy: Option<PathBuf>,
    /// How many of the requests it sees.
    #[arg(long, default_value = "100%", value_name = "PERCENT", value_parser = parse_share, requires = "policy")]
    share: u16,
    /// End it.
    #[arg(long, conflicts_with = "policy")]
    stop: bool,
    #[command(flatten)]
    admin: Admin,
    /// Print what the gateway answers, in JSON.
    #[arg(long)]
    json: bool,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ask(#[from] remote::Failure),
    #[error("{path}: {source}")]
    Path { path: String, source: std::io::Error },
    #[error("{0}")]
    Refused(String),
    #[error("the gateway answers something else than a shadow: {0}")]
    NotJson(#[from] serde_json::Error),
}

/// A percentage, in hundredths of a percent.
fn parse_share(text: &str) -> Result<u16, String> {
    let share = crate::policy::rollout::Share::parse(text).map(|share| share.hundredths());
    share
        .filter(|share| *share > 0)
        .ok_or_else(|| "expected a percentage above 0%, such as `12.5%`".to_owned())
}

pub(super) fn run(args: &Args) -> Exit {
    match report(args) {
        Ok(text) => {
            out!("{text}");
            Exit::Done
        }
        Err(failure) => {
            eprintln!("tollgate: {failure}");
            if matches!(failure, Failure::Refused(_)) { Exit::Failed } else { Exit::CannotRun }
        }
    }
}

fn report(args: &Args) -> Result<String, Failure> {
    let ask = |method, path: &str| remote::ask(&args.admin, method, path, Format::Json, Bytes::new());
    let remote::Answer { status, body } = match (&args.policy, args.stop) {
        (Some(policy), _) => ask(Method::POST, &target(policy, args.share)?)?,
        (None, true) => ask(Method::DELETE, "/policy/shadow")?,
        (None, false) => ask(Method::GET, "/policy/shadow")?,
    };
    if !status.is_success() {
        return Err(Failure::Refused(String::from_utf8_lossy(&body).trim_end().to_owned()));
    }
    let report: Value = serde_json::from_slice(&body)?;
    Ok(if args.json { format!("{report:#}\n") } else { printable(&text(&report)) })
}

/// The gateway has another working folder.
fn target(policy: &Path, share: u16) -> Result<String, Failure> {
    let path = std::path::absolute(policy)
        .map_err(|source| Failure::Path { path: policy.display().to_string(), source })?;
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    let encoded = percent_encoding::percent_encode(bytes, percent_encoding::NON_ALPHANUMERIC);
    Ok(format!("/policy/shadow?policy={encoded}&share={share}"))
}

/// For people: how the decisions compare, and the last on which they differ.
fn text(report: &Value) -> String {
    let shadow = &report["shadow"];
    if shadow.is_null() {
        return "no policy is in shadow\n".to_owned();
    }
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut text = format!(
        "{} sees {}% of the requests since {}\n",
        word(&shadow["policy"]),
        shadow["share_percent"],
        word(&shadow["since"])
    );
    for (finding, count) in shadow["findings"].as_object().into_iter().flatten() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{finding:>12} {:>12}", count.to_string());
    }
    for sample in report["samples"].as_array().into_iter().flatten() {
        let decision = |side: &str| {
            let decision = &sample[side];
            let filter =
                decision["filter"].as_str().map(|filter| format!(" by {filter}")).unwrap_or_default();
            let status =
                decision["status"].as_u64().map(|status| format!(" with {status}")).unwrap_or_default();
            format!("{} {}{filter}{status}", word(&decision["route"]), word(&decision["fate"]))
        };
        let _ = writeln!(
            text,
            "{}  {} {} {}: {}, in shadow {}",
            word(&sample["at"]),
            word(&sample["finding"]),
            word(&sample["method"]),
            word(&sample["path"]),
            decision("live"),
            decision("shadow")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_is_shown_as_text() {
        let sample = json!({"at": "2026-11-21T12:00:00Z", "finding": "would_deny", "method": "GET", "path": "/a",
            "live": {"route": "all", "fate": "allowed"},
            "shadow": {"route": "all", "fate": "denied", "filter": "guard", "status": 403}});
        let shadow = json!({"policy": "/p.yaml", "share_percent": 100.0, "since": "2026-11-21T11:00:00Z",
            "findings": {"agree": 7, "would_deny": 1}});
        let shown = text(&json!({"shadow": shadow, "samples": [sample]}));
        assert!(
            shown.starts_with("/p.yaml sees 100.0% of the requests since 2026-11-21T11:00:00Z\n"),
            "{shown}"
        );
        assert!(shown.contains("       agree            7\n"), "{shown}");
        let last = "would_deny GET /a: all allowed, in shadow all denied by guard with 403\n";
        assert!(shown.ends_with(last), "{shown}");
        assert_eq!(text(&json!({"shadow": null, "samples": []})), "no policy is in shadow\n");
    }

    #[test]
    fn paths_are_absolute_and_encoded() {
        let target = target(Path::new("/a b/p&q.yaml"), 1000).unwrap();
        assert_eq!(target, "/policy/shadow?policy=%2Fa%20b%2Fp%26q%2Eyaml&share=1000");
        assert_eq!((parse_share("12.5%"), parse_share("0%").is_err()), (Ok(1250), true));
    }
}
