//! Modules from web servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::Signal;

use crate::server::Server;
use crate::support::{Gateway, Ran, refusing_address, response, tollgate, wait_for};
use crate::{Module, ONE_WORKER, check, kept, policy, sha256};

/// A server of this module only.
fn serving(bytes: &[u8]) -> Server {
    let answer = response(200, &[("connection", "close")], bytes);
    Server::http(move |_| answer.clone())
}

fn by_url(url: &str, digest: &str) -> String {
    format!("{{ url: '{url}', sha256: {digest} }}")
}

/// Waits until the history on disk has this generation.
fn until_kept(gateway: &Gateway, generation: u64) {
    let folder = gateway.status()["history"]["folder"].as_str().unwrap().to_owned();
    wait_for("the policy to be kept", || {
        let text = fs::read(Path::new(&folder).join("current.json")).ok()?;
        let current: serde_json::Value = serde_json::from_slice(&text).ok()?;
        (current["generation"].as_u64()? >= generation).then_some(())
    });
}

#[test]
fn what_was_fetched_once_outlives_its_source() {
    let module = Module::new();
    let answer = response(200, &[("connection", "close")], &module.bytes);
    let server = Server::https(move |_| answer.clone());
    let named = by_url(&server.url("/m.wasm"), &module.digest);
    let stranger = check(&named, &[]).expect(1);
    assert!(stranger.out.contains("cannot be fetched: TLS: invalid peer certificate"), "{}", stranger.out);
    assert!(kept(&module.digest).is_empty());
    check(&named, &[("SSL_CERT_FILE", server.certificate())]).expect(0);
    let count = server.requests().len();
    server.set_down(true);
    let gateway = Gateway::start_with(&policy(&named), &ONE_WORKER);
    assert_eq!(gateway.get("/").text(), module.says);
    assert!(gateway.status()["degraded"].is_null());
    // Nor does it take the history.
    until_kept(&gateway, 1);
    let folder = gateway.shared_folder();
    gateway.stop();
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    let gateway = Gateway::start_in(folder, &ONE_WORKER, &[]);
    assert_eq!(gateway.get("/").text(), module.says);
    assert!(gateway.status()["degraded"].is_null());
    assert_eq!(server.requests().len(), count);
}

#[test]
fn a_dead_source_of_something_new_is_told() {
    let (address, _held) = refusing_address();
    let module = Module::new();
    let named = by_url(&format!("http://{address}/m.wasm"), &module.digest);
    let said = check(&named, &[]).expect(1).out;
    assert!(said.contains("filters.guard.wasm.module"), "{said}");
    assert!(said.contains("the module cannot be fetched: Connection refused"), "{said}");
    let folder = Arc::new(tempfile::TempDir::new().unwrap());
    let text = format!("{}{}", crate::support::PREAMBLE, policy(&named));
    fs::write(folder.path().join("policy.yaml"), text).unwrap();
    let stopped = Gateway::spawn(folder, &ONE_WORKER, &[]).wait();
    assert_eq!(stopped.status.code(), Some(65));
    assert!(stopped.log.join("\n").contains("the module cannot be fetched"), "{:#?}", stopped.log);
}

#[test]
fn a_reload_that_cannot_fetch_changes_nothing() {
    let (old, new) = (Module::new(), Module::new());
    let (first, second) = (serving(&old.bytes), serving(&new.bytes));
    let gateway = Gateway::start_with(&policy(&by_url(&first.url("/"), &old.digest)), &ONE_WORKER);
    assert_eq!(gateway.get("/").text(), old.says);
    second.set_down(true);
    gateway.write_policy(&policy(&by_url(&second.url("/"), &new.digest)));
    let refused = gateway.reload();
    assert_eq!(refused.status(), 422, "{}", refused.text());
    assert!(refused.text().contains("the module cannot be fetched"), "{}", refused.text());
    assert_eq!(gateway.get("/").text(), old.says);
    second.set_down(false);
    assert_eq!(gateway.reload().status(), 200);
    assert_eq!(gateway.get("/").text(), new.says);
    let log = gateway.stop().log.join("\n");
    assert!(log.contains("module is fetched") && log.contains("module fetched"), "{log}");
}

