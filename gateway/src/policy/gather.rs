//! Finds and reads the files of a policy.
//!
//! A policy is a file or a folder. A folder stands for its files that end in `.yaml` or `.yml`, in the order
//! of their names. A file may name more under `include`: files, folders, and patterns in which `*`, `?` and
//! `[…]` stand in the file's name; what is relative starts at the folder of the file that names it. What a
//! file says comes before what it includes; a file that is named several times counts where it is named
//! first, so that files may name each other. An empty file is refused, as others would make a policy without it.
//!
//! Limits: 1 000 files, 16 MiB of text together, includes within includes to a depth of 8, 10 000 entries
//! of a folder.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use serde_yaml::Value;
use sha2::{Digest, Sha256};

use super::diagnostics::Diagnostics;
use super::files::{Files, Kind};
use super::inputs::Inputs;
use super::path::{At, Document, FileId};
use super::read::ReadError;
use super::report::{Problem, Report, quoted};
use super::source::{File, Limits, ScanFailure, Source, Sources};
use super::suggest::nearest;

/// Bytes of the text, of all files together. Some 100 000 routes fit.
pub(super) const TEXT_MAX: u64 = 16 << 20;
/// Bounds on each document; see [`Limits`].
pub(super) const LIMITS: Limits = Limits { depth: 32, aliases: 10_000, nodes: 4_000_000, bytes: 64 << 20 };

const FILES_MAX: usize = 1_000;
const DEPTH_MAX: usize = 8;
const ENTRIES_MAX: usize = 10_000;

/// The files of a policy, read and walked.
pub(super) struct Gathered {
    pub(super) sources: Sources<'static>,
    /// What each file says; of one that is no YAML, nothing.
    pub(super) documents: Vec<Value>,
    /// What is wrong with the files, each on its own.
    pub(super) faults: Vec<Fault>,
    /// SHA-256 of each file's text.
    pub(super) texts: Vec<[u8; 32]>,
}

/// What is wrong with a file or with what it includes.
pub(super) enum Fault {
    /// It is no YAML.
    Unreadable(FileId, ScanFailure),
    /// An entry of its `include` cannot be had.
    Include(FileId, usize, Problem),
}

impl Fault {
    pub(super) fn report(self, report: &Report<'_>) {
        match self {
            Fault::Unreadable(file, failure) => report.unreadable(file, failure),
            Fault::Include(file, index, problem) => {
                report.error(&At::of(Document::File(file)).key("include").index(index), problem);
            }
        }
    }
}

/// The policy at `path`, a file or a folder.
pub(super) fn gather(path: &Path, files: &Files, inputs: &mut Inputs) -> Result<Gathered, Diagnostics> {
    let unreadable = |why: String| {
        let help = "name a readable YAML file of at most 16 MiB, or a folder of them";
        Diagnostics::about_file(path, format!("the policy cannot be read: {why}"), help)
    };
    let mut gathering = Gathering::new(files, inputs);
    if !files.is_folder(path) {
        gathering.read(path, Role::Whole(files.kind_of_policy()), 0).map_err(unreadable)?;
        return Ok(gathering.finish());
    }
    let parts = gathering.list(path, is_policy_file).map_err(unreadable)?;
    if parts.is_empty() {
        return Err(unreadable("the folder holds no `*.yaml` file".to_owned()));
    }
    for file in parts {
        gathering.read(&file, Role::Part, 0).map_err(|why| {
            Diagnostics::about_file(&file, format!("the file cannot be read: {why}"), "mend it or remove it")
        })?;
    }
    Ok(gathering.finish())
}

/// The policy of a text, and what it includes.
pub(super) fn gather_text(
    text: &str,
    name: &Path,
    folder: &Path,
    files: &Files,
    inputs: &mut Inputs,
) -> Gathered {
    let mut gathering = Gathering::new(files, inputs);
    gathering.shown = Some((folder.to_owned(), name.parent().unwrap_or_else(|| Path::new("")).to_owned()));
    gathering.seen.extend(name.file_name().map(|name| folded(&folder.join(name))));
    gathering.add(text.to_owned(), name, folder.to_owned(), 0);
    gathering.finish()
}

