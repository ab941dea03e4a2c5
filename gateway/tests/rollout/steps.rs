//! How a rollout goes on, and how it ends well or by hand.

use serde_json::Value;

use crate::support::{Gateway, wait_for};
use crate::{HALF, all, answering, command, ended, events, old, report, rollout, try_out};

const QUICK: &str = "minimum_requests: 20, steps: [{ share: 20%, time: 1ms }, { share: 60%, time: 1ms }, { share: 100%, time: 1ms }]";

/// Whether the policy on trial was promoted, after some more requests.
fn is_promoted(gateway: &Gateway) -> Option<()> {
    all(gateway, 100);
    report(gateway)["running"].is_null().then_some(())
}

#[test]
fn steps_follow_each_other_and_the_last_puts_it_in_force() {
    let gateway = old();
    try_out(&gateway, &(answering("new") + &rollout(QUICK)));
    wait_for("the promotion", || is_promoted(&gateway));
    assert_eq!(events(&gateway), ["begun", "stepped", "stepped", "promoted"]);
    let shares: Vec<f64> = report(&gateway)["events"].as_array().unwrap()[..3]
        .iter()
        .map(|note| note["share_percent"].as_f64().unwrap())
        .collect();
    assert_eq!(shares, [20.0, 60.0, 100.0]);
    assert!(all(&gateway, 50).iter().all(|answer| answer == "new"));
    let status = gateway.status();
    assert_eq!(status["generation"]["number"], 2);
    assert!(status["rollout"].is_null());
    for (event, count) in [("begun", 1.0), ("stepped", 2.0), ("promoted", 1.0), ("taken_back", 0.0)] {
        let series = format!(r#"tollgate_rollout_events_total{{event="{event}"}}"#);
        assert_eq!(gateway.metric(&series), Some(count), "{event}");
    }
    assert_eq!(gateway.metric(r#"tollgate_policy_swaps_total{outcome="applied"}"#), Some(2.0));
    assert_eq!(gateway.metric("tollgate_generation"), Some(2.0));
    assert_eq!(gateway.metric("tollgate_rollout_share"), Some(0.0));
    wait_for("the old one to retire", || (gateway.status()["generations_retiring"] == 0).then_some(()));
}

/// The share of a step contains that of the step before: nobody changes back.
#[test]
fn who_has_the_new_policy_keeps_it() {
    let gateway = old();
    let steps = "minimum_requests: 1, steps: [{ share: 30%, time: 1ms }, { share: 60%, time: 1h }]";
    gateway.write_policy(&(answering("new") + &rollout(steps)));
    wait_for("the first step", || (!report(&gateway)["running"].is_null()).then_some(()));
    let mut before = all(&gateway, 100);
    wait_for("the second step", || {
        let now = all(&gateway, 100);
        let has_changed_back = before.iter().zip(&now).any(|(before, now)| before == "new" && now == "old");
        assert!(!has_changed_back);
        before = now;
        (report(&gateway)["running"]["step"] == 2).then_some(())
    });
}

#[test]
fn a_step_waits_for_its_requests() {
    let gateway = old();
    let steps = "minimum_requests: 1000000, steps: [{ share: 50%, time: 1ms }]";
    try_out(&gateway, &(answering("new") + &rollout(steps)));
    let new = all(&gateway, 200).iter().filter(|answer| *answer == "new").count() as f64;
    // They are counted when the trial is looked at, which is when it would go on.
    gateway.wait_for_metric(r#"tollgate_rollout_requests_total{side="candidate"}"#, new);
    gateway.wait_for_metric(r#"tollgate_rollout_requests_total{side="base"}"#, 200.0 - new);
    let counted = |running: &Value| running["candidate_served"]["requests"].as_f64() == Some(new);
    let running = wait_for("the figures", || Some(report(&gateway)["running"].clone()).filter(counted));
    assert_eq!(running["step"], 1);
    let shown = command(&gateway, "status");
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success(), "{text}");
    assert!(text.starts_with("generation 2 serves 50.0% beside generation 1: step 1 of 1"), "{text}");
}

#[test]
fn promote_puts_it_in_force_at_once() {
    let gateway = old();
    try_out(&gateway, &(answering("new") + &rollout(HALF)));
    let told = command(&gateway, "promote");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(all(&gateway, 50).iter().all(|answer| answer == "new"));
    assert_eq!(ended(&gateway)["event"], "promoted");
    assert_eq!(gateway.status()["generation"]["number"], 2);
    let again = command(&gateway, "promote");
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("no rollout is under way"));
}

#[test]
fn abort_takes_it_back_until_it_is_asked_for_again() {
    let gateway = old();
    let policy = answering("new") + &rollout(HALF);
    try_out(&gateway, &policy);
    assert!(command(&gateway, "abort").status.success());
    assert!(all(&gateway, 50).iter().all(|answer| answer == "old"));
    assert_eq!(ended(&gateway)["event"], "aborted");
    assert_eq!(gateway.status()["generation"]["number"], 1);
    // The file is written once more: the watch sees it, and leaves it.
    let unchanged = r#"tollgate_policy_swaps_total{outcome="unchanged"}"#;
    let before = gateway.metric(unchanged).unwrap();
    gateway.write_policy(&policy);
    wait_for("the watch", || (gateway.metric(unchanged).unwrap() > before).then_some(()));
    assert!(report(&gateway)["running"].is_null());
    // A reload that is asked for tries it again.
    let running = try_out(&gateway, &policy);
    assert_eq!(running["generation"], 3);
}

/// What is in the middle of an answer under a policy that is taken back has it to the end.
#[test]
fn a_request_of_a_policy_that_is_taken_back_ends_in_peace() {
    use crate::support::{Gate, Next, Origin, get, upstream};
    let (reached, gate) = (Gate::new(), Gate::new());
    let (arrived, opens) = (reached.clone(), gate.clone());
    let origin = Origin::start(move |exchange| {
        exchange.wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")?;
        arrived.open();
        opens.pass();
        exchange.wire.send(b"lf")?;
        Ok(Next::Keep)
    });
    let gateway = old();
    let everybody = "key: { header: x-user }, steps: [{ share: 99.99%, time: 1h }]";
    let policy = format!("{}routes: [{{ forward: {{ upstream: u }} }}]\n", upstream(&origin));
    try_out(&gateway, &format!("{policy}rollout: {{ {everybody} }}\n"));
    let mut client = gateway.client();
    client.send(get("/", &[("x-user", "1")]));
    reached.pass();
    assert!(command(&gateway, "abort").status.success());
    assert_eq!(gateway.get("/").text(), "old");
    assert_eq!(gateway.status()["generations_retiring"], 1);
    gate.open();
    assert_eq!(client.response().text(), "half");
    wait_for("it to retire", || (gateway.status()["generations_retiring"] == 0).then_some(()));
}
