//! From a file, a folder or a text to a [`Policy`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_yaml::Value;
use sha2::{Digest, Sha256};

use super::compose::Composed;
use super::decode::decode_at;
use super::diagnostics::Diagnostics;
use super::files::{Files, KeptFile};
use super::gather::{Gathered, TEXT_MAX, gather, gather_text};
use super::inputs::Inputs;
use super::path::{At, Document, FileId};
use super::places::Places;
use super::raw::Entries;
use super::remote::{Fetch, NoFetch};
use super::report::Report;
use super::{Policy, compose, decode, raw, resolve, variables};

/// A policy that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// What is hardly meant, but keeps nothing from working.
    pub warnings: Diagnostics,
    /// Where its filters are written.
    pub places: Places,
    /// SHA-256 over all texts, modules, scripts and values of variables: equal digests mean equal policies.
    pub digest: [u8; 32],
    /// All files that it was read from, for it to be read again by [`load_kept`]. Not among them is a text
    /// that [`parse`] was given.
    pub files: Arc<[KeptFile]>,
}

/// What came of reading a policy.
#[derive(Debug)]
pub struct Reading {
    /// The policy, or all that is wrong with it, warnings among it.
    pub result: Result<Loaded, Diagnostics>,
    /// What to watch for changes, whatever the result: also files that are named and are not there.
    pub inputs: Inputs,
}

/// Reads the policy at `path`, a file or a folder of `*.yaml` files, the files that it includes, and the
/// modules that it names. A relative path in it starts at the folder of the file that it is written in.
/// Modules from elsewhere come from `fetch`. Blocks on the file system, and on that.
///
/// At most 1 000 files and 16 MiB of text.
pub fn read(path: &Path, fetch: &Arc<dyn Fetch>) -> Reading {
    read_from(path, Files::on_disk(Arc::clone(fetch)))
}

fn read_from(path: &Path, files: Files) -> Reading {
    let mut inputs = Inputs::default();
    let gathered = gather(path, &files, &mut inputs);
    let result = gathered.and_then(|gathered| understood(gathered, files, &mut inputs));
    Reading { result, inputs }
}

/// Reads the policy at `path` as [`read`] does, once: it may also be a pipe.
///
/// # Errors
/// All that is wrong with the policy, warnings among it.
pub fn load(path: &Path, fetch: &Arc<dyn Fetch>) -> Result<Loaded, Diagnostics> {
    read_from(path, Files::on_disk_or_piped(Arc::clone(fetch))).result
}

/// Reads the policy that was read from `path` before, from the files that it was made of then.
///
/// # Errors
/// All that is wrong with the policy: another version of the program may see it otherwise.
pub fn load_kept(path: &Path, files: &[KeptFile]) -> Result<Loaded, Diagnostics> {
    read_from(path, Files::kept(files)).result
}

/// Reads a policy from `text`, and the files and modules that it names. `file` is what diagnostics call it;
/// relative paths in it start at `base_dir`. Nothing is fetched from elsewhere.
///
/// # Errors
/// All that is wrong with the policy, warnings among it.
pub fn parse(text: &str, file: &Path, base_dir: &Path) -> Result<Loaded, Diagnostics> {
    if text.len() as u64 > TEXT_MAX {
        let message = format!("the policy is larger than {TEXT_MAX} bytes");
        let help = "name a readable YAML file of at most 16 MiB";
        return Err(Diagnostics::about_file(file, message, help));
    }
    let mut inputs = Inputs::default();
    let files = Files::on_disk(NoFetch::shared());
    let gathered = gather_text(text, file, base_dir, &files, &mut inputs);
    understood(gathered, files, &mut inputs)
}

/// The policy that the files mean.
fn understood(gathered: Gathered, files: Files, inputs: &mut Inputs) -> Result<Loaded, Diagnostics> {
    let Gathered { sources, documents, faults, texts } = gathered;
    let report = Report::of(sources);
    faults.into_iter().for_each(|fault| fault.report(&report));
    let resolved = if report.has_errors() { None } else { understand(documents, &report, &files, inputs) };
    let places = resolved.as_ref().map(|(policy, _)| Places::of(policy, &report)).unwrap_or_default();
    let findings = report.finish();
    let Some((mut policy, modules)) = resolved else { return Err(findings) };
    policy.inputs = Arc::new(inputs.clone());
    let digest = digest(&texts, &modules);
    Ok(Loaded { policy, warnings: findings, places, digest, files: files.into_read() })
}

/// The policy, and the digests of its modules. `None` if anything is wrong.
fn understand(
    mut documents: Vec<Value>,
    report: &Report<'_>,
    files: &Files,
    inputs: &mut Inputs,
) -> Option<(Policy, Vec<[u8; 32]>)> {
    for (index, document) in documents.iter_mut().enumerate() {
        variables::substitute(document, At::of(Document::File(FileId(index))), report, inputs);
    }
    // What a variable stands for may be missed by much else.
    if report.has_errors() {
        return None;
    }
    let Composed { whole, adjusted } = compose::compose(documents, report)?;
    inputs.files.extend(mentioned(&whole, report));
    let raw: raw::Policy = decode::decode(&whole, report)?;
    let adjusted_raw: Entries<raw::Filter> = decode_at(At::of(Document::Adjusted), &adjusted, report)?;
    let (mut policy, mut digests) = resolve::resolve(&raw, &adjusted_raw, report, files)?;
    if report.has_variables() {
        policy.origins = Arc::new(variables::origins(&whole, &adjusted));
    }
    digests.extend(report.variables().iter().map(variables::digest));
    Some((policy, digests))
}

/// The files that filters name, whether they are there or not: the values of `filters.*.*.module`,
/// `filters.*.*.module.file`, `filters.*.*.file` and `filters.*.*.modules.*`.
fn mentioned(whole: &Value, report: &Report<'_>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let root = At::ROOT;
    let section = root.key("filters");
    for (name, filter) in whole.get("filters").and_then(Value::as_mapping).into_iter().flatten() {
        let at = section.key(name.as_str().unwrap_or_default());
        let kinds = filter.as_mapping().into_iter().flat_map(|kinds| kinds.values());
        let files = kinds.flat_map(|kind| {
            let modules = kind.get("modules").and_then(Value::as_mapping).into_iter();
            let modules = modules.flat_map(|modules| modules.values());
            let module = kind.get("module");
            let named = [module, module.and_then(|module| module.get("file")), kind.get("file")];
            modules.chain(named.into_iter().flatten()).filter_map(variables::text_of)
        });
        found.extend(files.map(|file| report.folder(&at).join(file)));
    }
    found
}

/// Each text's own digest first, and their number, so that no text can pass for another with modules.
fn digest(texts: &[[u8; 32]], others: &[[u8; 32]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((texts.len() as u64).to_le_bytes());
    texts.iter().chain(others).for_each(|digest| hash.update(digest));
    hash.finalize().into()
}
