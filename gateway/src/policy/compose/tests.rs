//! What files mean together. What wrong ones are answered with: `tests/fixtures/policy/include-*.yaml`.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Loaded, Policy, load};

/// A folder that holds these files, by their paths in it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(path: &Path) -> Loaded {
    load(path).unwrap_or_else(|findings| panic!("{findings}"))
}

fn routes(policy: &Policy) -> Vec<&str> {
    policy.routes.iter().map(|route| &*route.name).collect()
}

const BASE: &str = "version: 1\nlisteners: [{address: '127.0.0.1:1'}]\n";

fn route(name: &str) -> String {
    format!("routes: [{{name: {name}, match: {{path: {{exact: /{name}}}}}, respond: {{status: 200}}}}]\n")
}

#[test]
fn a_folder_is_its_files_in_the_order_of_their_names() {
    let folder = folder(&[
        ("20-b.yaml", &route("b")),
        ("10-base.yaml", BASE),
        ("30-a.yml", &route("a")),
        (".hidden.yaml", "junk"),
        ("notes.txt", "junk"),
        ("below/c.yaml", "junk"),
    ]);
    let Loaded { policy, warnings, .. } = read(folder.path());
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(routes(&policy), ["b", "a"]);
    assert_eq!(policy.inputs.folders.iter().collect::<Vec<_>>(), [folder.path()]);
    assert_eq!(policy.inputs.files.len(), 3);
    let empty = tempfile::tempdir().unwrap();
    let findings = load(empty.path()).unwrap_err().to_string();
    assert!(findings.contains("the folder holds no `*.yaml` file"), "{findings}");
}

#[test]
fn what_a_file_says_comes_before_what_it_includes_and_each_counts_once() {
    let main = format!("{BASE}include: [parts/*.yaml, parts/a.yaml, ./p.yaml]\n{}", route("main"));
    let folder = folder(&[
        ("p.yaml", &main),
        ("parts/b.yaml", &route("b")),
        ("parts/a.yaml", &format!("include: ../more\n{}", route("a"))),
        ("more/x.yaml", &format!("include: ../parts/b.yaml\n{}", route("x"))),
    ]);
    assert_eq!(routes(&read(&folder.path().join("p.yaml")).policy), ["main", "a", "x", "b"]);
}

/// Modules, scripts and includes are found from the file that names them.
#[test]
fn a_path_starts_at_the_file_that_it_is_written_in() {
    let folder = folder(&[
        (
            "p.yaml",
            &format!("{BASE}include: parts/f.yaml\nroutes: [{{filters: [f], respond: {{status: 200}}}}]\n"),
        ),
        ("parts/f.yaml", "filters: {f: {wasm: {module: m.wasm}}}\n"),
        ("parts/m.wasm", "\0asm\x01\0\0\0"),
    ]);
    let policy = read(&folder.path().join("p.yaml")).policy;
    assert!(policy.inputs.files.contains(&folder.path().join("parts/m.wasm")), "{:?}", policy.inputs);
}

#[test]
fn the_digest_covers_every_file() {
    let folder = folder(&[
        ("p.yaml", &format!("{BASE}include: [a.yaml, b.yaml]\n")),
        ("a.yaml", &route("a")),
        ("b.yaml", ""),
    ]);
    let path: PathBuf = folder.path().join("p.yaml");
    let first = read(&path).digest;
    assert_eq!(first, read(&path).digest);
    write(folder.path(), "b.yaml", &route("b"));
    let second = read(&path).digest;
    assert_ne!(first, second);
    // The same texts, told apart by where one ends.
    write(folder.path(), "a.yaml", &format!("{}{}", route("a"), "\n"));
    assert_ne!(second, read(&path).digest);
}
