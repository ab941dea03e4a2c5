//! Modules that are not files here: what a policy says of them, and who fetches them.
//!
//! A policy names what it wants by a digest, so that what is fetched is either that or refused, and a copy
//! that was kept is as good as the source. Who fetches is the caller's affair ([`Fetch`]): nothing here knows
//! a network.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A module from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteModule {
    /// What to call it where people read it: without credentials, query and what variables stand for.
    pub name: Arc<str>,
    /// Where it is.
    pub source: Source,
    /// SHA-256 of the module at a URL, or of an image's manifest or index.
    pub digest: [u8; 32],
    /// Who asks for it; without, what the machine knows of the registry.
    pub credentials: Option<Credentials>,
}

/// Where a module is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// An `http` or `https` URL without credentials.
    Url(Arc<str>),
    /// An image in an OCI registry.
    Image(Image),
}

/// An image, as `docker pull` names it. The digest alone says which is meant; a tag is for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image {
    /// Host and, if it is written, port; `docker.io` if none is.
    pub registry: Arc<str>,
    /// Such as `filters/guard`.
    pub repository: Arc<str>,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The name.
    pub username: Arc<str>,
    /// The password, or a token that stands for one.
    pub password: Arc<str>,
}

/// A module's bytes, or why they cannot be had, fit to be shown.
pub type Fetched = Result<Arc<[u8]>, String>;

/// Fetches modules. Blocks.
pub trait Fetch: fmt::Debug + Send + Sync {
    /// What came of each of `wanted`, in their order.
    fn fetch(&self, wanted: &[RemoteModule]) -> Vec<Fetched>;

    /// The same without asking anybody: what is at hand.
    fn kept(&self, wanted: &[RemoteModule]) -> Vec<Fetched>;
}

/// Fetches what another has at hand, for readings that must not wait for a network.
#[derive(Debug)]
pub struct OnlyKept(pub Arc<dyn Fetch>);

impl Fetch for OnlyKept {
    fn fetch(&self, wanted: &[RemoteModule]) -> Vec<Fetched> {
        self.0.kept(wanted)
    }

    fn kept(&self, wanted: &[RemoteModule]) -> Vec<Fetched> {
        self.0.kept(wanted)
    }
}

/// Fetches nothing: for policies that are read where nothing may be asked of a network.
#[derive(Debug, Clone, Copy)]
pub struct NoFetch;

impl NoFetch {
    /// As callers hand it on.
    #[must_use]
    pub fn shared() -> Arc<dyn Fetch> {
        Arc::new(Self)
    }
}

impl Fetch for NoFetch {
    fn fetch(&self, wanted: &[RemoteModule]) -> Vec<Fetched> {
        wanted.iter().map(|_| Err("nothing is fetched here".to_owned())).collect()
    }

    fn kept(&self, wanted: &[RemoteModule]) -> Vec<Fetched> {
        self.fetch(wanted)
    }
}

/// Without the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A digest in hexadecimal.
#[derive(Debug, Clone, Copy)]
pub struct Hex<'d>(pub &'d [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A digest from 64 hexadecimal digits, with `sha256:` before them or not.
#[must_use]
pub fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

impl Image {
    /// `registry/repository[:tag]@sha256:…` and its digest; a first part without a dot, without a port and
    /// other than `localhost` belongs to a repository on Docker Hub.
    #[must_use]
    pub fn parse(text: &str) -> Option<(Self, [u8; 32])> {
        let (name, digest) = text.split_once('@')?;
        let digest = digest.starts_with("sha256:").then(|| parse_digest(digest))??;
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => ("docker.io", name),
        };
        let (repository, tag) = match repository.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (repository, None),
        };
        let is_registry = http::uri::Authority::try_from(registry)
            .is_ok_and(|name| !name.host().is_empty() && !registry.contains('@'));
        let is_right = is_registry
            && repository.len() <= 255
            && repository.split('/').all(is_part)
            && tag.is_none_or(is_tag);
        is_right.then(|| (Image { registry: registry.into(), repository: repository.into() }, digest))
    }
}

/// A part of a repository's name, as the distribution specification has them.
fn is_part(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    part.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte))
        && part.bytes().next().is_some_and(is_plain)
        && part.bytes().last().is_some_and(is_plain)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().all(|byte| is_word(byte) || b".-".contains(&byte))
        && tag.bytes().next().is_some_and(is_word)
}

/// Whether `host`, with a port or not, is this machine.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn images_are_read_as_docker_names_them() {
        let names = |text: &str| {
            let (image, _) = Image::parse(&format!("{text}@{DIGEST}"))?;
            Some(format!("{} {}", image.registry, image.repository))
        };
        assert_eq!(names("ghcr.io/org/guard:v1").as_deref(), Some("ghcr.io org/guard"));
        assert_eq!(names("127.0.0.1:5000/guard").as_deref(), Some("127.0.0.1:5000 guard"));
        assert_eq!(names("localhost/a/b").as_deref(), Some("localhost a/b"));
        assert_eq!(names("org/guard:1").as_deref(), Some("docker.io org/guard"));
        for wrong in [
            "",
            "ghcr.io/",
            "ghcr.io/Org/x",
            "ghcr.io/../x",
            "u@ghcr.io/x",
            "ghcr.io/a//b",
            "a.b/c:",
            "a.b/c:-",
        ] {
            assert_eq!(names(wrong), None, "{wrong}");
        }
        for wrong in ["ghcr.io/a", "ghcr.io/a:1", "ghcr.io/a@sha256:12", "ghcr.io/a@md5:12"] {
            assert_eq!(Image::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn digests_are_read_and_shown() {
        let digest = parse_digest(DIGEST).unwrap();
        assert_eq!(format!("sha256:{}", Hex(&digest)), DIGEST);
        assert_eq!(parse_digest(&DIGEST.replace('f', "g")), None);
        assert_eq!(parse_digest("sha256:+1"), None);
    }

    #[test]
    fn this_machine_is_known() {
        for here in ["127.0.0.1", "127.9.9.9:5000", "localhost", "localhost:1", "[::1]", "[::1]:5000"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in ["127.0.0.1.a.example", "localhost.a:1", "10.0.0.1:5000", "[::2]:1", ""] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
