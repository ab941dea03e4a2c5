//! What is done to the headers of one side, and how it is carried out.

use crate::template::{Request, Value};

/// One change to a header map. Names are in lower case.
#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    /// Takes every value of the header away.
    Remove(Box<str>),
    /// Replaces every value of the header by one; an empty one takes the header away.
    Set(Box<str>, Value),
    /// Adds one more value, unless it is empty.
    Add(Box<str>, Value),
}

/// The header map that operations change.
pub trait Headers {
    /// Replaces every value of a header by one.
    fn set(&self, name: &str, value: &[u8]);
    /// Adds a value, keeping those that are there.
    fn add(&self, name: &str, value: &[u8]);
    /// Takes every value of a header away.
    fn remove(&self, name: &str);
}

/// The values of one side's templates, put together while the request was at hand.
pub type Rendered = Vec<Vec<u8>>;

impl Operation {
    /// The value, if it has to be put together for each request.
    fn template(&self) -> Option<&Value> {
        match self {
            Self::Set(_, value @ Value::Parts(_)) | Self::Add(_, value @ Value::Parts(_)) => Some(value),
            _ => None,
        }
    }
}

/// Carries the operations out on the request itself.
pub fn apply(operations: &[Operation], request: &impl Request, headers: &impl Headers) {
    let mut scratch = Vec::new();
    for operation in operations {
        match operation {
            Operation::Remove(name) => headers.remove(name),
            Operation::Set(name, Value::Fixed(value)) => set(headers, name, value),
            Operation::Add(name, Value::Fixed(value)) => add(headers, name, value),
            Operation::Set(name, value) => {
                value.render(request, &mut scratch);
                set(headers, name, &scratch);
            }
            Operation::Add(name, value) => {
                value.render(request, &mut scratch);
                add(headers, name, &scratch);
            }
        }
    }
}

/// Puts together, from the request, the values that [`apply_rendered`] will need later.
pub fn render(operations: &[Operation], request: &impl Request) -> Rendered {
    let one = |value: &Value| {
        let mut out = Vec::new();
        value.render(request, &mut out);
        out
    };
    operations.iter().filter_map(Operation::template).map(one).collect()
}

/// Carries the operations out on a response, with the values rendered at request time. Without
/// them (the request never came by here) those values count as empty.
pub fn apply_rendered(operations: &[Operation], rendered: &Rendered, headers: &impl Headers) {
    let mut rendered = rendered.iter().map(Vec::as_slice);
    for operation in operations {
        match operation {
            Operation::Remove(name) => headers.remove(name),
            Operation::Set(name, Value::Fixed(value)) => set(headers, name, value),
            Operation::Add(name, Value::Fixed(value)) => add(headers, name, value),
            Operation::Set(name, Value::Parts(_)) => set(headers, name, rendered.next().unwrap_or_default()),
            Operation::Add(name, Value::Parts(_)) => add(headers, name, rendered.next().unwrap_or_default()),
        }
    }
}

/// An empty value takes the header away rather than leaving what the sender put there.
fn set(headers: &impl Headers, name: &str, value: &[u8]) {
    if value.is_empty() { headers.remove(name) } else { headers.set(name, value) }
}

fn add(headers: &impl Headers, name: &str, value: &[u8]) {
    if !value.is_empty() {
        headers.add(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::cell::RefCell;

    struct Map(RefCell<Vec<(String, Vec<u8>)>>);

    impl Map {
        fn new(pairs: &[(&str, &str)]) -> Self {
            Self(RefCell::new(pairs.iter().map(|(n, v)| ((*n).into(), v.as_bytes().to_vec())).collect()))
        }

        fn lines(&self) -> Vec<String> {
            let line = |(n, v): &(String, Vec<u8>)| format!("{n}: {}", String::from_utf8_lossy(v));
            self.0.borrow().iter().map(line).collect()
        }
    }

    impl Headers for Map {
        fn set(&self, name: &str, value: &[u8]) {
            self.remove(name);
            self.add(name, value);
        }

        fn add(&self, name: &str, value: &[u8]) {
            self.0.borrow_mut().push((name.into(), value.to_vec()));
        }

        fn remove(&self, name: &str) {
            self.0.borrow_mut().retain(|(n, _)| n != name);
        }
    }

    impl Request for Map {
        fn header(&self, name: &str) -> Option<Vec<u8>> {
            self.0.borrow().iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
        }

        fn client(&self) -> Option<Vec<u8>> {
            None
        }
    }

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn remove_set_and_add_happen_in_this_order() {
        let config = config(
            r#"{"request": {"add": {"x-tag": ["b", "c"]}, "set": {"x-tag": "a", "X-Method": "%{method}"},
                            "remove": ["x-debug"]}}"#,
        );
        let map = Map::new(&[(":method", "PUT"), ("x-debug", "1"), ("x-tag", "old"), ("x-debug", "2")]);
        apply(&config.request, &map, &map);
        assert_eq!(map.lines(), [":method: PUT", "x-tag: a", "x-method: PUT", "x-tag: b", "x-tag: c"]);
    }

    #[test]
    fn an_absent_value_does_not_leave_the_senders_own() {
        let config = config(r#"{"request": {"set": {"x-user": "%{header:x-auth}"}}}"#);
        let map = Map::new(&[("x-user", "forged")]);
        apply(&config.request, &map, &map);
        assert_eq!(map.lines(), [""; 0]);
    }

    #[test]
    fn a_response_can_say_what_the_request_was() {
        let config = config(
            r#"{"response": {"set": {"x-path": "%{path}", "x-edge": "a"}, "add": {"via": "1.1 %{host}"}}}"#,
        );
        let request = Map::new(&[(":path", "/p?q"), (":authority", "h")]);
        let response = Map::new(&[("via", "1.1 up")]);
        apply_rendered(&config.response, &render(&config.response, &request), &response);
        assert_eq!(response.lines(), ["via: 1.1 up", "x-path: /p", "x-edge: a", "via: 1.1 h"]);
    }

    #[test]
    fn a_response_without_its_request_gets_the_fixed_values_alone() {
        let config = config(r#"{"response": {"set": {"x-path": "%{path}", "x-edge": "a"}}}"#);
        let response = Map::new(&[("x-path", "from upstream")]);
        apply_rendered(&config.response, &Vec::new(), &response);
        assert_eq!(response.lines(), ["x-edge: a"]);
    }
}
