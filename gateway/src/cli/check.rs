//! `tollgate check`: what is wrong with a policy, without running it.

use std::path::PathBuf;

use serde::Serialize;

use super::Exit;
use crate::policy::{self, Diagnostics, Loaded};

/// Say what is wrong with a policy, and where.
///
/// Reads the policy and the modules that it names, and reports everything at once, each with line,
/// column, what was expected and a near miss. Filters are not started: `run` and a reload do that.
/// Exit code 1 if there is an error; warnings alone are no failure.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  tollgate check policies/demo.yaml\n  tollgate check policy.yaml --json | jq '.findings[].message'"
)]
pub(super) struct Args {
    /// The policy: a file, or a folder of them.
    policy: PathBuf,
    /// Tell it as one JSON object: `valid`, `findings`, `omitted`.
    #[arg(long)]
    json: bool,
}

/// The form of `--json`.
#[derive(Serialize)]
struct Report<'d> {
    valid: bool,
    findings: &'d [policy::Diagnostic],
    omitted: usize,
}

pub(super) fn check(args: &Args) -> Exit {
    let result = policy::load(&args.policy);
    let (findings, exit) = match &result {
        Ok(loaded) => (&loaded.warnings, Exit::Done),
        Err(diagnostics) => (diagnostics, Exit::Failed),
    };
    if args.json {
        println!("{}", json(findings, exit == Exit::Done));
        return exit;
    }
    print!("{findings}");
    match &result {
        Ok(loaded) => println!("{}: {}", args.policy.display(), summary(loaded)),
        Err(_) => println!("\n{}: not usable", args.policy.display()),
    }
    exit
}

fn json(findings: &Diagnostics, valid: bool) -> String {
    let report = Report { valid, findings: &findings.list, omitted: findings.omitted };
    // Plain data with text keys: there is nothing in it that JSON could not say.
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

fn summary(loaded: &Loaded) -> String {
    let policy = &loaded.policy;
    format!(
        "valid; {}, {}, {}, {}",
        counted(policy.listeners.len(), "listener"),
        counted(policy.routes.len(), "route"),
        counted(policy.filters.len(), "filter"),
        counted(policy.upstreams.len(), "upstream"),
    )
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const GOOD: &str = "version: 1\nlisteners: [{ address: 127.0.0.1:0 }]\n\
                        routes: [{ match: { path: { prefix: / } }, respond: { status: 200 } }]\n";

    #[test]
    fn a_good_policy_is_summed_up() {
        let loaded = policy::parse(GOOD, Path::new("p.yaml"), Path::new("")).unwrap();
        assert_eq!(summary(&loaded), "valid; 1 listener, 1 route, 0 filters, 0 upstreams");
    }

    #[test]
    fn json_names_place_and_reason() {
        let text = format!("{GOOD}routs: 1\n");
        let diagnostics = policy::parse(&text, Path::new("p.yaml"), Path::new("")).unwrap_err();
        let report: serde_json::Value = serde_json::from_str(&json(&diagnostics, false)).unwrap();
        assert_eq!((&report["valid"], &report["omitted"]), (&false.into(), &0.into()));
        let finding = &report["findings"][0];
        assert_eq!((&finding["line"], &finding["file"]), (&4.into(), &"p.yaml".into()));
        assert!(finding["message"].as_str().unwrap().contains("`routs`"), "{finding}");
    }
}
