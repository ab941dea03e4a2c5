//! A registry that asks for a password.

use std::fs;

use tempfile::TempDir;

use crate::registry::Registry;
use crate::server::Server;
use crate::support::response;
use crate::{Module, check};

/// `ada` and `s3cret-of-registry`, by bcrypt with few rounds.
const USERS: &str = "ada:$2y$04$abcdefghijklmnopqrstuuwu5/lPqtzwFRlIttNXvBX0vnnLFxTru\n";
/// The same as HTTP and Docker call them.
const BASIC: &str = "YWRhOnMzY3JldC1vZi1yZWdpc3RyeQ==";

fn guarded() -> Registry {
    let auth = |folder: &TempDir| {
        let users = folder.path().join("users");
        fs::write(&users, USERS).unwrap();
        format!("auth: {{ htpasswd: {{ realm: tests, path: '{}' }} }}\n", users.display())
    };
    let mut registry = Registry::start(auth);
    registry.authorization = Some(format!("Basic {BASIC}"));
    registry
}

#[test]
fn a_password_of_the_policy_lets_in() {
    let (registry, module) = (guarded(), Module::new());
    let name = registry.artifact(&module);
    let said = check(&format!("{{ oci: '{name}' }}"), &[]).expect(1).out;
    assert!(said.contains("refuses access, and no credentials are known for it"), "{said}");
    let with = |password: &str| format!("{{ oci: '{name}', username: ada, password: {password} }}");
    let said = check(&with("wrong-s3cret"), &[]).expect(1).out;
    assert!(said.contains("refuses access with the credentials given"), "{said}");
    assert!(!said.contains("wrong-s3cret"), "{said}");
    check(&with("s3cret-of-registry"), &[]).expect(0);
}

#[test]
fn a_password_of_docker_lets_in() {
    let (registry, module) = (guarded(), Module::new());
    let name = registry.artifact(&module);
    let folder = TempDir::new().unwrap();
    let known = serde_json::json!({ "auths": { registry.address.to_string(): { "auth": BASIC } } });
    fs::write(folder.path().join("config.json"), known.to_string()).unwrap();
    check(&format!("{{ oci: '{name}' }}"), &[("DOCKER_CONFIG", folder.path())]).expect(0);
}

/// A registry's blobs may be elsewhere; who has them must not say where the registry's password goes.
#[test]
fn a_stranger_that_a_redirect_leads_to_gets_no_password() {
    let module = Module::new();
    let stranger = Server::http(|request| {
        let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
        match request.target() {
            "/token" => response(200, &[], br#"{"token":"taken"}"#),
            _ => response(401, &[("www-authenticate", &realm)], b""),
        }
    });
    let target = stranger.url("/blob");
    let registry = Server::http(move |_| response(302, &[("location", &target)], b""));
    let host = registry.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let name = format!("{host}/filters/guard@sha256:{}", module.digest);
    let said = check(&format!("{{ oci: '{name}', username: ada, password: s3cret }}"), &[]).expect(1).out;
    assert!(said.contains("refuses access"), "{said}");
    let asked = stranger.requests();
    assert!(!asked.is_empty());
    for request in asked {
        assert!(request.header("authorization").is_none(), "{request:?}");
        assert_ne!(request.target().split('?').next(), Some("/token"));
    }
}
