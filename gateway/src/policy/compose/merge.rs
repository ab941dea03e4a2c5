//! Settings over settings.

use serde_yaml::Value;

/// Settings of which one form excludes the others: they are replaced as a whole.
const FORMS: [&str; 7] = ["module", "key", "body", "request_body", "response_body", "host", "path"];
/// Settings that are a filter's own affair, in which no name means anything to the gateway.
const FREE: [&str; 3] = ["config", "vm_config", "environment"];

/// Puts `over` over `base`: mappings are merged key by key, `null` takes a key away, all else takes the
/// place of what was there.
pub(super) fn merge(base: &mut Value, over: &Value) {
    merge_in(base, over, false);
}

fn merge_in(base: &mut Value, over: &Value, is_free: bool) {
    let (Value::Mapping(all), Value::Mapping(over)) = (&mut *base, over) else {
        *base = over.clone();
        return;
    };
    for (key, value) in over {
        let name = key.as_str().unwrap_or_default();
        let is_form = !is_free && FORMS.contains(&name);
        match all.get_mut(key) {
            _ if value.is_null() => {
                all.remove(key);
            }
            Some(old) if !is_form => merge_in(old, value, is_free || FREE.contains(&name)),
            _ => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Bounds what merging copies.
pub(super) struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { left: 64 << 20 }
    }
}

impl Budget {
    /// Takes what a copy of `value` holds, in bytes; whether there was enough.
    pub(super) fn spend(&mut self, value: &Value) -> bool {
        let weight = weight(value);
        let is_enough = weight <= self.left;
        self.left = self.left.saturating_sub(weight);
        is_enough
    }
}

/// The scan bounds depth and size.
fn weight(value: &Value) -> usize {
    const NODE: usize = 64;
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Sequence(values) => values.iter().map(weight).sum(),
        Value::Mapping(mapping) => mapping.iter().map(|(key, value)| weight(key) + weight(value)).sum(),
        Value::Tagged(tagged) => weight(&tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(base: &str, over: &str) -> String {
        let mut base: Value = serde_yaml::from_str(base).unwrap();
        merge(&mut base, &serde_yaml::from_str(over).unwrap());
        serde_json::to_string(&base).unwrap()
    }

    #[test]
    fn mappings_merge_and_all_else_is_replaced() {
        assert_eq!(
            merged("{a: {b: 1, c: 2}, d: [1]}", "{a: {c: 3}, d: [2]}"),
            r#"{"a":{"b":1,"c":3},"d":[2]}"#
        );
        assert_eq!(merged("{a: 1, b: {c: 2}}", "{a: null, b: {c: null}}"), r#"{"b":{}}"#);
        assert_eq!(merged("{}", "{a: null, b: 1}"), r#"{"b":1}"#);
    }

    #[test]
    fn of_forms_that_exclude_each_other_the_later_stays() {
        assert_eq!(merged("{key: {header: a}}", "{key: {fixed: b}}"), r#"{"key":{"fixed":"b"}}"#);
        let config = merged("{config: {key: {header: a}}}", "{config: {key: {fixed: b}}}");
        assert_eq!(config, r#"{"config":{"key":{"header":"a","fixed":"b"}}}"#);
    }

    #[test]
    fn the_budget_ends() {
        let mut budget = Budget { left: 200 };
        let value = Value::String("x".repeat(100));
        assert!(budget.spend(&value) && !budget.spend(&value));
    }
}
