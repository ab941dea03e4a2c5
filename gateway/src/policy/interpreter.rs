//! The interpreters that the program carries: Proxy-Wasm modules (`filters/lua`, `filters/starlark`), each the
//! same for every script in its language, so that a changed script compiles nothing.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};

/// The modules, if they were there when the program was built.
const LUA: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/lua.rs"));
const STARLARK: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/starlark.rs"));

/// What a script is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// Lua 5.4.
    Lua,
    /// Starlark, a dialect of Python.
    Starlark,
}

/// An interpreter.
pub(super) struct Interpreter {
    /// Its code.
    pub(super) code: Arc<[u8]>,
    /// SHA-256 of the code.
    pub(super) digest: [u8; 32],
}

impl Language {
    /// The key of a filter in this language, which is also the `vm_id` of its scripts: they share data.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Lua => "lua",
            Self::Starlark => "starlark",
        }
    }

    /// What it is called in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lua => "Lua",
            Self::Starlark => "Starlark",
        }
    }

    /// The extension of its files, which names a script that stands in the policy.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Lua => "lua",
            Self::Starlark => "star",
        }
    }

    /// By the extension of a file.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        [Self::Lua, Self::Starlark].into_iter().find(|language| extension == language.extension())
    }

    /// Its interpreter, or `None` in a program that was built without.
    pub(super) fn interpreter(self) -> Option<&'static Interpreter> {
        static INTERPRETERS: [LazyLock<Option<Interpreter>>; 2] =
            [LazyLock::new(|| taken_in(LUA)), LazyLock::new(|| taken_in(STARLARK))];
        INTERPRETERS[self as usize].as_ref()
    }
}

fn taken_in(code: Option<&'static [u8]>) -> Option<Interpreter> {
    code.map(|code| Interpreter { code: code.into(), digest: Sha256::digest(code).into() })
}
