//! Reading the modules and scripts that filters name. A file that several filters name is read once.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::files::{Files, Kind};
use super::super::read::{ReadError, read_bounded};
use super::super::remote::{Hex, RemoteModule};
use super::super::report::{Problem, quoted};
use super::super::suggest::nearest;
use super::place::Place;
use super::remote::Named;

/// Bytes of a module.
const MODULE_MAX: u64 = 32 << 20;

/// Bytes of a script.
const SCRIPT_MAX: u64 = 1 << 20;

/// Modules and scripts read so far.
pub(in crate::policy) struct Modules<'f> {
    /// Where relative paths start; `None`: in the folder of the file that they are written in.
    base: Option<PathBuf>,
    files: &'f Files,
    read: HashMap<PathBuf, Module>,
    scripts: HashMap<PathBuf, Arc<str>>,
    /// In the order first named.
    digests: Vec<[u8; 32]>,
}

/// A module's bytes and what identifies them.
#[derive(Clone)]
pub(super) struct Module {
    pub(super) path: PathBuf,
    pub(super) code: Arc<[u8]>,
    pub(super) digest: [u8; 32],
}

impl<'f> Modules<'f> {
    /// Those of `files`.
    pub(in crate::policy) fn new(files: &'f Files) -> Self {
        Modules { base: None, files, read: HashMap::new(), scripts: HashMap::new(), digests: Vec::new() }
    }

    /// The same, but that relative paths start at `base`, wherever they are written.
    pub(in crate::policy) fn below(base: PathBuf, files: &'f Files) -> Self {
        Modules { base: Some(base), ..Self::new(files) }
    }

    fn path(&self, place: Place<'_>, name: &str) -> PathBuf {
        self.base.as_deref().unwrap_or_else(|| place.report.folder(&place.at)).join(name)
    }

    /// Digests of the modules and scripts, in the order first named.
    pub(super) fn digests(&self) -> &[[u8; 32]] {
        &self.digests
    }

    /// Gets the modules that are elsewhere, all at once, for [`Modules::get`].
    pub(super) fn fetch(&self, wanted: &[RemoteModule]) {
        if !wanted.is_empty() {
            self.files.fetch(wanted);
        }
    }

    /// The module that is named at `place`; reports why if it is not to be had.
    pub(super) fn get(&mut self, place: Place<'_>, named: &Named<'_>) -> Option<Module> {
        match named {
            Named::File(name, wanted) => {
                let module = self.read(place, name)?;
                if let Some(wanted) = wanted.filter(|wanted| *wanted != module.digest) {
                    let found = format!("{}, whose SHA-256 is {}", quoted(name), Hex(&module.digest));
                    let expected = format!("one with the SHA-256 {}", Hex(&wanted));
                    place.error(Problem::new("the file is another module").expected(expected).found(found));
                    return None;
                }
                Some(module)
            }
            Named::Remote(remote) => self.fetched(place, remote),
        }
    }

    /// A module from elsewhere. If that was not tried, something else is wrong, and told.
    fn fetched(&mut self, place: Place<'_>, remote: &RemoteModule) -> Option<Module> {
        let code = self.files.fetched(&remote.digest)?.map_err(|reason| {
            let problem = Problem::new(format!("the module cannot be fetched: {reason}"));
            place.error(problem.found(quoted(&remote.name)));
        });
        let code = code.ok()?;
        if let Some(problem) = not_a_module(&code) {
            place.error(problem.expected("a WebAssembly core module").found(quoted(&remote.name)));
            return None;
        }
        let digest = Sha256::digest(&code).into();
        self.digests.push(digest);
        Some(Module { path: PathBuf::from(&*remote.name), code, digest })
    }

    fn read(&mut self, place: Place<'_>, name: &str) -> Option<Module> {
        let path = self.path(place, name);
        if let Some(module) = self.read.get(&path) {
            return Some(module.clone());
        }
        let code = match self.files.read(&path, Kind::Regular, MODULE_MAX) {
            Ok(code) => code,
            Err(error) => {
                place.error(unreadable(&path, name, "module", &error));
                return None;
            }
        };
        if let Some(problem) = not_a_module(&code) {
            place.error(problem.expected("a WebAssembly core module").found(quoted(name)));
            return None;
        }
        let digest = Sha256::digest(&code).into();
        let module = Module { path: path.clone(), code, digest };
        self.digests.push(digest);
        self.read.insert(path, module.clone());
        Some(module)
    }

    /// The script that is named at `place`, and where it was read from; reports why if it is not to be had.
    pub(super) fn read_script(&mut self, place: Place<'_>, name: &str) -> Option<(PathBuf, Arc<str>)> {
        let path = self.path(place, name);
        if let Some(text) = self.scripts.get(&path) {
            return Some((path, Arc::clone(text)));
        }
        let bytes = self
            .files
            .read(&path, Kind::Regular, SCRIPT_MAX)
            .map_err(|error| place.error(unreadable(&path, name, "script", &error)))
            .ok()?;
        let Ok(text) = std::str::from_utf8(&bytes) else {
            place.error(Problem::new("the script is not UTF-8").expected("text").found(quoted(name)));
            return None;
        };
        self.digests.push(Sha256::digest(text).into());
        let text = Arc::<str>::from(text);
        self.scripts.insert(path.clone(), Arc::clone(&text));
        Some((path, text))
    }
}

fn unreadable(path: &Path, name: &str, what: &str, error: &ReadError) -> Problem {
    let problem = Problem::new(format!("the {what} cannot be read: {error}")).found(quoted(name));
    if !matches!(error, ReadError::Io(error) if error.kind() == std::io::ErrorKind::NotFound) {
        return problem;
    }
    match neighbour(path) {
        Some(near) => problem.did_you_mean(Path::new(name).with_file_name(near).to_str()),
        None => problem.help("a relative path starts at the folder of the file that it is written in"),
    }
}

/// The bytes of the file of a module, at most 32 MiB. A pipe would block and a device never end, so that
/// it must be a regular file.
///
/// # Errors
/// If it cannot be read.
pub fn read_module(path: &Path) -> Result<Vec<u8>, ReadError> {
    if !fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    read_bounded(path, MODULE_MAX)
}

/// A file of nearly the same name in the same folder; its extension is no likeness.
fn neighbour(path: &Path) -> Option<PathBuf> {
    const LOOKED_AT: usize = 1_000;
    let entries = fs::read_dir(path.parent()?).ok()?.take(LOOKED_AT).flatten();
    let names: Vec<PathBuf> = entries.map(|entry| entry.file_name().into()).collect();
    let alike = names.iter().filter(|name| name.extension() == path.extension());
    let stem = nearest(path.file_stem()?.to_str()?, alike.filter_map(|name| name.file_stem()?.to_str()))?;
    Some(Path::new(stem).with_extension(path.extension().unwrap_or_default()))
}

/// Looks at the magic number and the version; the compiler looks at the rest.
fn not_a_module(code: &[u8]) -> Option<Problem> {
    const CORE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    if code.starts_with(CORE) {
        None
    } else if code.is_empty() {
        Some(Problem::new("the module is empty"))
    } else if code.starts_with(COMPONENT) {
        let help = "build a core module, such as with the target `wasm32-wasip1`";
        Some(Problem::new("the file is a WebAssembly component").help(help))
    } else if code.trim_ascii_start().starts_with(b"(module") {
        let help = "translate it, such as with `wasm-tools parse`";
        Some(Problem::new("the file is WebAssembly in text form").help(help))
    } else {
        Some(Problem::new("the file is no WebAssembly module"))
    }
}
