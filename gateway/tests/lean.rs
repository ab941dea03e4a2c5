//! A gateway that compiles has no compiler in it: that is the children's (`.make/lean`).
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
