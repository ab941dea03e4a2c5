//! Policies whose filters are scripts.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::gateway::{Gateway, Options, PREAMBLE, upstream};
use super::guest;
use super::origin::Origin;

/// One worker, so that all requests meet the same script.
pub const ONE_WORKER: Options = Options { workers: 1, log: "info" };

/// A policy that forwards to `origin`, through these filters, each a mapping in YAML.
pub fn policy(origin: &Origin, filters: &[(&str, String)]) -> String {
    policy_over(&upstream(origin), filters)
}

/// The same with these upstreams; it forwards to `u`.
pub fn policy_over(upstreams: &str, filters: &[(&str, String)]) -> String {
    let names: Vec<_> = filters.iter().map(|(name, _)| *name).collect();
    let definitions: String = filters.iter().map(|(name, filter)| format!("  {name}: {filter}\n")).collect();
    format!(
        "{upstreams}filters:\n{definitions}routes: [{{ name: all, filters: [{}], forward: {{ upstream: u }} }}]\n",
        names.join(", ")
    )
}

/// A script within the policy; `more` are further keys, each with a comma in front.
pub fn inline(language: &str, source: &str, more: &str) -> String {
    format!("{{ {language}: {{ inline: {}{more} }} }}", serde_json::Value::from(source))
}

/// A script in a file.
pub fn file(language: &str, path: &Path, more: &str) -> String {
    format!("{{ {language}: {{ file: '{}'{more} }} }}", path.display())
}

/// What is said about a policy that does not start. The interpreter is in the cache of [`guest`].
pub fn try_policy(policy: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, format!("{PREAMBLE}{policy}")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("run")
        .arg(&path)
        .args(["--workers", "1", "--state-dir", "off", "--cache-dir"])
        .arg(guest::cache_dir())
        .output()
        .unwrap();
    assert!(!output.status.success(), "it serves");
    String::from_utf8(output.stderr).unwrap()
}

/// A gateway with such a policy.
pub fn start(policy: &str) -> Gateway {
    Gateway::start_with(policy, &ONE_WORKER)
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