/// What a file is of a policy.
#[derive(Clone, Copy)]
enum Role {
    /// All that is named; more may be included.
    Whole(Kind),
    /// One of several. Without it the others may make a policy, too: it is not missed if it is being written.
    Part,
}

struct Gathering<'i> {
    files: &'i Files,
    inputs: &'i mut Inputs,
    sources: Vec<File<'static>>,
    documents: Vec<Value>,
    faults: Vec<Fault>,
    texts: Vec<[u8; 32]>,
    seen: HashSet<PathBuf>,
    bytes: u64,
    /// A folder, and what diagnostics call it.
    shown: Option<(PathBuf, PathBuf)>,
}

impl<'i> Gathering<'i> {
    fn new(files: &'i Files, inputs: &'i mut Inputs) -> Self {
        Gathering {
            files,
            inputs,
            sources: Vec::new(),
            documents: Vec::new(),
            faults: Vec::new(),
            texts: Vec::new(),
            seen: HashSet::new(),
            bytes: 0,
            shown: None,
        }
    }

    fn finish(self) -> Gathered {
        let Gathering { sources, documents, faults, texts, .. } = self;
        Gathered { sources: Sources::new(sources), documents, faults, texts }
    }

    /// Reads a file, and those that it includes, unless it was read before.
    fn read(&mut self, path: &Path, role: Role, depth: usize) -> Result<(), String> {
        let once = folded(path);
        if self.seen.contains(&once) {
            return Ok(());
        }
        if self.sources.len() >= FILES_MAX {
            return Err(format!("the policy has more than {FILES_MAX} files"));
        }
        // As it is written: `..` behind a link is not where the link is.
        let path = plain(path);
        self.inputs.files.insert(path.clone());
        let left = TEXT_MAX.saturating_sub(self.bytes);
        let kind = if let Role::Whole(kind) = role { kind } else { Kind::Regular };
        let bytes = self.files.read(&path, kind, left).map_err(|error| match error {
            ReadError::TooLarge { .. } => format!("the policy is larger than {TEXT_MAX} bytes"),
            other => other.to_string(),
        })?;
        if bytes.is_empty() && matches!(role, Role::Part) {
            return Err("it is empty, as a file is while it is written; remove it, or write `{}`".to_owned());
        }
        self.bytes += bytes.len() as u64;
        let text = std::str::from_utf8(&bytes)
            .map_err(|error| format!("it is not UTF-8 at byte {}", error.valid_up_to() + 1))?
            .to_owned();
        let folder = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
        self.seen.insert(once);
        let name =
            self.shown.as_ref().and_then(|(real, shown)| Some(shown.join(path.strip_prefix(real).ok()?)));
        self.add(text, &name.unwrap_or(path), folder, depth);
        Ok(())
    }

    fn add(&mut self, text: String, name: &Path, folder: PathBuf, depth: usize) {
        let id = FileId(self.sources.len());
        self.texts.push(Sha256::digest(&text).into());
        let body = match text.strip_prefix('\u{FEFF}') {
            Some(body) => body.to_owned(),
            None => text,
        };
        let (source, value) = Source::scan(body, &LIMITS);
        let value = value.unwrap_or_else(|failures| {
            self.faults.extend(failures.into_iter().map(|failure| Fault::Unreadable(id, failure)));
            Value::Null
        });
        let includes = includes(&value);
        self.documents.push(value);
        self.sources.push(File { source, name: name.display().to_string(), folder: folder.clone() });
        for (index, include) in includes.iter().enumerate() {
            let Some(include) = include else { continue };
            if let Err(problem) = self.include(include, &folder, depth + 1) {
                self.faults.push(Fault::Include(id, index, *problem));
            }
        }
    }

