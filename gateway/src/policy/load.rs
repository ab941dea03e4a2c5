//! From a file or a text to a [`Policy`].

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Policy;
use super::diagnostics::{Diagnostics, Position};
use super::files::{Files, KeptFile, Kind};
use super::raw;
use super::report::Report;
use super::source::{Limits, ScanFailure, Source, Span};
use super::{decode, resolve};

/// Bytes of the text. Some 100 000 routes fit.
pub(super) const TEXT_MAX: u64 = 16 << 20;

/// Bounds on the document; see [`Limits`].
pub(super) const LIMITS: Limits = Limits { depth: 32, aliases: 10_000, nodes: 4_000_000, bytes: 64 << 20 };

/// A policy that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// What is hardly meant, but keeps nothing from working.
    pub warnings: Diagnostics,
    /// SHA-256 over the text and all module files: equal digests mean equal policies.
    pub digest: [u8; 32],
    /// All files that it was read from, for it to be read again by [`load_kept`]. Not among them is a text
    /// that [`parse`] was given.
    pub files: Arc<[KeptFile]>,
}

/// Reads the policy at `path`, of at most 16 MiB, and the modules that it names. Relative paths in
/// it start at its folder. Blocks on the file system.
///
/// # Errors
/// All that is wrong with the policy, warnings among it.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    load_from(path, Files::on_disk())
}

/// Reads the policy that was read from `path` before, from the files that it was made of then.
///
/// # Errors
/// All that is wrong with the policy: another version of the program may see it otherwise.
pub fn load_kept(path: &Path, files: &[KeptFile]) -> Result<Loaded, Diagnostics> {
    load_from(path, Files::kept(files))
}

fn load_from(path: &Path, files: Files) -> Result<Loaded, Diagnostics> {
    let unreadable = |why: String| {
        let help = "name a readable YAML file of at most 16 MiB";
        Diagnostics::about_file(path, format!("the policy cannot be read: {why}"), help)
    };
    let bytes = files.read(path, Kind::Any, TEXT_MAX).map_err(|error| unreadable(error.to_string()))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| unreadable(format!("it is not UTF-8 at byte {}", error.valid_up_to() + 1)))?;
    parse_from(text, path, path.parent().unwrap_or_else(|| Path::new("")), files)
}

/// Reads a policy from `text`. `file` is what diagnostics call it; relative paths in it start at
/// `base_dir`. Reads the modules that it names.
///
/// # Errors
/// All that is wrong with the policy, warnings among it.
pub fn parse(text: &str, file: &Path, base_dir: &Path) -> Result<Loaded, Diagnostics> {
    parse_from(text, file, base_dir, Files::on_disk())
}

fn parse_from(text: &str, file: &Path, base_dir: &Path, files: Files) -> Result<Loaded, Diagnostics> {
    if text.len() as u64 > TEXT_MAX {
        let help = "name a readable YAML file of at most 16 MiB";
        return Err(Diagnostics::about_file(
            file,
            format!("the policy is larger than {TEXT_MAX} bytes"),
            help,
        ));
    }
    let body = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let (source, failures) = Source::scan(body, &LIMITS);
    let report = Report::new(source, file);
    let resolved = understand(body, failures, &report, base_dir, &files);
    let findings = report.finish();
    let Some((policy, modules)) = resolved else { return Err(findings) };
    Ok(Loaded { policy, warnings: findings, digest: digest(text, &modules), files: files.into_read() })
}

/// The policy that the text means, and the digests of its modules. `None` if anything is wrong.
fn understand(
    text: &str,
    failures: Vec<ScanFailure>,
    report: &Report<'_>,
    base_dir: &Path,
    files: &Files,
) -> Option<(Policy, Vec<[u8; 32]>)> {
    let raw: raw::Policy = decoded(text, failures, report)?;
    resolve::resolve(&raw, report, base_dir, files)
}

/// The raw form of a document; what is wrong is in `report`.
pub(super) fn decoded<T: serde::de::DeserializeOwned>(
    text: &str,
    failures: Vec<ScanFailure>,
    report: &Report<'_>,
) -> Option<T> {
    let value =
        if failures.is_empty() { read_yaml(text).map_err(|failure| vec![failure]) } else { Err(failures) };
    match value {
        Ok(value) => decode::decode(&value, report),
        Err(failures) => {
            failures.into_iter().for_each(|failure| report.unreadable(failure));
            None
        }
    }
}

fn read_yaml(text: &str) -> Result<serde_yaml::Value, ScanFailure> {
    serde_yaml::from_str(text).map_err(|error| {
        let place = error.location();
        let start = Position {
            line: place.as_ref().map_or(1, |place| place.line() as u32),
            column: place.as_ref().map_or(1, |place| place.column() as u32),
        };
        let message = error.to_string();
        // The position is told apart from the message.
        let message = message.split(" at line ").next().unwrap_or_default();
        ScanFailure {
            span: Span { start, end: start },
            message: format!("not well-formed YAML: {message}"),
            help: None,
            related: None,
        }
    })
}

/// The text's own digest first, so that no text can pass for another with modules.
fn digest(text: &str, modules: &[[u8; 32]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(Sha256::digest(text));
    for module in modules {
        hash.update(module);
    }
    hash.finalize().into()
}
