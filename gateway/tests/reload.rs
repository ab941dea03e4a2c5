//! Policies that change while the gateway runs: what asks for a reload, what is refused and how it is
//! told. What a reload leaves alone is in reload_carried.rs.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use support::{Client, Gateway, Message, Options, guest, wait_for};

const PROBE: &str = include_str!("fixtures/modules/probe.wat");
const UNCHANGED: &str = r#"tollgate_policy_swaps_total{outcome="unchanged"}"#;

/// One route that answers `text`.
fn answering(text: &str) -> String {
    format!("routes: [{{ respond: {{ status: 200, body: {text} }} }}]\n")
}

/// The probe with this configuration before an answer of the gateway.
fn probing(module: &Path, config: &str) -> String {
    format!(
        "filters: {{ probe: {{ wasm: {{ module: {}, config: {config}, start_budget: 50ms }} }} }}\n\
         routes: [{{ filters: [probe], respond: {{ status: 200 }} }}]\n",
        module.display()
    )
}

/// With one worker, so that there is one VM of each kind.
fn start(policy: &str) -> Gateway {
    Gateway::start_with(policy, &Options { workers: 1, ..Options::default() })
}

fn json(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap_or_else(|error| panic!("{error}: {}", message.text()))
}

/// Reloads, which must work, and gives the generation that is in force then.
fn reload(gateway: &Gateway) -> u64 {
    let outcome = gateway.reload();
    assert_eq!(outcome.status(), 200, "{}", outcome.text());
    json(&outcome)["generation"].as_u64().unwrap()
}

fn until_answers(gateway: &Gateway, text: &str) {
    wait_for(text, || (gateway.get("/").text() == text).then_some(()));
}

#[test]
fn a_file_written_in_place_takes_effect() {
    let gateway = start(&answering("one"));
    let text = fs::read_to_string(gateway.policy_path()).unwrap();
    fs::write(gateway.policy_path(), text.replace("one", "two")).unwrap();
    until_answers(&gateway, "two");
    assert_eq!(gateway.status()["generation"]["trigger"], "file");
}

#[test]
fn a_file_renamed_into_its_place_takes_effect() {
    let gateway = start(&answering("one"));
    // The second time the file that was there at first is gone.
    for text in ["two", "three"] {
        gateway.write_policy(&answering(text));
        until_answers(&gateway, text);
    }
}

/// As Kubernetes does with a ConfigMap: the file is a link into a linked folder, and it is the link of
/// the folder that changes.
#[test]
fn a_folder_swapped_by_its_link_takes_effect() {
    let gateway = start(&answering("one"));
    let first = fs::read_to_string(gateway.policy_path()).unwrap();
    let at = |name: &str| gateway.folder().join(name);
    let publish = |version: &str, text: &str| {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("policy.yaml"), first.replace("one", text)).unwrap();
        link(Path::new(version), &at("..data"));
    };
    publish("..1", "one");
    link(Path::new("..data/policy.yaml"), &gateway.policy_path());
    assert_eq!(reload(&gateway), 1);
    for (version, before, text) in [("..2", "..1", "two"), ("..3", "..2", "three")] {
        publish(version, text);
        fs::remove_dir_all(at(before)).unwrap();
        until_answers(&gateway, text);
    }
    assert_eq!(gateway.status()["generation"]["trigger"], "file");
}

/// What a policy includes is watched as it is: files, and folders for files that come and go.
#[test]
fn included_files_take_effect_when_they_come_change_and_go() {
    let gateway = start(&answering("one"));
    let parts = gateway.folder().join("conf.d");
    let text = |path: &str, body: &str| {
        format!(
            "routes: [{{ match: {{ path: {{ exact: {path} }} }}, respond: {{ status: 200, body: {body} }} }}]\n"
        )
    };
    let get = |path: &str| gateway.get(path).text().to_owned();
    fs::create_dir(&parts).unwrap();
    fs::write(parts.join("a.yaml"), text("/a", "a")).unwrap();
    gateway.write_policy(&format!("include: conf.d\n{}", answering("one")));
    wait_for("the file that is there", || (get("/a") == "a").then_some(()));
    fs::write(parts.join("b.yaml"), text("/b", "b")).unwrap();
    wait_for("the file that comes", || (get("/b") == "b").then_some(()));
    fs::write(parts.join("a.yaml"), text("/a", "changed")).unwrap();
    wait_for("the file that changes", || (get("/a") == "changed").then_some(()));
    fs::remove_file(parts.join("b.yaml")).unwrap();
    wait_for("the file that goes", || (get("/b") == "one").then_some(()));

    fs::write(parts.join("a.yaml"), "routes: [{ respnd: 1 }]\n").unwrap();
    let refusal = json(&gateway.reload());
    assert!(refusal["message"].as_str().unwrap().contains("conf.d/a.yaml:1:10: routes[0]"), "{refusal}");
    assert_eq!(get("/a"), "changed");
}

