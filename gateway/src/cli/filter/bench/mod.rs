//! `tollgate filter bench`: what a filter costs.
//!
//! The workload is written as a cases file, by the user or from the command line (`workload`), so that
//! it is checked as cases are. Each module is compiled, which is timed, then [`crate::workbench::bench`]
//! measures, and `table` tells.

mod table;
mod workload;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tollgate_wasmedge::OptLevel;

use super::{CacheArgs, Exit, cannot, refused, told_after_a_second};
use crate::cli::style::Style;
use crate::generation::Compiled;
use crate::generation::modules::ModuleStore;
use crate::policy::cases::{Case, Cases};
use crate::policy::filter::FilterKind;
use crate::workbench::bench::{self, Contender, Figures};

/// Measure what a filter costs: time and fuel per phase, host calls, memory, start, compilation.
///
/// Takes one request through the filter over and over, on the code that serves requests and with
/// the code that serves in the long run (O2), without a gateway. Each phase is timed with the host's
/// part in it; of two contenders 50 exchanges each run in turn, so that what else the machine does
/// meets both. Figures of one machine at one time: compare, do not quote. Exit code 0: measured; 2:
/// it could not be.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate filter bench rules.wasm --config '{ default: allow, rules: [] }'
  tollgate filter bench rules.wasm --config @rules.yaml --request 'GET /admin' -H 'x-who: ada' --json
  tollgate filter bench redact.wasm --config '{ patterns: [{ class: email }] }' --response-body 65536
  tollgate filter bench new.wasm --against old.wasm --cases filters/rules/tests.yaml --case admin")]
pub(in crate::cli) struct Args {
    /// The module.
    module: PathBuf,
    /// Another module (or the same with --against-config) to measure in the same run.
    #[arg(long, value_name = "MODULE")]
    against: Option<PathBuf>,
    /// The filter's configuration, in YAML or JSON; `@FILE` reads it from a file.
    #[arg(long, value_name = "TEXT", conflicts_with = "cases")]
    config: Option<String>,
    /// The configuration of what is measured beside it; that of --config if left out.
    #[arg(long, value_name = "TEXT", conflicts_with = "cases")]
    against_config: Option<String>,
    /// The request's method and path.
    #[arg(long, value_name = "METHOD PATH", default_value = "GET /", conflicts_with = "cases")]
    request: String,
    /// A field of the request, `name: value`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "FIELD", conflicts_with = "cases")]
    headers: Vec<String>,
    /// Length of the request's body, which comes in pieces of 16 KiB.
    #[arg(long, value_name = "BYTES", default_value_t = 0, conflicts_with = "cases")]
    body: usize,
    /// Length of the response's body.
    #[arg(long, value_name = "BYTES", default_value_t = 0, conflicts_with = "cases")]
    response_body: usize,
    /// Take filter and exchanges from a cases file, as for `tollgate filter test`.
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// The case to take: the first with this in its name; without it the first that has a request.
    #[arg(long, value_name = "NAME", requires = "cases")]
    case: Option<String>,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Do not time compilation; take code from the cache if it is there.
    #[arg(long)]
    cached: bool,
    /// Tell it as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match (0.01..=60.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err("expected 0.01 to 60".to_owned()),
    }
}

/// The form of `--json`.
#[derive(Serialize)]
struct Report {
    contenders: Vec<Measured>,
}

/// What is told of one contender.
#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    figures: Figures,
    /// How long its module takes to compile, from a gateway's view: the process that does it included.
    #[serde(skip_serializing_if = "Option::is_none")]
    compile: Option<CompileTimes>,
}

/// How long a module takes to compile.
#[derive(Debug, Clone, Copy, Serialize)]
struct CompileTimes {
    #[serde(rename = "o0_ns", serialize_with = "nanoseconds")]
    quick: Duration,
    #[serde(rename = "o2_ns", serialize_with = "nanoseconds")]
    thorough: Duration,
}

fn nanoseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn bench(args: &Args) -> Exit {
    try_bench(args).unwrap_or_else(|exit| exit)
}

