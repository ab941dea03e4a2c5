//! The Lua interpreter that the program carries: a Proxy-Wasm module (`filters/lua`), the same for every
//! script, so that a changed script compiles nothing.

use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};

/// The module, if there was one when the program was built.
const CODE: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/interpreter.rs"));

/// The interpreter.
pub(super) struct Interpreter {
    /// Its code.
    pub(super) code: Arc<[u8]>,
    /// SHA-256 of the code.
    pub(super) digest: [u8; 32],
}

/// The interpreter, or `None` in a program that was built without.
pub(super) fn interpreter() -> Option<&'static Interpreter> {
    static INTERPRETER: LazyLock<Option<Interpreter>> = LazyLock::new(|| {
        CODE.map(|code| Interpreter { code: code.into(), digest: Sha256::digest(code).into() })
    });
    INTERPRETER.as_ref()
}
