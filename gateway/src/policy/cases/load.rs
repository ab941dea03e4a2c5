//! From a file to [`Cases`] or a [`Suite`].

use std::path::Path;

use super::super::decode::decode;
use super::super::diagnostics::Diagnostics;
use super::super::gather::{LIMITS, TEXT_MAX};
use super::super::path::FileId;
use super::super::read::read_bounded;
use super::super::report::Report;
use super::super::source::Source;
use super::{Cases, Suite, raw, resolve, suite};

/// Reads the cases at `path` for the module at `module`. Blocks on the file system.
///
/// # Errors
/// All that is wrong with the file, or with the module.
pub fn load(path: &Path, module: &Path) -> Result<Cases, Diagnostics> {
    parse(&read(path)?, path, module)
}

/// Reads cases from `text`; `file` is what diagnostics call it.
///
/// # Errors
/// All that is wrong with the text, or with the module.
pub fn parse(text: &str, file: &Path, module: &Path) -> Result<Cases, Diagnostics> {
    understand(text, file, |raw: raw::Cases, report| resolve::resolve(raw, report, module))
}

/// Reads the cases at `path` for a policy. Blocks on the file system.
///
/// # Errors
/// All that is wrong with the file.
pub fn load_suite(path: &Path) -> Result<Suite, Diagnostics> {
    parse_suite(&read(path)?, path)
}

/// Reads cases for a policy from `text`; `file` is what diagnostics call it.
///
/// # Errors
/// All that is wrong with the text.
pub fn parse_suite(text: &str, file: &Path) -> Result<Suite, Diagnostics> {
    understand(text, file, |raw: raw::Suite, report| suite::resolve(&raw, report))
}

fn read(path: &Path) -> Result<String, Diagnostics> {
    let unreadable = |why: String| {
        let help = "name a readable YAML file of at most 16 MiB";
        Diagnostics::about_file(path, format!("the cases cannot be read: {why}"), help)
    };
    let bytes = read_bounded(path, TEXT_MAX).map_err(|error| unreadable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))
}

fn understand<R: serde::de::DeserializeOwned, T>(
    text: &str,
    file: &Path,
    resolve: impl FnOnce(R, &Report<'_>) -> Option<T>,
) -> Result<T, Diagnostics> {
    let body = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let (source, value) = Source::scan(body, &LIMITS);
    let report = Report::new(source, file);
    let value = value.map_err(|failures| {
        failures.into_iter().for_each(|failure| report.unreadable(FileId(0), failure));
    });
    let raw: Option<R> = value.ok().and_then(|value| decode(&value, &report));
    let cases = raw.and_then(|raw| resolve(raw, &report));
    let findings = report.finish();
    cases.ok_or(findings)
}
