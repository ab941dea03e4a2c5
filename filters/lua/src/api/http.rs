//! `respond(status [, headers [, body]])`, which answers the client and ends the handler, and
//! `http_call(upstream, options)`, which asks another server and reads as a plain call.
//!
//! `http_call` suspends the handler's thread; the exchange waits, the worker does not. It returns a table
//! with `status`, `headers` (by name; repeated ones joined by a comma) and `body`, or nil and a reason. It
//! works in a handler itself, not in a coroutine of the script's and not inside `table.sort` and the like.

use super::set_global;
use crate::abi::{self, Buffer, Map};
use crate::lua::{Lua, Raise, Returns, ffi, wrap};
use crate::pairs;
use crate::world::Run;

/// Milliseconds that a call may take if the script does not say, and at most.
const TIMEOUT: f64 = 5_000.0;
const TIMEOUT_MAX: f64 = 600_000.0;
/// Headers of a call or an answer.
const HEADERS_MAX: usize = 200;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

pub(super) fn open(lua: &Lua) {
    lua.push_function(wrap(respond));
    set_global(lua, "respond");
    lua.push_function(wrap(http_call));
    set_global(lua, "http_call");
}

fn respond(lua: &Lua) -> Returns {
    let status = lua.check_integer(1);
    let body = lua.optional_bytes(3).unwrap_or_default();
    if !Run::in_exchange() {
        return Err("there is no request that could be answered".into());
    }
    let code = u32::try_from(status).ok().filter(|code| (200..=599).contains(code));
    let code = code.ok_or("a status is 200 to 599")?;
    let mut headers = Pairs::new();
    read_headers(lua, 2, &mut headers)?;
    let sent = abi::respond(code, b"script", &pairs::encode(&headers), body);
    drop(headers);
    sent.map_err(|status| Raise(format!("the answer was not sent: {status}")))?;
    Run::answer();
    if Run::is_handler(lua) && lua.can_yield() {
        return lua.suspend();
    }
    Err("answered".into())
}

fn http_call(lua: &Lua) -> Returns {
    let upstream = lua.check_bytes(1);
    if !lua.is_absent(2) {
        lua.check_table(2);
    }
    lua.set_top(2);
    if !Run::is_handler(lua) || !lua.can_yield() {
        return Err(
            "`http_call` works in a handler itself, not in a coroutine, a sort or a replacement".into()
        );
    }
    let call = Call::read(lua, upstream)?;
    let body = match lua.type_of(2) {
        ffi::TABLE => {
            lua.get_raw(2, "body");
            lua.bytes(-1)
        }
        _ => None,
    };
    let headers = pairs::encode(&call.headers);
    let token = abi::http_call(upstream, &headers, body.unwrap_or_default(), call.timeout);
    drop((headers, call));
    match token {
        Ok(token) => {
            Run::wait_for(token);
            lua.suspend()
        }
        Err(_) => {
            lua.push_nil();
            lua.push(b"the gateway does not let this filter call that upstream");
            Ok(2)
        }
    }
}

struct Call {
    headers: Pairs,
    timeout: u32,
}

impl Call {
    /// Reads the options at 2. Raw reads: nothing here throws but for want of memory, which leaves what
    /// has been read behind, at most [`HEADERS_MAX`] headers.
    fn read(lua: &Lua, upstream: &[u8]) -> Result<Self, Raise> {
        let text = |name: &str, default: &[u8]| -> Result<Vec<u8>, Raise> {
            if lua.type_of(2) != ffi::TABLE {
                return Ok(default.to_vec());
            }
            lua.get_raw(2, name);
            let value = match (lua.is_absent(-1), lua.bytes(-1)) {
                (true, _) => Ok(default.to_vec()),
                (false, Some(value)) => Ok(value.to_vec()),
                (false, None) => Err(Raise(format!("`{name}` is a string"))),
            };
            lua.pop(1);
            value
        };
        let mut headers = vec![
            (b":method".to_vec(), text("method", b"GET")?),
            (b":path".to_vec(), text("path", b"/")?),
            (b":authority".to_vec(), text("host", upstream)?),
        ];
        text("body", b"").map(drop)?;
        let mut timeout = TIMEOUT;
        if lua.type_of(2) == ffi::TABLE {
            lua.get_raw(2, "headers");
            read_headers(lua, lua.top(), &mut headers)?;
            lua.get_raw(2, "timeout");
            if !lua.is_absent(-1) {
                let seconds = lua.number(-1).filter(|seconds| *seconds > 0.0);
                timeout = seconds.ok_or("`timeout` is a positive number of seconds")? * 1000.0;
            }
            lua.pop(2);
        }
        Ok(Self { headers, timeout: timeout.clamp(1.0, TIMEOUT_MAX) as u32 })
    }
}

