//! `req.headers` and `resp.headers`: `h["name"]` is the first value, and an error if there is none; `"name" in h`;
//! assigning sets; `h.get(name, default)`, `h.get_all(name)`, `h.add(name, value)`, `h.remove(name)`, `h.items()`;
//! a `for` goes over the names.
//!
//! Names are in lower case. Pseudo-headers are not among them: they are fields of the request or response.

use allocative::Allocative;
use anyhow::anyhow;
use derive_more::Display;
use starlark::environment::{Methods, MethodsBuilder};
use starlark::values::none::NoneType;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, starlark_value,
};
use starlark::{starlark_module, starlark_simple_value};
use tollgate_guest::abi::{self, Map, Status};
use tollgate_guest::pairs;

use super::{readable, respond::header_value};

/// The headers of one side of the exchange.
#[derive(Debug, Display, Clone, Copy, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
#[display("headers")]
pub(super) struct Headers {
    is_response: bool,
}

starlark_simple_value!(Headers);

starlark::methods_static!(METHODS = methods);

impl Headers {
    pub(super) const REQUEST: Self = Self { is_response: false };
    pub(super) const RESPONSE: Self = Self { is_response: true };

    fn map(self) -> Map {
        if self.is_response { Map::Response } else { Map::Request }
    }

    /// The fields, in order, without pseudo-headers.
    fn fields<R>(self, mut f: impl FnMut(&[u8], &[u8]) -> R) -> Vec<R> {
        let all = |bytes: &[u8]| {
            let fields = pairs::decode(bytes).filter(|(name, _)| !name.starts_with(b":"));
            fields.map(|(name, value)| f(name, value)).collect()
        };
        abi::headers(self.map(), all).unwrap_or_default()
    }
}

/// The name of a header in lower case.
fn name(value: Value<'_>) -> anyhow::Result<String> {
    let name = value.unpack_str().ok_or_else(|| anyhow!("the name of a header is text"))?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(anyhow!("`{name}` is not the name of a header"));
    }
    Ok(name.to_ascii_lowercase())
}

fn first<'v>(headers: Headers, name: &str, heap: Heap<'v>) -> Option<Value<'v>> {
    abi::header(headers.map(), name.as_bytes(), |value| value.map(|value| readable(heap, value)))
}

fn refused(status: Status) -> anyhow::Error {
    anyhow!("the header was not changed: {status}")
}

#[starlark_value(type = "headers")]
impl<'v> StarlarkValue<'v> for Headers {
    fn get_methods() -> Option<&'static Methods> {
        Some(METHODS.methods())
    }

    fn at(&self, index: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        let name = name(index)?;
        let missing =
            || anyhow!("there is no header `{name}`; `.get(name, default)` takes one that may be missing");
        Ok(first(*self, &name, heap).ok_or_else(missing)?)
    }

    fn is_in(&self, other: Value<'v>) -> starlark::Result<bool> {
        Ok(abi::header(self.map(), name(other)?.as_bytes(), |value| value.is_some()))
    }

    fn set_at(&self, index: Value<'v>, value: Value<'v>) -> starlark::Result<()> {
        let (name, value) = (name(index)?, header_value(value)?);
        Ok(abi::set_header(self.map(), name.as_bytes(), &value).map_err(refused)?)
    }

    fn iterate_collect(&self, heap: Heap<'v>) -> starlark::Result<Vec<Value<'v>>> {
        Ok(self.fields(|name, _| readable(heap, name)))
    }
}

#[starlark_module]
fn methods(builder: &mut MethodsBuilder) {
    fn get<'v>(
        this: &Headers,
        #[starlark(require = pos)] key: Value<'v>,
        #[starlark(require = pos)] default: Option<Value<'v>>,
        heap: Heap<'v>,
    ) -> anyhow::Result<Value<'v>> {
        Ok(first(*this, &name(key)?, heap).or(default).unwrap_or_else(Value::new_none))
    }

    fn get_all<'v>(
        this: &Headers,
        #[starlark(require = pos)] key: Value<'v>,
        heap: Heap<'v>,
    ) -> anyhow::Result<Vec<Value<'v>>> {
        let wanted = name(key)?;
        let found = this.fields(|name, value| (name == wanted.as_bytes()).then(|| readable(heap, value)));
        Ok(found.into_iter().flatten().collect())
    }

    fn add<'v>(
        this: &Headers,
        #[starlark(require = pos)] key: Value<'v>,
        #[starlark(require = pos)] value: Value<'v>,
    ) -> anyhow::Result<NoneType> {
        abi::add_header(this.map(), name(key)?.as_bytes(), &header_value(value)?).map_err(refused)?;
        Ok(NoneType)
    }

    fn remove<'v>(this: &Headers, #[starlark(require = pos)] key: Value<'v>) -> anyhow::Result<NoneType> {
        // One that is not there is as good as removed.
        let _ = abi::remove_header(this.map(), name(key)?.as_bytes());
        Ok(NoneType)
    }

    fn items<'v>(this: &Headers, heap: Heap<'v>) -> anyhow::Result<Vec<Value<'v>>> {
        Ok(this.fields(|name, value| heap.alloc((readable(heap, name), readable(heap, value)))))
    }
}
