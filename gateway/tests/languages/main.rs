//! The same filter in seven shapes (`../guests`), each built by its language's own toolchain and run in
//! the real gateway over real sockets: what `../guests/README.md` promises holds in each.
//!
//! A toolchain that is missing fails its tests and says what to do; `TOLLGATE_SKIP_GUESTS`, a list of
//! languages with commas, leaves them out where one cannot be had.
#![allow(clippy::unwrap_used)]

mod contract;
#[path = "../support/mod.rs"]
mod support;
mod toolchain;

/// A module of tests for each language.
macro_rules! languages {
    ($($name:ident: $language:ident, [$($test:ident),+];)+) => {
        $(mod $name {
            use crate::toolchain::{Language, built};
            $(#[test]
            fn $test() {
                if let Some(module) = built(Language::$language) {
                    crate::contract::$test(Language::$language, &module);
                }
            })+
        })+
    };
}

languages! {
    c: C, [edits_headers, edits_bodies, answers_itself, counts, refuses_a_configuration, survives_its_crash];
    cpp: Cpp, [edits_headers, edits_bodies, answers_itself, counts, refuses_a_configuration, survives_its_crash];
    go: Go, [edits_headers, edits_bodies, answers_itself, counts, refuses_a_configuration, survives_its_crash, runs_its_runtime];
    assemblyscript: AssemblyScript, [edits_headers, edits_bodies, answers_itself, counts, refuses_a_configuration, survives_its_crash];
    rust_0_2_5: Rust025, [edits_headers, edits_bodies, answers_itself, counts, refuses_a_configuration, survives_its_crash];
    rust_0_2_0: Rust020, [edits_headers, edits_bodies, answers_itself, counts, refuses_a_configuration, survives_its_crash];
}
