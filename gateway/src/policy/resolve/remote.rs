//! `module` of a Wasm filter: a file, or a place elsewhere with the digest of what is there.

use http::Uri;

use super::super::raw::{Field, ModuleFrom, ModuleSource};
use super::super::remote::{Credentials, Image, RemoteModule, Source, is_loopback, parse_digest};
use super::super::report::{Problem, quoted};
use super::super::variables;
use super::place::Place;

/// Bytes of a name and of a password.
const CREDENTIAL_MAX: usize = 4096;
const DIGEST: &str = "the SHA-256 of the module, as 64 hexadecimal digits";

/// A module as it is named, looked at but not read.
pub(in crate::policy) enum Named<'r> {
    /// A file, and what its content must be.
    File(&'r str, Option<[u8; 32]>),
    /// Something elsewhere.
    Remote(RemoteModule),
}

/// What is named at `place`; reports what is wrong with it.
pub(in crate::policy) fn named<'r>(place: Place<'_>, raw: &'r ModuleSource) -> Option<Named<'r>> {
    let from = match raw {
        ModuleSource::File(path) => return Some(Named::File(path, None)),
        ModuleSource::From(from) => from,
    };
    let keys =
        [("file", from.file.is_absent()), ("url", from.url.is_absent()), ("oci", from.oci.is_absent())];
    match place.exactly_one(&keys)? {
        "file" => file(place, from),
        "url" => url(place, from),
        _ => oci(place, from),
    }
}

fn file<'r>(place: Place<'_>, from: &'r ModuleFrom) -> Option<Named<'r>> {
    let keys = [("username", from.username.is_absent()), ("password", from.password.is_absent())];
    place.refuse(&keys, "a file is read without credentials");
    let digest = if from.sha256.is_absent() { None } else { Some(digest(place, from)?) };
    Some(Named::File(from.file.given()?, digest))
}

fn url<'r>(place: Place<'_>, from: &'r ModuleFrom) -> Option<Named<'r>> {
    let digest = digest(place, from);
    let credentials = credentials(place, from);
    let url = from.url.given()?;
    let host = host(place, url)?;
    let is_bare = url.starts_with("http://") && !is_loopback(&host);
    if is_bare && matches!(credentials, Some(Some(_))) {
        let problem = Problem::new("the password would be sent without encryption");
        place.key("url").error(problem.help("use `https://`, or do without a password"));
    }
    // The query may be a secret. Variables first: a part of what one stands for is not found.
    let name = shown(place, url);
    let name = name.split(['?', '#']).next().unwrap_or_default().into();
    if url.contains('?') {
        let place = place.key("url");
        place.report.hide(&place.at);
    }
    let source = Source::Url(url.as_str().into());
    Some(Named::Remote(RemoteModule { name, source, digest: digest?, credentials: credentials? }))
}

fn oci<'r>(place: Place<'_>, from: &'r ModuleFrom) -> Option<Named<'r>> {
    place.refuse(&[("sha256", from.sha256.is_absent())], "the digest is part of the image's name");
    let credentials = credentials(place, from);
    let written = from.oci.given()?;
    let (image, digest) = image(place, written)?;
    let (name, source) = (shown(place, written), Source::Image(image));
    Some(Named::Remote(RemoteModule { name, source, digest, credentials: credentials? }))
}

/// A name with variables as they are written: what they stand for may be a secret.
fn shown(place: Place<'_>, name: &str) -> std::sync::Arc<str> {
    let parts = place.report.variables();
    variables::scrubbed(name.to_owned(), &parts, 1, |part| part.written.clone()).into()
}

fn digest(place: Place<'_>, from: &ModuleFrom) -> Option<[u8; 32]> {
    let text = place.required(&from.sha256, "sha256", DIGEST)?;
    let digest = parse_digest(text);
    if digest.is_none() {
        place.key("sha256").error(Problem::new("not a digest").expected(DIGEST).found(quoted(text)));
    }
    digest
}

/// The host of a URL, with its port.
fn host(place: Place<'_>, url: &str) -> Option<String> {
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    if authority.unwrap_or(url).contains('@') {
        let place = place.key("url");
        place.report.hide(&place.at);
        place.error(Problem::new("a password in a URL").help("use `username` and `password` beside it"));
        return None;
    }
    let parsed = url.parse::<Uri>().ok();
    match parsed.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?))) {
        Some(("http" | "https", authority)) if !authority.host().is_empty() => Some(authority.to_string()),
        _ => {
            let problem = Problem::new("not a URL").expected("one that begins with `https://` or `http://`");
            place.key("url").error(problem.found(quoted(url)));
            None
        }
    }
}

fn image(place: Place<'_>, name: &str) -> Option<(Image, [u8; 32])> {
    let image = Image::parse(name);
    if image.is_none() {
        let problem = Problem::new("not an image with a digest")
            .expected("a name such as `registry.example/filters/guard:1.2@sha256:…`")
            .found(quoted(name));
        let help = "a tag may be moved: add the digest of what it is now";
        place.key("oci").error(if name.contains('@') { problem } else { problem.help(help) });
    }
    image
}

/// Both or none.
fn credentials(place: Place<'_>, from: &ModuleFrom) -> Option<Option<Credentials>> {
    let (username, password) = match (&from.username, &from.password) {
        (Field::Absent, Field::Absent) => return Some(None),
        (Field::Given(username), Field::Given(password)) => (username, password),
        (Field::Absent, _) => {
            place.required(&from.username, "username", "it beside `password`");
            return None;
        }
        (_, Field::Absent) => {
            place.required(&from.password, "password", "it beside `username`");
            return None;
        }
        _ => return None,
    };
    let expected = "1 to 4096 bytes without a colon, which would end it";
    let is_name = !username.contains(':') && (1..=CREDENTIAL_MAX).contains(&username.len());
    if !is_name {
        place.key("username").error(Problem::new("not a name for HTTP").expected(expected));
    }
    if password.len() > CREDENTIAL_MAX {
        let problem = Problem::new("the password is too long");
        place.key("password").error(problem.expected(format!("at most {CREDENTIAL_MAX} bytes")));
    }
    let credentials = Credentials { username: username.as_str().into(), password: password.as_str().into() };
    Some(Some(credentials))
}
