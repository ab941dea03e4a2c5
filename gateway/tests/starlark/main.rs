//! Policies in Starlark over real sockets: the language, what scripts see, their limits and their errors.
#![allow(clippy::unwrap_used)]

mod api;
mod calls;
mod errors;
mod limits;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use support::script::{self, policy};
use support::{Gateway, Origin, guest};
use tollgate_wasmedge::OptLevel;

/// A gateway whose one route runs these filters, each a mapping in YAML, before `origin`.
fn start(origin: &Origin, filters: &[(&str, String)]) -> Gateway {
    ready();
    script::start(&policy(origin, filters))
}

/// Compiles the interpreter, so that no gateway waits for it. One test does, the others wait for it. At O0:
/// the interpreter is large, and its O2 code takes minutes.
fn ready() {
    let lock = std::fs::File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("starlark.lock")).unwrap();
    lock.lock().unwrap();
    guest::shipped_at("starlark", OptLevel::O0);
}

/// What is said about a policy that does not start.
fn try_policy(origin: &Origin, filters: &[(&str, String)]) -> String {
    ready();
    script::try_policy(&policy(origin, filters))
}

/// A script within the policy; `more` are further keys, each with a comma in front. Code at O0 is slow: the
/// budget is ten times the usual one.
fn inline(source: &str, more: &str) -> String {
    script::inline("starlark", source, &format!(", budget: 100ms{more}"))
}

/// A script in a file.
fn file(path: &Path, more: &str) -> String {
    script::file("starlark", path, &format!(", budget: 100ms{more}"))
}
