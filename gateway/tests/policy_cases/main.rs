//! `tollgate test`: the real binary on the policies that ship, on one of its own for everything that can be
//! asked, and on cases that are wrong.
#![allow(clippy::unwrap_used)]

mod asked;
#[path = "../support/mod.rs"]
mod support;
mod told;

use std::path::{Path, PathBuf};

use support::{Ran, tollgate};
use tempfile::TempDir;

/// `tollgate test` on a policy with its cases.
fn run(policy: &Path, cases: &Path, more: &[&str]) -> Ran {
    let mut command = tollgate();
    command.arg("test").arg(policy).arg(cases).args(more);
    Ran::of(&mut command)
}

/// A policy and its cases, in a folder of their own.
fn files(policy: &str, cases: &str) -> (TempDir, PathBuf, PathBuf) {
    let folder = TempDir::new().unwrap();
    let (policy_file, cases_file) = (folder.path().join("policy.yaml"), folder.path().join("cases.yaml"));
    std::fs::write(&policy_file, policy).unwrap();
    std::fs::write(&cases_file, cases).unwrap();
    (folder, policy_file, cases_file)
}

/// Policies that serve no HTTP, which cases cannot ask.
const WITHOUT_CASES: [&str; 1] = ["tcp.yaml"];

#[test]
fn every_policy_that_ships_passes_its_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let names: Vec<String> =
        names.filter(|name| name.ends_with(".yaml") && !WITHOUT_CASES.contains(&name.as_str())).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let ran = run(&folder.join(&name), &folder.join("cases").join(&name), &[]).expect(0);
        assert!(ran.out.contains(", 0 failed"), "{name}: {}", ran.out);
    }
}
