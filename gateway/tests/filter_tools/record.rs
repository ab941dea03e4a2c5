//! `tollgate filter record` on a gateway that serves, and `tollgate filter replay` of what it wrote.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::guest::shipped;
use crate::support::{Gateway, Origin, get, post, upstream, wait_for};
use crate::{Ran, probe, tool};

const RULES: &str = "{ default: allow, rules: [{ action: deny, paths: [{ prefix: /admin }] }] }";
const SECRET: &str = "Bearer 7d1f-very-secret";

/// A gateway with one filter before an origin that answers with the request's body.
fn gateway(module: &Path, config: &str) -> (Gateway, Origin) {
    let origin = Origin::echo();
    let policy = format!(
        "{}filters: {{ guard: {{ wasm: {{ module: '{}', config: {config} }} }}, few: {{ rate_limit: {{ rate: 1000/second, key: route }} }} }}\n\
         routes: [{{ name: all, filters: [few, guard], forward: {{ upstream: u }} }}]\n",
        upstream(&origin),
        module.display()
    );
    (Gateway::start(&policy), origin)
}

/// A recording under way.
struct Recording {
    child: Child,
    folder: TempDir,
}

impl Recording {
    /// Begins one, and waits until the gateway has said so.
    fn start(gateway: &Gateway, more: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["filter", "record", "guard", "--admin", &gateway.admin().to_string(), "-o"])
            .arg(folder.path().join("guard.jsonl"))
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let recording = Self { child, folder };
        wait_for("the first line", || {
            std::fs::read_to_string(recording.path()).ok().filter(|text| text.ends_with('\n'))
        });
        recording
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("guard.jsonl")
    }

    /// Waits for its end, and gives its lines.
    fn lines(mut self) -> (Vec<Value>, TempDir) {
        assert!(self.child.wait().unwrap().success());
        let text = std::fs::read_to_string(self.path()).unwrap();
        (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), self.folder)
    }
}

fn replay(module: &Path, folder: &TempDir, more: &[&str]) -> Ran {
    let path = folder.path().join("guard.jsonl");
    let mut args = vec!["replay", module.to_str().unwrap(), path.to_str().unwrap()];
    args.extend(more);
    tool(args)
}

fn header<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    let fields = message["headers"].as_array().unwrap().iter();
    fields.filter(|field| field[0] == name).find_map(|field| field[1].as_str())
}

#[test]
fn what_was_recorded_is_replayed_and_a_change_is_told() {
    let rules = shipped("rules");
    let (gateway, _origin) = gateway(&rules, RULES);
    let recording = Recording::start(&gateway, &["--count", "3"]);
    let fields = [("authorization", SECRET), ("x-who", "ada"), ("x-copy", "7d1f-very-secret")];
    assert_eq!(gateway.ask(get("/shop?item=7&access_token=0123456789", &fields)).status(), 200);
    assert_eq!(gateway.ask(get("/admin/x", &[])).status(), 403);
    assert_eq!(gateway.ask(post("/cart", &[], b"one egg")).status(), 200);
    let (lines, folder) = recording.lines();

    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!((&lines[0]["filter"], &lines[0]["generation"]), (&"guard".into(), &1.into()));
    assert_eq!(lines[4]["end"], serde_json::json!({ "exchanges": 3, "lost": 0, "ended_by": "count" }));
    let text = std::fs::read_to_string(folder.path().join("guard.jsonl")).unwrap();
    for secret in ["very-secret", "0123456789", "one egg"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    let find = |path: &str| {
        let of =
            |line: &&Value| line["exchange"]["request"]["path"].as_str().is_some_and(|p| p.starts_with(path));
        lines.iter().find(of).unwrap_or_else(|| panic!("no {path} in {lines:?}"))["exchange"].clone()
    };
    let shop = find("/shop");
    assert_eq!(shop["verdict"], "passed");
    assert_eq!(header(&shop["request"], "x-who"), Some("ada"));
    assert_eq!(header(&shop["request"], "authorization"), Some("<redacted>"));
    assert_eq!(header(&shop["request"], "x-copy"), Some("<redacted>"));
    assert_eq!(shop["redacted"], serde_json::json!(["access_token", "authorization"]));
    assert_eq!(shop["response"]["status"], 200);
    assert_eq!(find("/admin")["verdict"]["replied"]["status"], 403);
    assert!(find("/admin").get("response").is_none());

    let same = replay(&rules, &folder, &["--config", RULES]).expect(0);
    assert!(same.out.contains("3 replayed, 0 differ\n  2 of them without what was redacted"), "{}", same.out);
    let policy = gateway.policy_path();
    replay(&rules, &folder, &["--policy", policy.to_str().unwrap()]).expect(0);
    let other = replay(&rules, &folder, &["--config", "{ default: deny }"]).expect(1);
    assert!(other.out.contains("3 replayed, 2 differ"), "{}", other.out);
    assert!(other.out.contains("recorded: passed\n          now:      answered 403"), "{}", other.out);
    let json = replay(&rules, &folder, &["--config", "{ default: deny }", "--json"]).expect(1);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["differing"], &json["recording"]["is_whole"]), (&2.into(), &true.into()));
    assert_eq!(json["exchanges"][0]["differences"][0]["what"], "verdict");
}

