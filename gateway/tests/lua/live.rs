//! Scripts that change while the gateway runs.

use std::fs;

use crate::support::{Gateway, Options, Origin, response, wait_for};
use crate::{file, policy, ready};

fn answering(text: &str) -> String {
    format!("function on_request(req) respond(200, nil, '{text}') end\n")
}

#[test]
fn a_changed_script_is_live_and_compiles_nothing() {
    let origin = Origin::answering(response(200, &[], b"origin"));
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("live.lua");
    fs::write(&script, answering("one")).unwrap();
    ready();
    let options = Options { workers: 2, log: "info" };
    let gateway = Gateway::start_with(&policy(&origin, &[("live", file(&script, ""))]), &options);
    assert_eq!(gateway.get("/").text(), "one");
    for text in ["two", "three"] {
        let draft = folder.path().join("draft");
        fs::write(&draft, answering(text)).unwrap();
        fs::rename(&draft, &script).unwrap();
        wait_for(text, || (gateway.get("/").text() == text).then_some(()));
    }
    assert_eq!(gateway.status()["generation"]["trigger"], "file");
    let log = gateway.stop().log;
    assert!(!log.iter().any(|line| line.contains("module compiled")), "{log:#?}");
}

#[test]
fn a_script_with_a_mistake_changes_nothing() {
    let origin = Origin::answering(response(200, &[], b"origin"));
    let folder = tempfile::tempdir().unwrap();
    let (script, module) = (folder.path().join("live.lua"), folder.path().join("part.lua"));
    // In one step: an empty file is a script without a mistake, and may be looked at.
    let write = |text: &str| {
        let draft = folder.path().join("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(draft, &module).unwrap();
    };
    write("return 'one'");
    fs::write(&script, "local text = require 'part'\nfunction on_request(req) respond(200, nil, text) end")
        .unwrap();
    ready();
    let more = format!(", modules: {{ part: '{}' }}", module.display());
    let policy = policy(&origin, &[("live", file(&script, &more))]);
    let gateway = Gateway::start_with(&policy, &Options { workers: 1, log: "info" });
    write("return 'two' ..");
    let refused = wait_for("the refusal", || {
        gateway.log().into_iter().find(|line| line.contains("part.lua:1:16: unexpected symbol near <eof>"))
    });
    assert!(refused.contains("live"), "{refused}");
    assert_eq!(gateway.get("/").text(), "one");
    write("return 'three'");
    wait_for("three", || (gateway.get("/").text() == "three").then_some(()));
}
