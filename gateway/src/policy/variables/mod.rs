//! Variables in values: `${NAME}` and `${NAME:-default}` from the environment, `${file:PATH}` from a file.
//!
//! They are replaced in the text of values, before the files are put together; not in keys, not in scripts
//! that are written `inline`, and not under `include`. Where `{` would begin a mapping YAML wants quotes. `$${` stands for `${`. A default is taken where a
//! variable is not set or empty. Of a file the newline at its end is left out; a relative path starts at
//! the folder of the policy's file.
//!
//! A value that a variable is part of may be a secret. It is kept with what was written ([`marked`]), so
//! that the decoder can read it as what is expected in its place, and so that whatever is said of it,
//! here or by `explain` and `diff` ([`Origins`]), says what was written.
//!
//! Limits: 64 KiB of a file, 16 MiB of all values together.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_yaml::Value;
use serde_yaml::value::{Tag, TaggedValue};
use sha2::{Digest, Sha256};

use super::inputs::Inputs;
use super::path::At;
use super::read::read_regular;
use super::report::{Problem, Report, quoted};

mod origins;

pub use origins::{Origins, Owner};
pub(super) use origins::{Part, scrubbed};

const FILE_MAX: u64 = 64 << 10;
const BYTES_MAX: usize = 16 << 20;
const FORMS: &str = "`${NAME}`, `${NAME:-default}` or `${file:PATH}`";

/// A value that variables are part of.
pub(super) struct Marked<'v> {
    /// What was written.
    pub(super) written: &'v str,
    /// What it stands for.
    pub(super) value: &'v str,
    /// Whether it was written without quotes.
    pub(super) is_plain: bool,
}

/// A value that variables are part of, as [`substitute`] leaves it: a tagged one, since the scan refuses
/// all that are written.
pub(super) fn marked(value: &Value) -> Option<Marked<'_>> {
    let Value::Tagged(tagged) = value else { return None };
    match tagged.value.as_sequence()?.as_slice() {
        [Value::String(written), Value::String(value), Value::Bool(is_plain), _] => {
            Some(Marked { written, value, is_plain: *is_plain })
        }
        _ => None,
    }
}

/// A value's text, be it written or from variables.
pub(super) fn text_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| marked(value).map(|marked| marked.value))
}

/// Replaces the variables in `document`, which is at `at`; what is wrong is in `report`.
pub(super) fn substitute(document: &mut Value, at: At<'_>, report: &Report<'_>, inputs: &mut Inputs) {
    let mut work = Work { report, inputs, files: HashMap::new(), bytes: 0 };
    let Value::Mapping(sections) = document else { return };
    for (key, value) in sections.iter_mut() {
        if let Some(key) = key.as_str().filter(|key| *key != "include") {
            work.walk(value, at.key(key));
        }
    }
}

struct Work<'w, 's> {
    report: &'w Report<'s>,
    inputs: &'w mut Inputs,
    /// Files read so far, or why not.
    files: HashMap<PathBuf, Result<String, String>>,
    bytes: usize,
}

impl Work<'_, '_> {
    /// The scan bounds the depth.
    fn walk(&mut self, value: &mut Value, at: At<'_>) {
        match value {
            Value::String(text) if text.contains("${") => match self.expand(text, at) {
                Ok(expanded) => *value = expanded,
                Err(problem) => self.report.error(&at, *problem),
            },
            Value::Sequence(values) => {
                for (index, value) in values.iter_mut().enumerate() {
                    self.walk(value, at.index(index));
                }
            }
            Value::Mapping(mapping) => {
                for (key, value) in mapping.iter_mut() {
                    if let Some(key) = key.as_str().filter(|key| *key != "inline") {
                        self.walk(value, at.key(key));
                    }
                }
            }
            _ => {}
        }
    }

    fn expand(&mut self, text: &str, at: At<'_>) -> Result<Value, Box<Problem>> {
        let (mut out, mut rest, mut parts) = (String::new(), text, Vec::new());
        while let Some(start) = rest.find("${") {
            let (before, variable) = rest.split_at(start);
            out.push_str(before);
            if before.ends_with('$') {
                out.push('{');
                rest = &variable[2..];
                continue;
            }
            let Some((inner, behind)) = variable[2..].split_once('}') else {
                let problem = Problem::new("a variable that does not end").expected(FORMS);
                return Err(Box::new(problem.help("write `$${` for a `${` that begins no variable")));
            };
            let value = self.look_up(inner, at)?;
            out.push_str(&value);
            parts.push(Part { written: format!("${{{inner}}}"), value });
            rest = behind;
        }
        out.push_str(rest);
        self.bytes += out.len();
        if self.bytes > BYTES_MAX {
            let problem = Problem::new("the values of all variables are too long");
            return Err(Box::new(problem.expected(format!("at most {BYTES_MAX} bytes together"))));
        }
        if parts.is_empty() {
            return Ok(Value::String(out));
        }
        let is_plain = self.report.is_plain(&at);
        let pairs = parts.iter().flat_map(|part| [part.written.clone().into(), part.value.clone().into()]);
        let pairs = Value::Sequence(pairs.collect());
        let whole = Part { written: text.to_owned(), value: out.clone() };
        self.report.came_from_variables(&at, whole, parts);
        let value = Value::Sequence(vec![text.into(), out.into(), is_plain.into(), pairs]);
        Ok(Value::Tagged(Box::new(TaggedValue { tag: Tag::new("variable"), value })))
    }