#[test]
fn edits_of_heads_and_bodies_are_recorded_and_compared() {
    let redact = shipped("redact");
    let config = "{ patterns: [{ class: email }] }";
    let (gateway, _origin) = gateway(&redact, config);
    let recording = Recording::start(&gateway, &["--count", "1", "--bodies", "1000"]);
    let answer = gateway.ask(post("/", &[], b"write to ada@example.com now"));
    assert!(!answer.text().contains("ada@"), "{}", answer.text());
    let (lines, folder) = recording.lines();
    let exchange = &lines[1]["exchange"];
    let (before, after) = (&exchange["response"]["body"]["text"], &exchange["response_out"]["body"]["text"]);
    assert!(before.as_str().is_some() || after.as_str().is_some(), "{exchange}");
    assert_eq!(after.as_str().unwrap(), answer.text());
    replay(&redact, &folder, &["--config", config]).expect(0);
    let other = replay(&redact, &folder, &["--config", "{ patterns: [{ class: card_number }] }"]).expect(1);
    assert!(other.out.contains("response body\n"), "{}", other.out);

    let headers = shipped("headers");
    let config = "{ request: { set: { x-edge: one } } }";
    let (gateway, _origin) = self::gateway(&headers, config);
    let recording = Recording::start(&gateway, &["--count", "1"]);
    gateway.get("/");
    let (lines, folder) = recording.lines();
    let exchange = &lines[1]["exchange"];
    assert_eq!(header(&exchange["request"], "x-edge"), None);
    assert_eq!(header(&exchange["request_out"], "x-edge"), Some("one"));
    replay(&headers, &folder, &["--config", config]).expect(0);
    let other = replay(&headers, &folder, &["--config", "{ request: { set: { x-edge: two } } }"]).expect(1);
    let wanted = "request header x-edge\n          recorded: \"one\"\n          now:      \"two\"";
    assert!(other.out.contains(wanted), "{}", other.out);
}

#[test]
fn failures_and_closes_are_verdicts() {
    let (gateway, _origin) = gateway(&probe(), "x");
    let recording = Recording::start(&gateway, &["--count", "3"]);
    assert_eq!(gateway.ask(get("/1", &[("x-do", "trap")])).status(), 503);
    let mut client = gateway.client();
    client.send(get("/2", &[("x-do", "close")]));
    client.assert_closed();
    assert_eq!(gateway.get("/3").status(), 200);
    let (lines, folder) = recording.lines();
    let verdicts: Vec<_> = lines[1..4].iter().map(|line| line["exchange"]["verdict"].to_string()).collect();
    assert!(verdicts.iter().any(|verdict| verdict.contains("failed") && verdict.contains("unreachable")));
    assert!(verdicts.iter().any(|verdict| verdict == "\"closed\""), "{verdicts:?}");
    replay(&probe(), &folder, &[]).expect(0);
}

#[test]
fn there_is_one_recording_at_a_time_and_leaving_ends_it() {
    let (gateway, _origin) = gateway(&shipped("rules"), RULES);
    let admin = gateway.admin().to_string();
    let mut first = Recording::start(&gateway, &["--seconds", "600"]);
    let record = |filter: &str| tool(["record", filter, "--admin", &admin, "--seconds", "1"]);
    assert!(record("guard").expect(2).err.contains("another recording is under way"));
    assert!(record("few").expect(2).err.contains("there are: guard"));
    assert!(record("gurad").expect(2).err.contains("no Wasm filter of this name"));
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    // The gateway notices that its client is gone, and the next one ends by its time.
    let ran =
        wait_for("room for another recording", || Some(record("guard")).filter(|ran| ran.code == Some(0)));
    let end: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    assert_eq!(end["end"], serde_json::json!({ "exchanges": 0, "lost": 0, "ended_by": "time" }));
    assert!(!gateway.get("/admin").text().is_empty());
}

#[test]
fn what_cannot_be_recorded_or_replayed_is_said() {
    let (address, _held) = crate::support::refusing_address();
    let ran = tool(["record", "guard", "--admin", &address.to_string()]).expect(2);
    assert!(ran.err.contains("no gateway's admin API at"), "{}", ran.err);
    let rules = shipped("rules");
    let folder = TempDir::new().unwrap();
    let head = "{\"tollgate_recording\":1,\"filter\":\"f\",\"generation\":1,\"body_bytes\":0}\n";
    let table = [
        ("", "it is empty"),
        ("{}\n", "line 1: missing field"),
        (&*head.replace(":1,\"f", ":9,\"f"), "it has version 9 of the format"),
        (head, "nothing was recorded"),
        (&*format!("{head}nonsense\n"), "line 2: expected"),
        (
            &*format!(
                "{head}{{\"exchange\":{{\"at\":\"\",\"client\":\"127.0.0.1:1\",\"verdict\":\"passed\",\
                 \"request\":{{\"method\":\"GET\",\"path\":\"/\",\"headers\":[[\"a b\",\"c\"]]}}}}}}\n"
            ),
            "line 2: not a header name",
        ),
    ];
    for (text, wanted) in table {
        std::fs::write(folder.path().join("guard.jsonl"), text).unwrap();
        let ran = replay(&rules, &folder, &[]).expect(2);
        assert!(ran.err.contains(wanted), "no {wanted:?} in\n{}", ran.err);
    }
    for tool_name in ["record", "replay"] {
        assert!(tool([tool_name, "--help"]).expect(0).out.contains("Examples:"));
    }
}