/// What the history needs is in the history: a module that nobody has any more comes from there.
#[test]
fn a_kept_policy_needs_neither_source_nor_cache() {
    let (old, new) = (Module::new(), Module::new());
    let (first, second) = (serving(&old.bytes), serving(&new.bytes));
    let gateway = Gateway::start_with(&policy(&by_url(&first.url("/"), &old.digest)), &ONE_WORKER);
    until_kept(&gateway, 1);
    gateway.write_policy(&policy(&by_url(&second.url("/"), &new.digest)));
    assert_eq!(gateway.reload().status(), 200);
    until_kept(&gateway, 2);
    first.set_down(true);
    second.set_down(true);
    for digest in [&old.digest, &new.digest] {
        let [entry] = kept(digest).try_into().unwrap();
        fs::remove_file(entry).unwrap();
    }
    let (code, said) = gateway.command(&["rollback", "--admin", &gateway.admin().to_string()]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(gateway.get("/").text(), old.says);
    let gateway = gateway.restart(Signal::KILL, &ONE_WORKER, &[]);
    assert_eq!(gateway.metric("tollgate_policy_degraded"), Some(1.0));
    let reason = gateway.status()["degraded"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("cannot be fetched"), "{reason}");
}

#[test]
fn what_is_not_as_named_is_refused() {
    let module = Module::new();
    let bytes = module.bytes.clone();
    let large = vec![0; (32 << 20) + 1];
    let (page, large_digest) = (b"<html>", sha256(&large));
    let server = Server::http(move |request| match request.target() {
        "/module?token=1" => response(200, &[], &bytes),
        "/page" => response(200, &[], page),
        "/large" => response(200, &[], &large),
        "/loop" => response(302, &[("location", "/loop")], b""),
        "/torn" => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_vec(),
        "/moved" => response(302, &[("location", "/module?token=1#x")], b""),
        _ => response(404, &[], &bytes),
    });
    let cases = [
        ("/none", &module.digest, "the server answered 404"),
        ("/page", &module.digest, "what is there has another SHA-256"),
        ("/page", &sha256(page), "the file is no WebAssembly module"),
        ("/large", &large_digest, "it is larger than 33554432 bytes"),
        ("/loop", &module.digest, "more than 5 redirects"),
        ("/torn", &module.digest, "the module cannot be fetched"),
    ];
    for (path, digest, reason) in cases {
        let said = check(&by_url(&server.url(path), digest), &[]).expect(1).out;
        assert!(said.contains(reason), "{path}: {said}");
    }
    assert!(kept(&module.digest).is_empty() && kept(&large_digest).is_empty());
    check(&by_url(&server.url("/moved"), &module.digest), &[]).expect(0);
}

#[test]
fn a_password_goes_to_its_server_and_is_told_nowhere() {
    let module = Module::new();
    let bytes = module.bytes.clone();
    let elsewhere = Server::http(move |_| response(200, &[], &bytes));
    let (target, password) = (elsewhere.url("/m"), "hunter2-s3cret");
    let server = Server::http(move |request| {
        // `ada` and the password, as HTTP calls them.
        match request.header("authorization") {
            Some("Basic YWRhOmh1bnRlcjItczNjcmV0") => response(302, &[("location", &target)], b""),
            _ => response(401, &[("www-authenticate", "Basic realm=\"m\"")], b""),
        }
    });
    let wrong = format!(
        "{{ url: '{}', sha256: {}, username: ada, password: wrong }}",
        server.url("/m"),
        module.digest
    );
    assert!(check(&wrong, &[]).expect(1).out.contains("the server answered 401"));
    let folder = Arc::new(tempfile::TempDir::new().unwrap());
    fs::write(folder.path().join("password"), password).unwrap();
    fs::write(folder.path().join("token"), "to-ken-s3cret").unwrap();
    let named = format!(
        "{{ url: '{}', sha256: {}, username: ada, password: '${{file:password}}' }}",
        server.url("/${file:token}/m.wasm?key=${file:token}"),
        module.digest
    );
    let text = format!("{}{}", crate::support::PREAMBLE, policy(&named));
    fs::write(folder.path().join("policy.yaml"), &text).unwrap();
    let gateway = Gateway::start_in(Arc::clone(&folder), &ONE_WORKER, &[]);
    assert_eq!(gateway.get("/").text(), module.says);
    until_kept(&gateway, 1);
    assert!(elsewhere.requests().iter().all(|request| request.header("authorization").is_none()));
    assert!(server.requests().iter().any(|request| request.target().contains("to-ken-s3cret")));
    // One that is to be fetched, and fails: what is said of it, everywhere.
    gateway.write_policy(&policy(&named.replace(&module.digest, &"0".repeat(64))));
    let mut told = vec![gateway.reload().text().to_owned()];
    let admin = gateway.admin().to_string();
    let file = gateway.policy_path().display().to_string();
    for args in [
        vec!["check", &file],
        vec!["explain", "@running", "GET", "/", "--admin", &admin],
        vec!["diff", "@running", &file, "--admin", &admin],
        vec!["history", "--admin", &admin],
    ] {
        let ran = Ran::of(tollgate().args(args));
        told.extend([ran.out, ran.err]);
    }
    fs::write(&file, &text).unwrap();
    for args in [vec!["explain", &file, "GET", "/"], vec!["diff", &file, &file]] {
        let ran = Ran::of(tollgate().args(args));
        assert!(ran.code == Some(0), "{}{}", ran.out, ran.err);
        told.extend([ran.out, ran.err]);
    }
    told.extend(
        ["/status", "/metrics", "/policy/history"].map(|page| gateway.admin_get(page).text().to_owned()),
    );
    told.extend(gateway.stop().log);
    for text in &told {
        assert!(!text.contains("s3cret"), "{text}");
    }
    let text = told.join("\n");
    assert!(text.contains("${file:token}/m.wasm"), "{text}");
    assert_in_no_file(folder.path().join("state"), b"s3cret");
}

fn assert_in_no_file(folder: PathBuf, secret: &[u8]) {
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let bytes = fs::read(&entry).unwrap();
            assert!(!bytes.windows(secret.len()).any(|bytes| bytes == secret), "{}", entry.display());
        }
    }
}

