//! Data that all workers share: `shared.get(key, default)`, `shared.set(key, value, ttl = seconds)`,
//! `shared.add(key, value, ttl = …)` (only if there is none; whether it did), `shared.incr(key, by = 1, ttl = …)`,
//! `shared.delete(key)`. A value is text, bytes, a number or a truth value; bytes come back as text if they are.
//!
//! `add` and `incr` are one step for all workers. A script's data is told apart by its filter's name, so that it
//! outlives a change of the script.

use anyhow::{anyhow, bail};
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::float::UnpackFloat;
use starlark::values::none::NoneType;
use starlark::values::{Heap, UnpackValue, Value};
use tollgate_guest::abi::Status;
use tollgate_guest::shared::{self as data, Key};
use tollgate_guest::stored::Stored;

use super::{octets, with_filter};

#[starlark_module]
pub(super) fn shared(builder: &mut GlobalsBuilder) {
    fn get<'v>(
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] default: Option<Value<'v>>,
        heap: Heap<'v>,
    ) -> anyhow::Result<Value<'v>> {
        let found = data::get(&key(name)?, |value| match value {
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
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] value: Value<'v>,
        #[starlark(require = named)] ttl: Option<UnpackFloat>,
    ) -> anyhow::Result<NoneType> {
        data::set(&key(name)?, &stored(value)?, lifetime(ttl)?).map_err(refused)?;
        Ok(NoneType)
    }

    fn add<'v>(
        #[starlark(require = pos)] name: &str,
        #[starlark(require = pos)] value: Value<'v>,
        #[starlark(require = named)] ttl: Option<UnpackFloat>,
    ) -> anyhow::Result<bool> {
        data::add(&key(name)?, &stored(value)?, lifetime(ttl)?).map_err(refused)
    }

    fn incr(
        #[starlark(require = pos)] name: &str,
        #[starlark(default = 1)] by: i64,
        #[starlark(require = named)] ttl: Option<UnpackFloat>,
    ) -> anyhow::Result<i64> {
        data::increment(&key(name)?, by, lifetime(ttl)?).map_err(|status| match status {
            Status::BAD_ARGUMENT => anyhow!("`incr` counts in whole numbers, and this is none"),
            status => refused(status),
        })
    }

    fn delete(#[starlark(require = pos)] name: &str) -> anyhow::Result<NoneType> {
        data::delete(&key(name)?);
        Ok(NoneType)
    }
}

fn key(name: &str) -> anyhow::Result<Key> {
    Ok(with_filter(|filter| Key::new(b"f", filter, name.as_bytes()))?)
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
