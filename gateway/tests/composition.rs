//! Policies of several files, with variables: the command line, and a gateway whose secret changes.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Gateway, wait_for};

const SECRET: &str = "s3cret-of-a-file";

/// A folder that is a policy: routes in one file, the rest in another, and the key in a third.
fn policy_folder(key: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "10-base.yaml",
        "version: 1\nlisteners: [{ address: '127.0.0.1:0' }]\n\
         upstreams: { u: { endpoints: ['${TOLLGATE_NO_SUCH:-shop.internal}:80'] } }\n\
         filters: { calm: { rate_limit: { rate: 5/second, key: { fixed: '${file:key}' } } } }\n\
         filter_sets: { edge: [calm] }\n",
    );
    write(
        "20-routes.yaml",
        "routes:\n  - name: keyed\n    match: { headers: [{ name: x-key, exact: '${file:key}' }] }\n    \
         filters: [edge]\n    forward: { upstream: u, rewrite_prefix: '/${file:key}' }\n  \
         - { name: rest, match: { query: [{ name: k, exact: '${file:key}' }] }, respond: { status: 200 } }\n",
    );
    write("key", &format!("{key}\n"));
    folder
}

/// What a command says, on both ways, and whether it ended well.
fn said(arguments: &[&str]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.success())
}

fn path(folder: &tempfile::TempDir) -> &str {
    folder.path().to_str().unwrap()
}

#[test]
fn commands_take_a_folder_and_tell_variables_as_they_are_written() {
    let (old, new) = (policy_folder(SECRET), policy_folder("another-s3cret"));
    let (check, is_right) = said(&["check", path(&old)]);
    assert!(is_right && check.contains("2 routes, 1 filter, 1 upstream"), "{check}");

    let key = format!("x-key: {SECRET}");
    let (explain, is_right) = said(&["explain", path(&old), "GET", "http://a.example/x", "-H", &key]);
    assert!(is_right, "{explain}");
    let (missed, _) = said(&["explain", path(&old), "GET", "http://a.example/x"]);
    let (json, _) = said(&["explain", path(&old), "GET", "http://a.example/x", "-H", &key, "--json"]);
    let (diff, _) = said(&["diff", path(&old), path(&new)]);
    assert!(diff.contains("keyed") && diff.contains("rest") && diff.contains("calm"), "{diff}");
    for told in [&explain, &missed, &json, &diff] {
        assert!(told.contains("${file:key}"), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
    }
    assert!(explain.contains("${TOLLGATE_NO_SUCH:-shop.internal}:80"), "{explain}");
}

#[test]
fn a_finding_tells_no_secret() {
    let folder = policy_folder(SECRET);
    fs::write(
        folder.path().join("30.yaml"),
        "limits: { connections: '${file:key}' }\ntrusted_proxies: ['${file:key}']\n",
    )
    .unwrap();
    let (check, is_right) = said(&["check", path(&folder)]);
    assert!(!is_right && check.contains("30.yaml:1:24"), "{check}");
    assert!(!check.contains("s3cret"), "{check}");
}

#[test]
fn a_changed_secret_is_a_changed_policy() {
    let text = |folder: &Path| {
        format!(
            "routes:\n  - {{ match: {{ headers: [{{ name: x-key, exact: '${{file:{}/key}}' }}] }}, \
             respond: {{ status: 204 }} }}\n  - {{ match: {{ path: {{ exact: /rest }} }}, respond: {{ status: 200 }} }}\n",
            folder.display()
        )
    };
    let secrets = tempfile::tempdir().unwrap();
    fs::write(secrets.path().join("key"), SECRET).unwrap();
    let gateway = Gateway::start(&text(secrets.path()));
    let status = |key: &str| {
        gateway
            .ask(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\nConnection: close\r\n\r\n"))
            .status()
    };
    assert_eq!(status(SECRET), 204);
    fs::write(secrets.path().join("key"), "new-s3cret\n").unwrap();
    wait_for("the new secret", || (status("new-s3cret") == 204).then_some(()));
    assert_eq!(status(SECRET), 404);
    let log = gateway.stop();
    assert!(!log.log.concat().contains("s3cret"), "{:?}", log.log);
}
