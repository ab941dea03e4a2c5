//! Swaps at the worst moments: files that change or are half written meanwhile, filters that do not start,
//! workers that are busy, answers that take longer than many policies. What a crash leaves is in `history`.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use support::{Gate, Gateway, Next, Options, Origin, get, guest, wait_for};

const PROBE: &str = include_str!("../fixtures/modules/probe.wat");
/// Needs a page more than the default ceiling, from the beginning or at configure.
const LARGE: &str = r#"(module (memory (export "memory") 257)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0)))"#;
const GROWING: &str = r#"(module (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (if (i32.eq (memory.grow (i32.const 256)) (i32.const -1)) (then unreachable))
    (i32.const 1)))"#;

fn answering(text: &str) -> String {
    format!("routes: [{{ respond: {{ status: 200, body: {text} }} }}]\n")
}

/// A filter before an answer of the gateway; `more` is within the filter, with a comma in front.
fn filtered(module: &Path, config: &str, more: &str) -> String {
    format!(
        "filters: {{ probe: {{ wasm: {{ module: {}, config: {config}{more} }} }} }}\n\
         routes: [{{ filters: [probe], respond: {{ status: 200, body: {config} }} }}]\n",
        module.display()
    )
}

fn start(workers: usize, policy: &str) -> Gateway {
    Gateway::start_with(policy, &Options { workers, ..Options::default() })
}

fn reload(gateway: &Gateway) -> (u16, Value) {
    let outcome = gateway.reload();
    (outcome.status(), serde_json::from_slice(&outcome.body).unwrap())
}

/// Whether the thread runs that tries new filters.
fn is_trying(gateway: &Gateway) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let mut names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.any(|name| name.trim_end() == "canary")
}

#[test]
fn the_file_changes_while_a_swap_runs() {
    let probe = guest::wat(PROBE);
    let gateway = start(1, &filtered(&probe, "v1", ""));
    // Each time another policy is being tried when the next is written; only the last is good.
    for round in 0..3 {
        let looping = filtered(&probe, "loop", &format!(", start_budget: 300ms, root_id: r{round}"));
        gateway.write_policy(&looping);
        wait_for("the trial of the new filter", || is_trying(&gateway).then_some(()));
    }
    gateway.write_policy(&filtered(&probe, "v2", ""));
    wait_for("the last policy", || {
        let answer = gateway.get("/");
        assert_eq!(answer.status(), 200);
        (answer.header("x-filter") == Some("v2")).then_some(())
    });
    wait_for("the refusals to be forgotten", || gateway.status()["last_error"].is_null().then_some(()));
}

/// As by an editor or a copy that writes in place, with pauses.
#[test]
fn half_written_files_are_never_in_force() {
    let gateway = start(2, &answering("one"));
    let text = fs::read_to_string(gateway.policy_path()).unwrap();
    let mut client = gateway.client();
    for version in ["two", "three"] {
        let new = text.replace("body: one", &format!("body: {version}"));
        let refused = || gateway.metric(r#"tollgate_policy_swaps_total{outcome="refused"}"#).unwrap();
        let before = (client.ask(get("/", &[])).text().to_owned(), refused());
        let mut file = fs::File::create(gateway.policy_path()).unwrap();
        let pieces = new.as_bytes().chunks(new.len() / 4 + 1);
        let count = pieces.len();
        for (index, piece) in pieces.enumerate() {
            file.write_all(piece).unwrap();
            if index + 1 < count {
                // Somebody even asks for it.
                assert_eq!(reload(&gateway).0, 422, "piece {index}");
                assert_eq!(client.ask(get("/", &[])).text(), before.0);
            }
        }
        assert!(refused() > before.1);
        wait_for("the whole file", || (client.ask(get("/", &[])).text() == version).then_some(()));
    }
}

#[test]
fn modules_that_need_more_memory_than_allowed_are_refused() {
    let gateway = start(2, &filtered(&guest::wat(PROBE), "v1", ""));
    for (module, config) in [(LARGE, "large"), (GROWING, "growing")] {
        gateway.write_policy(&filtered(&guest::wat(module), config, ""));
        let (status, refusal) = reload(&gateway);
        assert_eq!((status, &refusal["kind"]), (422, &"invalid".into()), "{config}: {refusal}");
        assert!(refusal["message"].as_str().unwrap().contains("filter `probe`"), "{config}: {refusal}");
        assert_eq!(gateway.get("/").header("x-filter"), Some("v1"), "{config}");
    }
    // With enough they serve.
    gateway.write_policy(&filtered(&guest::wat(GROWING), "growing", ", memory: 32MiB"));
    assert_eq!(reload(&gateway).0, 200);
    assert_eq!(gateway.get("/").text(), "growing");
}

/// The swap waits for the callback and no longer, and the request gets what its filter's failure is worth.
#[test]
fn a_worker_in_a_long_callback_swaps_after_it() {
    let probe = guest::wat(PROBE);
    let policy = |config: &str| filtered(&probe, config, ", budget: 1s");
    let gateway = start(1, &policy("v1"));
    for round in 2..=4_u64 {
        let mut busy = gateway.client();
        busy.send(get("/", &[("x-do", "loop")]));
        let mut waiting = gateway.client();
        waiting.send(get("/", &[]));
        gateway.write_policy(&policy(&format!("v{round}")));
        assert_eq!(reload(&gateway).0, 200);
        assert_eq!(busy.response().status(), 503);
        assert_eq!(waiting.response().status(), 200);
        assert_eq!(gateway.get("/").header("x-filter"), Some(format!("v{round}").as_str()));
    }
}

/// Each swap replaces what the download runs under once only: it is one old generation, however many follow.
#[test]
fn a_slow_download_outlives_many_swaps() {
    const PIECES: usize = 40;
    let gates: Vec<Gate> = (0..PIECES).map(|_| Gate::new()).collect();
    let origin = {
        let gates = gates.clone();
        Origin::start(move |exchange| {
            exchange.wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PIECES * 4))?;
            for gate in &gates {
                gate.pass();
                exchange.wire.send("data")?;
            }
            Ok(Next::Keep)
        })
    };
    let policy = |version: usize| {
        format!(
            "upstreams: {{ u: {{ endpoints: ['{}'] }} }}\n\
             filters: {{ probe: {{ wasm: {{ module: {}, config: v{version} }} }} }}\n\
             routes: [{{ filters: [probe], forward: {{ upstream: u }} }}]\n",
            origin.address(),
            guest::wat(PROBE).display()
        )
    };
    let gateway = start(2, &policy(0));
    let mut client = gateway.client();
    client.send(get("/", &[]));
    assert_eq!(client.head().header("x-filter"), Some("v0"));
    for (index, gate) in gates.iter().enumerate() {
        gateway.write_policy(&policy(index + 1));
        assert_eq!(reload(&gateway).0, 200);
        gate.open();
        assert_eq!(client.wire.exact(4).unwrap(), b"data");
    }
    assert_eq!(gateway.metric("tollgate_client_connections_cut_total"), Some(0.0));
    wait_for("the old generations to be freed", || {
        (gateway.status()["generations_retiring"] == 0).then_some(())
    });
    assert_eq!(gateway.get("/").header("x-filter"), Some(format!("v{PIECES}").as_str()));
}
