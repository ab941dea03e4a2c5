//! The JSON schema of policies agrees with what the gateway takes.
//!
//! `TOLLGATE_BLESS=1` writes `policies/tollgate.schema.json` anew.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tollgate::policy;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The YAML files in a folder with their texts.
fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    let mut texts: Vec<_> =
        files.map(|file| (file.clone(), std::fs::read_to_string(file).unwrap())).collect();
    texts.sort();
    texts
}

/// What the schema has against a document; `None` if it cannot be said in JSON.
fn against(validator: &jsonschema::Validator, text: &str) -> Option<Vec<String>> {
    let document: Value = serde_yaml::from_str(text).ok()?;
    Some(
        validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect(),
    )
}

#[test]
fn the_schema_that_ships_is_that_of_the_types() {
    let file = repository().join("policies/tollgate.schema.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&policy::schema()).unwrap());
    if std::env::var_os("TOLLGATE_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let shipped = std::fs::read_to_string(&file).unwrap();
    assert!(shipped == text, "run this test with TOLLGATE_BLESS=1, and look at the difference");
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("schema").output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), text);
}

#[test]
fn every_policy_that_is_taken_is_valid() {
    let validator = jsonschema::validator_for(&policy::schema()).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/policy");
    let mut count = 0;
    for (file, text) in texts(&repository().join("policies")).into_iter().chain(texts(&fixtures)) {
        if policy::parse(&text, &file, file.parent().unwrap()).is_ok() {
            let found = against(&validator, &text).unwrap();
            assert!(found.is_empty(), "{}: {found:#?}", file.display());
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} policies were taken");
}

/// What the schema can know: keys that there are not, and values of a wrong type.
const KNOWN: [&str; 2] = [": unknown key `", ": wrong type of value"];

#[test]
fn unknown_keys_and_wrong_types_are_not_valid() {
    let validator = jsonschema::validator_for(&policy::schema()).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/policy");
    let mut count = 0;
    for (file, text) in texts(&fixtures) {
        let said = std::fs::read_to_string(file.with_extension("txt")).unwrap();
        // What is wrong may be in a file that is included.
        if !KNOWN.iter().any(|known| said.contains(known)) || text.contains("include:") {
            continue;
        }
        let Some(found) = against(&validator, &text) else { continue };
        assert!(
            !found.is_empty(),
            "{} is valid by the schema, and not by the gateway:\n{said}",
            file.display()
        );
        count += 1;
    }
    assert!(count >= 5, "only {count} policies were refused");
}

/// Every key of the example that shows them all is described.
#[test]
fn every_key_is_described() {
    let schema = policy::schema();
    let types = schema["$defs"].as_object().unwrap().iter().map(|(name, of)| (name.as_str(), of));
    let mut bare = Vec::new();
    for (name, of) in types.chain([("Policy", &schema)]) {
        for (key, value) in of["properties"].as_object().into_iter().flatten() {
            if value["description"].as_str().is_none_or(str::is_empty) {
                bare.push(format!("{name}.{key}"));
            }
        }
    }
    assert!(bare.is_empty(), "without a description: {bare:?}");
}
