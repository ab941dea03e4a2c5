//! What the machine knows of registries: the configuration of Docker, in `$DOCKER_CONFIG` or `~/.docker`.
//!
//! Names and passwords in `auths` are taken; helper programs are not run.

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine;
use serde::Deserialize;

use crate::policy::read::read_regular;
use crate::policy::remote::Credentials;

const FILE_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
struct Config {
    auths: Option<HashMap<String, Option<Auth>>>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// What is known of `registry`. A file that cannot be read knows nothing.
pub(super) fn known(registry: &str) -> Option<Credentials> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")))?;
    let path = folder.join("config.json");
    known_by(&read_regular(&path, FILE_MAX).ok()?, registry)
}

fn known_by(text: &[u8], registry: &str) -> Option<Credentials> {
    let Config { auths } = serde_json::from_slice(text)
        .inspect_err(|_| tracing::warn!("Docker's configuration is not readable"))
        .ok()?;
    let auths = auths?;
    let mut keys = vec![registry.to_owned(), format!("https://{registry}"), format!("http://{registry}")];
    if registry == "docker.io" {
        keys.push("https://index.docker.io/v1/".to_owned());
    }
    let auth =
        keys.iter().find_map(|key| auths.get(key).or_else(|| auths.get(&format!("{key}/")))?.as_ref())?;
    let (username, password) = match auth {
        Auth { auth: Some(auth), .. } if !auth.is_empty() => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(auth.trim()).ok()?;
            let text = String::from_utf8(decoded).ok()?;
            let (username, password) = text.split_once(':')?;
            (username.to_owned(), password.to_owned())
        }
        Auth { username, password, .. } => (username.clone()?, password.clone()?),
    };
    Some(Credentials { username: username.into(), password: password.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_found_by_each_of_its_spellings() {
        let text = br#"{"auths": {
            "a.example": {"auth": "YWRhOnMzY3JldDp4"},
            "https://b.example/": {"username": "bob", "password": "pw"},
            "https://index.docker.io/v1/": {"auth": "ZG9jOmtlcg=="}, "c.example": {}, "e.example": null,
            "f.example": {"auth": "", "username": "eve", "password": "pw"}
        }, "credsStore": "desktop"}"#;
        let known = |registry| known_by(text, registry).map(|it| format!("{} {}", it.username, it.password));
        assert_eq!(known("a.example").as_deref(), Some("ada s3cret:x"));
        assert_eq!(known("b.example").as_deref(), Some("bob pw"));
        assert_eq!(known("docker.io").as_deref(), Some("doc ker"));
        assert_eq!(known("c.example"), None);
        assert_eq!((known("d.example"), known("e.example")), (None, None));
        assert_eq!(known("f.example").as_deref(), Some("eve pw"));
        assert!(known_by(br#"{"auths": null}"#, "a.example").is_none());
        assert!(known_by(b"{", "a.example").is_none());
    }
}
