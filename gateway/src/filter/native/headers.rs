//! `headers`: removes, sets and adds header fields, in this order.

use http::HeaderMap;

use crate::policy::filter::HeaderEdit;

/// Carries out the edits of one side.
pub(crate) fn apply(edit: &HeaderEdit, headers: &mut HeaderMap) {
    for name in &edit.remove {
        headers.remove(name);
    }
    for (name, value) in &edit.set {
        headers.insert(name, value.clone());
    }
    for (name, value) in &edit.add {
        headers.append(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn removes_then_sets_then_adds() {
        let name = HeaderName::from_static;
        let value = HeaderValue::from_static;
        let edit = HeaderEdit {
            remove: vec![name("x-gone"), name("x-kept")],
            set: vec![(name("x-kept"), value("1")), (name("x-set"), value("new"))],
            add: vec![(name("x-set"), value("more"))],
        };
        let mut headers = HeaderMap::new();
        for field in ["x-gone", "x-kept", "x-set"] {
            headers.append(field, value("old"));
        }
        apply(&edit, &mut headers);
        assert!(!headers.contains_key("x-gone"));
        assert_eq!(headers["x-kept"], "1");
        let all: Vec<_> = headers.get_all("x-set").iter().collect();
        assert_eq!(all, ["new", "more"]);
    }
}