/// Makes a link in one step, over whatever is there.
fn link(target: &Path, at: &Path) {
    let draft = at.with_file_name("draft");
    symlink(target, &draft).unwrap();
    fs::rename(draft, at).unwrap();
}

#[test]
fn sighup_reads_the_policy_again() {
    let gateway = start(&answering("one"));
    let before = gateway.metric(UNCHANGED).unwrap();
    gateway.signal(Signal::HUP);
    wait_for("SIGHUP to be answered", || (gateway.metric(UNCHANGED).unwrap() > before).then_some(()));
    gateway.write_policy(&answering("two"));
    gateway.signal(Signal::HUP);
    until_answers(&gateway, "two");
}

#[test]
fn the_admin_api_reloads_and_tells_how_it_went() {
    let gateway = start(&answering("one"));
    let outcome = gateway.reload();
    assert_eq!((outcome.status(), &json(&outcome)["outcome"]), (200, &Value::from("unchanged")));
    gateway.write_policy(&answering("two"));
    // The watch may be quicker; either way the new policy is in force when the answer comes.
    assert_eq!(reload(&gateway), 2);
    assert_eq!(gateway.get("/").text(), "two");
}

#[test]
fn all_who_ask_at_once_are_answered() {
    let gateway = start(&answering("one"));
    let admin = gateway.admin();
    gateway.write_policy(&answering("two"));
    let request = format!("POST /policy/reload HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\n\r\n");
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(admin)).collect();
    clients.iter_mut().for_each(|client| client.send(&request));
    // Some do not wait for the answer.
    clients.truncate(80);
    for mut client in clients {
        let outcome = client.response();
        assert_eq!((outcome.status(), &json(&outcome)["generation"]), (200, &2.into()));
    }
    assert_eq!(gateway.get("/").text(), "two");
}

/// As tools that rotate logs do it.
#[test]
fn sighup_opens_the_access_log_anew() {
    let gateway = start(&answering("one"));
    let paths = |log: &[Value]| log.iter().map(|line| line["path"].clone()).collect::<Vec<_>>();
    gateway.get("/before");
    gateway.wait_for_access_log(1);
    let log = gateway.folder().join("access.log");
    fs::rename(&log, gateway.folder().join("access.log.1")).unwrap();
    gateway.signal(Signal::HUP);
    wait_for("a new file", || log.exists().then_some(()));
    gateway.get("/after");
    assert_eq!(paths(&gateway.wait_for_access_log(1)), ["/after"]);
    let old = fs::read_to_string(gateway.folder().join("access.log.1")).unwrap();
    assert_eq!(old.lines().count(), 1);
}

/// A filter that takes its whole start budget on the side does not hold up requests, nor the end.
#[test]
fn requests_and_the_end_do_not_wait_for_a_reload() {
    let probe = guest::wat(PROBE);
    let gateway = start(&probing(&probe, "v1"));
    gateway.write_policy(&probing(&probe, "loop").replace("start_budget: 50ms", "start_budget: 10s"));
    wait_for("the trial of the new filter", || is_trying(&gateway).then_some(()));
    for _ in 0..20 {
        assert_eq!(gateway.get("/").header("x-filter"), Some("v1"));
    }
    assert!(is_trying(&gateway), "the requests waited for the reload");
    gateway.stop();
}

/// Whether the thread runs that tries new filters.
fn is_trying(gateway: &Gateway) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let mut names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.any(|name| name.trim_end() == "canary")
}

