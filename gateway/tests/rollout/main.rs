//! Policies that come into force in steps, over real sockets: who is served by which policy (`shares`), how
//! a rollout goes on and ends (`steps`), what takes a policy back (`taken_back`), and what comes in between
//! (`between`). And a policy in `shadow`, which serves nobody.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod between;
mod shadow;
mod shares;
mod steps;
mod taken_back;

use std::process::{Command, Output};

use serde_json::Value;
use support::{Client, Gateway, Message, get, wait_for};

/// One route that answers `text`.
fn answering(text: &str) -> String {
    format!("routes: [{{ name: all, respond: {{ status: 200, body: {text} }} }}]\n")
}

/// The gateway with the policy that answers `old`.
fn old() -> Gateway {
    Gateway::start(&answering("old"))
}

/// A rollout by the field `x-user`, with what else `rest` says of it.
fn rollout(rest: &str) -> String {
    format!("rollout: {{ key: {{ header: x-user }}, {rest} }}\n")
}

/// Half of the users for an hour.
const HALF: &str = "steps: [{ share: 50%, time: 1h }]";

/// What a user is answered.
fn ask(client: &mut Client, user: u32) -> Message {
    client.ask(get("/", &[("x-user", &user.to_string())]))
}

/// What so many users are answered, on one connection.
fn all(gateway: &Gateway, users: u32) -> Vec<String> {
    let mut client = gateway.client();
    (0..users).map(|user| ask(&mut client, user).text().to_owned()).collect()
}

fn report(gateway: &Gateway) -> Value {
    serde_json::from_slice(&gateway.admin_get("/policy/rollout").body).unwrap()
}

/// Puts a policy at the source and asks for it; it must be taken on trial.
fn try_out(gateway: &Gateway, rest: &str) -> Value {
    gateway.write_policy(rest);
    let outcome = gateway.reload();
    assert_eq!(outcome.status(), 200, "{}", outcome.text());
    // The watch may have been quicker; then the reload found it on trial.
    wait_for("the trial", || Some(report(gateway)["running"].clone()).filter(|running| !running.is_null()))
}

/// The event that ended the last rollout, as soon as there is one.
fn ended(gateway: &Gateway) -> Value {
    wait_for("the end of the rollout", || {
        let report = report(gateway);
        (report["running"].is_null() && !report["last"].is_null()).then(|| report["last"].clone())
    })
}

/// The events so far, in order.
fn events(gateway: &Gateway) -> Vec<String> {
    let report = report(gateway);
    let word = |note: &Value| note["event"].as_str().unwrap().to_owned();
    report["events"].as_array().unwrap().iter().map(word).collect()
}

/// `tollgate rollout ORDER` for this gateway.
fn command(gateway: &Gateway, order: &str) -> Output {
    let admin = gateway.admin().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["rollout", order, "--admin", &admin]).output().unwrap()
}
