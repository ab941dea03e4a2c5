//! `tollgate check`: what is wrong with a policy, without running it.

use std::path::PathBuf;

use serde::Serialize;
use tollgate_proxy_wasm::{LogLevel, StartError};

use super::{CacheArgs, Exit, cannot, told_after_a_second};
use crate::generation::canary::{self, CanaryError};
use crate::generation::modules::{Fault, FilterFault, FilterFaults};
use crate::policy::diagnostics::Severity;
use crate::policy::{Diagnostic, Diagnostics, Loaded};

/// Say what is wrong with a policy, and where.
///
/// Reads the policy and the files that it names, and reports everything at once, each with line, column, what
/// was expected and a near miss. Then every filter is started aside, as `run` and a reload do before any worker
/// sees it: modules are compiled (into the cache that `run` uses) and configured, scripts are compiled and run
/// up to their handlers. Nothing is served, no port is opened and no server of the policy is called.
/// Exit code 1 if there is an error, or with `--deny-warnings` a warning; 2 if filters could not be tried.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// The policy: a file, or a folder of them.
    policy: PathBuf,
    /// Do not compile modules and start filters; scripts are not looked at then.
    #[arg(long)]
    no_modules: bool,
    /// Fail for warnings, too.
    #[arg(long)]
    deny_warnings: bool,
    /// Tell it as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

const EXAMPLE: &str = "\
Examples:
  tollgate check policies/demo.yaml
  tollgate check policy.yaml --deny-warnings --no-modules
  tollgate check policy.yaml --json | jq '.findings[].message'

The object of `--json`:
  valid      whether the gateway would take the policy
  started    how many filters were started; null if none was tried
  findings   each with `severity` (`error`, `warning`), `file`, `line`, `column`, `path` (such as
             `routes[3].match`), `message`, and, where there are any, `expected`, `found`, `help` and
             `related` (`line`, `column`, `message`)
  omitted    how many findings more there were";

/// The form of `--json`.
#[derive(Serialize)]
struct Report<'d> {
    valid: bool,
    started: Option<usize>,
    findings: &'d [Diagnostic],
    omitted: usize,
}

pub(super) fn check(args: &Args) -> Exit {
    try_check(args).unwrap_or_else(|exit| exit)
}

fn try_check(args: &Args) -> Result<Exit, Exit> {
    let mut result = args.cache.load(&args.policy);
    let mut started = None;
    if let (Ok(loaded), false) = (&result, args.no_modules) {
        match start(args, loaded)? {
            faults if faults.is_empty() => started = Some(guests(loaded)),
            faults => {
                let mut findings = loaded.warnings.clone();
                findings.list.splice(0..0, faults);
                result = Err(findings);
            }
        }
    }
    let findings = match &result {
        Ok(loaded) => &loaded.warnings,
        Err(findings) => findings,
    };
    if args.json {
        outln!("{}", json(findings, result.is_ok(), started));
    } else {
        out!("{findings}");
        let file = args.policy.display();
        match &result {
            Ok(loaded) => outln!("{file}: {}{}", summary(loaded), in_words(started)),
            Err(_) => outln!("\n{file}: not usable"),
        }
    }
    let is_warned = findings.list.iter().any(|finding| finding.severity == Severity::Warning);
    Ok(match result {
        Ok(_) if !(is_warned && args.deny_warnings) => Exit::Done,
        _ => Exit::Failed,
    })
}

/// Starts every filter aside, and gives what is wrong with those that do not.
fn start(args: &Args, loaded: &Loaded) -> Result<Vec<Diagnostic>, Exit> {
    if guests(loaded) == 0 {
        return Ok(Vec::new());
    }
    let store = args.cache.open()?;
    let modules = told_after_a_second("compiling modules", || store.fetch(&loaded.policy, None));
    let faults = match modules.map(|modules| canary::try_start(&loaded.policy, None, &modules)) {
        Ok(Ok(())) => return Ok(Vec::new()),
        Ok(Err(CanaryError::Thread(error))) => return Err(cannot(&error)),
        Ok(Err(CanaryError::Faults(faults))) | Err(faults) => faults,
    };
    match faults.are_of_policy() {
        true => Ok(diagnoses(loaded, &faults)),
        false => Err(cannot(&faults)),
    }
}

fn diagnoses(loaded: &Loaded, faults: &FilterFaults) -> Vec<Diagnostic> {
    let mut all: Vec<_> = faults.0.iter().filter_map(|fault| diagnosis(loaded, fault)).collect();
    all.sort_by_key(|finding| finding.position);
    all
}

fn diagnosis(loaded: &Loaded, fault: &FilterFault) -> Option<Diagnostic> {
    let filter = loaded.policy.filters.iter().find(|filter| filter.name == fault.filter)?;
    Some(match &fault.fault {
        Fault::Compile(error) => {
            loaded.places.filter_error(filter, &format!("its module does not compile: {error}"), None)
        }
        Fault::Load(error) => {
            loaded.places.filter_error(filter, &format!("its module does not load: {error}"), None)
        }
        Fault::Start(error) => match said(error) {
            Some(said) => loaded.places.filter_error(filter, "it does not start", Some(said)),
            None => loaded.places.filter_error(filter, &format!("it does not start: {error}"), None),
        },
    })
}

/// What the guest itself said last of why it does not start.
fn said(error: &StartError) -> Option<&str> {
    let (StartError::Failed { log, .. }
    | StartError::VmRefused { log }
    | StartError::ConfigurationRefused { log }) = error
    else {
        return None;
    };
    let of_failure =
        log.lines().filter(|(level, _)| matches!(level, LogLevel::Error | LogLevel::Critical)).last();
    let (_, line) = of_failure.or_else(|| log.lines().last())?;
    Some(line)
}

/// How many filters have anything to start.
fn guests(loaded: &Loaded) -> usize {
    crate::generation::modules::wasm_filters(&loaded.policy).count()
}

fn in_words(started: Option<usize>) -> String {
    match started {
        None => "; filters were not started".to_owned(),
        Some(0) => String::new(),
        Some(count) => format!("; {} started", counted(count, "filter")),
    }
}

fn json(findings: &Diagnostics, valid: bool, started: Option<usize>) -> String {
    let report = Report { valid, started, findings: &findings.list, omitted: findings.omitted };
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
    use crate::policy;

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
        let report: serde_json::Value = serde_json::from_str(&json(&diagnostics, false, None)).unwrap();
        assert_eq!((&report["valid"], &report["omitted"]), (&false.into(), &0.into()));
        let finding = &report["findings"][0];
        assert_eq!((&finding["line"], &finding["file"]), (&4.into(), &"p.yaml".into()));
        assert!(finding["message"].as_str().unwrap().contains("`routs`"), "{finding}");
    }
}
