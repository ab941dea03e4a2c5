//! `respond(status, headers = {}, body = "")`: answers in the place of the upstream and ends the handler.

use anyhow::bail;
use starlark::environment::GlobalsBuilder;
use starlark::starlark_module;
use starlark::values::dict::DictRef;
use starlark::values::list_or_tuple::UnpackListOrTuple;
use starlark::values::none::NoneType;
use starlark::values::{UnpackValue, Value};
use tollgate_guest::{abi, pairs};

use super::{answer, need_exchange, need_octets};

/// What the access log calls such an answer.
const DETAILS: &[u8] = b"";

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

#[starlark_module]
pub(super) fn respond(builder: &mut GlobalsBuilder) {
    fn respond<'v>(
        #[starlark(require = pos)] status: u32,
        headers: Option<Value<'v>>,
        body: Option<Value<'v>>,
    ) -> anyhow::Result<NoneType> {
        need_exchange()?;
        if !(200..=599).contains(&status) {
            bail!("a status is 200 to 599");
        }
        let mut fields = Vec::new();
        add_headers(&mut fields, headers)?;
        let body = body.map_or(Ok(&[][..]), need_octets)?;
        if let Err(status) = abi::respond(status, DETAILS, &pairs::encode(&fields), body) {
            bail!("the answer was not accepted: {status}");
        }
        answer();
        bail!("answered")
    }
}

/// Adds the headers of a dict: a value is text, bytes, a number, or a list of them.
pub(super) fn add_headers(fields: &mut Fields, headers: Option<Value<'_>>) -> anyhow::Result<()> {
    let Some(headers) = headers.filter(|headers| !headers.is_none()) else { return Ok(()) };
    let Some(headers) = DictRef::from_value(headers) else { bail!("headers are a dict") };
    for (name, value) in headers.iter() {
        add(fields, name, value)?;
    }
    Ok(())
}

fn add(fields: &mut Fields, name: Value<'_>, value: Value<'_>) -> anyhow::Result<()> {
    let Some(name) = name.unpack_str() else { bail!("the name of a header is text") };
    if name.starts_with(':') {
        bail!("the names of headers do not begin with a colon");
    }
    if let Some(list) = UnpackListOrTuple::<Value<'_>>::unpack_value(value).ok().flatten() {
        for value in list.items {
            fields.push((name.to_ascii_lowercase().into_bytes(), header_value(value)?));
        }
        return Ok(());
    }
    fields.push((name.to_ascii_lowercase().into_bytes(), header_value(value)?));
    Ok(())
}

/// A header's value: text, bytes, or a number as text.
pub(super) fn header_value(value: Value<'_>) -> anyhow::Result<Vec<u8>> {
    if let Some(bytes) = super::octets(value) {
        return Ok(bytes.to_vec());
    }
    match value.get_type() {
        "int" | "float" => Ok(value.to_str().into_bytes()),
        other => bail!("the value of a header is text or a number, not {other}"),
    }
}
