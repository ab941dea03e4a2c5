//! The examples inside the published SDK, `proxy-wasm` 0.2.0, built as they are and run in the gateway.
//!
//! They come from the registry with the package that fixtures/sdk-examples depends on: `cargo
//! metadata` fetches it and says where cargo keeps it. A copy in cargo's folder for tests is built
//! there with the lock file that the package brings.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use support::{Client, Gateway, Next, Options, Origin, get, response, wait_for};

const SDK: &str = "proxy-wasm";
const TARGET: &str = "wasm32-wasip1";

/// An example as a module.
fn example(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let module = FOLDER.get_or_init(build).join(name).with_extension("wasm");
    assert!(module.exists(), "the SDK has no example {name}");
    module
}

/// Builds all of them and gives the folder where they are.
///
/// A runner may give each test a process of its own, so the copy is made under a lock on a file
/// beside it.
fn build() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-examples");
    fs::create_dir_all(&folder).unwrap();
    let turn = File::create(folder.join("lock")).unwrap();
    turn.lock().unwrap();
    let package = folder.join("package");
    copy(&published(), &package);
    // The copy lies inside our own workspace, of which it is no member.
    let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    if !manifest.contains("[workspace]") {
        fs::write(package.join("Cargo.toml"), manifest + "\n[workspace]\n").unwrap();
    }
    let target = folder.join("target");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--release", "--examples", "--target", TARGET, "--target-dir"]);
    output(build.arg(&target).current_dir(&package));
    target.join(TARGET).join("release/examples")
}

/// Where cargo keeps the published package.
fn published() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sdk-examples/Cargo.toml");
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--locked", "--format-version", "1", "--manifest-path"]).arg(manifest);
    let metadata: Value = serde_json::from_slice(&output(&mut metadata)).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let sdk = packages.iter().find(|package| package["name"] == SDK).unwrap();
    Path::new(sdk["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

/// What a command prints; it must succeed.
fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "is the target {TARGET} installed?\n{errors}");
    output.stdout
}

/// Copies what is not there yet, so that cargo need not build again what it has built.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if !target.exists() {
            let draft = target.with_extension("draft");
            fs::copy(entry.path(), &draft).unwrap();
            fs::rename(draft, &target).unwrap();
        }
    }
}

/// A gateway with one example before an upstream.
fn start(example_name: &str, config: &str, origin: &Origin) -> Gateway {
    let policy = format!(
        "upstreams: {{ u: {{ endpoints: ['{}'] }} }}\n\
         filters: {{ example: {{ wasm: {{ module: {}, config: '{config}' }} }} }}\n\
         routes:\n\
         - {{ match: {{ path: {{ exact: /without }} }}, forward: {{ upstream: u }} }}\n\
         - {{ filters: [example], forward: {{ upstream: u }} }}\n",
        origin.address(),
        example(example_name).display()
    );
    Gateway::start_with(&policy, &Options { workers: 1, log: "info,filter=trace" })
}

/// Waits for a line that the guest logs.
fn wait_for_guest(gateway: &Gateway, text: &str) {
    wait_for(text, || gateway.log().iter().any(|line| line.contains(text)).then_some(()));
}

/// It takes no part in requests: the SDK panics when one is put before it, since its root context
/// has no type, and fails it closed.
#[test]
fn hello_world_greets_and_ticks() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start("hello_world", "", &origin);
    wait_for_guest(&gateway, "Hello, World!");
    assert_eq!(gateway.get("/without").text(), "ok");
    // Its timer goes off every five seconds; the number is random, the time that of the day.
    wait_for_guest(&gateway, "your lucky number is");
    assert_eq!(gateway.get("/").status(), 503);
    wait_for_guest(&gateway, "missing ContextType on root_context");
    gateway.stop();
}

#[test]
fn http_headers_sees_headers_and_answers_itself() {
    let origin = Origin::answering(response(200, &[("x-origin", "yes")], b"ok"));
    let gateway = start("http_headers", "", &origin);
    let answer = gateway.get("/hello");
    assert_eq!((answer.status(), answer.text()), (200, "Hello, World!\n"));
    assert_eq!((answer.header("hello"), answer.header("powered-by")), (Some("World"), Some("proxy-wasm")));
    assert!(origin.requests().is_empty());

    let answer = gateway.ask(get("/other", &[("x-asked", "politely")]));
    assert_eq!((answer.text(), answer.header("hello")), ("ok", None));
    for text in
        ["-> x-asked: politely", "-> :path: /other", "<- :status: 200", "<- x-origin: yes", "completed."]
    {
        wait_for_guest(&gateway, text);
    }
    gateway.stop();
}