#[test]
fn equal_bytes_change_nothing() {
    let gateway = start(&answering("one"));
    for _ in 0..3 {
        gateway.write_policy(&answering("one"));
        assert_eq!(json(&gateway.reload())["outcome"], "unchanged");
    }
    assert_eq!(gateway.status()["generation"]["number"], 1);
    assert_eq!(gateway.metric(r#"tollgate_policy_swaps_total{outcome="applied"}"#), Some(1.0));
}

#[test]
fn a_broken_policy_is_refused_and_the_old_one_goes_on() {
    let gateway = start(&answering("one"));
    gateway.write_policy(&answering("two").replace("respond", "respnd"));
    let refusal = gateway.reload();
    assert_eq!(refusal.status(), 422);
    let refusal = json(&refusal);
    assert_eq!((&refusal["kind"], &refusal["generation"]), (&"invalid".into(), &1.into()), "{refusal}");
    let findings = refusal["diagnostics"]["list"].as_array().unwrap();
    let unknown = findings.iter().find(|finding| finding["path"] == "routes[0].respnd").unwrap();
    assert_eq!((&unknown["line"], &unknown["column"]), (&4.into(), &12.into()), "{refusal}");
    assert_eq!(unknown["help"], "did you mean `respond`?");

    assert_eq!(gateway.get("/").text(), "one");
    let status = gateway.status();
    assert_eq!(status["generation"]["number"], 1);
    assert_eq!(status["last_error"]["kind"], "invalid");
    assert!(gateway.metric(r#"tollgate_policy_swaps_total{outcome="refused"}"#) >= Some(1.0));

    gateway.write_policy(&answering("three"));
    assert_eq!(reload(&gateway), 2);
    assert_eq!(gateway.get("/").text(), "three");
    assert!(gateway.status()["last_error"].is_null());
}

/// What a person at a terminal sees: file, line, column and a near miss, without asking for JSON.
#[test]
fn a_refusal_reads_well_as_text() {
    let gateway = start(&answering("one"));
    gateway.write_policy(&answering("two").replace("respond", "respnd"));
    let admin = gateway.admin();
    let request = format!("POST /policy/reload HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\n\r\n");
    let refusal = Client::connect(admin).ask(request);
    assert_eq!(refusal.status(), 422);
    for part in ["policy.yaml:4:12", "`respnd`", "did you mean `respond`", "Generation 1 goes on."] {
        assert!(refusal.text().contains(part), "no {part:?} in\n{}", refusal.text());
    }
}

#[test]
fn a_module_that_changes_is_a_change() {
    let (one, two) = (guest::wat(PROBE), guest::wat(&PROBE.replace("\"x-filter\"", "\"x-second\"")));
    let gateway = start("routes: [{ respond: { status: 200 } }]");
    let module = gateway.folder().join("probe.wasm");
    fs::copy(one, &module).unwrap();
    gateway.write_policy(&probing(&module, "v1"));
    assert_eq!(reload(&gateway), 2);
    assert_eq!(gateway.get("/").header("x-filter"), Some("v1"));

    let draft = gateway.folder().join("probe.draft");
    fs::copy(two, &draft).unwrap();
    fs::rename(draft, &module).unwrap();
    wait_for("the new module", || gateway.get("/").header("x-second").map(drop));
    // Faster code of either module may be a generation, too.
    let is_change = |event: &Value| event["trigger"] == "file" && event["generation"].as_u64() >= Some(3);
    wait_for("the change in the history", || {
        let history = json(&gateway.admin_get("/policy/history"));
        history["events"].as_array().unwrap().iter().any(is_change).then_some(())
    });
}

#[test]
fn a_module_that_is_none_is_refused() {
    let gateway = start("routes: [{ respond: { status: 200 } }]");
    let module = gateway.folder().join("probe.wasm");
    fs::copy(guest::wat(PROBE), &module).unwrap();
    gateway.write_policy(&probing(&module, "v1"));
    assert_eq!(reload(&gateway), 2);

    fs::write(&module, b"\0asm\x01\0\0\0 and nothing that fits").unwrap();
    let refusal = gateway.reload();
    assert_eq!(refusal.status(), 422, "{}", refusal.text());
    assert!(json(&refusal)["message"].as_str().unwrap().contains("probe.wasm"), "{}", refusal.text());
    assert_eq!(gateway.get("/").header("x-filter"), Some("v1"));

    fs::copy(guest::wat(PROBE), &module).unwrap();
    assert_eq!(json(&gateway.reload())["outcome"], "unchanged");
    assert!(gateway.status()["last_error"].is_null());
}

#[test]
fn a_module_that_comes_later_completes_its_policy() {
    let gateway = start("routes: [{ respond: { status: 200 } }]");
    let module = gateway.folder().join("probe.wasm");
    gateway.write_policy(&probing(&module, "v1"));
    let refusal = gateway.reload();
    assert_eq!(refusal.status(), 422, "{}", refusal.text());
    assert!(refusal.text().contains("probe.wasm"), "{}", refusal.text());
    fs::copy(guest::wat(PROBE), &module).unwrap();
    wait_for("the policy", || gateway.get("/").header("x-filter").map(drop));
    // Control tells of a policy a moment after the workers have it.
    wait_for("the end of the error", || gateway.status()["last_error"].is_null().then_some(()));
}

/// A filter that rests after failures does not rest in the policy that mends it.
#[test]
fn a_module_that_is_mended_serves_at_once() {
    let broken = guest::wat(
        &PROBE.replace("(global.set $requests (i32.add", "(unreachable) (global.set $requests (i32.add"),
    );
    let gateway = start(&probing(&broken, "v1"));
    wait_for("an open circuit", || {
        assert_eq!(gateway.get("/").status(), 503);
        (gateway.status()["filters"][0]["state"] == "circuit_open").then_some(())
    });
    gateway.write_policy(&probing(&guest::wat(PROBE), "v1"));
    assert_eq!(reload(&gateway), 2);
    assert_eq!(gateway.get("/").status(), 200);
}

#[test]
fn a_filters_configuration_that_changes_is_a_change() {
    let probe = guest::wat(PROBE);
    let gateway = start(&probing(&probe, "v1"));
    assert_eq!(gateway.get("/").header("x-filter"), Some("v1"));
    gateway.write_policy(&probing(&probe, "v2"));
    assert_eq!(reload(&gateway), 2);
    let answer = gateway.get("/");
    assert_eq!(answer.header("x-filter"), Some("v2"));
    // The same VM with one plugin more.
    assert_eq!((answer.header("x-requests"), answer.header("x-configured")), (Some("2"), Some("2")));
}

#[test]
fn a_filter_that_does_not_start_is_refused() {
    let probe = guest::wat(PROBE);
    let gateway = start(&probing(&probe, "v1"));
    for config in ["refuse", "trap", "loop"] {
        gateway.write_policy(&probing(&probe, config));
        let refusal = gateway.reload();
        assert_eq!(refusal.status(), 422, "{config}: {}", refusal.text());
        let message = json(&refusal)["message"].as_str().unwrap().to_owned();
        assert!(message.contains("filter `probe`"), "{config}: {message}");
        assert_eq!(gateway.status()["last_error"]["message"], message.as_str());
        let answer = gateway.get("/");
        assert_eq!((answer.status(), answer.header("x-filter")), (200, Some("v1")), "{config}");
        assert_eq!(gateway.status()["generation"]["number"], 1, "{config}");
    }
    // The VM that serves has seen none of it.
    assert_eq!(gateway.get("/").header("x-configured"), Some("1"));
}

#[test]
fn sockets_cannot_change() {
    let gateway = start(&answering("one"));
    let text = fs::read_to_string(gateway.policy_path()).unwrap();
    let admin = "admin: { address: '127.0.0.1:0' }\n";
    let changes = [
        ("[{ address: '127.0.0.1:0' }]", "[{ address: '127.0.0.2:0' }]", "listener 127.0.0.2:0 added"),
        ("[{ address: '127.0.0.1:0' }]", "[{ address: '127.0.0.2:0' }]", "listener 127.0.0.1:0 removed"),
        (admin, "admin: { address: '127.0.0.3:0' }\n", "admin address 127.0.0.3:0 instead of 127.0.0.1:0"),
        (admin, "", "admin address none instead of 127.0.0.1:0"),
    ];
    for (from, to, told) in changes {
        assert!(text.contains(from), "{text}");
        fs::write(gateway.policy_path(), text.replacen(from, to, 1)).unwrap();
        let refusal = gateway.reload();
        assert_eq!(refusal.status(), 409, "{}", refusal.text());
        let refusal = json(&refusal);
        assert_eq!(refusal["kind"], "immutable");
        assert!(refusal["message"].as_str().unwrap().contains(told), "{refusal}");
        assert_eq!(gateway.get("/").text(), "one");
    }
}
