//! Policies in Lua over real sockets: the language in its sandbox, what scripts see, their limits, their
//! errors, and how they change while the gateway runs.
#![allow(clippy::unwrap_used)]

mod api;
mod calls;
mod errors;
mod limits;
mod live;
mod risk;
mod shipped;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use support::script::{self, ONE_WORKER, policy, repository};
use support::{Gateway, Origin, guest};

/// A gateway whose one route runs these filters, each a mapping in YAML, before `origin`.
fn start(origin: &Origin, filters: &[(&str, String)]) -> Gateway {
    ready();
    script::start(&policy(origin, filters))
}

/// Compiles the interpreter, so that no gateway waits for it, and nothing is swapped in the middle of a
/// test. One test does, the others wait for it.
fn ready() {
    let lock = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("lua.lock")).unwrap();
    lock.lock().unwrap();
    guest::shipped("lua");
}

/// What is said about a policy that does not start.
fn try_policy(origin: &Origin, filters: &[(&str, String)]) -> String {
    ready();
    script::try_policy(&policy(origin, filters))
}

/// A script within the policy; `more` are further keys, each with a comma in front.
fn inline(source: &str, more: &str) -> String {
    script::inline("lua", source, more)
}

/// A script in a file.
fn file(path: &Path, more: &str) -> String {
    script::file("lua", path, more)
}
