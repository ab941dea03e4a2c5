//! Policies that were in force: going back to them, and starting without the policy's files. Each test runs
//! the real program, often several times in one folder.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod full;
mod offline;
mod rollback;
mod small_disk;
mod socket;

use rustix::process::Signal;
use small_disk::SmallDisk;
use support::{Gateway, Options, wait_for};

/// One route that answers `text`.
fn answering(text: &str) -> String {
    format!("routes: [{{ respond: {{ status: 200, body: {text} }} }}]\n")
}

/// With one worker, so that there is one VM of each kind.
const ONE_WORKER: Options = Options { workers: 1, log: "info" };

fn start(policy: &str) -> Gateway {
    noted(Gateway::start_with(policy, &ONE_WORKER))
}

/// The gateway, once commands find it: its note comes to the disk a moment after it serves.
fn noted(gateway: Gateway) -> Gateway {
    let state = gateway.folder().join("state");
    wait_for("the gateway's note", || {
        let mut folders = std::fs::read_dir(&state).ok()?.flatten();
        let is_own = |note: &serde_json::Value| note["pid"] == gateway.pid();
        folders.find_map(|folder| {
            let text = std::fs::read(folder.path().join("gateway.json")).ok()?;
            serde_json::from_slice(&text).ok().filter(is_own)
        })
    });
    gateway
}

/// Another gateway in its place.
fn restart(gateway: Gateway, signal: Signal) -> Gateway {
    noted(gateway.restart(signal, &ONE_WORKER, &[]))
}

/// The same on a disk that is about to fill up.
fn restart_on(disk: &SmallDisk, gateway: Gateway, signal: Signal) -> Gateway {
    gateway.signal(signal);
    drop(gateway.wait());
    disk.start()
}

/// Writes another policy and waits until it serves.
fn change(gateway: &Gateway, text: &str) {
    gateway.write_policy(&answering(text));
    until_answers(gateway, text);
}

fn until_answers(gateway: &Gateway, text: &str) {
    wait_for(text, || (gateway.get("/").text() == text).then_some(()));
}

/// Waits until the history on disk has this policy as the one in force.
fn until_kept(gateway: &Gateway, generation: u64) {
    let folder = gateway.status()["history"]["folder"].as_str().unwrap().to_owned();
    wait_for("the policy to be kept", || {
        let text = std::fs::read(format!("{folder}/current.json")).ok()?;
        let current: serde_json::Value = serde_json::from_slice(&text).ok()?;
        (current["generation"].as_u64()? >= generation).then_some(())
    });
}

fn generation(gateway: &Gateway) -> u64 {
    gateway.status()["generation"]["number"].as_u64().unwrap()
}