fn try_bench(args: &Args) -> Result<Exit, Exit> {
    let entries = entries(args)?;
    let mut ready = Vec::with_capacity(entries.len());
    for entry in &entries {
        let (compiled, times) = compile(args, &entry.cases)?;
        ready.push((entry, compiled, times));
    }
    let contenders = ready.iter().map(|(entry, compiled, _)| {
        let case = choose(&entry.cases, args.case.as_deref())?;
        Ok(Contender { label: entry.label.clone(), case, compiled })
    });
    let contenders = contenders.collect::<Result<Vec<_>, _>>()?;
    let figures = measure(&contenders, Duration::from_secs_f64(args.seconds))?;
    let times = ready.iter().map(|(_, _, times)| *times);
    let contenders: Vec<_> =
        figures.into_iter().zip(times).map(|(figures, compile)| Measured { figures, compile }).collect();
    if args.json {
        // Plain data with text keys: there is nothing in it that JSON could not say.
        outln!("{}", serde_json::to_string_pretty(&Report { contenders }).unwrap_or_default());
    } else {
        table::tell(&contenders, Style::of_stdout());
    }
    Ok(Exit::Done)
}

/// A contender before its module is compiled.
struct Entry {
    label: String,
    cases: Cases,
}

fn entries(args: &Args) -> Result<Vec<Entry>, Exit> {
    let is_compared = args.against.is_some() || args.against_config.is_some();
    let mut entries = vec![entry(args, &args.module, args.config.as_deref())?];
    if is_compared {
        let module = args.against.as_ref().unwrap_or(&args.module);
        let config = args.against_config.as_ref().or(args.config.as_ref());
        entries.push(entry(args, module, config.map(String::as_str))?);
        // Told apart by name, or by which configuration it is.
        if entries[0].label == entries[1].label {
            entries[1].label.push_str(" (against)");
        }
    }
    Ok(entries)
}

fn entry(args: &Args, module: &Path, config: Option<&str>) -> Result<Entry, Exit> {
    let label = module.file_name().map_or_else(|| module.display().to_string(), |n| n.display().to_string());
    Ok(Entry { label, cases: workload::read(args, module, config)? })
}

/// The case that was asked for, or the first that sends anything.
fn choose<'a>(cases: &'a Cases, part: Option<&str>) -> Result<&'a Case, Exit> {
    let fits = |case: &&Case| match part {
        Some(part) => case.name.contains(part),
        None => !case.exchanges.is_empty(),
    };
    cases.cases.iter().find(fits).ok_or_else(|| match part {
        Some(part) => cannot(&format_args!("no case has `{part}` in its name")),
        None => cannot(&"no case has a request"),
    })
}

/// The module's O2 code; how long it took is only told if it was compiled for that.
fn compile(args: &Args, cases: &Cases) -> Result<(Compiled, Option<CompileTimes>), Exit> {
    let FilterKind::Wasm(wasm) = &cases.filter.kind else { return Err(cannot(&"the filter is no module")) };
    let what = format!("compiling {}", wasm.path.display());
    let failed = |fault| refused(&wasm.path, &fault);
    if args.cached {
        let store = args.cache.open()?;
        let compiled = told_after_a_second(&what, || store.compile(&wasm.code, OptLevel::O2));
        return Ok((compiled.map_err(failed)?, None));
    }
    let folder = tempfile::tempdir().map_err(|error| cannot(&error))?;
    let store = ModuleStore::open(&folder.path().join("compiled")).map_err(|error| cannot(&error))?;
    told_after_a_second(&what, || {
        let begun = Instant::now();
        store.compile(&wasm.code, OptLevel::O0)?;
        let quick = begun.elapsed();
        let begun = Instant::now();
        let compiled = store.compile(&wasm.code, OptLevel::O2)?;
        Ok((compiled, Some(CompileTimes { quick, thorough: begun.elapsed() })))
    })
    .map_err(failed)
}

/// Measures, and says on a terminal how far it is.
fn measure(contenders: &[Contender<'_>], time: Duration) -> Result<Vec<Figures>, Exit> {
    let is_shown = std::io::stderr().is_terminal() && time >= Duration::from_secs(1);
    let mut shown = None;
    let figures = bench::run(contenders, time, |over| {
        let percent = format!("{:.0}", over * 100.0);
        if is_shown && shown.as_ref() != Some(&percent) {
            eprint!("\rmeasuring … {percent} % ");
            shown = Some(percent);
        }
    });
    if is_shown {
        eprintln!();
    }
    figures.map_err(|error| cannot(&error))
}
