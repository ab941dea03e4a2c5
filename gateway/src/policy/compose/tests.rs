//! What files mean together. What wrong ones are answered with: `tests/fixtures/policy/include-*.yaml`.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::facts;
use super::super::filter::{FilterKind, RateLimit, WasmFilter};
use super::super::remote::NoFetch;
use super::super::route::HostPattern;
use super::super::{Loaded, Policy, load, parse};

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
    load(path, &NoFetch::shared()).unwrap_or_else(|findings| panic!("{findings}"))
}

fn routes(policy: &Policy) -> Vec<&str> {
    policy.routes.iter().map(|route| &*route.name).collect()
}

const BASE: &str = "version: 1\nlisteners: [{address: '127.0.0.1:1'}]\n";

fn route(name: &str) -> String {
    format!("routes: [{{name: {name}, match: {{path: {{exact: /{name}}}}}, respond: {{status: 200}}}}]\n")
}

/// Who writes a file empties it first, and the rest of the policy works without it.
#[test]
fn an_empty_part_is_refused() {
    let parts =
        folder(&[("10-base.yaml", BASE), ("20-routes.yaml", ""), ("30-note.yaml", "# nothing yet\n")]);
    let findings = load(parts.path(), &NoFetch::shared()).unwrap_err().to_string();
    assert!(findings.contains("20-routes.yaml") && findings.contains("it is empty"), "{findings}");
    let whole = folder(&[("p.yaml", &format!("{BASE}include: more.yaml\n")), ("more.yaml", "")]);
    let findings = load(&whole.path().join("p.yaml"), &NoFetch::shared()).unwrap_err().to_string();
    assert!(findings.contains("the file cannot be included: it is empty"), "{findings}");
}

/// A pipe would be waited for until somebody writes.
#[test]
fn a_pipe_in_a_folder_is_refused() {
    let folder = folder(&[("10-base.yaml", BASE)]);
    let pipe = folder.path().join("20-pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    let findings = load(folder.path(), &NoFetch::shared()).unwrap_err().to_string();
    assert!(findings.contains("it is not a regular file"), "{findings}");
}

/// `..` behind a link is where the link points to, for included files as for scripts.
#[test]
fn a_folder_above_a_linked_one_is_the_one_that_the_system_finds() {
    let folder = folder(&[
        ("releases/42/p.yaml", &format!("{BASE}include: ../shared.yaml\n")),
        ("releases/shared.yaml", &route("right")),
        ("shared.yaml", &route("wrong")),
    ]);
    std::os::unix::fs::symlink("releases/42", folder.path().join("current")).unwrap();
    for path in ["releases/42/p.yaml", "current/p.yaml"] {
        let loaded = read(&folder.path().join(path));
        assert_eq!(routes(&loaded.policy), ["right"], "{path}");
        let kept = super::super::load_kept(&folder.path().join(path), &loaded.files).unwrap();
        assert_eq!(routes(&kept.policy), ["right"], "{path}, from what was kept");
    }
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
    let findings = load(empty.path(), &NoFetch::shared()).unwrap_err().to_string();
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
        ("b.yaml", "{}"),
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

fn read_text(text: &str, folder: &Path) -> Policy {
    let loaded = parse(text, Path::new("p.yaml"), folder).unwrap_or_else(|findings| panic!("{findings}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.policy
}

fn chain(policy: &Policy, route: usize) -> Vec<&str> {
    policy.routes[route].filters.iter().map(|filter| &*filter.name).collect()
}

fn limit<'p>(policy: &'p Policy, name: &str) -> &'p RateLimit {
    match &policy.filters.iter().find(|filter| &*filter.name == name).unwrap().kind {
        FilterKind::RateLimit(limit) => limit,
        other => panic!("{other:?}"),
    }
}

fn wasm<'p>(policy: &'p Policy, name: &str) -> &'p WasmFilter {
    match &policy.filters.iter().find(|filter| &*filter.name == name).unwrap().kind {
        FilterKind::Wasm(wasm) => wasm,
        other => panic!("{other:?}"),
    }
}

const SETS: &str = "
version: 1
listeners: [{address: '127.0.0.1:1'}]
filters:
  calm: {rate_limit: {rate: 10/second, burst: 7, key: {header: x-a}}}
  stamp: {headers: {response: {remove: [server]}}}
  guard: {wasm: {module: m.wasm, config: {a: 1, b: {c: 2, d: 3}}, budget: 5ms}}
filter_sets:
  edge: [{calm: {burst: 3}}, stamp]
routes:
  - {name: all, filters: [edge, {guard: {config: {b: {c: 4, d: null}}}}], respond: {status: 200}}
  - match: {path: {prefix: /x}}
    filters: [{calm: {key: route, rate: 1/minute}}, edge, calm, guard]
    respond: {status: 200}
";

