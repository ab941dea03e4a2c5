//! Reloads under open connections, and the end of the gateway.

use rustix::process::Signal;

use crate::guests::{next_byte, sign};
use crate::peers::{Client, End, Server};
use crate::support::{Gateway, get, wait_for};
use crate::{Policy, end, filtered};

fn reload(gateway: &Gateway, policy: &str) {
    gateway.write_whole(policy);
    let outcome = gateway.reload();
    assert_eq!(outcome.status(), 200, "{}", outcome.text());
}

/// A connection keeps the chain that it began with; the next ones have the new one.
#[test]
fn a_reload_is_for_new_connections() {
    let server = Server::echo();
    let (old, new) = (next_byte(), sign('z'));
    let gateway = filtered(&old, server.address);
    let mut before = Client::connect(gateway.address());
    before.send("HAL");
    before.expect("IBM");
    let policy = Policy { filters: &[("g", &new, "")], ..Policy::default() };
    reload(&gateway, &policy.text(server.address));
    let mut after = Client::connect(gateway.address());
    after.send("HAL");
    after.finish();
    assert_eq!(after.rest(), (b"HALzz".to_vec(), End::Close));
    before.send("HAL");
    before.expect("IBM");
    drop(before);
    let log = gateway.wait_for_access_log(2);
    assert_eq!((&log[0]["generation"], &log[1]["generation"]), (&2.into(), &1.into()));
    wait_for("the old generation to retire", || {
        (gateway.metric("tollgate_generations_retiring").unwrap_or(0.0) == 0.0).then_some(())
    });
}

/// Whether a port serves HTTP or TCP may change; its address may not.
#[test]
fn a_listener_changes_its_kind() {
    let server = Server::echo();
    let gateway = Policy::default().start(server.address);
    let mut before = Client::connect(gateway.address());
    before.echo("bytes");
    let text = "version: 1\nadmin: { address: '127.0.0.1:0' }\nlisteners: [{ address: '127.0.0.1:0' }]\n\
                routes: [{ respond: { status: 200, body: http } }]\n";
    reload(&gateway, text);
    assert_eq!(gateway.ask(get("/", &[])).text(), "http");
    before.echo("still bytes");
    let elsewhere = Policy::default()
        .text(server.address)
        .replace("listeners: [{ address: '127.0.0.1:0'", "listeners: [{ address: '127.0.0.1:1'");
    gateway.write_whole(&elsewhere);
    assert_ne!(gateway.reload().status(), 200);
    assert_eq!(gateway.ask(get("/", &[])).text(), "http");
}

#[test]
fn open_connections_may_end_by_themselves() {
    let server = Server::echo();
    let policy = Policy { sections: "limits: { drain_timeout: 5m }\n", ..Policy::default() };
    let gateway = policy.start(server.address);
    let mut client = Client::connect(gateway.address());
    client.echo("before");
    gateway.signal(Signal::TERM);
    wait_for("draining", || (gateway.admin_get("/readyz").text() == "draining\n").then_some(()));
    client.echo("while it drains");
    client.finish();
    client.expect_end(End::Close);
    let stopped = gateway.wait();
    assert_eq!(stopped.status.code(), Some(0));
    assert_eq!(end(&stopped.access_log[0]).0, "complete");
}

/// With a reset: what was cut must not look whole.
#[test]
fn the_drain_limit_cuts_the_rest() {
    let server = Server::echo();
    let module = crate::guests::diary();
    let policy = Policy {
        filters: &[("f", &module, "")],
        sections: "limits: { drain_timeout: 100ms }\n",
        ..Policy::default()
    };
    let gateway = policy.start(server.address);
    let mut client = Client::connect(gateway.address());
    client.echo("before");
    gateway.signal(Signal::TERM);
    client.expect_end(End::Reset);
    let stopped = gateway.wait();
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.log.join("\n"));
    assert_eq!(end(&stopped.access_log[0]), ("drained", "", ""));
    let log = stopped.log.join("\n");
    assert!(log.contains("dclo1") && log.contains("uclo1") && log.contains("done0"), "{log}");
}
