//! `http_call(upstream, then = f, method = "GET", path = "/", host = upstream, headers = {}, body = "", timeout = 5)`:
//! asks another server that the policy allows. The call ends nothing: when the handler has returned, its exchange
//! waits, the worker does not, and `f(req, answer)` goes on. `answer` has `status`, `headers` (by name; repeated ones
//! joined by a comma) and `body`; it is None if the call has failed.
//!
//! `f` may use what its handler knew (a function within it, `lambda`, `partial`), which is frozen meanwhile.

#![allow(clippy::too_many_arguments, reason = "they are those of a script's function")]

use std::collections::BTreeMap;

use anyhow::{anyhow, bail};
use starlark::environment::GlobalsBuilder;
use starlark::eval::Evaluator;
use starlark::starlark_module;
use starlark::values::dict::AllocDict;
use starlark::values::float::UnpackFloat;
use starlark::values::none::NoneType;
use starlark::values::structs::AllocStruct;
use starlark::values::typing::StarlarkCallable;
use starlark::values::{Heap, Value};
use tollgate_guest::abi::{self, Buffer, Map};
use tollgate_guest::pairs;

use super::message::Body;
use super::{RUN, need_octets, respond};
use crate::script::Handler;

/// Seconds that a call may take if the script does not say, and at most.
const TIMEOUT: f64 = 5.0;
const TIMEOUT_MAX: f64 = 600.0;
/// Headers of a call.
const HEADERS_MAX: usize = 200;

#[starlark_module]
pub(super) fn http_call(builder: &mut GlobalsBuilder) {
    fn http_call<'v>(
        #[starlark(require = pos)] upstream: &str,
        #[starlark(require = named)] then: StarlarkCallable<'v>,
        #[starlark(require = named, default = "GET")] method: &str,
        #[starlark(require = named, default = "/")] path: &str,
        #[starlark(require = named)] host: Option<&str>,
        #[starlark(require = named)] headers: Option<Value<'v>>,
        #[starlark(require = named)] body: Option<Value<'v>>,
        #[starlark(require = named)] timeout: Option<UnpackFloat>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> anyhow::Result<NoneType> {
        need_handler()?;
        let text = |name: &[u8], value: &str| (name.to_vec(), value.as_bytes().to_vec());
        let mut fields = vec![
            text(b":method", method),
            text(b":path", path),
            text(b":authority", host.unwrap_or(upstream)),
        ];
        respond::add_headers(&mut fields, headers)?;
        if fields.len() > HEADERS_MAX {
            bail!("at most {HEADERS_MAX} headers");
        }
        let body = body.filter(|body| !body.is_none()).map_or(Ok(&[][..]), need_octets)?;
        let timeout = milliseconds(timeout)?;
        let token = abi::http_call(upstream.as_bytes(), &pairs::encode(&fields), body, timeout)
            .map_err(|status| anyhow!("the gateway does not let this filter call `{upstream}`: {status}"))?;
        eval.module().set_extra_value(then.0);
        RUN.with(|run| run.called.set(Some(token)));
        Ok(NoneType)
    }
}

/// Refuses a call where nothing could wait for it.
fn need_handler() -> anyhow::Result<()> {
    let (handler, called) = RUN.with(|run| (run.handler.get(), run.called.get()));
    match handler {
        None => bail!("`http_call` works in a handler, not while the script loads"),
        Some(Handler::Log) => bail!("`http_call` does not work in `on_log`: nothing waits for it"),
        Some(_) if called.is_some() => {
            bail!("a handler waits for one call at a time; make the next where `then` goes on")
        }
        Some(_) => Ok(()),
    }
}

fn milliseconds(timeout: Option<UnpackFloat>) -> anyhow::Result<u32> {
    let seconds = timeout.map_or(TIMEOUT, |seconds| seconds.0);
    if seconds.is_nan() || seconds <= 0.0 {
        bail!("`timeout` is a positive number of seconds");
    }
    Ok((seconds.min(TIMEOUT_MAX) * 1000.0).ceil() as u32)
}

/// The answer to a call.
pub(crate) struct Answer {
    status: i32,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    /// Reads the answer that the host shows now: another context shows none.
    pub(crate) fn read() -> Self {
        let (mut status, mut headers) = (0, BTreeMap::<String, String>::new());
        // Without headers there would be no answer.
        let _ = abi::headers(Map::CallResponse, |bytes| {
            for (name, value) in pairs::decode(bytes) {
                let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                if name == ":status" {
                    status = value.parse().unwrap_or(0);
                } else if let Some(first) = headers.get_mut(&*name) {
                    first.push_str(", ");
                    first.push_str(&value);
                } else {
                    headers.insert(name.into_owned(), value.into_owned());
                }
            }
        });
        let body = abi::buffer(Buffer::CallResponse, <[u8]>::to_vec).unwrap_or_default();
        Self { status, headers, body }
    }

    /// As scripts see it.
    pub(super) fn alloc(self, heap: Heap<'_>) -> Value<'_> {
        let headers = heap.alloc(AllocDict(self.headers));
        let body = heap.alloc(Body::Held(self.body.into()));
        heap.alloc(AllocStruct([("status", heap.alloc(self.status)), ("headers", headers), ("body", body)]))
    }
}
