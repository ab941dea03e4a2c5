use super::*;
use crate::policy;

const MODULE: &[u8] = b"\0asm\x01\0\0\0";

const OLD: &str = r#"
version: 1
listeners: [{ address: 127.0.0.1:0 }]
upstreams:
  shop: { endpoints: ["127.0.0.1:9000"] }
  gone: { endpoints: ["127.0.0.1:9001"] }
filters:
  slow: { rate_limit: { rate: 5/second, key: client_address } }
  same: { rate_limit: { rate: 7/second, key: route } }
  guard: { wasm: { module: guard.wasm, config: { token: s3cret } } }
  other: { wasm: { module: guard.wasm, vm_id: x } }
routes:
  - { name: api, match: { path: { prefix: /v1 } }, filters: [slow, guard], forward: { upstream: shop } }
  - { name: old, match: { path: { exact: /old } }, forward: { upstream: gone } }
  - { name: rest, filters: [same, other], respond: { status: 200 } }
"#;

fn differ(old: &str, new: &str) -> (String, serde_json::Value) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guard.wasm"), MODULE).unwrap();
    let read = |text: &str| policy::parse(text, Path::new("p.yaml"), folder.path()).unwrap().policy;
    let (old, new) = (read(old), read(new));
    let comparison = Comparison::between(&old, &new, reload::refusal(&old, &new));
    (comparison.to_string(), serde_json::to_value(&comparison).unwrap())
}

#[test]
fn a_policy_does_not_differ_from_itself() {
    let (told, _) = differ(OLD, &format!("# a comment\n{OLD}"));
    assert_eq!(
        told,
        "nothing changes\ngoes on with its state: 2 upstreams, 2 VMs, 2 Wasm filters, 2 rate limits\n"
    );
}

#[test]
fn every_kind_of_change_and_what_follows() {
    let new = OLD
        .replace("5/second", "6/second")
        .replace("s3cret", "other s3cret")
        .replace("vm_id: x", "vm_id: y")
        .replace("  - { name: old, match: { path: { exact: /old } }, forward: { upstream: gone } }\n", "")
        .replace(
            "  gone: { endpoints: [\"127.0.0.1:9001\"] }\n",
            "  new: { endpoints: [\"127.0.0.1:9002\"] }\n",
        )
        .replace("respond: { status: 200 }", "forward: { upstream: new }")
        .replace("listeners:", "limits: { connections: 50 }\nlisteners:");
    let (told, json) = differ(OLD, &new);
    let lines: Vec<&str> = told.lines().map(|line| line.split(", sha256").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "~ connections: 10000 -> 50",
            "+ upstream new",
            "- upstream gone",
            "~ filter slow: every bucket is full again",
            "    rate: 5/second -> 6/second",
            "    burst: 5 -> 6",
            "~ filter guard: starts in a VM that goes on",
            "    config: 18 bytes",
            "~ filter other: starts in a new VM",
            "    vm_id: x -> y",
            "~ route rest: its filter other changes",
            "    forward: nothing -> new",
            "    respond: 200, headers none, body none -> nothing",
            "- route old",
            ". route api: its filter slow changes, its filter guard changes",
            "goes on with its state: 1 upstreams, 1 VMs, 0 Wasm filters, 1 rate limits",
        ],
        "{told}"
    );
    assert!(!told.contains("s3cret"));
    assert_eq!(json["filters"][0]["kind"], "changed");
    assert_eq!(json["refused"], serde_json::Value::Null);
}

#[test]
fn tcp_services_are_told() {
    let tcp = |filters: &str, timeout: &str, endpoint: &str| {
        format!(
            "version: 1\nlisteners: [{{ address: 127.0.0.1:0, tcp: {{ name: db, filters: [{filters}], \
             idle_timeout: {timeout}, forward: {{ upstream: u }} }} }}]\n\
             upstreams: {{ u: {{ endpoints: [\"{endpoint}\"] }} }}\n\
             filters: {{ a: {{ wasm: {{ module: guard.wasm }} }} }}\n"
        )
    };
    let old = tcp("a", "5m", "127.0.0.1:1");
    let lines = |new: &str| {
        let (told, json) = differ(&old, new);
        assert_eq!(json["tcp"][0]["name"], "db", "{told}");
        told.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&tcp("", "none", "127.0.0.1:1"))[..3],
        ["~ TCP service db", "    filters: a -> none", "    idle_timeout: 300s -> none"]
    );
    assert!(
        lines(&tcp("a", "5m", "127.0.0.1:2")).contains(&". TCP service db: its upstream u changes".into())
    );
    let http = "version: 1\nlisteners: [{ address: 127.0.0.1:0 }]\nroutes: [{ respond: { status: 200 } }]\n";
    assert!(lines(http).contains(&"- TCP service db".into()));
}

#[test]
fn what_a_running_gateway_would_refuse_is_told() {
    let (told, _) = differ(OLD, &OLD.replace("127.0.0.1:0", "127.0.0.1:1"));
    assert!(told.starts_with("a running gateway would refuse it: cannot change at run time"), "{told}");
}

#[test]
fn another_order_is_a_change() {
    let swapped =
        OLD.replace("name: api", "name: tmp").replace("name: old", "name: api").replace("tmp", "old");
    let (told, _) = differ(OLD, &swapped);
    assert!(told.contains("routes stand in another order"), "{told}");
}
