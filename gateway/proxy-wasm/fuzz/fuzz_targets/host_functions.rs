//! Every host function, with any arguments, in any callback.
#![no_main]

#[path = "../../tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use support::fuzz::{self, Subject};
use support::{guarded, module};

fuzz_target!(|data: &[u8]| {
    let subject = Subject::get(module::wat);
    guarded(|| fuzz::host_functions(subject, data));
});
