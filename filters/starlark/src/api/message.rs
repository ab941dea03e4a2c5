//! `req`, `resp` and `body`, the arguments of handlers, and what goes with an exchange: `metadata`, `property`,
//! `reroute`. Fields are asked for when they are read.
//!
//! A handler's values end with it, so that none of these outlives its exchange.

use allocative::Allocative;
use anyhow::anyhow;
use derive_more::Display;
use starlark::environment::{GlobalsBuilder, Methods, MethodsBuilder};
use starlark::values::none::NoneType;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, ValueError,
    starlark_value,
};
use starlark::{starlark_module, starlark_simple_value};
use tollgate_guest::abi::{self, Buffer, Map, Status};
use tollgate_guest::query;

use super::headers::Headers;
use super::{json, need_exchange, readable};

/// What a request has.
const REQUEST: [&str; 12] = [
    "method",
    "path",
    "query",
    "uri",
    "host",
    "scheme",
    "id",
    "protocol",
    "route",
    "client_ip",
    "params",
    "headers",
];
/// What a response has.
const RESPONSE: [&str; 3] = ["status", "headers", "request"];

/// `req`.
#[derive(Debug, Display, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
#[display("request")]
pub(super) struct Request;

/// `resp`.
#[derive(Debug, Display, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
#[display("response")]
pub(super) struct Response;

/// `body`: the whole of one side's, or an answer's.
#[derive(Debug, Display, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
#[display("body")]
pub(super) enum Body {
    Request,
    Response,
    Held(Box<[u8]>),
}

starlark_simple_value!(Request);
starlark_simple_value!(Response);
starlark_simple_value!(Body);

starlark::methods_static!(BODY = body_methods);

#[starlark_value(type = "request")]
impl<'v> StarlarkValue<'v> for Request {
    fn get_attr(&self, name: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        Some(match name {
            "method" => pseudo(heap, b":method", |value| value),
            "uri" => pseudo(heap, b":path", |value| value),
            "path" => pseudo(heap, b":path", |value| split(value).0),
            "query" => pseudo(heap, b":path", |value| split(value).1.unwrap_or_default()),
            "host" => pseudo(heap, b":authority", |value| value),
            "scheme" => pseudo(heap, b":scheme", |value| value),
            "id" => property(heap, b"request\0id"),
            "protocol" => property(heap, b"request\0protocol"),
            "route" => property(heap, b"xds\0route_name"),
            "client_ip" => client_address(heap),
            "params" => parameters(heap),
            "headers" => heap.alloc(Headers::REQUEST),
            _ => return None,
        })
    }

    fn dir_attr(&self) -> Vec<String> {
        REQUEST.map(str::to_owned).into()
    }

    fn set_attr(&self, name: &str, value: Value<'v>) -> starlark::Result<()> {
        let text = value.unpack_str_err()?.as_bytes();
        let set = |name: &[u8], value: &[u8]| abi::set_header(Map::Request, name, value);
        let result = match name {
            "method" => set(b":method", text),
            "host" => set(b":authority", text),
            "uri" => set(b":path", text),
            "path" => set(b":path", &new_uri(Some(text), None)),
            "query" => set(b":path", &new_uri(None, Some(text))),
            _ => return ValueError::unsupported(self, &format!(".{name}=")),
        };
        Ok(result.map_err(|status| anyhow!("the request was not changed: {status}"))?)
    }
}

fn pseudo<'v>(heap: Heap<'v>, name: &[u8], part: impl for<'p> FnOnce(&'p [u8]) -> &'p [u8]) -> Value<'v> {
    abi::header(Map::Request, name, |value| match value {
        Some(value) => readable(heap, part(value)),
        None => Value::new_none(),
    })
}

fn property<'v>(heap: Heap<'v>, path: &[u8]) -> Value<'v> {
    abi::property(path, |value| readable(heap, value)).unwrap_or_else(|_| Value::new_none())
}

fn split(uri: &[u8]) -> (&[u8], Option<&[u8]>) {
    match uri.iter().position(|byte| *byte == b'?') {
        Some(at) => (&uri[..at], Some(&uri[at + 1..])),
        None => (uri, None),
    }
}

/// The request's address with another path or another query.
fn new_uri(new_path: Option<&[u8]>, new_query: Option<&[u8]>) -> Vec<u8> {
    abi::header(Map::Request, b":path", |uri| {
        let (path, query) = split(uri.unwrap_or_default());
        let query = new_query.filter(|query| !query.is_empty()).or(query.filter(|_| new_query.is_none()));
        let mut uri = new_path.unwrap_or(path).to_vec();
        if let Some(query) = query {
            uri.push(b'?');
            uri.extend_from_slice(query);
        }
        uri
    })
}

