//! `base64.encode(data)`, `base64.decode(text)` (bytes, or None); `url.escape(text)`, `url.unescape(text)`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::{Heap, Value};
use tollgate_guest::query;

use super::{need_octets, readable};

/// All but the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[starlark_module]
pub(super) fn base64(builder: &mut GlobalsBuilder) {
    fn encode<'v>(#[starlark(require = pos)] data: Value<'v>) -> anyhow::Result<String> {
        Ok(STANDARD.encode(need_octets(data)?))
    }

    fn decode<'v>(#[starlark(require = pos)] text: &str, heap: Heap<'v>) -> anyhow::Result<Value<'v>> {
        Ok(STANDARD.decode(text).map_or_else(|_| Value::new_none(), |bytes| heap.alloc(bytes)))
    }
}

#[starlark_module]
pub(super) fn url(builder: &mut GlobalsBuilder) {
    fn escape(#[starlark(require = pos)] text: &str) -> anyhow::Result<String> {
        Ok(utf8_percent_encode(text, ESCAPED).to_string())
    }

    fn unescape<'v>(#[starlark(require = pos)] text: &str, heap: Heap<'v>) -> anyhow::Result<Value<'v>> {
        Ok(readable(heap, &query::decode(text.as_bytes())))
    }
}
