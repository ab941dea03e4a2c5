//! What a wrong policy is answered with, word for word.
//!
//! Each `fixtures/policy/NAME.yaml` has a `NAME.txt` beside it that holds all that is said about
//! it. A new case is two new files; `TOLLGATE_BLESS=1` writes the texts anew, to be read in the
//! diff before they are committed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use tollgate::policy;

const CASES_MIN: usize = 40;

#[test]
fn says_what_the_fixtures_hold() {
    let folder = folder();
    let bless = std::env::var_os("TOLLGATE_BLESS").is_some();
    let cases = cases(&folder);
    assert!(cases.len() >= CASES_MIN, "only {} cases in {}", cases.len(), folder.display());
    let mut wrong = Vec::new();
    for case in cases {
        let said = said_about(&folder, &case);
        let expected = folder.join(&case).with_extension("txt");
        if bless {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != said {
            wrong.push(format!("{case}: said\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ from their .txt:\n{}", wrong.len(), wrong.join("\n"));
}

/// A fixture's secrets are all called so; none of them may be said.
#[test]
fn says_no_secret() {
    let folder = folder();
    for case in cases(&folder) {
        let said = said_about(&folder, &case);
        assert!(!said.contains("s3cret"), "{case}:\n{said}");
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/policy")
}

fn cases(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".yaml")).collect();
    names.sort();
    names
}

/// Every fixture is to be refused, but for those that are named after a warning.
fn said_about(folder: &Path, case: &str) -> String {
    let text = fs::read_to_string(folder.join(case)).unwrap();
    match policy::parse(&text, Path::new(case), folder) {
        Err(findings) => {
            assert!(findings.has_errors(), "{case} is refused for no error");
            findings.to_string()
        }
        Ok(loaded) => {
            assert!(case.starts_with("warn-"), "{case} is taken");
            loaded.warnings.to_string()
        }
    }
}
