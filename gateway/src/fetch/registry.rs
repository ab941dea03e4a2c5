//! Pulling a module from an OCI registry, by the distribution specification.
//!
//! 1. The manifest that the policy's digest names; an index leads to one more.
//! 2. The layer that holds the module (`image`), by the digest that the manifest names.
//!
//! Every answer is verified. A registry on a loopback address is asked by HTTP, all others by HTTPS, as Docker
//! does. It may ask for a password, or for a token that another server gives for one; the token is kept for
//! this pull. A password goes to nobody but the registry and, by HTTPS, the token server that it names.

use std::fmt::{self, Write};

use ::http::Uri;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::ResponseExt;

use super::http::{self, Http, HttpError, Response};
use super::image::{self, ACCEPT, ImageError, Layer, Next};
use super::{BYTES_MAX, basic, credentials};
use crate::policy::remote::{Credentials, Hex, Image, is_loopback};

const MANIFEST_MAX: u64 = 4 << 20;
const TOKEN_MAX: u64 = 1 << 20;
/// Where Docker Hub's registry is.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error("{part}: {source}")]
    Http { part: Part, source: HttpError },
    #[error("{part} has another digest, sha256:{found}")]
    Digest { part: Part, found: String },
    #[error("the registry refuses access with the credentials given")]
    Refused,
    #[error("the registry refuses access, and no credentials are known for it")]
    Anonymous,
    #[error("the registry asks for credentials of an unknown kind: {0}")]
    Challenge(String),
    #[error("the registry names no token server that a password may be sent to")]
    Realm,
    #[error("the token server's answer is no token")]
    Token,
    #[error("an index within an index")]
    Nested,
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// What is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Manifest,
    Layer,
    Token,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "the image's manifest",
            Self::Layer => "the image's layer",
            Self::Token => "the registry's token",
        })
    }
}

/// One pull.
pub(super) struct Registry<'h> {
    http: &'h Http,
    /// Scheme, host and repository, up to the kind of what is asked for.
    base: String,
    repository: String,
    is_here: bool,
    credentials: Option<Credentials>,
    /// What the registry asked for, as a field `Authorization`.
    authorization: Option<String>,
}

impl<'h> Registry<'h> {
    /// A pull of `image` with these credentials, else with what the machine knows.
    pub(super) fn new(http: &'h Http, image: &Image, given: Option<&Credentials>) -> Self {
        let Image { registry, repository } = image;
        let credentials = given.cloned().or_else(|| credentials::known(registry));
        let is_hub = &**registry == DOCKER_HUB;
        let host = if is_hub { DOCKER_HUB_HOST } else { registry };
        let library = if is_hub && !repository.contains('/') { "library/" } else { "" };
        let repository = format!("{library}{repository}");
        let is_here = is_loopback(host);
        let scheme = if is_here { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/{repository}");
        Self { http, base, repository, is_here, credentials, authorization: None }
    }

    /// The module in the image whose manifest or index has this digest.
    pub(super) fn pull(mut self, digest: &[u8; 32]) -> Result<Vec<u8>, PullError> {
        let mut next = image::next(&self.fetch(Part::Manifest, digest)?)?;
        if let Next::Manifest(inner) = next {
            next = image::next(&self.fetch(Part::Manifest, &inner)?)?;
        }
        let Next::Layers(layers) = next else { return Err(PullError::Nested) };
        for Layer { digest, packing } in layers {
            if let Some(module) = image::module(self.fetch(Part::Layer, &digest)?, packing)? {
                return Ok(module);
            }
        }
        Err(ImageError::NoModule.into())
    }

    /// A manifest or a layer, verified.
    fn fetch(&mut self, part: Part, digest: &[u8; 32]) -> Result<Vec<u8>, PullError> {
        let (kind, max) = match part {
            Part::Manifest => ("manifests", MANIFEST_MAX),
            Part::Layer | Part::Token => ("blobs", BYTES_MAX),
        };
        let url = format!("{}/{kind}/sha256:{}", self.base, Hex(digest));
        let failed = |source| PullError::Http { part, source };
        let mut response = self.get(&url).map_err(failed)?;
        // Redirects lead to others, who must not name the place that the registry's password goes to.
        if response.status() == 401 && self.authorization.is_none() && self.is_of_registry(&response) {
            self.authorization = Some(self.authorize(&response)?);
            response = self.get(&url).map_err(failed)?;
        }
        if matches!(response.status().as_u16(), 401 | 403) {
            return Err(self.refused());
        }
        let bytes = http::body(response, max).map_err(failed)?;
        let found: [u8; 32] = Sha256::digest(&bytes).into();
        if found == *digest {
            Ok(bytes)
        } else {
            Err(PullError::Digest { part, found: Hex(&found).to_string() })
        }
    }

    fn get(&self, url: &str) -> Result<Response, HttpError> {
        self.http.get(url, ACCEPT, self.authorization.as_deref())
    }

    fn is_of_registry(&self, response: &Response) -> bool {
        let (asked, answered) = (self.base.parse::<Uri>(), response.get_uri());
        asked.is_ok_and(|asked| {
            asked.scheme() == answered.scheme() && asked.authority() == answered.authority()
        })
    }

    fn refused(&self) -> PullError {
        if self.credentials.is_some() { PullError::Refused } else { PullError::Anonymous }
    }

    /// The field `Authorization` that the registry's answer asks for.
    fn authorize(&self, response: &Response) -> Result<String, PullError> {
        let challenges = response.headers().get_all("www-authenticate").iter();
        let challenges: Vec<&str> = challenges.filter_map(|value| value.to_str().ok()).collect();
        let of = |scheme: &str| {
            challenges.iter().find_map(|challenge| {
                let (name, rest) = challenge.trim().split_once(' ').unwrap_or((challenge, ""));
                name.eq_ignore_ascii_case(scheme).then_some(rest)
            })
        };
        if let Some(parameters) = of("Bearer") {
            return Ok(format!("Bearer {}", self.token(parameters)?));
        }
        if of("Basic").is_some() {
            return self.credentials.as_ref().map(basic).ok_or(PullError::Anonymous);
        }
        let schemes = challenges.iter().filter_map(|challenge| challenge.split(' ').next());
        Err(PullError::Challenge(schemes.collect::<Vec<_>>().join(", ")))
    }

    /// Asks the token server that the parameters of a challenge name.
    fn token(&self, parameters: &str) -> Result<String, PullError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let parameters = parsed(parameters);
        let find = |wanted: &str| {
            parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
        };
        let realm = find("realm").filter(|realm| self.may_have_password(realm)).ok_or(PullError::Realm)?;
        let mut url = realm.to_owned();
        let scope = format!("repository:{}:pull", self.repository);
        let query = [("service", find("service")), ("scope", Some(find("scope").unwrap_or(&scope)))];
        for (name, value) in query.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            let separator = if url.contains('?') { '&' } else { '?' };
            let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            // Writing to a String cannot fail.
            let _ = write!(url, "{separator}{name}={value}");
        }
        let failed = |source| PullError::Http { part: Part::Token, source };
        let credentials = self.credentials.as_ref().map(basic);
        let response = self.http.get(&url, "application/json", credentials.as_deref()).map_err(failed)?;
        if matches!(response.status().as_u16(), 401 | 403) {
            return Err(self.refused());
        }
        let answer = http::body(response, TOKEN_MAX).map_err(failed)?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| PullError::Token)?;
        // It goes into a header field.
        let is_token = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        answer.token.or(answer.access_token).filter(is_token).ok_or(PullError::Token)
    }

    /// Whether a password may be sent to this URL: by HTTPS, or within this machine if the registry is there.
    fn may_have_password(&self, url: &str) -> bool {
        let Ok(url) = url.parse::<Uri>() else { return false };
        let is_loopback = url.host().is_some_and(is_loopback);
        match url.scheme_str() {
            Some("https") => true,
            Some("http") => self.is_here && is_loopback,
            _ => false,
        }
    }
}

