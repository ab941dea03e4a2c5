//! `tollgate filter test`: cases for a filter.

mod junit;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::style::{Style, printable};
use super::{CacheArgs, Exit, cannot, compiled};
use crate::policy::cases::{self, Cases};
use crate::workbench::cases::{Mismatch, Verdict, run};

/// Lines of log shown with a case that failed.
const LOG_SHOWN: usize = 20;

/// Run test cases against a filter, without a gateway.
///
/// Each case starts the filter in a VM of its own, takes requests through it, plays the upstream and
/// the servers that it calls, and compares what comes out. Header fields are as the case writes them:
/// what the gateway adds itself (x-request-id, x-forwarded-*) is not there unless it is written.
/// Exit code 0: all passed; 1: a case failed; 2: the cases or the module cannot be used.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub(in crate::cli) struct Args {
    /// The module.
    module: PathBuf,
    /// The cases.
    cases: PathBuf,
    /// Only cases with this in their names.
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Write a report as JUnit XML, too; `-` is standard output, in place of the text.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Tell it as one JSON object.
    #[arg(long, conflicts_with = "junit")]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

const EXAMPLE: &str = "\
Example:
  tollgate filter test filters/dist/rules.wasm filters/rules/tests.yaml --junit report.xml

A cases file:
  filter:                                  # as `filters.NAME.wasm` in a policy, without `module`
    config: { default: allow, rules: [{ action: deny, paths: [{ prefix: /admin }] }] }
  cases:
    - name: the admin pages are closed
      request: { method: GET, path: /admin, headers: { x-who: ada } }
      expect: { reply: { status: 403 } }
    - name: the rest is not
      request: { path: /, body: [in two, pieces], client: 192.0.2.7 }
      response: { status: 200, headers: { server: origin }, body: hello }
      expect:
        request: { headers: { x-who: { absent: true } }, body: in twopieces }
        response: { status: 200, body: { contains: hell } }
        logs: [let it pass]

A case may have its own `config`, `vm_config`, `environment` and `timeout`; several `exchanges`; `ticks`
of the filter's timer before a request; and `calls: { UPSTREAM: [ANSWER, …] }` for its side calls.
`expect` takes `reply`, `failure`, `closed` or `waiting`; `request`, `response`, `logs`, `metrics`,
`properties`, `shared_data`, `calls`, `failures`. A text is compared whole; `{ contains: … }`,
`{ regex: … }`, `{ absent: true }` and a list of values ask for less or more. With `refused: TEXT` the
filter must not start.";

/// The form of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    module: String,
    file: String,
    passed: usize,
    failed: usize,
    cases: Vec<CaseReport<'a>>,
}

#[derive(Serialize)]
struct CaseReport<'a> {
    name: &'a str,
    line: u32,
    passed: bool,
    milliseconds: f64,
    mismatches: Vec<MismatchReport<'a>>,
    log: Vec<&'a str>,
}

#[derive(Serialize)]
struct MismatchReport<'a> {
    line: u32,
    column: u32,
    path: &'a str,
    expected: &'a str,
    got: &'a str,
}

pub(super) fn test(args: &Args) -> Exit {
    try_test(args).unwrap_or_else(|exit| exit)
}