/// The client's address without its port.
fn client_address(heap: Heap<'_>) -> Value<'_> {
    let found = abi::property(b"source\0address", |text| {
        let at = text.iter().rposition(|byte| *byte == b':').unwrap_or(text.len());
        let address = &text[..at];
        let address = address.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(address);
        readable(heap, address)
    });
    found.unwrap_or_else(|_| Value::new_none())
}

/// The query taken apart: the first value of each name.
fn parameters(heap: Heap<'_>) -> Value<'_> {
    abi::header(Map::Request, b":path", |uri| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut map = serde_json::Map::new();
        for (name, value) in query::parameters(split(uri.unwrap_or_default()).1.unwrap_or_default()) {
            map.entry(text(&name)).or_insert_with(|| text(&value).into());
        }
        heap.alloc(map)
    })
}

#[starlark_value(type = "response")]
impl<'v> StarlarkValue<'v> for Response {
    fn get_attr(&self, name: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        Some(match name {
            "status" => abi::header(Map::Response, b":status", |value| {
                let status = value.and_then(|value| std::str::from_utf8(value).ok()?.parse::<i32>().ok());
                status.map_or_else(Value::new_none, |status| heap.alloc(status))
            }),
            "headers" => heap.alloc(Headers::RESPONSE),
            "request" => heap.alloc(Request),
            _ => return None,
        })
    }

    fn dir_attr(&self) -> Vec<String> {
        RESPONSE.map(str::to_owned).into()
    }

    fn set_attr(&self, name: &str, value: Value<'v>) -> starlark::Result<()> {
        if name != "status" {
            return ValueError::unsupported(self, &format!(".{name}="));
        }
        let status = value.unpack_i32().filter(|status| (200..=599).contains(status));
        let status = status.ok_or_else(|| anyhow!("a status is 200 to 599"))?.to_string();
        let set = abi::set_header(Map::Response, b":status", status.as_bytes());
        Ok(set.map_err(|status| anyhow!("the response was not changed: {status}"))?)
    }
}

impl Body {
    fn read<R>(&self, f: impl FnOnce(&[u8]) -> R) -> anyhow::Result<R> {
        let buffer = match self {
            Self::Request => Buffer::RequestBody,
            Self::Response => Buffer::ResponseBody,
            Self::Held(bytes) => return Ok(f(bytes)),
        };
        abi::buffer(buffer, f).map_err(|status| anyhow!("the body cannot be read: {status}"))
    }
}

#[starlark_value(type = "body")]
impl<'v> StarlarkValue<'v> for Body {
    fn get_methods() -> Option<&'static Methods> {
        Some(BODY.methods())
    }

    fn length(&self) -> starlark::Result<i32> {
        Ok(i32::try_from(self.read(<[u8]>::len)?).unwrap_or(i32::MAX))
    }
}

#[starlark_module]
fn body_methods(builder: &mut MethodsBuilder) {
    /// The body as text; an error if it is not UTF-8.
    fn text<'v>(this: &Body, heap: Heap<'v>) -> anyhow::Result<Value<'v>> {
        this.read(|bytes| match std::str::from_utf8(bytes) {
            Ok(text) => Ok(heap.alloc(text)),
            Err(_) => Err(anyhow!("the body is not UTF-8; `body.bytes()` takes it as it is")),
        })?
    }

    fn bytes<'v>(this: &Body, heap: Heap<'v>) -> anyhow::Result<Value<'v>> {
        this.read(|bytes| heap.alloc(bytes))
    }

    /// The body as a value; `default` if it is no JSON, an error if there is no default.
    fn json<'v>(this: &Body, default: Option<Value<'v>>, heap: Heap<'v>) -> anyhow::Result<Value<'v>> {
        this.read(|bytes| json::value(bytes, default, heap))?
    }
}

#[starlark_module]
pub(super) fn metadata(builder: &mut GlobalsBuilder) {
    /// What a filter of this exchange has set, as text.
    fn get<'v>(
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] default: Option<Value<'v>>,
        heap: Heap<'v>,
    ) -> anyhow::Result<Value<'v>> {
        let found = abi::property(&path(name), |value| readable(heap, value));
        Ok(found.ok().or(default).unwrap_or_else(Value::new_none))
    }

    fn set<'v>(
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] value: Value<'v>,
    ) -> anyhow::Result<NoneType> {
        need_exchange()?;
        let refused = |status: Status| anyhow!("the metadata was not set: {status}");
        abi::set_property(&path(name), value.to_str().as_bytes()).map_err(refused)?;
        Ok(NoneType)
    }
}

fn path(name: &str) -> Vec<u8> {
    name.bytes().map(|byte| if byte == b'.' { 0 } else { byte }).collect()
}

#[starlark_module]
pub(super) fn routing(builder: &mut GlobalsBuilder) {
    /// What the gateway knows, such as `property("upstream.address")`.
    fn property<'v>(#[starlark(require = pos)] name: &str, heap: Heap<'v>) -> anyhow::Result<Value<'v>> {
        let found = abi::property(&path(name), |value| readable(heap, value));
        Ok(found.unwrap_or_else(|_| Value::new_none()))
    }

    /// Has the gateway look for the route again, by the request as it then is.
    fn reroute() -> anyhow::Result<NoneType> {
        need_exchange()?;
        abi::foreign("clear_route_cache", b"", |_| ())
            .map_err(|status| anyhow!("the route was not looked for again: {status}"))?;
        Ok(NoneType)
    }
}
