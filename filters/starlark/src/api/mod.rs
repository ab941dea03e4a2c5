//! What scripts see, one file a part. `README.md` documents it for them.
//!
//! All scripts share one set of globals, made once; what is a script's own (`config`, its filter's name) is looked up
//! through the run that is going on ([`Run`]).

mod calls;
mod codec;
mod digests;
mod headers;
mod ip;
mod json;
mod message;
mod metrics;
mod options;
mod regex;
mod respond;
mod shared;

use std::cell::{Cell, RefCell};

use starlark::PrintHandler;
use starlark::environment::{Globals, GlobalsBuilder, LibraryExtension};
use starlark::starlark_module;
use starlark::values::bytes::StarlarkBytes;
use starlark::values::none::NoneType;
use starlark::values::tuple::UnpackTuple;
use starlark::values::{Heap, Value};
use tollgate_guest::abi::{self, Level};

use crate::script::Handler;

pub(crate) use calls::Answer;
pub(crate) use options::take_tick;

/// What of the interpreter's own library goes beyond the standard.
const EXTENSIONS: [LibraryExtension; 7] = [
    LibraryExtension::StructType,
    LibraryExtension::Map,
    LibraryExtension::Filter,
    LibraryExtension::Partial,
    LibraryExtension::Print,
    LibraryExtension::SetType,
    LibraryExtension::Pstr,
];

thread_local! {
    static RUN: Run = const {
        Run {
            handler: Cell::new(None),
            answered: Cell::new(false),
            called: Cell::new(None),
            filter: RefCell::new(Vec::new()),
        }
    };
    static GLOBALS: Globals = make_globals();
}

/// The script that runs, as the functions it calls see it.
struct Run {
    /// `None` while a script loads.
    handler: Cell<Option<Handler>>,
    /// The handler has answered.
    answered: Cell<bool>,
    /// The handler waits for this call.
    called: Cell<Option<u32>>,
    /// The name of its filter.
    filter: RefCell<Vec<u8>>,
}

/// A script begins to load.
pub(crate) fn begin_loading(filter: &[u8]) {
    options::forget();
    set_filter(filter);
}

fn set_filter(filter: &[u8]) {
    RUN.with(|run| {
        let mut name = run.filter.borrow_mut();
        name.clear();
        name.extend_from_slice(filter);
    });
}

/// A handler begins.
pub(crate) fn begin(handler: Handler, filter: &[u8]) {
    set_filter(filter);
    RUN.with(|run| {
        run.handler.set(Some(handler));
        run.answered.set(false);
        run.called.set(None);
    });
}

/// A handler has ended.
pub(crate) fn end() {
    RUN.with(|run| run.handler.set(None));
}

/// Whether the handler that runs has answered.
pub(crate) fn has_answered() -> bool {
    RUN.with(|run| run.answered.get())
}

/// The call that the handler waits for.
pub(crate) fn called() -> Option<u32> {
    RUN.with(|run| run.called.get())
}

/// Notes that the handler has answered.
fn answer() {
    RUN.with(|run| run.answered.set(true));
}

/// Refuses what needs an exchange while a script loads, and in a timer's handler.
fn need_exchange() -> anyhow::Result<()> {
    match RUN.with(|run| run.handler.get()) {
        None => Err(anyhow::anyhow!("there is no request while the script loads")),
        Some(Handler::Tick) => Err(anyhow::anyhow!("there is no request in `on_tick`")),
        Some(_) => Ok(()),
    }
}

fn with_filter<R>(f: impl FnOnce(&[u8]) -> R) -> R {
    RUN.with(|run| f(&run.filter.borrow()))
}

/// The globals of all scripts.
pub(crate) fn globals() -> Globals {
    GLOBALS.with(Clone::clone)
}

