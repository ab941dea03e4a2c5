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

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Gateway, Options, Origin, PREAMBLE, guest, upstream};

/// One worker, so that all requests meet the same script.
const ONE_WORKER: Options = Options { workers: 1, log: "info" };

/// A gateway whose one route runs these filters, each a mapping in YAML, before `origin`.
fn start(origin: &Origin, filters: &[(&str, String)]) -> Gateway {
    ready();
    Gateway::start_with(&policy(origin, filters), &ONE_WORKER)
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, format!("{PREAMBLE}{}", policy(origin, filters))).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("run")
        .arg(&path)
        .args(["--workers", "1", "--cache-dir"])
        .arg(guest::cache_dir())
        .output()
        .unwrap();
    assert!(!output.status.success(), "it serves");
    String::from_utf8(output.stderr).unwrap()
}

fn policy(origin: &Origin, filters: &[(&str, String)]) -> String {
    policy_over(&upstream(origin), filters)
}

/// The same with these upstreams; it forwards to `u`.
fn policy_over(upstreams: &str, filters: &[(&str, String)]) -> String {
    let names: Vec<_> = filters.iter().map(|(name, _)| *name).collect();
    let definitions: String = filters.iter().map(|(name, filter)| format!("  {name}: {filter}\n")).collect();
    format!(
        "{upstreams}filters:\n{definitions}routes: [{{ name: all, filters: [{}], forward: {{ upstream: u }} }}]\n",
        names.join(", ")
    )
}

/// A script within the policy; `more` are further keys, each with a comma in front.
fn inline(source: &str, more: &str) -> String {
    format!("{{ lua: {{ inline: {}{more} }} }}", serde_json::Value::from(source))
}

/// A script in a file.
fn file(path: &Path, more: &str) -> String {
    format!("{{ lua: {{ file: '{}'{more} }} }}", path.display())
}

/// A file of this repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
