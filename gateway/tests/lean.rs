//! A gateway that compiles has no compiler in it: that is the children's (`.make/lean`).
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use support::{Gateway, get};

const LARGEST: u64 = 1 << 20;

#[test]
fn no_llvm_is_loaded_to_serve() {
    let gateway = Gateway::start(
        "filters: { mark: { lua: { inline: 'function on_request(req) respond(200, {}, \"lua\") end' } } }\n\
         routes: [{ filters: [mark], respond: { status: 404 } }]\n",
    );
    let answer = gateway.ask(get("/", &[]));
    assert_eq!((answer.status(), answer.text()), (200, "lua"));
    let maps = fs::read_to_string(format!("/proc/{}/maps", gateway.pid())).unwrap();
    let mapped: BTreeSet<&Path> =
        maps.lines().filter_map(|line| Some(Path::new(&line[line.find('/')?..]))).collect();
    assert!(mapped.iter().any(|path| path.to_string_lossy().contains("libwasmedge")), "{maps}");
    // A library that has its compiler within it names none.
    for llvm in mapped.iter().filter(|path| path.to_string_lossy().contains("libLLVM")) {
        let bytes = fs::metadata(llvm).unwrap().len();
        assert!(
            bytes < LARGEST,
            "{}: {bytes} bytes; has `.make/setup` made target/lib/tollgate?",
            llvm.display()
        );
    }
}

/// An upgrade puts another file in the program's place while it runs; what it starts must be itself.
#[test]
fn it_compiles_when_its_file_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (bin, policy) = (folder.path().join("bin"), folder.path().join("policy.yaml"));
    fs::create_dir(&bin).unwrap();
    // What lies beside the program is looked for by where it was.
    let built = Path::new(env!("CARGO_BIN_EXE_tollgate"));
    let libraries = built.parent().unwrap().join("../lib");
    symlink(libraries.canonicalize().expect("run `.make/setup`"), folder.path().join("lib")).unwrap();
    let program = bin.join("tollgate");
    fs::copy(built, &program).unwrap();
    fs::write(
        &policy,
        "version: 1\nlisteners: [{ address: 127.0.0.1:0 }]\n\
         filters: { mark: { lua: { inline: 'function on_request(req) end' } } }\n\
         routes: [{ filters: [mark], respond: { status: 404 } }]\n",
    )
    .unwrap();
    let file = File::open(&program).unwrap();
    fs::remove_file(&program).unwrap();
    let output = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .arg("check")
        .arg("--cache-dir")
        .arg(folder.path().join("cache"))
        .arg(&policy)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.path().join("cache").read_dir().unwrap().count() > 0);
}
