//! The steps, in order.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::Value;

use super::load::{CONNECTIONS, Load, Request, Tally};
use super::screen::{Screen, Style, readable};
use super::stage::{Stage, StageError};

/// What the edits of the tour change in `policies/demo.yaml`.
const HEADER: &str = "x-served-by";
const OLD_VALUE: &str = "tollgate";
const NEW_VALUE: &str = "tollgate-edited";
/// Requests to `/limited` after which a limit that never says no is none.
const BURST_MAX: usize = 20;
/// How many the policy lets through at once.
const BURST: usize = 3;
/// How long the load runs before and after a change.
const LOAD_AROUND: Duration = Duration::from_millis(900);

/// An edit that must be refused.
struct BrokenEdit {
    old: &'static str,
    new: &'static str,
    /// By what to know its error.
    sign: &'static str,
    /// What the diagnosis must say, and how that is put.
    hint: &'static str,
    promise: &'static str,
}

const BROKEN_EDITS: [BrokenEdit; 2] = [
    BrokenEdit {
        old: "path: { prefix: /limited }",
        new: "path: { prefx: /limited }",
        sign: "routes[0].match.path",
        hint: "did you mean `prefix`?",
        promise: "line, column and what was meant",
    },
    BrokenEdit {
        old: "paths: [{ prefix: /admin }]",
        new: "paths: [{ prefixed: /admin }]",
        sign: "prefixed",
        hint: "filter `guard`",
        promise: "a filter that refuses its configuration is named, in its own words",
    },
];

pub(super) async fn run(stage: &mut Stage, screen: &mut Screen) -> Result<(), StageError> {
    passes(stage, screen).await?;
    header_is_set(stage, screen).await?;
    is_denied(stage, screen).await?;
    is_redacted(stage, screen).await?;
    burst(stage, screen).await?;
    edit_under_load(stage, screen).await?;
    broken_edits(stage, screen).await
}

async fn passes(stage: &Stage, screen: &mut Screen) -> Result<(), StageError> {
    screen.step("A request passes to the upstream, which tells what it saw");
    let reply = shown(stage, screen, &Method::GET, "/orders/7?full=1", &["content-type"]).await?;
    screen.expect(reply.status == StatusCode::OK, "200 from the upstream");
    screen.expect(reply.json()["path"] == "/orders/7?full=1", "the path and the query as they were sent");
    Ok(())
}

async fn header_is_set(stage: &Stage, screen: &mut Screen) -> Result<(), StageError> {
    screen.step("A Wasm filter sets headers on both sides (filter `stamp`)");
    let reply = stage.request(&Method::GET, "/").await?;
    let seen = &reply.json()["headers"];
    screen.say("  > GET /");
    let line = |text: String| screen.styled(Style::Faint, &text);
    screen.say(&format!("  {}", line(format!("the upstream saw    x-edge: {}", seen["x-edge"]))));
    screen.say(&format!("  {}", line(format!("the upstream saw    x-client: {}", seen["x-client"]))));
    let value = reply.header(HEADER).unwrap_or("-");
    screen.say(&format!("  {}", line(format!("the client received {HEADER}: {value}"))));
    screen.expect(seen["x-edge"] == "demo", "the upstream saw what the filter set");
    screen.expect(reply.header(HEADER) == Some(OLD_VALUE), "the client received what the filter set");
    screen.expect(reply.header("server").is_none(), "the upstream's `server` header was removed");
    Ok(())
}

async fn is_denied(stage: &Stage, screen: &mut Screen) -> Result<(), StageError> {
    screen.step("A Wasm filter denies requests (filter `guard`)");
    let reply = shown(stage, screen, &Method::GET, "/admin/users", &[]).await?;
    screen.expect(reply.status == StatusCode::FORBIDDEN, "403 for what is under /admin");
    let reply = shown(stage, screen, &Method::GET, "/%61dmin/../admin/", &[]).await?;
    screen.expect(reply.status == StatusCode::FORBIDDEN, "403 also if the path is disguised");
    let reply = shown(stage, screen, &Method::DELETE, "/orders/7", &[]).await?;
    screen.expect(reply.status == StatusCode::UNAUTHORIZED, "401 for a write without a token");
    Ok(())
}

