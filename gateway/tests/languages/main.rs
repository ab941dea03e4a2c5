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

/// A module of tests for each language: the contract, and what some have beyond it.
macro_rules! languages {
    ($($name:ident: $language:ident $(+ $more:ident)?;)+) => {
        $(mod $name {
            languages!(@tests $language: edits_headers, edits_bodies, answers_itself, counts,
                asks_a_server, may_not_ask_just_any_server, refuses_a_configuration, survives_its_crash $(, $more)?);
        })+
    };
    (@tests $language:ident: $($test:ident),+) => {
        $(#[test]
        fn $test() {
            if let Some(module) = crate::toolchain::built(crate::toolchain::Language::$language) {
                crate::contract::$test(&module);
            }
        })+
    };
}

languages! {
    c: C;
    cpp: Cpp;
    go: Go + runs_its_runtime;
    assemblyscript: AssemblyScript;
    rust_0_2_5: Rust025;
    rust_0_2_0: Rust020;
    rust_0_1_4: Rust014;
}
