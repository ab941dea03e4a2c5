//! A registry that takes tokens, which another server gives for a password.

use std::fs;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey;
use serde_json::json;

use crate::registry::Registry;
use crate::server::Server;
use crate::support::response;
use crate::{Module, check};

/// Signs tokens that a registry believes whose configuration has its certificate.
struct Signing {
    key: SigningKey,
    certificate: Vec<u8>,
    pem: String,
}

impl Signing {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["tokens.test".to_owned()]).unwrap();
        let key = SigningKey::from_pkcs8_der(&made.signing_key.serialize_der()).unwrap();
        Self { key, certificate: made.cert.der().to_vec(), pem: made.cert.pem() }
    }

    /// A token that allows these actions, by Docker's specification of tokens.
    fn token(&self, actions: &[&str]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let head = json!({ "typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&self.certificate)] });
        let access = json!([{ "type": "repository", "name": "filters/guard", "actions": actions }]);
        let claims = json!({
            "iss": "tests", "sub": "ada", "aud": "registry.test", "jti": "1",
            "iat": now, "nbf": now - 60, "exp": now + 3600, "access": access,
        });
        let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signature: Signature = self.key.sign(format!("{head}.{claims}").as_bytes());
        format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

#[test]
fn a_token_is_asked_for_and_used() {
    let signing = Arc::new(Signing::new());
    let of_server = Arc::clone(&signing);
    let realm = Server::http(move |request| {
        let asks = request.target().contains("service=registry%2Etest")
            && request.target().contains("scope=repository%3Afilters%2Fguard%3Apull");
        // `ada` and `s3cret`.
        match request.header("authorization") {
            Some("Basic YWRhOnMzY3JldA==") if asks => {
                let token = json!({ "token": of_server.token(&["pull"]), "expires_in": 300 });
                response(200, &[], token.to_string().as_bytes())
            }
            _ => response(401, &[], b""),
        }
    });
    let mut registry = Registry::start(|folder| {
        let bundle = folder.path().join("ca.pem");
        fs::write(&bundle, &signing.pem).unwrap();
        format!(
            "auth: {{ token: {{ realm: '{}', service: registry.test, issuer: tests, \
             rootcertbundle: '{}' }} }}\n",
            realm.url("/token?account=a"),
            bundle.display()
        )
    });
    registry.authorization = Some(format!("Bearer {}", signing.token(&["pull", "push"])));
    let module = Module::new();
    let name = registry.artifact(&module);
    let said = check(&format!("{{ oci: '{name}' }}"), &[]).expect(1).out;
    assert!(said.contains("no credentials are known for it"), "{said}");
    check(&format!("{{ oci: '{name}', username: ada, password: s3cret }}"), &[]).expect(0);
    // One for the whole pull.
    let given = realm.requests().iter().filter(|request| request.header("authorization").is_some()).count();
    assert_eq!(given, 1);
}
