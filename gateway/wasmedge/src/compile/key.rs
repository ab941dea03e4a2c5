//! What a cache entry depends on.

use super::options::{ModuleLimits, OptLevel};
use crate::meter;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::sync::OnceLock;
use wasmedge_sys::ffi;

/// Identity of a compilation: module, metering pass, WasmEdge, CPU, level and limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) digest: [u8; 32],
    pub(super) level: OptLevel,
    hash: [u8; 32],
}

impl Key {
    pub(super) fn new(wasm: &[u8], level: OptLevel, limits: &ModuleLimits) -> Self {
        let digest = digest(wasm);
        let mut hash = Sha256::new();
        hash.update(digest);
        for part in [meter::PASS_VERSION, super::aot::SETTINGS, engine_version(), cpu(), level.name()] {
            // The length keeps neighbouring parts apart.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        for limit in [limits.module_bytes, limits.body_bytes, limits.locals, limits.table_elements] {
            hash.update(limit.to_le_bytes());
        }
        Self { digest, level, hash: hash.finalize().into() }
    }

    /// File name without an ending.
    pub(super) fn stem(&self) -> String {
        hex(&self.hash)
    }
}

/// SHA-256.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The library's version.
fn engine_version() -> &'static str {
    // SAFETY: a static, zero-terminated text.
    unsafe { std::ffi::CStr::from_ptr(ffi::WasmEdge_VersionGet()) }.to_str().unwrap_or("unknown")
}

/// What the compiler chooses instructions by: architecture, model and features of the CPU.
fn cpu() -> &'static str {
    static CPU: OnceLock<String> = OnceLock::new();
    CPU.get_or_init(|| {
        // Lines of the first processor, on x86 and on Arm; without them only the architecture.
        const FIELDS: [&str; 9] = [
            "vendor_id",
            "cpu family",
            "model",
            "flags",
            "CPU implementer",
            "CPU architecture",
            "CPU variant",
            "CPU part",
            "Features",
        ];
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let first = info.split("\n\n").next().unwrap_or_default();
        let mut text = String::from(std::env::consts::ARCH);
        for line in first.lines() {
            let field = line.split(':').next().unwrap_or_default().trim();
            if FIELDS.contains(&field) {
                text.push('\n');
                text.push_str(line);
            }
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_changes_the_name() {
        let limits = ModuleLimits::default();
        let base = Key::new(b"a", OptLevel::O0, &limits).stem();
        assert_eq!(base, Key::new(b"a", OptLevel::O0, &limits).stem());
        assert_ne!(base, Key::new(b"b", OptLevel::O0, &limits).stem());
        assert_ne!(base, Key::new(b"a", OptLevel::O2, &limits).stem());
        let other = ModuleLimits { locals: limits.locals + 1, ..limits };
        assert_ne!(base, Key::new(b"a", OptLevel::O0, &other).stem());
    }
}
