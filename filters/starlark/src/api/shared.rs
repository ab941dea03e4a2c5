//! Data that all workers share: `shared.get(key, default)`, `shared.set(key, value, ttl = seconds)`,
//! `shared.add(key, value, ttl = …)` (only if there is none; whether it did), `shared.incr(key, by = 1, ttl = …)`,
//! `shared.delete(key)`, and `shared.space(name)` with the same over data that other scripts see as well. A value is text, bytes, a number or a truth value; bytes come back as text if they are.
//!
//! `add` and `incr` are one step for all workers. A script's data is told apart by its filter's name, so that it
//! outlives a change of the script.

use allocative::Allocative;
use anyhow::{anyhow, bail};
use derive_more::Display;
use starlark::environment::{Methods, MethodsBuilder};
use starlark::values::float::UnpackFloat;
use starlark::values::none::NoneType;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, UnpackValue, Value,
    starlark_value,
};
use starlark::{starlark_module, starlark_simple_value};
use tollgate_guest::abi::Status;
use tollgate_guest::shared::{self as data, KEY_MAX, Key};
use tollgate_guest::stored::Stored;

use super::{octets, with_filter};

/// `shared`, or a space of it.
#[derive(Debug, Display, ProvidesStaticType, NoSerialize, Allocative, StarlarkPagablePanic)]
#[display("shared")]
pub(super) struct Space {
    /// The name that scripts share; `None` for the filter's own.
    name: Option<String>,
}

starlark_simple_value!(Space);

starlark::methods_static!(METHODS = methods);

#[starlark_value(type = "shared")]
impl<'v> StarlarkValue<'v> for Space {
    fn get_methods() -> Option<&'static Methods> {
        Some(METHODS.methods())
    }
}

impl Space {
    /// The data of the filter that runs.
    pub(super) const OWN: Self = Self { name: None };

    fn key(&self, key: &str) -> anyhow::Result<Key> {
        Ok(match &self.name {
            Some(space) => Key::new(b"s", space.as_bytes(), key.as_bytes())?,
            None => with_filter(|filter| Key::new(b"f", filter, key.as_bytes()))?,
        })
    }
}

#[starlark_module]
fn methods(builder: &mut MethodsBuilder) {
    fn space(this: &Space, #[starlark(require = pos)] name: &str) -> anyhow::Result<Space> {
        if this.name.is_some() {
            bail!("a space has no spaces");
        }
        if name.len() > KEY_MAX / 2 {
            bail!("the name of a space has at most {} bytes", KEY_MAX / 2);
        }
        Ok(Space { name: Some(name.to_owned()) })
    }

    fn get<'v>(
        this: &Space,
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] default: Option<Value<'v>>,
        heap: Heap<'v>,
    ) -> anyhow::Result<Value<'v>> {
        let found = data::get(&this.key(name)?, |value| match value {
            Stored::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => heap.alloc(text),
                Err(_) => heap.alloc(bytes),
            },
            Stored::Integer(number) => heap.alloc(number),
            Stored::Number(number) => heap.alloc(number),
            Stored::Boolean(value) => Value::new_bool(value),
        });
        Ok(found.ok().or(default).unwrap_or_else(Value::new_none))
    }

    fn set<'v>(
        this: &Space,
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] value: Value<'v>,
        #[starlark(require = named)] ttl: Option<UnpackFloat>,
    ) -> anyhow::Result<NoneType> {
        data::set(&this.key(name)?, &stored(value)?, lifetime(ttl)?).map_err(refused)?;
        Ok(NoneType)
    }

    fn add<'v>(
        this: &Space,
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] value: Value<'v>,
        #[starlark(require = named)] ttl: Option<UnpackFloat>,
    ) -> anyhow::Result<bool> {
        data::add(&this.key(name)?, &stored(value)?, lifetime(ttl)?).map_err(refused)
    }

    fn incr(
        this: &Space,
        #[starlark(require = pos)] name: &str,
        #[starlark(default = 1)] by: i64,
        #[starlark(require = named)] ttl: Option<UnpackFloat>,
    ) -> anyhow::Result<i64> {
        data::increment(&this.key(name)?, by, lifetime(ttl)?).map_err(|status| match status {
            Status::BAD_ARGUMENT => anyhow!("`incr` counts in whole numbers, and this is none"),
            status => refused(status),
        })
    }

    fn delete(this: &Space, #[starlark(require = pos)] name: &str) -> anyhow::Result<NoneType> {
        data::delete(&this.key(name)?);
        Ok(NoneType)
    }
}

fn stored(value: Value<'_>) -> anyhow::Result<Stored<'_>> {
    if let Some(bytes) = octets(value) {
        return Ok(Stored::Bytes(bytes));
    }
    if let Some(value) = value.unpack_bool() {
        return Ok(Stored::Boolean(value));
    }
    if let Some(number) = i64::unpack_value(value).ok().flatten() {
        return Ok(Stored::Integer(number));
    }
    match UnpackFloat::unpack_value(value).ok().flatten() {
        Some(number) => Ok(Stored::Number(number.0)),
        None => bail!("a shared value is text, bytes, a number or a truth value, not {}", value.get_type()),
    }
}

/// A time to live in milliseconds; 0 for ever.
fn lifetime(ttl: Option<UnpackFloat>) -> anyhow::Result<u64> {
    let Some(seconds) = ttl else { return Ok(0) };
    data::lifetime(seconds.0).ok_or_else(|| anyhow!("a time to live is a positive number of seconds"))
}

fn refused(status: Status) -> anyhow::Error {
    anyhow!("the value was not stored: {status}")
}
