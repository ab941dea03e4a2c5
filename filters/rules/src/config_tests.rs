use super::*;

fn refusal(json: &str) -> String {
    Config::parse(json.as_bytes()).unwrap_err().to_string()
}

/// The refusal of a configuration whose second rule has these keys beside its action.
fn rule_refusal(keys: &str) -> String {
    refusal(&format!(
        r#"{{"default": "allow", "rules": [{{"action": "allow"}}, {{"action": "deny", {keys}}}]}}"#
    ))
}

#[test]
fn the_default_must_be_said() {
    assert!(refusal("{}").contains("missing field `default`"));
    assert!(refusal("").contains("EOF"));
    assert!(Config::parse(br#"{"default": "deny"}"#).unwrap().rules.is_empty());
}

#[test]
fn unknown_keys_name_themselves() {
    assert!(refusal(r#"{"default": "allow", "rule": []}"#).contains("unknown field `rule`"));
    assert!(rule_refusal(r#""path": "/x""#).contains("unknown field `path`"));
    assert!(rule_refusal(r#""paths": [{"regex": "/x"}]"#).contains("unknown field `regex`"));
    assert!(rule_refusal(r#""headers": [{"name": "x", "equals": "1"}]"#).contains("unknown field `equals`"));
    assert!(refusal(r#"{"default": "block"}"#).contains("unknown variant `block`"));
}

#[test]
fn mistakes_name_their_rule() {
    for (keys, part) in [
        (r#""paths": [{"exact": "x"}]"#, "does not start with `/`"),
        (r#""paths": [{}]"#, "exactly one of `exact`"),
        (r#""paths": [{"exact": "/x", "prefix": "/x"}]"#, "exactly one of `exact`"),
        (r#""methods": ["GE T"]"#, "not a method"),
        (r#""headers": [{"name": "a b", "present": true}]"#, "not a header name"),
        (r#""headers": [{"name": "x"}]"#, "exactly one of `present`"),
        (r#""headers": [{"name": "x", "contains": ""}]"#, "exactly one of `present`"),
        (r#""headers": [{"name": "x", "exact": "1", "prefix": "2"}]"#, "exactly one of `present`"),
        (r#""clients": ["10.0.0.0/33"]"#, "not an address or a network"),
        (r#""clients": ["10.1.0.0/8"]"#, "did you mean 10.0.0.0/8?"),
        (r#""denied": {"status": 200}"#, "not between 400 and 599"),
        (r#""denied": {"content_type": "a\r\nb"}"#, "not a media type"),
    ] {
        let refusal = rule_refusal(keys);
        assert!(refusal.starts_with("rule 2: ") && refusal.contains(part), "{keys}: {refusal}");
    }
}

#[test]
fn an_answer_belongs_to_a_rule_that_denies() {
    let json = r#"{"default": "deny", "rules": [{"action": "allow", "denied": {"status": 404}}]}"#;
    assert_eq!(refusal(json), "rule 1: `denied` has no meaning in a rule that allows");
}

#[test]
fn everything_is_bounded() {
    let rules = vec![r#"{"action": "deny"}"#; MAX_RULES + 1].join(",");
    assert!(refusal(&format!(r#"{{"default": "allow", "rules": [{rules}]}}"#)).contains("at most 1000"));
    let methods = vec!["\"GET\""; MAX_CONDITIONS + 1].join(",");
    assert!(rule_refusal(&format!(r#""methods": [{methods}]"#)).contains("`methods` has 257 entries"));
    let body = "x".repeat(MAX_BODY + 1);
    assert!(rule_refusal(&format!(r#""denied": {{"body": "{body}"}}"#)).contains("at most 16384"));
    let glob = "x".repeat(200);
    assert!(rule_refusal(&format!(r#""paths": [{{"glob": "{glob}"}}]"#)).contains("at most 127"));
}