#[test]
fn http_config_adds_what_it_is_configured_with() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start("http_config", "any text: at all", &origin);
    assert_eq!(gateway.get("/").header("custom-header"), Some("any text: at all"));
    assert_eq!(gateway.get("/without").header("custom-header"), None);
    gateway.stop();
}

#[test]
fn http_body_replaces_a_body_with_a_secret() {
    let origin = Origin::start(|exchange| {
        // In two pieces, the word across them.
        let pieces: [&str; 2] = if exchange.request.target() == "/secret" {
            ["a sec", "ret message"]
        } else {
            ["a plain", " message"]
        };
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        let chunks = pieces.map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len()));
        exchange.wire.send(head + &chunks[0])?;
        exchange.wire.send(chunks[1].clone() + "0\r\n\r\n")?;
        Ok(Next::Keep)
    });
    let gateway = start("http_body", "", &origin);
    let mut client: Client = gateway.client();
    for _ in 0..2 {
        let redacted = client.ask(get("/secret", &[]));
        assert_eq!((redacted.status(), redacted.text()), (200, "Original message body (16 bytes) redacted."));
        assert_eq!(client.ask(get("/plain", &[])).text(), "a plain message");
    }
    gateway.stop();
}

/// A body with a length: the example removes the field, and the gateway frames what it sends anew.
#[test]
fn http_body_replaces_a_body_of_known_length() {
    let origin = Origin::answering(response(200, &[], b"the secret"));
    let gateway = start("http_body", "", &origin);
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(client.ask(get("/", &[])).text(), "Original message body (10 bytes) redacted.");
    }
    gateway.stop();
}

/// It asks `httpbin` for a random byte and lets even ones pass.
#[test]
fn http_auth_random_asks_and_lets_even_bytes_pass() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let bytes = Origin::start(|exchange| {
        // One connection serves the calls in turn.
        let byte = [u8::try_from(exchange.number).unwrap()];
        exchange.wire.send(response(200, &[], &byte))?;
        Ok(Next::Keep)
    });
    let policy = format!(
        "upstreams: {{ u: {{ endpoints: ['{}'] }}, httpbin: {{ endpoints: ['{}'] }} }}\n\
         filters: {{ example: {{ wasm: {{ module: {}, allow: {{ upstreams: [httpbin] }} }} }} }}\n\
         routes: [{{ filters: [example], forward: {{ upstream: u }} }}]\n",
        origin.address(),
        bytes.address(),
        example("http_auth_random").display()
    );
    let gateway = Gateway::start_with(&policy, &Options { workers: 1, log: "info,filter=trace" });
    for byte in 0..4 {
        let answer = gateway.get("/");
        let is_even = byte % 2 == 0;
        let expected = if is_even { (200, "ok") } else { (403, "Access forbidden.\n") };
        assert_eq!((answer.status(), answer.text()), expected);
        assert_eq!(answer.header("powered-by"), Some("proxy-wasm"));
        wait_for_guest(&gateway, if is_even { "Access granted." } else { "Access forbidden." });
    }
    let asked = &bytes.requests()[0];
    assert_eq!((asked.method(), asked.target()), ("GET", "/bytes/1"));
    assert_eq!(asked.header("host"), Some("httpbin.org"));
    assert_eq!((bytes.connections(), origin.requests().len()), (1, 2));
    gateway.stop();
}

/// A call that the policy does not allow is an error that the SDK tells the guest, whose `unwrap` then
/// fails the request. Nothing else suffers, and the log says once what to do.
#[test]
fn http_auth_random_fails_its_request_if_it_may_not_ask() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start("http_auth_random", "", &origin);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status(), 503);
    }
    assert_eq!(gateway.get("/without").text(), "ok");
    assert_eq!(origin.requests().len(), 1, "no request came past the filter that failed");
    let told =
        gateway.log().iter().filter(|line| line.contains("`allow.upstreams` of filters.example")).count();
    assert_eq!(told, 1, "told once:\n{}", gateway.log().join("\n"));
    gateway.stop();
}
