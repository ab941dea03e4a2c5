//! What each guest must do, as `../guests/README.md` says it.

use std::path::Path;

use crate::support::{Gateway, Message, Next, Options, Origin, get, post, response, wait_for};

const TAG: &str = "blue-7";

/// A gateway with the guest before an upstream; `/without` has no filter. The budgets are large: the
/// default is for optimised code, and some of it is not (see `Language::level`).
fn start(module: &Path, config: &str, origin: &Origin) -> Gateway {
    start_asking(module, config, origin, origin)
}

/// One whose guest may call `server` by the name `who`.
fn start_asking(module: &Path, config: &str, origin: &Origin, server: &Origin) -> Gateway {
    let policy = format!(
        "upstreams:\n\
         \x20 u: {{ endpoints: ['{}'] }}\n\
         \x20 who: {{ endpoints: ['{}'] }}\n\
         filters:\n\
         \x20 guest:\n\
         \x20   wasm:\n\
         \x20     module: {}\n\
         \x20     root_id: guest\n\
         \x20     config: '{config}'\n\
         \x20     budget: 1s\n\
         \x20     start_budget: 5s\n\
         \x20     allow: {{ upstreams: [who] }}\n\
         routes:\n\
         - {{ match: {{ path: {{ exact: /without }} }}, forward: {{ upstream: u }} }}\n\
         - {{ filters: [guest], forward: {{ upstream: u }} }}\n",
        origin.address(),
        server.address(),
        module.display()
    );
    Gateway::start_with(&policy, &Options { workers: 1, log: "info,filter=info" })
}

fn wait_for_guest(gateway: &Gateway, text: &str) {
    wait_for(text, || gateway.log().iter().any(|line| line.contains(text)).then_some(()));
}

fn last(origin: &Origin) -> Message {
    origin.requests().pop().unwrap()
}

pub(crate) fn edits_headers(module: &Path) {
    let origin = Origin::answering(response(200, &[("server", "origin"), ("x-kept", "1")], b"ok"));
    let gateway = start(module, &format!("tag={TAG}"), &origin);
    let answer = gateway.ask(get("/", &[("x-debug", "1"), ("x-guest", "forged"), ("x-kept", "2")]));
    assert_eq!((answer.status(), answer.text()), (200, "ok"));
    assert_eq!((answer.header("x-guest"), answer.header("server")), (Some(TAG), None));
    assert_eq!(answer.header("x-kept"), Some("1"));
    let request = last(&origin);
    assert_eq!((request.header("x-guest"), request.header("x-debug")), (Some(TAG), None));
    assert_eq!((request.headers_named("x-added"), request.header("x-kept")), (vec!["1", "2"], Some("2")));
    assert!(request.header("x-client").unwrap().starts_with("127.0.0.1:"), "{request:?}");
    wait_for_guest(&gateway, &format!("configured {TAG}"));
    wait_for_guest(&gateway, &format!("{TAG} saw 200"));
    gateway.stop();
}

/// Bodies in pieces, with the word across two of them; what is framed anew has the right length.
pub(crate) fn edits_bodies(module: &Path) {
    let origin = Origin::start(|exchange| {
        exchange.read_body()?;
        let pieces = ["no sec", "rets: a secret", " is secret"];
        exchange.wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for piece in pieces {
            exchange.wire.send(format!("{:x}\r\n{piece}\r\n", piece.len()))?;
        }
        exchange.wire.send("0\r\n\r\n")?;
        Ok(Next::Keep)
    });
    let gateway = start(module, &format!("tag={TAG}"), &origin);
    let mut client = gateway.client();
    let long = "Some words. ".repeat(20_000);
    for body in ["", "tell me a Secret", &long] {
        let answer = client.ask(post("/", &[], body.as_bytes()));
        assert_eq!(answer.text(), "no [hidden]s: a [hidden] is [hidden]");
        assert!(last(&origin).text() == body.to_uppercase());
    }
    gateway.stop();
}

