//! The wire form of header maps, beside a plain reading of the specification.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::fuzz::{self, Subject};
use support::{guarded, module};

fuzz_target!(|blob: &[u8]| {
    let subject = Subject::get(module::wat);
    guarded(|| fuzz::map_pairs(subject, blob));
});