/// Reads a table of headers: a value is text, a number, or a list of them.
fn read_headers(lua: &Lua, index: i32, headers: &mut Pairs) -> Result<(), Raise> {
    if lua.is_absent(index) {
        return Ok(());
    }
    if lua.type_of(index) != ffi::TABLE {
        return Err("headers are a table, by name".into());
    }
    lua.push_nil();
    while lua.next(index) {
        let name = lua.bytes(-2).ok_or("the names of headers are strings")?;
        if name.starts_with(b":") {
            return Err("the names of headers do not begin with a colon".into());
        }
        let name = name.to_ascii_lowercase();
        match lua.type_of(-1) {
            ffi::TABLE => {
                for n in 1..=i64::try_from(lua.length(-1)).unwrap_or(0).min(HEADERS_MAX as i64) {
                    lua.get_index(-1, n);
                    headers.push((name.clone(), header_value(lua)?));
                    lua.pop(1);
                }
            }
            _ => headers.push((name, header_value(lua)?)),
        }
        if headers.len() > HEADERS_MAX {
            return Err(Raise(format!("at most {HEADERS_MAX} headers")));
        }
        lua.pop(1);
    }
    Ok(())
}

fn header_value(lua: &Lua) -> Result<Vec<u8>, Raise> {
    match (lua.bytes(-1), lua.integer(-1)) {
        (Some(bytes), _) => Ok(bytes.to_vec()),
        (None, Some(number)) => Ok(number.to_string().into_bytes()),
        (None, None) => Err("the value of a header is a string, a whole number, or a list of them".into()),
    }
}

/// Pushes what `http_call` returns and says how many values that are. `headers` is how many the answer
/// has; without any, the call has failed. Throws if there is no memory.
pub(crate) fn push_answer(lua: &Lua, headers: u32) -> i32 {
    if headers == 0 {
        lua.push_nil();
        lua.push(b"the call failed or took too long");
        return 2;
    }
    lua.push_table(0, 3);
    let answer = lua.top();
    lua.push_table(0, i32::try_from(headers).unwrap_or(0));
    let table = lua.top();
    let mut status = 0;
    let _ = abi::headers(Map::CallResponse, |bytes| {
        for (name, value) in pairs::decode(bytes) {
            if name == b":status" {
                status = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok()).unwrap_or(0);
            } else {
                add_joined(lua, table, name, value);
            }
        }
    });
    lua.set_raw(answer, "headers");
    lua.push_integer(status);
    lua.set_raw(answer, "status");
    if abi::buffer(Buffer::CallResponse, |bytes| lua.push(bytes)).is_err() {
        lua.push(b"");
    }
    lua.set_raw(answer, "body");
    1
}

fn add_joined(lua: &Lua, table: i32, name: &[u8], value: &[u8]) {
    lua.push(name);
    lua.copy(-1);
    match lua.get_raw_top(table) {
        ffi::NIL => {
            lua.pop(1);
            lua.push(value);
        }
        _ => {
            lua.push(b", ");
            lua.push(value);
            lua.concat(3);
        }
    }
    lua.set_raw_pair(table);
}