    fn look_up(&mut self, inner: &str, at: At<'_>) -> Result<String, Box<Problem>> {
        if let Some(path) = inner.strip_prefix("file:") {
            let full = self.report.folder(&at).join(path);
            return self.read(&full).map_err(|why| {
                let problem = Problem::new(format!("the file of a variable cannot be read: {why}"));
                Box::new(problem.found(quoted(path)))
            });
        }
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_name(name) {
            let problem =
                Problem::new("not a variable").expected(FORMS).found(quoted(&format!("${{{inner}}}")));
            return Err(Box::new(problem.help("write `$${` for a `${` that begins no variable")));
        }
        let value = match std::env::var(name) {
            Ok(value) => Some(value),
            Err(std::env::VarError::NotPresent) => None,
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Box::new(Problem::new(format!("the variable `{name}` is not UTF-8"))));
            }
        };
        match (value.filter(|value| !value.is_empty() || default.is_none()), default) {
            (Some(value), _) => Ok(value),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => {
                let problem = Problem::new(format!("the variable `{name}` is not set"));
                let help = format!("set it in the environment, or give a default: `${{{name}:-…}}`");
                Err(Box::new(problem.help(help)))
            }
        }
    }

    fn read(&mut self, path: &Path) -> Result<String, String> {
        if let Some(read) = self.files.get(path) {
            return read.clone();
        }
        self.inputs.files.insert(path.to_owned());
        let read = read_regular(path, FILE_MAX).map_err(|error| error.to_string()).and_then(|bytes| {
            let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
        });
        self.files.insert(path.to_owned(), read.clone());
        read
    }
}

/// Which variables are part of what in `whole`, and of the filters that are `adjusted`.
pub(super) fn origins(whole: &Value, adjusted: &Value) -> Origins {
    let mut origins = Origins::default();
    let lists =
        |section: &str| whole.get(section).and_then(Value::as_sequence).into_iter().flatten().enumerate();
    for (index, route) in lists("routes") {
        let name = name_or(route, || format!("route-{}", index + 1));
        origins.add(Owner::Route(name), parts_in(route));
    }
    for (index, service) in lists("listeners").filter_map(|(index, entry)| Some((index, entry.get("tcp")?))) {
        let name = name_or(service, || format!("tcp-{}", index + 1));
        origins.add(Owner::TcpService(name), parts_in(service));
    }
    let mut add_all = |section: Option<&Value>, owner: fn(String) -> Owner| {
        for (name, value) in section.and_then(Value::as_mapping).into_iter().flatten() {
            origins.add(owner(name.as_str().unwrap_or_default().to_owned()), parts_in(value));
        }
    };
    add_all(whole.get("filters"), Owner::Filter);
    add_all(Some(adjusted), Owner::Filter);
    add_all(whole.get("upstreams"), Owner::Upstream);
    for section in
        ["limits", "trusted_proxies", "rollout"].into_iter().filter_map(|section| whole.get(section))
    {
        origins.add(Owner::Whole, parts_in(section));
    }
    origins
}

fn name_or(owner: &Value, default: impl FnOnce() -> String) -> String {
    owner.get("name").and_then(text_of).map_or_else(default, str::to_owned)
}

/// The variables in a value.
fn parts_in(value: &Value) -> Vec<Part> {
    match value {
        Value::Tagged(tagged) => parts_of(&tagged.value),
        Value::Sequence(values) => values.iter().flat_map(parts_in).collect(),
        Value::Mapping(mapping) => mapping.values().flat_map(parts_in).collect(),
        _ => Vec::new(),
    }
}

/// The variables of a marked value, as [`Work::expand`] wrote them behind the rest.
fn parts_of(value: &Value) -> Vec<Part> {
    let parts = value.as_sequence().and_then(|fields| fields.get(3)?.as_sequence());
    let texts: Vec<&str> = parts.into_iter().flatten().filter_map(Value::as_str).collect();
    let part = |pair: &[&str]| Part { written: pair[0].to_owned(), value: pair[1].to_owned() };
    texts.chunks_exact(2).map(part).collect()
}

/// What stands for a variable in the digest of a policy.
pub(super) fn digest(part: &Part) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((part.written.len() as u64).to_le_bytes());
    hash.update(&part.written);
    hash.update(&part.value);
    hash.finalize().into()
}

/// As in POSIX: letters, digits and `_`, not a digit at first.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}
