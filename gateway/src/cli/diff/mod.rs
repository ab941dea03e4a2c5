//! `tollgate diff`: what a reload from one policy to another would change.

#[cfg(test)]
mod tests;
mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Exit;
use crate::generation::difference::Difference;
use crate::policy::{self, Loaded};
use crate::reload;

/// Say what a reload from one policy to another would change.
///
/// Upstreams, filters, routes and TCP services that come, go or are set otherwise, what uses them, and what
/// goes on with its state: connections, VMs, token buckets. Configuration and header values are told by
/// length and digest only. Exit code 0 if nothing would change, 1 if something would.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tollgate diff policy.yaml policy.new.yaml\n  \
    git show HEAD:policy.yaml > old.yaml && tollgate diff old.yaml policy.yaml --json | jq .routes")]
pub(super) struct Args {
    /// The policy that serves.
    old: PathBuf,
    /// The policy that is to serve.
    new: PathBuf,
    /// Tell it as one JSON object.
    #[arg(long)]
    json: bool,
}

/// The form of `--json`.
#[derive(Serialize)]
struct Report<'d> {
    /// Why a running gateway would refuse the new policy; `null` if it would not.
    refused: Option<String>,
    #[serde(flatten)]
    difference: &'d Difference,
}

pub(super) fn diff(args: &Args) -> Exit {
    let (Some(old), Some(new)) = (load(&args.old), load(&args.new)) else { return Exit::BadPolicy };
    let difference = Difference::between(&old.policy, &new.policy);
    let refused = reload::refusal(&old.policy, &new.policy);
    let is_same = difference.is_empty() && refused.is_none();
    let report = Report { refused, difference: &difference };
    match args.json {
        // Plain data with text keys: there is nothing in it that JSON could not say.
        true => println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default()),
        false => print!("{}", text::Text(&report)),
    }
    if is_same { Exit::Done } else { Exit::Failed }
}

fn load(path: &Path) -> Option<Loaded> {
    policy::load(path).inspect_err(|findings| eprint!("{findings}")).ok()
}
