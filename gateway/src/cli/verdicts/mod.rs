//! What came of test cases, told: as text, as JSON and as JUnit XML. The same for cases of a filter
//! (`tollgate filter test`) and of a policy (`tollgate test`).

mod junit;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::style::{Style, printable};
use super::{Exit, cannot};
use crate::workbench::cases::{Mismatch, Verdict};

/// Lines of log shown with a case that failed.
const LOG_SHOWN: usize = 20;

/// How it is told.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Only cases with this in their names.
    #[arg(long, value_name = "NAME")]
    pub(super) filter: Option<String>,
    /// Write a report as JUnit XML, too; `-` is standard output, in place of the text.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Tell it as one JSON object.
    #[arg(long, conflicts_with = "junit")]
    json: bool,
}

/// What was tested.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    Module(&'a Path),
    Policy(&'a Path),
}

/// The cases of one file.
pub(super) struct Tested {
    pub(super) file: PathBuf,
    pub(super) verdicts: Vec<Verdict>,
}

/// The form of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    passed: usize,
    failed: usize,
    cases: Vec<CaseReport<'a>>,
}

#[derive(Serialize)]
struct CaseReport<'a> {
    name: &'a str,
    file: String,
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

impl Options {
    /// Whether a case of this name was asked for.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    /// That no case in `files` was asked for, which is hardly meant.
    pub(super) fn none_left(&self, files: &[PathBuf]) -> Exit {
        let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        let part = self.filter.as_deref().unwrap_or_default();
        cannot(&format_args!("no case in {} has `{part}` in its name", files.join(", ")))
    }

    /// Who tells of the cases in `file` as they end.
    pub(super) fn teller(&self, file: &Path) -> Teller {
        let is_text = !self.json && self.junit.as_ref().is_none_or(|file| file.as_os_str() != "-");
        Teller { style: Style::of_stdout(), file: file.display().to_string(), is_text }
    }

    /// Tells of all of them, and how it went.
    pub(super) fn conclude(&self, subject: Subject<'_>, tested: &[Tested]) -> Result<Exit, Exit> {
        if self.json {
            outln!("{}", json(subject, tested));
        }
        if let Some(file) = &self.junit {
            let text = junit::report(subject.path(), tested);
            let written = if file.as_os_str() == "-" {
                out!("{text}");
                Ok(())
            } else {
                std::fs::write(file, text)
            };
            written.map_err(|error| cannot(&format_args!("{}: {error}", file.display())))?;
        }
        Ok(if tested.iter().all(|tested| tested.failed() == 0) { Exit::Done } else { Exit::Failed })
    }
}

impl Subject<'_> {
    fn path(&self) -> &Path {
        match self {
            Self::Module(path) | Self::Policy(path) => path,
        }
    }
}

impl Tested {
    fn failed(&self) -> usize {
        self.verdicts.iter().filter(|verdict| !verdict.passed()).count()
    }
}

/// The report in words.
pub(super) struct Teller {
    style: Style,
    file: String,
    is_text: bool,
}

impl Teller {
    /// A case has ended.
    pub(super) fn case(&self, verdict: &Verdict) {
        if !self.is_text {
            return;
        }
        let name = printable(&verdict.name);
        let took = self.style.faint(&format!("({})", milliseconds(verdict.duration)));
        if verdict.passed() {
            outln!("{} {name} {took}", self.style.good("ok    "));
            return;
        }
        outln!("{} {name} {took}", self.style.bad("FAILED"));
        verdict.mismatches.iter().for_each(|mismatch| self.mismatch(mismatch));
        let lines = verdict.log.iter().take(LOG_SHOWN);
        for line in lines {
            let who = if line.is_guest { "log" } else { "host" };
            let text = printable(&line.text);
            outln!("{}", self.style.faint(&format!("         {who} {}: {text}", line.level)));
        }
        if verdict.log.len() > LOG_SHOWN {
            let more = verdict.log.len() - LOG_SHOWN;
            outln!("{}", self.style.faint(&format!("         {more} more lines of log")));
        }
    }

    fn mismatch(&self, mismatch: &Mismatch) {
        let place = format!("{}:{}", self.file, mismatch.position.line);
        let colon = if mismatch.path.is_empty() { "" } else { ": " };
        outln!("       {place}{colon}{}", mismatch.path);
        outln!("         expected: {}", printable(&mismatch.expected));
        outln!("         got:      {}", printable(&mismatch.got));
    }

    /// All of the file have ended.
    pub(super) fn sum_up(&self, verdicts: &[Verdict]) {
        if !self.is_text {
            return;
        }
        let total: Duration = verdicts.iter().map(|verdict| verdict.duration).sum();
        let failed = verdicts.iter().filter(|verdict| !verdict.passed()).count();
        let passed = verdicts.len() - failed;
        let text = format!("{passed} passed, {failed} failed, in {}", milliseconds(total));
        let text = if failed == 0 { self.style.good(&text) } else { self.style.bad(&text) };
        outln!("\n{}: {text}", self.file);
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn json(subject: Subject<'_>, tested: &[Tested]) -> String {
    let cases = tested.iter().flat_map(|tested| {
        tested.verdicts.iter().map(|verdict| CaseReport {
            name: &verdict.name,
            file: tested.file.display().to_string(),
            line: verdict.position.line,
            passed: verdict.passed(),
            milliseconds: verdict.duration.as_secs_f64() * 1e3,
            mismatches: verdict.mismatches.iter().map(MismatchReport::of).collect(),
            log: verdict.log.iter().map(|line| line.text.as_str()).collect(),
        })
    });
    let cases: Vec<_> = cases.collect();
    let failed = cases.iter().filter(|case| !case.passed).count();
    let path = subject.path().display().to_string();
    let (module, policy) = match subject {
        Subject::Module(_) => (Some(path), None),
        Subject::Policy(_) => (None, Some(path)),
    };
    let report = Report { module, policy, passed: cases.len() - failed, failed, cases };
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