fn make_globals() -> Globals {
    let mut builder = GlobalsBuilder::extended_by(&EXTENSIONS);
    builder.namespace("log", log);
    builder.namespace("json", json::json);
    builder.namespace("hash", digests::hash);
    builder.namespace("base64", codec::base64);
    builder.namespace("url", codec::url);
    builder.namespace("re", regex::re);
    builder.namespace("ip", ip::ip);
    builder.namespace("time", time);
    builder.set("shared", shared::Space::OWN);
    builder.namespace("metrics", metrics::metrics);
    builder.namespace("metadata", message::metadata);
    respond::respond(&mut builder);
    calls::http_call(&mut builder);
    options::options(&mut builder);
    message::routing(&mut builder);
    builder.build()
}

/// The arguments of a handler.
pub(crate) fn arguments(handler: Handler, heap: Heap<'_>) -> Vec<Value<'_>> {
    match handler {
        Handler::Request => vec![heap.alloc(message::Request)],
        Handler::RequestBody => vec![heap.alloc(message::Request), heap.alloc(message::Body::Request)],
        Handler::Response => vec![heap.alloc(message::Response)],
        Handler::ResponseBody => vec![heap.alloc(message::Response), heap.alloc(message::Body::Response)],
        Handler::Tick => Vec::new(),
        Handler::Log => vec![heap.alloc(message::Request), heap.alloc(message::Response)],
    }
}

/// The arguments of the function that goes on when a handler's call has ended: what the handler was given first,
/// and the answer, or None.
pub(crate) fn further_arguments(handler: Handler, answer: Option<Answer>, heap: Heap<'_>) -> Vec<Value<'_>> {
    let mut arguments = arguments(handler, heap);
    arguments.truncate(1);
    arguments.push(answer.map_or_else(Value::new_none, |answer| answer.alloc(heap)));
    arguments
}

/// The bytes of text or of bytes.
pub(crate) fn octets(value: Value<'_>) -> Option<&[u8]> {
    match value.unpack_str() {
        Some(text) => Some(text.as_bytes()),
        None => StarlarkBytes::from_value(value).map(StarlarkBytes::as_bytes),
    }
}

/// The same for an argument.
fn need_octets(value: Value<'_>) -> anyhow::Result<&[u8]> {
    octets(value).ok_or_else(|| anyhow::anyhow!("text or bytes are needed, not {}", value.get_type()))
}

/// What the host gives as text; bytes that are not UTF-8 are replaced.
fn readable<'v>(heap: Heap<'v>, bytes: &[u8]) -> Value<'v> {
    heap.alloc(&*String::from_utf8_lossy(bytes))
}

/// What `print` writes goes to the log.
pub(crate) struct Print;

impl PrintHandler for Print {
    fn println(&self, text: &str) -> starlark::Result<()> {
        abi::log(Level::Info, text.as_bytes());
        Ok(())
    }
}

#[starlark_module]
fn log(builder: &mut GlobalsBuilder) {
    fn debug<'v>(#[starlark(args)] parts: UnpackTuple<Value<'v>>) -> anyhow::Result<NoneType> {
        write(Level::Debug, &parts)
    }

    fn info<'v>(#[starlark(args)] parts: UnpackTuple<Value<'v>>) -> anyhow::Result<NoneType> {
        write(Level::Info, &parts)
    }

    fn warn<'v>(#[starlark(args)] parts: UnpackTuple<Value<'v>>) -> anyhow::Result<NoneType> {
        write(Level::Warn, &parts)
    }

    fn error<'v>(#[starlark(args)] parts: UnpackTuple<Value<'v>>) -> anyhow::Result<NoneType> {
        write(Level::Error, &parts)
    }
}

fn write(level: Level, parts: &UnpackTuple<Value<'_>>) -> anyhow::Result<NoneType> {
    if abi::wants_log(level) {
        let parts: Vec<String> = parts.items.iter().map(|part| part.to_str()).collect();
        abi::log(level, parts.join(" ").as_bytes());
    }
    Ok(NoneType)
}

#[starlark_module]
fn time(builder: &mut GlobalsBuilder) {
    /// Seconds since 1970.
    fn now() -> anyhow::Result<f64> {
        Ok(abi::now() as f64 / 1e9)
    }
}
