//! The same filter in seven shapes (`../guests`), each built by its language's own toolchain and run in
//! the real gateway over real sockets: what `../guests/README.md` promises holds in each.
//!
//! The short examples of `filters/README.md` are built and run, too.
//!
//! A toolchain that is missing fails its tests and says what to do; `TOLLGATE_SKIP_GUESTS`, a list of
//! languages with commas, leaves them out where one cannot be had.
#![allow(clippy::unwrap_used)]

mod contract;
mod readme;
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

/// The examples of `filters/README.md`, by their headings.
mod examples {
    use crate::readme::works;
    use crate::toolchain::Language;

    #[test]
    fn rust() {
        works(Language::Rust025, "Rust");
    }

    #[test]
    fn go() {
        works(Language::Go, "Go");
    }

    #[test]
    fn c() {
        works(Language::C, "C");
    }

    #[test]
    fn cpp() {
        works(Language::Cpp, "C++");
    }

    #[test]
    fn assemblyscript() {
        works(Language::AssemblyScript, "AssemblyScript");
    }
}