#[test]
fn a_file_may_have_a_digest() {
    let module = Module::new();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("m.wasm");
    fs::write(&file, &module.bytes).unwrap();
    let named = |digest: &str| format!("{{ file: '{}', sha256: {digest} }}", file.display());
    check(&named(&module.digest), &[]).expect(0);
    let said = check(&named(&"0".repeat(64)), &[]).expect(1).out;
    assert!(said.contains("the file is another module") && said.contains(&module.digest), "{said}");
}

/// Signed URLs have their secret in the query, and whole URLs may come from variables.
#[test]
fn what_is_secret_in_a_url_is_not_told() {
    let (address, _held) = refusing_address();
    let digest = Module::new().digest;
    let folder = tempfile::TempDir::new().unwrap();
    let secret = folder.path().join("url");
    fs::write(&secret, format!("http://{address}/in-p4th/m.wasm?sig=in-qu3ry#in-fr4gment")).unwrap();
    for url in [format!("http://{address}/m.wasm?sig=in-qu3ry"), format!("${{file:{}}}", secret.display())] {
        let ran = check(&by_url(&url, &digest), &[]).expect(1);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains("the module cannot be fetched"), "{said}");
        for hidden in ["in-qu3ry", "in-p4th", "in-fr4gment"] {
            assert!(!said.contains(hidden), "{said}");
        }
    }
}