async fn is_redacted(stage: &Stage, screen: &mut Screen) -> Result<(), StageError> {
    screen.step("A Wasm filter redacts a body while it streams (filter `redact`)");
    let reply = shown(stage, screen, &Method::GET, "/card", &[]).await?;
    let text = reply.text();
    screen.expect(text.contains("[card]") && !text.contains("4111"), "no card number leaves");
    Ok(())
}

async fn burst(stage: &Stage, screen: &mut Screen) -> Result<(), StageError> {
    screen.step("A burst ends in 429: three at once, then one a second (filter `slow`)");
    let mut statuses = Vec::new();
    let mut denied = None;
    while denied.is_none() && statuses.len() < BURST_MAX {
        let reply = stage.request(&Method::GET, "/limited").await?;
        statuses.push(reply.status);
        denied = Some(reply).filter(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS);
    }
    let codes: Vec<&str> = statuses.iter().map(StatusCode::as_str).collect();
    screen.say(&format!("  GET /limited, one after the other: {}", codes.join(" ")));
    screen.expect(
        statuses.len() > BURST && statuses[..BURST].iter().all(|status| *status == StatusCode::OK),
        "the first three pass",
    );
    if let Some(reply) = &denied {
        let headers = ["retry-after", "ratelimit", "ratelimit-policy"];
        screen.exchange(&Method::GET, "/limited", reply, &headers);
    }
    let told = denied.is_some_and(|reply| reply.header("retry-after").is_some());
    screen.expect(told, "then 429 with Retry-After");
    Ok(())
}

async fn edit_under_load(stage: &mut Stage, screen: &mut Screen) -> Result<(), StageError> {
    screen.step("The policy is edited while a load runs");
    screen.say(&format!(
        "  {CONNECTIONS} connections send GET / through three Wasm filters; meanwhile in {}",
        stage.policy.path().display()
    ));
    screen.say(&format!("  | -  response: {{ set: {{ {HEADER}: {OLD_VALUE} }} ... }}"));
    screen.say(&format!("  | +  response: {{ set: {{ {HEADER}: {NEW_VALUE} }} ... }}"));
    let before = digest(&stage.wait_status("no policy in force", |status| digest(status).is_some()).await?);
    let load = Load::start(&traffic(stage, OLD_VALUE, NEW_VALUE));
    tokio::time::sleep(LOAD_AROUND).await;
    let written = Instant::now();
    let (old, new) = (format!("{HEADER}: {OLD_VALUE}"), format!("{HEADER}: {NEW_VALUE}"));
    let found = stage.change(|copy| copy.edit(&old, &new))?;
    screen.expect(found, "the policy has the line to edit");
    let is_swapped = |status: &Value| digest(status).is_some() && digest(status) != before;
    let status =
        if found { stage.wait_status("the edit was not taken", is_swapped).await? } else { Value::Null };
    tokio::time::sleep(LOAD_AROUND).await;
    let tally = load.stop().await;
    tell_swap(screen, &status, &tally, written);
    Ok(())
}

fn tell_swap(screen: &mut Screen, status: &Value, tally: &Tally, written: Instant) {
    tell_load(screen, tally);
    let phases = &status["generation"]["phases"];
    let ms = |phase: &str| phases[phase].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    screen.say(&format!(
        "  /status says: read {}, compile {}, prepare {}, commit on all workers {}",
        ms("parse_ms"),
        ms("compile_ms"),
        ms("prepare_ms"),
        ms("commit_ms")
    ));
    if let (Some(first_new), Some(last_old)) = (tally.first_new, tally.last_old) {
        let after = readable(first_new.saturating_duration_since(written));
        screen.say(&format!(
            "  Seen from outside: the new policy answered {after} after the file was written,"
        ));
        let late = last_old.saturating_duration_since(first_new);
        screen.say(&match late.is_zero() {
            true => "  and every request sent after that answer went to the new one".to_owned(),
            false => {
                format!("  and the last request that the old one took was sent {} later", readable(late))
            }
        });
    }
    screen
        .expect(tally.first_new.is_some() && tally.last_old.is_some(), "both policies answered, each whole");
    screen.expect(tally.failed == 0, "no request failed");
}