fn try_test(args: &Args) -> Result<Exit, Exit> {
    let mut cases = cases::load(&args.cases, &args.module).map_err(|findings| {
        eprint!("{findings}");
        Exit::CannotRun
    })?;
    select(&mut cases, args)?;
    let compiled = compiled(&args.cache.open()?, &cases.filter)?;
    let is_text = !args.json && args.junit.as_ref().is_none_or(|file| file.as_os_str() != "-");
    let told = Told { style: Style::of_stdout(), file: args.cases.display().to_string(), is_text };
    let verdicts = run(&cases, &compiled, |verdict| told.case(verdict));
    let verdicts = verdicts.map_err(|error| cannot(&error))?;
    let failed = verdicts.iter().filter(|verdict| !verdict.passed()).count();
    told.sum_up(&verdicts, failed);
    if args.json {
        println!("{}", json(args, &verdicts, failed));
    }
    if let Some(file) = &args.junit {
        let text = junit::report(&args.module, &args.cases, &verdicts);
        let written = if file.as_os_str() == "-" {
            print!("{text}");
            Ok(())
        } else {
            std::fs::write(file, text)
        };
        written.map_err(|error| cannot(&format_args!("{}: {error}", file.display())))?;
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

/// Keeps the cases that were asked for. That none is left is hardly meant.
fn select(cases: &mut Cases, args: &Args) -> Result<(), Exit> {
    let Some(part) = &args.filter else { return Ok(()) };
    cases.cases.retain(|case| case.name.contains(part.as_str()));
    match cases.cases.is_empty() {
        true => Err(cannot(&format_args!("no case in {} has `{part}` in its name", args.cases.display()))),
        false => Ok(()),
    }
}

/// The report in words.
struct Told {
    style: Style,
    file: String,
    is_text: bool,
}

impl Told {
    fn case(&self, verdict: &Verdict) {
        if !self.is_text {
            return;
        }
        let name = printable(&verdict.name);
        let took = self.style.faint(&format!("({})", milliseconds(verdict.duration)));
        if verdict.passed() {
            println!("{} {name} {took}", self.style.good("ok    "));
            return;
        }
        println!("{} {name} {took}", self.style.bad("FAILED"));
        verdict.mismatches.iter().for_each(|mismatch| self.mismatch(mismatch));
        let lines = verdict.log.iter().take(LOG_SHOWN);
        for line in lines {
            let who = if line.is_guest { "log" } else { "host" };
            let text = printable(&line.text);
            println!("{}", self.style.faint(&format!("         {who} {}: {text}", line.level)));
        }
        if verdict.log.len() > LOG_SHOWN {
            let more = verdict.log.len() - LOG_SHOWN;
            println!("{}", self.style.faint(&format!("         {more} more lines of log")));
        }
    }

    fn mismatch(&self, mismatch: &Mismatch) {
        let place = format!("{}:{}", self.file, mismatch.position.line);
        let colon = if mismatch.path.is_empty() { "" } else { ": " };
        println!("       {place}{colon}{}", mismatch.path);
        println!("         expected: {}", printable(&mismatch.expected));
        println!("         got:      {}", printable(&mismatch.got));
    }

    fn sum_up(&self, verdicts: &[Verdict], failed: usize) {
        if !self.is_text {
            return;
        }
        let total: Duration = verdicts.iter().map(|verdict| verdict.duration).sum();
        let passed = verdicts.len() - failed;
        let text = format!("{passed} passed, {failed} failed, in {}", milliseconds(total));
        let text = if failed == 0 { self.style.good(&text) } else { self.style.bad(&text) };
        println!("\n{}: {text}", self.file);
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn json(args: &Args, verdicts: &[Verdict], failed: usize) -> String {
    let cases = verdicts.iter().map(|verdict| CaseReport {
        name: &verdict.name,
        line: verdict.position.line,
        passed: verdict.passed(),
        milliseconds: verdict.duration.as_secs_f64() * 1e3,
        mismatches: verdict.mismatches.iter().map(MismatchReport::of).collect(),
        log: verdict.log.iter().map(|line| line.text.as_str()).collect(),
    });
    let report = Report {
        module: args.module.display().to_string(),
        file: args.cases.display().to_string(),
        passed: verdicts.len() - failed,
        failed,
        cases: cases.collect(),
    };
    // Plain data with text keys: there is nothing in it that JSON could not say.
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

impl<'a> MismatchReport<'a> {
    fn of(mismatch: &'a Mismatch) -> Self {
        Self {
            line: mismatch.position.line,
            column: mismatch.position.column,
            path: &mismatch.path,
            expected: &mismatch.expected,
            got: &mismatch.got,
        }
    }
}
