//! `tollgate filter …`: a filter alone, on the host code that serves requests.
//!
//! One file a subcommand. What was found goes to standard output, what is told about the work to
//! standard error. Exit codes: 0 all is well; 1 a case failed, a module would be refused, a replay
//! differs; 2 it could not be done (a file cannot be read, cases are wrong, the module does not
//! compile); 64 wrong usage.

mod bench;
mod inspect;
mod record;
mod replay;
mod test;

use std::path::Path;
use std::sync::Arc;

use serde_yaml::{Mapping, Value};

use super::{CacheArgs, Exit, cannot, told_after_a_second};
use crate::generation::Compiled;
use crate::generation::modules::{Fault, ModuleStore};
use crate::policy;
use crate::policy::cases;
use crate::policy::filter::{Filter, FilterKind};

/// What diagnostics call the command line.
const COMMAND_LINE: &str = "command-line";

/// Try a filter alone: what it needs, whether it does what it should, what it costs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Inspect(inspect::Args),
    Test(test::Args),
    Bench(bench::Args),
    Record(record::Args),
    Replay(replay::Args),
}

pub(super) fn run(command: Command) -> Exit {
    match command {
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Test(args) => test::test(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Record(args) => record::record(&args),
        Command::Replay(args) => replay::replay(&args),
    }
}

/// The module's code, compiled if the cache does not have it.
fn compiled(store: &ModuleStore, filter: &Filter) -> Result<Compiled, Exit> {
    let FilterKind::Wasm(wasm) = &filter.kind else { return Err(cannot(&"the filter is no module")) };
    told_after_a_second("compiling the module", || store.quickest(&wasm.code))
        .map_err(|fault| refused(&wasm.path, &fault))
}

/// A module that does not compile or load.
fn refused(path: &Path, fault: &Fault) -> Exit {
    cannot(&format_args!("{}: {fault}\n`tollgate filter inspect` says more", path.display()))
}

/// A configuration as a policy would have it: YAML or JSON, or what the file behind an `@` holds.
fn configuration(text: &str) -> Result<Value, Exit> {
    let text = match text.strip_prefix('@') {
        Some(file) => {
            std::fs::read_to_string(file).map_err(|error| cannot(&format_args!("{file}: {error}")))?
        }
        None => text.to_owned(),
    };
    serde_yaml::from_str(&text)
        .map_err(|error| cannot(&format_args!("the configuration is no YAML: {error}")))
}

/// The module as a filter with this configuration and every default; what is wrong is told.
fn filter_of(module: &Path, config: Option<&str>) -> Result<Arc<Filter>, Exit> {
    let mut wasm = Mapping::new();
    if let Some(config) = config {
        wasm.insert("config".into(), configuration(config)?);
    }
    // A file of cases has the filter's part of a policy, and must have a case.
    let document = Mapping::from_iter([
        (Value::from("filter"), Value::Mapping(wasm)),
        (Value::from("cases"), Value::Sequence(vec![Value::Mapping(Mapping::new())])),
    ]);
    let text = serde_yaml::to_string(&document).map_err(|error| cannot(&error))?;
    let cases = cases::parse(&text, Path::new(COMMAND_LINE), module);
    cases.map(|cases| cases.filter).map_err(|findings| {
        eprint!("{findings}");
        Exit::CannotRun
    })
}

/// The module's bytes.
fn read(path: &Path) -> Result<Vec<u8>, Exit> {
    policy::read_module(path).map_err(|error| cannot(&format_args!("{}: {error}", path.display())))
}