/// `name="value", name=value`; within quotes a backslash stands before what is meant as it is.
fn parsed(text: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, behind)) = rest.split_once('=') {
        let mut value = String::new();
        let mut chars = behind.chars();
        if behind.starts_with('"') {
            chars.next();
            while let Some(c) = chars.next().filter(|c| *c != '"') {
                value.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
        } else {
            value.extend(behind.chars().take_while(|c| *c != ','));
            chars = behind[value.len()..].chars();
        }
        parameters.push((name.trim().to_ascii_lowercase(), value.trim_end().to_owned()));
        rest = chars.as_str().trim_start_matches([',', ' ']);
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let pairs = |text| {
            let parameters = parsed(text).into_iter();
            parameters.map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>()
        };
        let text = r#"realm="https://auth.example/token",service="a \"b\"", scope="repository:x:pull,push""#;
        let expected =
            ["realm:https://auth.example/token", "service:a \"b\"", "scope:repository:x:pull,push"];
        assert_eq!(pairs(text), expected);
        assert_eq!(pairs("Realm=a, b=c"), ["realm:a", "b:c"]);
        assert!(pairs("").is_empty() && pairs("x").is_empty());
        assert_eq!(pairs("realm=\"open"), ["realm:open"]);
    }

    #[test]
    fn passwords_go_by_https_or_stay_here() {
        let http = Http::new();
        let registry = |name: &str| {
            let image = Image { registry: name.into(), repository: "m".into() };
            let known = Credentials { username: "u".into(), password: "p".into() };
            Registry::new(&http, &image, Some(&known))
        };
        let (here, elsewhere) = (registry("127.0.0.1:5000"), registry("r.example"));
        for fit in ["http://127.0.0.1:5001/t", "http://localhost/t", "http://[::1]:1/t"] {
            assert!(here.may_have_password(fit), "{fit}");
            assert!(!elsewhere.may_have_password(fit), "{fit}");
        }
        for unfit in
            ["http://a.example/t", "http://127.0.0.1.a.example/t", "ftp://127.0.0.1/", "//127.0.0.1", ""]
        {
            assert!(!here.may_have_password(unfit), "{unfit}");
        }
        assert!(
            here.may_have_password("https://a.example/t")
                && elsewhere.may_have_password("https://a.example/t")
        );
    }

    #[test]
    fn repositories_on_docker_hub_have_their_own_names() {
        let http = Http::new();
        let base = |registry: &str, repository: &str| {
            let image = Image { registry: registry.into(), repository: repository.into() };
            Registry::new(&http, &image, None).base
        };
        assert_eq!(base("docker.io", "guard"), "https://registry-1.docker.io/v2/library/guard");
        assert_eq!(base("docker.io", "o/guard"), "https://registry-1.docker.io/v2/o/guard");
        assert_eq!(base("ghcr.io", "guard"), "https://ghcr.io/v2/guard");
        assert_eq!(base("localhost:5000", "guard"), "http://localhost:5000/v2/guard");
    }
}