async fn broken_edits(stage: &mut Stage, screen: &mut Screen) -> Result<(), StageError> {
    screen.step("Broken edits are refused while traffic goes on");
    let edited = digest(&stage.wait_status("no policy in force", |status| digest(status).is_some()).await?);
    stage.change(|copy| copy.restore())?;
    let is_restored = |status: &Value| digest(status) != edited;
    let before = digest(&stage.wait_status("the edit was not taken back", is_restored).await?);
    let load = Load::start(&traffic(stage, NEW_VALUE, OLD_VALUE));
    for broken in &BROKEN_EDITS {
        break_policy(stage, screen, broken, before.as_deref()).await?;
    }
    tokio::time::sleep(LOAD_AROUND).await;
    let tally = load.stop().await;
    tell_load(screen, &tally);
    screen.expect(tally.failed == 0, "no request failed");
    stage.change(|copy| copy.restore())?;
    stage.wait_status("the mended policy was not taken", |status| status["last_error"].is_null()).await?;
    screen.say("  Mended, the policy is in order again.");
    Ok(())
}

/// Writes a broken policy, waits until the gateway noticed by itself, and asks what is wrong.
async fn break_policy(
    stage: &mut Stage,
    screen: &mut Screen,
    broken: &BrokenEdit,
    before: Option<&str>,
) -> Result<(), StageError> {
    screen.say(&format!("  | -  {}\n  | +  {}", broken.old, broken.new));
    if !stage.change(|copy| copy.edit(broken.old, broken.new))? {
        screen.expect(false, "the policy has the line to break");
        return Ok(());
    }
    let is_noticed = |status: &Value| {
        status["last_error"]["message"].as_str().is_some_and(|message| message.contains(broken.sign))
    };
    let status = stage.wait_status("the broken edit was not noticed", is_noticed).await?;
    screen.expect(
        digest(&status).as_deref() == before,
        "/status shows the error beside the policy that goes on",
    );
    let reply = stage.ask_admin(&Method::POST, "/policy/reload").await?;
    screen.exchange(&Method::POST, "/policy/reload (admin; the log has it too)", &reply, &[]);
    screen.expect(reply.status == StatusCode::UNPROCESSABLE_ENTITY, "422 with the diagnosis");
    screen.expect(reply.text().contains(broken.hint), broken.promise);
    let denied = stage.request(&Method::GET, "/admin").await?;
    screen.expect(denied.status == StatusCode::FORBIDDEN, "the policy in force still denies /admin");
    Ok(())
}

/// What to try by hand.
pub(super) fn what_to_try(stage: &Stage, screen: &Screen) {
    let (gateway, admin) = (stage.address, stage.admin);
    screen.say(&format!("\n{}", screen.styled(Style::Title, "It stays up until ^C. Try:")));
    for (command, what) in [
        (format!("curl -i http://{gateway}/anything"), "what the upstream sees"),
        (format!("curl -i http://{gateway}/card"), "a redacted body"),
        (format!("for i in 1 2 3 4 5; do curl -si http://{gateway}/limited | head -1; done"), "the limit"),
        (format!("$EDITOR {}", stage.policy.path().display()), "the gateway follows when you save"),
        (format!("curl -s http://{admin}/status"), "generation, filters, the last refused policy"),
        (format!("curl -s http://{admin}/metrics"), "for Prometheus"),
        (format!("tail -f {}", stage.access_log().display()), "the access log"),
        (format!("cat {}", stage.log().display()), "the gateway's own log"),
    ] {
        screen.say(&format!("  {command}\n      {}", screen.styled(Style::Faint, what)));
    }
}

async fn shown(
    stage: &Stage,
    screen: &Screen,
    method: &Method,
    path: &str,
    headers: &[&str],
) -> Result<super::client::Reply, StageError> {
    let reply = stage.request(method, path).await?;
    screen.exchange(method, path, &reply, headers);
    Ok(reply)
}

fn traffic(stage: &Stage, old: &str, new: &str) -> Request {
    Request { address: stage.address, path: "/", header: HEADER, old: old.into(), new: new.into() }
}

fn tell_load(screen: &Screen, tally: &Tally) {
    let each_second = tally.sent as f64 / tally.took.as_secs_f64().max(0.001);
    screen.say(&format!(
        "  {} requests in {} ({each_second:.0}/s), {} failed",
        tally.sent,
        readable(tally.took),
        tally.failed
    ));
    if let Some(failure) = &tally.first_failure {
        screen.say(&format!("  the first failure: {failure}"));
    }
}

/// What identifies the policy in force.
fn digest(status: &Value) -> Option<String> {
    status["generation"]["digest"].as_str().map(str::to_owned)
}
