use super::*;
use std::cell::Cell;

#[derive(Default)]
struct Sample {
    method: Option<&'static str>,
    target: Option<&'static str>,
    headers: Vec<(&'static str, &'static [u8])>,
    client: Option<&'static str>,
    questions: Cell<u32>,
}

impl Request for Sample {
    fn method(&self) -> Option<Vec<u8>> {
        self.questions.set(self.questions.get() + 1);
        self.method.map(Into::into)
    }

    fn target(&self) -> Option<Vec<u8>> {
        self.questions.set(self.questions.get() + 1);
        self.target.map(Into::into)
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.questions.set(self.questions.get() + 1);
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_vec())
    }

    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.questions.set(self.questions.get() + 1);
        self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
    }

    fn client(&self) -> Option<Vec<u8>> {
        self.questions.set(self.questions.get() + 1);
        self.client.map(Into::into)
    }
}

fn get(target: &'static str) -> Sample {
    Sample { method: Some("GET"), target: Some(target), client: Some("192.0.2.7:4711"), ..Sample::default() }
}

fn config(json: &str) -> Config {
    Config::parse(json.as_bytes()).unwrap()
}

/// The name of the rule that denied, or "pass".
fn verdict(config: &Config, request: &Sample) -> String {
    match config.decide(request) {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Deny { by, .. } => by.to_owned(),
    }
}

#[test]
fn the_first_match_decides_and_then_the_default() {
    let config = config(
        r#"{"default": "deny", "rules": [
            {"name": "open", "action": "allow", "paths": [{"exact": "/admin/health"}]},
            {"name": "admin", "action": "deny", "paths": [{"prefix": "/admin"}]},
            {"name": "read", "action": "allow", "methods": ["GET", "HEAD"]}]}"#,
    );
    assert_eq!(verdict(&config, &get("/admin/health?x")), "pass");
    assert_eq!(verdict(&config, &get("/admin/users")), "admin");
    assert_eq!(verdict(&config, &get("/shop")), "pass");
    assert_eq!(verdict(&config, &Sample { method: Some("POST"), ..get("/shop") }), "default");
}

#[test]
fn spelling_a_path_differently_does_not_help() {
    let config = config(
        r#"{"default": "allow", "rules": [{"name": "admin", "action": "deny", "paths": [{"prefix": "/admin"}]}]}"#,
    );
    for target in ["/%61dmin/", "//admin", "/x/../admin/y", "/./admin?z"] {
        assert_eq!(verdict(&config, &get(target)), "admin", "{target}");
    }
    assert_eq!(verdict(&config, &get("/x%2F..%2Fadmin")), "ambiguous path");
}

#[test]
fn ambiguous_paths_can_be_matched_instead() {
    let config = config(
        r#"{"default": "allow", "ambiguous_paths": "match",
            "rules": [{"name": "admin", "action": "deny", "paths": [{"prefix": "/admin"}]}]}"#,
    );
    assert_eq!(verdict(&config, &get("/x%2F..%2Fadmin")), "admin");
    assert_eq!(verdict(&config, &get("/groups/a%2Fb")), "pass");
}

#[test]
fn clients_are_matched_by_network() {
    let config = config(
        r#"{"default": "deny", "rules": [{"action": "allow", "clients": ["192.0.2.0/24", "2001:db8::/32", "203.0.113.9"]}]}"#,
    );
    let from = |client| verdict(&config, &Sample { client: Some(client), ..get("/") });
    for inside in ["192.0.2.7:1", "[2001:db8::5]:1", "203.0.113.9:80", "[::ffff:192.0.2.1]:9", "192.0.2.200"]
    {
        assert_eq!(from(inside), "pass", "{inside}");
    }
    for outside in ["192.0.3.7:1", "[2001:db9::5]:1", "203.0.113.8:80", "rubbish", ""] {
        assert_eq!(from(outside), "default", "{outside}");
    }
}

#[test]
fn an_unknown_client_is_denied_by_a_rule_that_denies() {
    let config = config(
        r#"{"default": "allow", "rules": [{"name": "bad net", "action": "deny", "clients": ["198.51.100.0/24"]}]}"#,
    );
    assert_eq!(verdict(&config, &Sample { client: None, ..get("/") }), "bad net");
    assert_eq!(verdict(&config, &get("/")), "pass");
}

#[test]
fn header_conditions_must_all_hold() {
    let config = config(
        r#"{"default": "deny", "rules": [{"action": "allow", "headers": [
            {"name": "Authorization", "prefix": "Bearer "}, {"name": "x-env", "exact": "prod"},
            {"name": "x-debug", "present": false}, {"name": "accept", "present": true},
            {"name": "user-agent", "contains": "Edge"}, {"name": "host-id", "suffix": "-12"}]}]}"#,
    );
    let good: Vec<(&str, &[u8])> = vec![
        ("authorization", b"Bearer x"),
        ("x-env", b"prod"),
        ("accept", b""),
        ("user-agent", b"\xff Edge/1"),
        ("host-id", b"shop-12"),
    ];
    assert_eq!(verdict(&config, &Sample { headers: good.clone(), ..get("/") }), "pass");
    for left_out in 0..good.len() {
        let mut headers = good.clone();
        headers.remove(left_out);
        assert_eq!(verdict(&config, &Sample { headers, ..get("/") }), "default", "without {left_out}");
    }
    let debug = [good, vec![("x-debug", b"1")]].concat();
    assert_eq!(verdict(&config, &Sample { headers: debug, ..get("/") }), "default");
}

#[test]
fn repeating_a_header_does_not_help() {
    let twice = || Sample { headers: vec![("x-role", b"user"), ("x-role", b"admin")], ..get("/") };
    let allow = config(
        r#"{"default": "deny", "rules": [{"action": "allow", "headers": [{"name": "x-role", "exact": "admin"}]}]}"#,
    );
    assert_eq!(verdict(&allow, &twice()), "default");
    let deny = config(
        r#"{"default": "allow", "rules": [{"name": "no", "action": "deny", "headers": [{"name": "x-role", "exact": "admin"}]}]}"#,
    );
    assert_eq!(verdict(&deny, &twice()), "no");
}

#[test]
fn nothing_is_asked_twice_or_in_vain() {
    let config = config(
        r#"{"default": "allow", "ambiguous_paths": "match", "rules": [
            {"action": "deny", "methods": ["TRACE"]}, {"action": "deny", "methods": ["CONNECT"]}]}"#,
    );
    let request = get("/");
    assert_eq!(verdict(&config, &request), "pass");
    assert_eq!(request.questions.get(), 1);
}

#[test]
fn a_rule_can_answer_in_its_own_way() {
    let config = config(
        r#"{"default": "deny", "denied": {"status": 404, "body": "no such page\n"}, "rules": [
            {"action": "deny", "paths": [{"glob": "/**.php"}], "denied": {"status": 410, "content_type": "text/html"}},
            {"action": "deny", "paths": [{"exact": "/x"}]}]}"#,
    );
    let answer = |target| match config.decide(&get(target)) {
        Verdict::Deny { denial, .. } => {
            (denial.status, denial.body.to_string(), denial.content_type.to_string())
        }
        Verdict::Pass => panic!("{target} passed"),
    };
    let text = "text/plain; charset=utf-8".to_owned();
    assert_eq!(answer("/a.php"), (410, "no such page\n".into(), "text/html".into()));
    assert_eq!(answer("/x"), (404, "no such page\n".into(), text.clone()));
    assert_eq!(answer("/y"), (404, "no such page\n".into(), text.clone()));
    assert_eq!(answer("/%2f"), (400, "ambiguous path\n".into(), text));
}