#[test]
fn sets_and_adjusted_filters_stand_in_chains() {
    let folder = folder(&[("m.wasm", "\0asm\x01\0\0\0")]);
    let policy = read_text(SETS, folder.path());
    assert_eq!(chain(&policy, 0), ["calm@set:edge", "stamp", "guard@all"]);
    assert_eq!(chain(&policy, 1), ["calm@route-2", "calm@set:edge", "stamp", "calm", "guard"]);
    let set = limit(&policy, "calm@set:edge");
    assert_eq!((set.rate.get(), set.burst.get(), &set.key), (10, 3, &limit(&policy, "calm").key));
    let route = limit(&policy, "calm@route-2");
    assert_eq!((route.rate.get(), route.burst.get()), (1, 7));
    assert_ne!(route.key, set.key);
    let (adjusted, base) = (wasm(&policy, "guard@all"), wasm(&policy, "guard"));
    assert_eq!(&*adjusted.configuration, br#"{"a":1,"b":{"c":4}}"#);
    assert_eq!((adjusted.budget, &adjusted.digest), (base.budget, &base.digest));
}

#[test]
fn defaults_fill_in_what_is_not_written() {
    let text = "
version: 1
listeners: [{address: '127.0.0.1:1'}]
defaults:
  routes: {match: {host: a.com, path: {prefix: /v1}}, filters: [calm]}
  upstreams: {connect_timeout: 1s}
  filters: {rate_limit: {key: route, burst: 9}}
upstreams: {u: {endpoints: ['a:1']}, v: {endpoints: ['a:2'], connect_timeout: 3s}}
filters: {calm: {rate_limit: {rate: 1/second}}, calmer: {rate_limit: {rate: 1/second, key: {fixed: x}}}}
routes:
  - {forward: {upstream: u}}
  - {match: {path: {exact: /x}}, filters: [calmer, {calm: {rate: 2/second}}], forward: {upstream: v}}
  - {match: {host: null, path: {exact: /y}}, filters: [], forward: {upstream: v}}
";
    let policy = read_text(text, Path::new(""));
    let host = HostPattern::Exact("a.com".into());
    assert_eq!(policy.routes[0].matches.hosts, std::slice::from_ref(&host));
    assert_eq!(facts::of_path(&policy.routes[1].matches.path), "path /x");
    assert_eq!(policy.routes[1].matches.hosts, [host]);
    assert!(policy.routes[2].matches.hosts.is_empty() && policy.routes[2].filters.is_empty());
    assert_eq!((chain(&policy, 0), chain(&policy, 1)), (vec!["calm"], vec!["calmer", "calm@route-2"]));
    assert_eq!(limit(&policy, "calm@route-2").burst.get(), 9);
    assert_eq!(policy.upstreams[0].connect_timeout.as_secs(), 1);
    assert_eq!(policy.upstreams[1].connect_timeout.as_secs(), 3);
}

/// Cargo sets `CARGO_PKG_NAME` for tests.
const VARIABLES: &str = "
version: 1
listeners: [{address: '127.0.0.1:${NONE:-1}'}]
limits: {connections: '${file:number}', header_bytes: '${NONE:-8192}', idle_timeout: '${NONE:-7}s'}
filters:
  guard:
    wasm:
      module: ${file:module}
      on_failure: ${NONE:-open}
      config:
        plain: ${file:number}
        quoted: '${file:number}'
        truth: ${NONE:-true}
        text: a$${b}
      environment: {NAME: '${CARGO_PKG_NAME}'}
routes:
  - {filters: [guard], match: {path: {exact: '/${CARGO_PKG_NAME}'}, headers: [{name: x-key, exact: '${file:key}'}]}, respond: {status: 200}}
";

fn with_variables() -> tempfile::TempDir {
    folder(&[
        ("m.wasm", "\0asm\x01\0\0\0"),
        ("number", "42\n"),
        ("module", "m.wasm\r\n"),
        ("key", "s3cret\n"),
    ])
}

#[test]
fn variables_are_read_as_what_stands_in_their_place() {
    let folder = with_variables();
    let policy = read_text(VARIABLES, folder.path());
    assert_eq!(policy.limits.connections_max.get(), 42);
    assert_eq!(policy.limits.header_bytes_max, 8192);
    assert_eq!(policy.limits.idle_timeout.as_secs(), 7);
    let guard = wasm(&policy, "guard");
    assert_eq!(&*guard.configuration, br#"{"plain":42,"quoted":"42","truth":true,"text":"a${b}"}"#);
    assert_eq!(&*guard.environment[0].1, "tollgate");
    assert_eq!(facts::of_path(&policy.routes[0].matches.path), "path /tollgate");
    assert!(policy.inputs.files.contains(&folder.path().join("key")), "{:?}", policy.inputs);
}

/// A secret shows in nothing that is told, and its change shows in the digest and in what is compared.
#[test]
fn what_is_told_of_variables_is_what_was_written() {
    let folder = with_variables();
    let load = || parse(VARIABLES, Path::new("p.yaml"), folder.path()).unwrap();
    let first = load();
    let told = |loaded: &Loaded| {
        let policy = &loaded.policy;
        let facts = policy.origins.facts_of_route(&policy.routes[0]);
        format!("{facts:?} {:?}", policy.origins.facts_of_filter(&policy.filters[0]))
    };
    assert!(told(&first).contains("path /${CARGO_PKG_NAME} (sha256 "), "{}", told(&first));
    assert!(told(&first).contains("x-key = ${file:key} (sha256 "), "{}", told(&first));
    write(folder.path(), "key", "other\n");
    let second = load();
    assert_ne!(first.digest, second.digest);
    assert_ne!(told(&first), told(&second));
    for told in [told(&first), told(&second), format!("{:?}", second.policy.origins)] {
        assert!(!told.contains("s3cret") && !told.contains("other"), "{told}");
    }
}
