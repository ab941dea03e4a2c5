//! Modules from elsewhere: from a web server, and from a real registry.
//!
//! Each test has modules of its own, which no other ever fetched: the cache is the one that all tests share.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod registry;
mod server;
mod tokens;
mod url;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use support::{Options, Ran, guest, tollgate};
use tempfile::TempDir;

/// One worker, so that there is one VM.
const ONE_WORKER: Options = Options { workers: 1, log: "info" };

/// A module that answers every request with `says`, which nothing else says.
struct Module {
    bytes: Vec<u8>,
    says: String,
    digest: String,
}

impl Module {
    fn new() -> Self {
        let unique = TempDir::with_prefix("m").unwrap();
        let says = unique.path().file_name().unwrap().to_str().unwrap().to_owned();
        let imports = r#"(import "env" "proxy_send_local_response"
            (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
        let answer = format!(
            r#"(data (i32.const 16) "{says}")
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
              (drop (call $respond (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 16)
                (i32.const {}) (i32.const 0) (i32.const 0) (i32.const -1)))
              (i32.const 1))"#,
            says.len()
        );
        let bytes = std::fs::read(guest::guest(imports, &answer)).unwrap();
        let digest = sha256(&bytes);
        Self { bytes, says, digest }
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A policy, without what begins all, whose one filter has this `module`.
fn policy(module: &str) -> String {
    format!(
        "filters: {{ guard: {{ wasm: {{ module: {module} }} }} }}\n\
         routes: [{{ name: all, filters: [guard], respond: {{ status: 200, body: bare }} }}]\n"
    )
}

/// `tollgate check` of such a policy, with these variables. It asks for no machine's credentials.
fn check(module: &str, variables: &[(&str, &Path)]) -> Ran {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, format!("{}{}", support::PREAMBLE, policy(module))).unwrap();
    let mut command = tollgate();
    command.arg("check").arg(file).env("DOCKER_CONFIG", folder.path()).env_remove("SSL_CERT_FILE");
    Ran::of(command.envs(variables.iter().copied()))
}

/// What was fetched under this digest.
fn kept(digest: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(guest::cache_dir().join("modules")).into_iter().flatten();
    let entries = entries.map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(digest)).collect()
}
