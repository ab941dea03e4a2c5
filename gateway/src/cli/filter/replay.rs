//! `tollgate filter replay`: what a module makes of a recording.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::{CacheArgs, Exit, cannot, compiled, filter_of};
use crate::cli::style::{Style, printable};
use crate::filter::record::format::Header;
use crate::policy::filter::{Filter, FilterKind, WasmFilter};
use crate::workbench::replay::{self, Recorded, Replayed};

/// Lines of log shown with an exchange that differs.
const LOG_SHOWN: usize = 10;

/// Run a recording through a module, and say what it makes otherwise.
///
/// Takes what `tollgate filter record` wrote: each request and response goes through the filter as it
/// did then, and its verdict and what it left of both are compared with what was recorded. Fields whose
/// values were redacted are only looked at for being there; bodies are compared if they were kept
/// whole. The filter can call no servers here. Exit code 0: all as it was; 1: something differs; 2: it
/// could not be replayed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate filter replay new-rules.wasm guard.jsonl --policy policy.yaml
  tollgate filter replay rules.wasm guard.jsonl --config @new-rules.yaml
  tollgate filter replay rules.wasm guard.jsonl --config '{ default: deny }' --json | jq .differing")]
pub(in crate::cli) struct Args {
    /// The module.
    module: PathBuf,
    /// The recording.
    recording: PathBuf,
    /// The filter's configuration, in YAML or JSON; `@FILE` reads it from a file.
    #[arg(long, value_name = "TEXT", conflicts_with = "policy")]
    config: Option<String>,
    /// Take the configuration and everything else but the module from this policy.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The filter's name in that policy; the recorded one's if left out.
    #[arg(long, value_name = "NAME", requires = "policy")]
    name: Option<String>,
    /// Tell it as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

/// The form of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    recording: Recording<'a>,
    replayed: usize,
    differing: usize,
    partial: usize,
    exchanges: Vec<&'a Replayed>,
}

#[derive(Serialize)]
struct Recording<'a> {
    filter: &'a str,
    generation: u64,
    is_whole: bool,
}

pub(super) fn replay(args: &Args) -> Exit {
    try_replay(args).unwrap_or_else(|exit| exit)
}

fn try_replay(args: &Args) -> Result<Exit, Exit> {
    let recorded = read(&args.recording)?;
    let filter = filter(args, &recorded.header)?;
    let compiled = compiled(&args.cache.open()?, &filter)?;
    let told = Told { style: Style::of_stdout(), file: &args.recording, is_text: !args.json };
    let replayed = replay::run(&recorded, &filter, &compiled, |one| told.exchange(one));
    let replayed = replayed.map_err(|error| cannot(&error))?;
    let differing: Vec<_> = replayed.iter().filter(|one| !one.differences.is_empty()).collect();
    let partial = replayed.iter().filter(|one| one.is_partial).count();
    let code = if differing.is_empty() { Exit::Done } else { Exit::Failed };
    if args.json {
        let recording = Recording {
            filter: &recorded.header.filter,
            generation: recorded.header.generation,
            is_whole: recorded.ending.is_some(),
        };
        let (replayed, differing_count) = (replayed.len(), differing.len());
        let report =
            Report { recording, replayed, differing: differing_count, partial, exchanges: differing };
        // Plain data with text keys: there is nothing in it that JSON could not say.
        outln!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        told.sum_up(replayed.len(), differing.len(), partial, &recorded);
    }
    Ok(code)
}

fn read(path: &Path) -> Result<Recorded, Exit> {
    let failed = |why: &dyn std::fmt::Display| cannot(&format_args!("{}: {why}", path.display()));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let recorded = Recorded::read(BufReader::new(file)).map_err(|error| failed(&error))?;
    match recorded.exchanges.is_empty() {
        true => Err(failed(&"nothing was recorded")),
        false => Ok(recorded),
    }
}

/// The filter: the module of the command line, and the rest as it says.
fn filter(args: &Args, header: &Header) -> Result<Arc<Filter>, Exit> {
    let plain = filter_of(&args.module, args.config.as_deref())?;
    let Some(file) = &args.policy else { return Ok(plain) };
    let loaded = args.cache.load(file).map_err(|findings| {
        eprint!("{findings}");
        Exit::CannotRun
    })?;
    let name = args.name.as_deref().unwrap_or(&header.filter);
    let found = loaded.policy.filters.iter().find(|filter| *filter.name == *name);
    match (found.map(|filter| &filter.kind), &plain.kind) {
        (Some(FilterKind::Wasm(theirs)), FilterKind::Wasm(module)) => {
            let (path, code, digest) = (module.path.clone(), Arc::clone(&module.code), module.digest);
            let wasm = WasmFilter { path, code, digest, ..WasmFilter::clone(theirs) };
            Ok(Arc::new(Filter { name: name.into(), kind: FilterKind::Wasm(Box::new(wasm)) }))
        }
        _ => Err(cannot(&format_args!("{}: no filter `{name}` is a Wasm module", file.display()))),
    }
}

/// The report in words.
struct Told<'a> {
    style: Style,
    file: &'a Path,
    is_text: bool,
}

impl Told<'_> {
    fn exchange(&self, one: &Replayed) {
        if !self.is_text || one.differences.is_empty() {
            return;
        }
        let request = printable(&one.request);
        let place =
            format!("({}:{}, from {} at {})", self.file.display(), one.line, one.client, printable(&one.at));
        outln!("{} {request} {}", self.style.bad("differs"), self.style.faint(&place));
        for difference in &one.differences {
            outln!("        {}", printable(&difference.what));
            outln!("          recorded: {}", printable(&difference.recorded));
            outln!("          now:      {}", printable(&difference.now));
        }
        for line in one.log.iter().take(LOG_SHOWN) {
            outln!("{}", self.style.faint(&format!("        log {}: {}", line.level, printable(&line.text))));
        }
    }

    fn sum_up(&self, replayed: usize, differing: usize, partial: usize, recorded: &Recorded) {
        let text = format!("{replayed} replayed, {differing} differ");
        let text = if differing == 0 { self.style.good(&text) } else { self.style.bad(&text) };
        outln!("{}: {text}", self.file.display());
        if partial > 0 {
            outln!("  {partial} of them without what was redacted, or with bodies that were cut");
        }
        if recorded.ending.is_none() {
            outln!("  the recording was cut off");
        }
    }
}
