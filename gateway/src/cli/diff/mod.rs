//! `tollgate diff`: what a reload from one policy to another would change.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Method;

use super::remote::{self, Admin};
use super::{CacheArgs, Exit};
use crate::admin::upload;
use crate::explain::Comparison;
use crate::policy::Loaded;
use crate::reload;

/// Say what a reload from one policy to another would change.
///
/// Upstreams, filters, routes and TCP services that come, go or are set otherwise, what uses them, and what
/// goes on with its state: connections, VMs, token buckets. Configuration and header values are told by
/// length and digest only. Exit code 0 if nothing would change, 1 if something would.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  tollgate diff policy.yaml policy.new.yaml\n  \
    tollgate diff @running policy.yaml\n  \
    git show HEAD:policy.yaml > old.yaml && tollgate diff old.yaml policy.yaml --json | jq .routes")]
pub(super) struct Args {
    /// The policy that serves; `@running`: that of a running gateway, which is asked on its Unix socket
    /// (`admin.unix`).
    old: PathBuf,
    /// The policy that is to serve.
    new: PathBuf,
    /// Tell it as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    admin: Admin,
}

/// What stands for the policy of a running gateway.
const RUNNING: &str = "@running";

pub(super) fn diff(args: &Args) -> Exit {
    if args.old.as_os_str() == RUNNING && args.new.as_os_str() != RUNNING {
        return diff_with_running(args);
    }
    if args.new.as_os_str() == RUNNING {
        eprintln!("tollgate: `{RUNNING}` stands for the policy that serves: `tollgate diff {RUNNING} NEW`");
        return Exit::Usage;
    }
    let (Some(old), Some(new)) = (load(&args.cache, &args.old), load(&args.cache, &args.new)) else {
        return Exit::BadPolicy;
    };
    let refused = reload::refusal(&old.policy, &new.policy);
    let comparison = Comparison::between(&old.policy, &new.policy, refused);
    match args.json {
        // Plain data with text keys: there is nothing in it that JSON could not say.
        true => outln!("{}", serde_json::to_string_pretty(&comparison).unwrap_or_default()),
        false => out!("{comparison}"),
    }
    if comparison.is_empty() { Exit::Done } else { Exit::Failed }
}

/// The gateway compares, since it alone knows what its variables stand for.
fn diff_with_running(args: &Args) -> Exit {
    let Some(new) = load(&args.cache, &args.new) else { return Exit::BadPolicy };
    let body = match upload::encode(&args.new, &new.files) {
        Ok(body) => Bytes::from(body),
        Err(error) => {
            eprintln!("tollgate: the policy cannot be sent: {error}");
            return Exit::CannotRun;
        }
    };
    let format = if args.json { remote::Format::Json } else { remote::Format::Text };
    match remote::ask(&args.admin, Method::POST, "/policy/diff", format, body) {
        Ok(answer) => answer.print_verdict(),
        Err(failure) => remote::failed(&failure),
    }
}

fn load(cache: &CacheArgs, path: &Path) -> Option<Loaded> {
    cache.load(path).inspect_err(|findings| eprint!("{findings}")).ok()
}
