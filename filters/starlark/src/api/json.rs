//! `json.encode(value)`, `json.decode(text, default = …)`.

use anyhow::anyhow;
use serde_json::Value as Json;
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::{Heap, Value};

use super::need_octets;

#[starlark_module]
pub(super) fn json(builder: &mut GlobalsBuilder) {
    fn encode<'v>(#[starlark(require = pos)] value: Value<'v>) -> anyhow::Result<String> {
        value.to_json()
    }

    /// The value of a text; `default` if it is no JSON, an error if there is no default.
    fn decode<'v>(
        #[starlark(require = pos)] text: Value<'v>,
        #[starlark(require = named)] default: Option<Value<'v>>,
        heap: Heap<'v>,
    ) -> anyhow::Result<Value<'v>> {
        value(need_octets(text)?, default, heap)
    }
}

/// The value of a text, or `default`.
pub(super) fn value<'v>(
    bytes: &[u8],
    default: Option<Value<'v>>,
    heap: Heap<'v>,
) -> anyhow::Result<Value<'v>> {
    let parsed: Result<Json, String> = serde_json::from_slice(bytes).map_err(|error| error.to_string());
    let parsed = parsed.and_then(|json| match is_representable(&json) {
        true => Ok(json),
        false => Err("a number is beyond what a float can be".to_owned()),
    });
    match (parsed, default) {
        (Ok(json), _) => Ok(heap.alloc(json)),
        (Err(_), Some(default)) => Ok(default),
        (Err(error), None) => Err(anyhow!("not JSON: {error}")),
    }
}

/// Whether the interpreter has a value for each number: it panics on those beyond a float that are no integer.
fn is_representable(json: &Json) -> bool {
    match json {
        Json::Number(number) => {
            number.as_f64().is_some_and(f64::is_finite)
                || number
                    .to_string()
                    .bytes()
                    .enumerate()
                    .all(|(at, byte)| byte.is_ascii_digit() || at == 0 && byte == b'-')
        }
        Json::Array(items) => items.iter().all(is_representable),
        Json::Object(members) => members.values().all(is_representable),
        Json::Null | Json::Bool(_) | Json::String(_) => true,
    }
}
