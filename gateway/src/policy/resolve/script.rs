//! `lua` and `starlark`: a script is a Proxy-Wasm filter whose module is the interpreter and whose configuration
//! is the script. All scripts in a language share one VM per worker, in which each has a state and memory of its
//! own.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde_yaml::Value;

use super::super::bodies::{BodyMode, BodyModes};
use super::super::filter::WasmFilter;
use super::super::interpreter::{Interpreter, Language};
use super::super::raw::{self, Field};
use super::super::report::Problem;
use super::super::upstream::Upstream;
use super::filter::resolve_guest;
use super::module::{Module, Modules};
use super::names::Names;
use super::place::Place;

/// Ceiling of the memory of all scripts of a worker together, in pages: 256 MiB.
const PAGES: NonZeroU32 = NonZeroU32::new(4096).unwrap();
const PAGE: u64 = 64 << 10;
/// Bytes that one script may be given.
const MEMORY_MAX: u64 = 128 << 20;
const MODULES_MAX: usize = 100;
/// Bytes of a script with its modules and its configuration, as they are handed over.
const CONFIGURATION_MAX: usize = 4 << 20;

/// What an interpreter is given; `filters/guest/src/settings.rs` reads it.
#[derive(Serialize)]
struct Settings<'p> {
    name: &'p str,
    source: &'p str,
    modules: &'p BTreeMap<&'p str, Part>,
    config: &'p Value,
    memory: u64,
}

#[derive(Serialize)]
struct Part {
    name: String,
    #[serde(skip)]
    path: PathBuf,
    source: Arc<str>,
}

/// A script and where it was written.
struct Script {
    /// For errors: the file's name, or the filter's.
    name: String,
    file: Option<PathBuf>,
    source: Arc<str>,
}

/// The filter that runs a script.
pub(super) fn resolve(
    place: Place<'_>,
    name: &str,
    language: Language,
    raw: &raw::WasmFilter,
    modules: &mut Modules<'_>,
    upstreams: &Names<'_, Upstream>,
) -> Option<WasmFilter> {
    refuse_options_of_modules(place, raw);
    let script = script(place, name, language, raw, modules);
    let parts = parts(place.key("modules"), raw, modules);
    let guest = resolve_guest(place, raw, interpreter(place, language), upstreams)?;
    let (script, parts) = (script?, parts?);
    let memory = u64::from(guest.memory_pages_max.get()) * PAGE;
    if memory > MEMORY_MAX {
        let problem = Problem::new("more than a script may have").expected("at most 128MiB");
        place.key("memory").error(problem);
    }
    let files = script.file.iter().chain(parts.values().map(|part| &part.path)).cloned().collect();
    let config = raw.config.given().unwrap_or(&Value::Null);
    let settings = Settings { name: &script.name, source: &script.source, modules: &parts, config, memory };
    // Keys are text and numbers finite, so that JSON can say it.
    let configuration = serde_json::to_vec(&settings).ok()?;
    if configuration.len() > CONFIGURATION_MAX {
        let problem = Problem::new("the script, its modules and its configuration are too long");
        let expected = format!("at most {CONFIGURATION_MAX} bytes together");
        place.error(problem.expected(expected).found(configuration.len().to_string()));
    }
    Some(WasmFilter {
        path: script.file.clone().unwrap_or_else(|| script.name.clone().into()),
        files,
        vm_id: language.key().into(),
        configuration: configuration.into(),
        memory_pages_max: PAGES,
        bodies: BodyModes {
            request: body_mode(
                guest.bodies.request,
                &[&raw.body, &raw.request_body],
                "on_request_body",
                &settings,
            ),
            response: body_mode(
                guest.bodies.response,
                &[&raw.body, &raw.response_body],
                "on_response_body",
                &settings,
            ),
        },
        ..guest
    })
}

/// The filter that runs the script at `path`, in the language that its extension says.
pub(in crate::policy) fn resolve_script(
    place: Place<'_>,
    name: &str,
    path: &Path,
    raw: &raw::WasmFilter,
    modules: &mut Modules<'_>,
    upstreams: &Names<'_, Upstream>,
) -> Option<WasmFilter> {
    resolve(place, name, Language::of_file(path)?, raw, modules, upstreams)
}

/// How much of a body a script is shown: what the policy says, else nothing if the script does not even
/// mention the handler, so that such bodies pass untouched.
fn body_mode(
    mode: BodyMode,
    written: &[&Field<raw::BodyMode>; 2],
    handler: &str,
    settings: &Settings<'_>,
) -> BodyMode {
    let is_mentioned = || {
        settings.source.contains(handler)
            || settings.modules.values().any(|part| part.source.contains(handler))
    };
    let is_written = written.iter().any(|field| !field.is_absent());
    if is_written || is_mentioned() { mode } else { BodyMode::None }
}

/// The interpreter as a module. Reports if this program has none.
fn interpreter(place: Place<'_>, language: Language) -> Option<Module> {
    let interpreter = language.interpreter();
    if interpreter.is_none() {
        let help = match language {
            Language::Lua => {
                "run `make filters`, which needs clang for Wasm (`make setup` fetches it), then build again"
            }
            Language::Starlark => "run `make filters`, then build again",
        };
        let said = format!("this program was built without the {} interpreter", language.name());
        place.error(Problem::new(said).help(help));
    }
    let Interpreter { code, digest } = interpreter?;
    Some(Module { path: PathBuf::new(), code: Arc::clone(code), digest: *digest })
}

/// What would give a script a VM of its own.
fn refuse_options_of_modules(place: Place<'_>, raw: &raw::WasmFilter) {
    let keys = [
        ("module", raw.module.is_absent()),
        ("vm_id", raw.vm_id.is_absent()),
        ("vm_config", raw.vm_config.is_absent()),
        ("root_id", raw.root_id.is_absent()),
        ("environment", raw.environment.is_absent()),
        ("start_budget", raw.start_budget.is_absent()),
    ];
    place.refuse(&keys, "a script has a `file` or is written `inline`; modules of Wasm go under `wasm`");
}

/// The script itself, from its file or from the policy.
fn script(
    place: Place<'_>,
    name: &str,
    language: Language,
    raw: &raw::WasmFilter,
    modules: &mut Modules<'_>,
) -> Option<Script> {
    let keys = [("file", raw.file.is_absent()), ("inline", raw.inline.is_absent())];
    let key = place.exactly_one(&keys)?;
    if let Some(source) = raw.inline.given() {
        let name = format!("{name}.{}", language.extension());
        return Some(Script { name, file: None, source: source.as_str().into() });
    }
    let file = raw.file.given()?;
    let (path, source) = modules.read_script(place.key(key), file)?;
    Some(Script { name: file_name(file), file: Some(path), source })
}

/// What it may require. `None` if a file is not to be had.
fn parts<'r>(
    place: Place<'_>,
    raw: &'r raw::WasmFilter,
    modules: &mut Modules<'_>,
) -> Option<BTreeMap<&'r str, Part>> {
    let mut parts = BTreeMap::new();
    let mut are_all_there = true;
    for (name, file) in place.entries(&raw.modules, MODULES_MAX) {
        match modules.read_script(place.key(name), file) {
            Some((path, source)) => drop(parts.insert(name, Part { name: file_name(file), path, source })),
            None => are_all_there = false,
        }
    }
    are_all_there.then_some(parts)
}

/// The last part of a path, which is what errors of scripts show.
fn file_name(file: &str) -> String {
    Path::new(file).file_name().map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned())
}
