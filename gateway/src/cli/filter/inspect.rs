//! `tollgate filter inspect`: what a module is and needs.

use std::path::PathBuf;

use super::{Exit, read};
use crate::cli::style::{Style, printable};
use crate::workbench::inspect::{self, ImportReport, ImportSupport, Report};

/// Say what a module is and needs, and whether this gateway would load it.
///
/// Nothing of it runs. Says its size, digest and ABI, what made it, which of its imports this host
/// serves, which callbacks it has, its memory, and a policy to begin with; of a module that would be
/// refused also why, in plain words. Exit code 0: it would be loaded; 1: it would be refused; 2: it
/// cannot be read.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate filter inspect filters/dist/rules.wasm
  tollgate filter inspect rules.wasm --json | jq -r '.imports[] | select(.support != \"served\").name'
  tollgate filter inspect rules.wasm --policy > policy-section.yaml")]
pub(in crate::cli) struct Args {
    /// The module.
    module: PathBuf,
    /// Tell it as one JSON object.
    #[arg(long)]
    json: bool,
    /// Print the policy's section alone.
    #[arg(long, conflicts_with = "json")]
    policy: bool,
}

pub(super) fn inspect(args: &Args) -> Exit {
    let wasm = match read(&args.module) {
        Ok(wasm) => wasm,
        Err(exit) => return exit,
    };
    let report = inspect::inspect(&wasm, &args.module.display().to_string());
    if args.json {
        // Plain data with text keys: there is nothing in it that JSON could not say.
        outln!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else if args.policy {
        out!("{}", report.policy);
    } else {
        tell(&report, Style::of_stdout());
    }
    if report.loads { Exit::Done } else { Exit::Failed }
}

fn tell(report: &Report, style: Style) {
    let verdict = match report.loads {
        true => style.good("this gateway would load it"),
        false => style.bad("this gateway would refuse it"),
    };
    outln!("{verdict}");
    report.problems.iter().for_each(|problem| outln!("  {} {}", style.bad("because"), printable(problem)));
    line(style, "size", &format!("{} bytes", report.bytes));
    line(style, "sha256", &report.digest);
    line(style, "abi", &or_none(&report.abi));
    for producer in &report.producers {
        line(style, &producer.field, &format!("{} {}", producer.name, producer.version));
    }
    if let Some(memory) = &report.memory {
        let max =
            memory.pages_max.map_or_else(|| "no limit of its own".to_owned(), |max| format!("at most {max}"));
        let fits = if memory.pages_min <= memory.ceiling_pages { "fits" } else { "does not fit" };
        let ceiling = memory.ceiling_pages;
        line(
            style,
            "memory",
            &format!("{} pages of 64 KiB, {max}; {fits} the default ceiling of {ceiling}", memory.pages_min),
        );
    }
    line(style, "starts by", &or_none(&report.starts));
    line(style, "callbacks", &or_none(&report.callbacks));
    line(style, "lacks", &or_none(&report.lacks));
    line(style, "exports too", &or_none(&report.exports));
    imports(&report.imports, style);
    report.notes.iter().for_each(|note| line(style, "note", note));
    outln!("\n{}\n{}", style.title("A policy to begin with"), printable(&report.policy));
}

fn imports(imports: &[ImportReport], style: Style) {
    outln!("\n{}", style.title(&format!("Imports ({})", imports.len())));
    for import in imports {
        let support = match import.support {
            ImportSupport::Served => style.good("served    "),
            ImportSupport::Refused => style.faint("refused   "),
            ImportSupport::WrongType => style.bad("wrong type"),
            ImportSupport::Unknown => style.bad("unknown   "),
        };
        let ty = style.faint(&import.ty);
        outln!("  {support} {}.{} {ty}", printable(&import.module), printable(&import.name));
    }
    if imports.iter().any(|import| import.support == ImportSupport::Refused) {
        outln!("  {}", style.faint("refused: it resolves, and answers an error that guests cope with"));
    }
    outln!();
}

fn line(style: Style, label: &str, text: &str) {
    outln!("{} {}", style.title(&format!("{label:<12}")), printable(text));
}

fn or_none(list: &[String]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}