pub(crate) fn answers_itself(module: &Path) {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start(module, &format!("tag={TAG};deny=/private"), &origin);
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.ask(get("/private", &[]));
        assert_eq!((answer.status(), answer.text()), (403, "denied\n"));
        assert!(answer.header("x-denied-by").is_some(), "{answer:?}");
        assert_eq!(client.ask(get("/public", &[])).status(), 200);
    }
    assert_eq!(origin.requests().len(), 3);
    wait_for_guest(&gateway, &format!("{TAG} saw 403"));
    gateway.stop();
}

/// Shared data by compare and swap, a metric, a timer.
pub(crate) fn counts(module: &Path) {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start(module, &format!("tag={TAG}"), &origin);
    for count in 1..=5 {
        assert_eq!(gateway.get("/").status(), 200);
        let request = last(&origin);
        let count = count.to_string();
        assert_eq!((request.header("x-hits"), request.header("x-count")), (Some(&*count), Some(&*count)));
    }
    wait_for_guest(&gateway, "first tick");
    gateway.stop();
}

pub(crate) fn refuses_a_configuration(module: &Path) {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start(module, &format!("tag={TAG}"), &origin);
    let policy = std::fs::read_to_string(gateway.policy_path()).unwrap();
    let broken = policy.replace(&format!("tag={TAG}"), "deny=/");
    std::fs::write(gateway.folder().join("draft"), broken).unwrap();
    std::fs::rename(gateway.folder().join("draft"), gateway.policy_path()).unwrap();
    let answer = gateway.reload();
    assert!(answer.text().contains("the configuration has no tag"), "{}", answer.text());
    assert_eq!(gateway.get("/").header("x-guest"), Some(TAG), "the old policy goes on");
    gateway.stop();
}

/// The request waits for the answer of another server, or for the news that there is none.
pub(crate) fn asks_a_server(module: &Path) {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let server = Origin::start(|exchange| match (exchange.connection, exchange.number) {
        (0, 0) => exchange.wire.send(response(200, &[], b"user-7")).map(|()| Next::Keep),
        (0, 1) => exchange.wire.send(response(403, &[], b"nobody")).map(|()| Next::Keep),
        // However often the gateway tries.
        _ => Ok(Next::Close),
    });
    let gateway = start_asking(module, &format!("tag={TAG};auth=who"), &origin, &server);
    let mut client = gateway.client();
    let allowed = client.ask(get("/auth", &[]));
    assert_eq!((allowed.status(), allowed.text(), allowed.header("x-guest")), (200, "ok", Some(TAG)));
    assert_eq!(last(&origin).header("x-auth"), Some("user-7"));
    let asked = last(&server);
    assert_eq!((asked.target(), asked.header("host")), ("/check", Some("auth.example")));
    for _ in 0..2 {
        let refused = client.ask(get("/auth", &[]));
        assert_eq!((refused.status(), refused.text()), (401, "who?\n"));
        assert!(refused.header("x-denied-by").is_some(), "{refused:?}");
    }
    assert_eq!(origin.requests().len(), 1);
    gateway.stop();
}

/// A server that the policy does not allow, by a name that it has.
pub(crate) fn may_not_ask_just_any_server(module: &Path) {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start_asking(module, &format!("tag={TAG};auth=u"), &origin, &origin);
    let answer = gateway.get("/auth");
    assert_eq!((answer.status(), answer.text()), (500, "no call\n"));
    assert_eq!(origin.requests().len(), 0);
    gateway.stop();
}

/// A crash ends its request and nothing else; the next one finds a new VM.
pub(crate) fn survives_its_crash(module: &Path) {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start(module, &format!("tag={TAG}"), &origin);
    for _ in 0..3 {
        assert_eq!(gateway.get("/crash").status(), 503);
        assert_eq!(gateway.get("/without").status(), 200);
        assert_eq!(gateway.get("/").header("x-guest"), Some(TAG));
    }
    assert!(origin.requests().iter().all(|request| request.target() != "/crash"));
    gateway.stop();
}

/// Go's scheduler, collector and clock work; files and variables are not there.
pub(crate) fn runs_its_runtime(module: &Path) {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start(module, &format!("tag={TAG}"), &origin);
    for _ in 0..3 {
        assert_eq!(gateway.get("/runtime").status(), 200);
        let works = "goroutines=512 clock=true file=false environment=0";
        assert_eq!(last(&origin).header("x-runtime"), Some(works));
    }
    gateway.stop();
}
