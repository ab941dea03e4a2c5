//! The workload: a cases file, or one made of the command line and read in the same way.

use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::super::{COMMAND_LINE, Exit, cannot, configuration};
use super::Args;
use crate::policy::Diagnostics;
use crate::policy::cases::{self, Cases};

/// The pieces in which bodies come.
const PIECE: usize = 16 * 1024;
const BODY_MAX: usize = 16 << 20;

/// The workload for one module; what is wrong with it is told.
pub(super) fn read(args: &Args, module: &Path, config: Option<&str>) -> Result<Cases, Exit> {
    let cases = match &args.cases {
        Some(file) => cases::load(file, module),
        None => cases::parse(&document(args, config)?, Path::new(COMMAND_LINE), module),
    };
    cases.map_err(|findings: Diagnostics| {
        eprint!("{findings}");
        Exit::CannotRun
    })
}

/// The command line as a cases file.
fn document(args: &Args, config: Option<&str>) -> Result<String, Exit> {
    let (method, path) = args.request.split_once(' ').ok_or_else(|| {
        cannot(&format_args!("--request {:?}: expected a method and a path, such as `GET /`", args.request))
    })?;
    let request = mapping([
        ("method", method.into()),
        ("path", path.trim().into()),
        ("headers", headers(&args.headers)?),
        ("body", body(args.body)?),
    ]);
    let fields = mapping([("content-type", "text/plain".into()), ("server", "origin".into())]);
    let response = mapping([("headers", fields), ("body", body(args.response_body)?)]);
    let case = mapping([("name", COMMAND_LINE.into()), ("request", request), ("response", response)]);
    let mut document = Mapping::new();
    if let Some(config) = config {
        document.insert("filter".into(), mapping([("config", configuration(config)?)]));
    }
    document.insert("cases".into(), Value::Sequence(vec![case]));
    serde_yaml::to_string(&document).map_err(|error| cannot(&error))
}

/// The fields given, and those that any client sends.
fn headers(given: &[String]) -> Result<Value, Exit> {
    let mut fields = Mapping::new();
    fields.insert("user-agent".into(), "tollgate-bench".into());
    fields.insert("accept".into(), "*/*".into());
    for field in given {
        let (name, value) = field
            .split_once(':')
            .ok_or_else(|| cannot(&format_args!("-H {field:?}: expected `name: value`")))?;
        let (name, value) = (Value::from(name.trim().to_ascii_lowercase()), Value::from(value.trim()));
        match fields.get_mut(&name) {
            Some(Value::Sequence(values)) => values.push(value),
            Some(one) if given.iter().any(|other| other != field && is_of(other, &name)) => {
                *one = Value::Sequence(vec![one.clone(), value]);
            }
            _ => drop(fields.insert(name, value)),
        }
    }
    Ok(Value::Mapping(fields))
}

fn is_of(field: &str, name: &Value) -> bool {
    field
        .split_once(':')
        .is_some_and(|(other, _)| Some(other.trim().to_ascii_lowercase().as_str()) == name.as_str())
}

/// A body of plain text, in pieces.
fn body(length: usize) -> Result<Value, Exit> {
    if length > BODY_MAX {
        return Err(cannot(&format_args!("a body of {length} bytes: expected at most {BODY_MAX}")));
    }
    let text: String = "The quick brown fox jumps over the lazy dog. ".chars().cycle().take(length).collect();
    let pieces =
        text.as_bytes().chunks(PIECE).map(|piece| Value::from(String::from_utf8_lossy(piece).into_owned()));
    Ok(Value::Sequence(pieces.collect()))
}

fn mapping<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Mapping(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}