    /// Reads what one entry of `include` names.
    fn include(&mut self, include: &str, folder: &Path, depth: usize) -> Result<(), Box<Problem>> {
        let cannot = |why: String| {
            Box::new(Problem::new(format!("the file cannot be included: {why}")).found(quoted(include)))
        };
        if depth > DEPTH_MAX {
            return Err(cannot(format!("more than {DEPTH_MAX} files that include each other")));
        }
        let path = folder.join(include);
        let Some(name) = path.file_name().filter(|_| is_pattern(include)).map(ToOwned::to_owned) else {
            if self.files.is_folder(&path) {
                return self.include_all(&path, is_policy_file, depth).map_err(cannot);
            }
            return self
                .read(&path, Role::Part, depth)
                .map_err(|why| Box::new(suggested(*cannot(why), &path, include)));
        };
        let inner = path.parent().unwrap_or_else(|| Path::new(""));
        let above = Path::new(include).parent().and_then(Path::to_str);
        let pattern = name.to_str().and_then(|name| Pattern::new(name).ok());
        let Some(pattern) = pattern.filter(|_| !above.is_some_and(is_pattern)) else {
            let expected = "a file, a folder, or a pattern in whose last part `*`, `?` or `[…]` stand";
            let problem = Problem::new("not a pattern of files").expected(expected);
            return Err(Box::new(problem.found(quoted(include))));
        };
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::default() };
        let is_meant = |name: &OsStr| name.to_str().is_some_and(|name| pattern.matches_with(name, options));
        self.include_all(inner, is_meant, depth).map_err(cannot)
    }

    fn include_all(
        &mut self,
        folder: &Path,
        is_meant: impl Fn(&OsStr) -> bool,
        depth: usize,
    ) -> Result<(), String> {
        for file in self.list(folder, is_meant)? {
            self.read(&file, Role::Part, depth).map_err(|why| format!("{}: {why}", file.display()))?;
        }
        Ok(())
    }

    /// The files of a folder whose names are meant, in the order of the names.
    fn list(&mut self, folder: &Path, is_meant: impl Fn(&OsStr) -> bool) -> Result<Vec<PathBuf>, String> {
        let folder = plain(folder);
        self.inputs.folders.insert(folder.clone());
        let names = self.files.list(&folder, ENTRIES_MAX).map_err(|error| match error {
            ReadError::TooLarge { max } => format!("the folder has more than {max} entries"),
            other => other.to_string(),
        })?;
        let mut names: Vec<_> = names.into_iter().filter(|name| is_meant(name)).collect();
        names.retain(|name| !self.files.is_folder(&folder.join(name)));
        names.sort();
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }
}

/// `*.yaml` and `*.yml`, unless it is hidden.
fn is_policy_file(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    !name.starts_with(b".") && (name.ends_with(b".yaml") || name.ends_with(b".yml"))
}

fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The texts under `include`; in the place of what else is there, and is refused later, `None`.
fn includes(value: &Value) -> Vec<Option<String>> {
    let text = |entry: &Value| entry.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match value.get("include") {
        Some(Value::Sequence(many)) => many.iter().map(text).collect(),
        Some(one) => vec![text(one)],
        None => Vec::new(),
    }
}

/// Without `.`.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

/// Without `.`, and without `..` behind a name: two spellings of one path are the same file, and files that
/// include each other end.
fn folded(path: &Path) -> PathBuf {
    let mut folded = PathBuf::new();
    for part in path.components() {
        match (part, folded.components().next_back()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                folded.pop();
            }
            (part, _) => folded.push(part),
        }
    }
    folded
}

/// With a file of nearly the same name in the same folder.
fn suggested(problem: Problem, path: &Path, include: &str) -> Problem {
    let names = path.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let names: Vec<_> =
        names.take(ENTRIES_MAX).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let near = nearest(name, names.iter().map(String::as_str).filter(|near| *near != name));
    problem.did_you_mean(
        near.and_then(|near| Path::new(include).with_file_name(near).to_str().map(str::to_owned)).as_deref(),
    )
}
