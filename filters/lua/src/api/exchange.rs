//! `req` and `resp`, the arguments of handlers. Their fields are asked for when they are read.
//!
//! `req`: `method`, `path`, `query` (the raw text), `uri` (both), `host`, `scheme`, `id`, `client_ip`,
//! `client_port`, `protocol`, `route`, `tls`, `headers`, `params` (the query, taken apart), `ctx` (a table
//! of this request's own). `method`, `path`, `query`, `uri` and `host` can be set until the request is
//! sent. `resp`: `status` (can be set), `headers`, `ctx` (the same table), `request`.

use super::{get_registry, headers, set_global, set_registry};
use crate::abi::{self, Map};
use crate::lua::{Anchor, Lua, Raise, Returns, Tagged, ffi, functions, wrap};
use crate::query;
use crate::script::Handler;
use crate::world::Run;

const REQUEST: &str = "tollgate.request";
const RESPONSE: &str = "tollgate.response";
/// User values: the table of the request's own, the headers; of a response the request, the headers.
const CTX: i32 = 1;
const OF_REQUEST: i32 = 1;
const HEADERS: i32 = 2;
const PARAMS: i32 = 3;

#[repr(C)]
struct Request {
    tag: u32,
    context: u32,
}

#[repr(C)]
struct Response {
    tag: u32,
    context: u32,
}

#[allow(unsafe_code)]
// SAFETY: `repr(C)`, its tag first, and no other type has this one.
unsafe impl Tagged for Request {
    const TAG: u32 = 0x4e90_e571;
}

#[allow(unsafe_code)]
// SAFETY: as above.
unsafe impl Tagged for Response {
    const TAG: u32 = 0x4e5b_0a5e;
}

/// The objects of one exchange, made when the first handler runs.
#[derive(Default)]
pub(crate) struct Objects {
    request: Option<Anchor>,
    response: Option<Anchor>,
}

impl Objects {
    /// Pushes the arguments of a handler: request, or response and request. `on_log` gets both, request
    /// first. Throws if there is no memory.
    pub(crate) fn push(&mut self, lua: &Lua, context: u32, handler: Handler) {
        match handler {
            Handler::Request | Handler::RequestBody => self.push_request(lua, context),
            Handler::Log => {
                self.push_request(lua, context);
                self.push_response(lua, context);
            }
            Handler::Response | Handler::ResponseBody => self.push_response(lua, context),
            Handler::Tick => {}
        }
    }

    fn push_request(&mut self, lua: &Lua, context: u32) {
        if let Some(anchor) = self.request {
            return lua.push_anchored(anchor);
        }
        lua.push_userdata(Request { tag: Request::TAG, context }, PARAMS);
        get_registry(lua, REQUEST);
        lua.set_metatable(-2);
        lua.copy(-1);
        self.request = Some(lua.anchor());
    }

    fn push_response(&mut self, lua: &Lua, context: u32) {
        if let Some(anchor) = self.response {
            return lua.push_anchored(anchor);
        }
        lua.push_userdata(Response { tag: Response::TAG, context }, HEADERS);
        self.push_request(lua, context);
        lua.set_user_value(-2, OF_REQUEST);
        get_registry(lua, RESPONSE);
        lua.set_metatable(-2);
        lua.copy(-1);
        self.response = Some(lua.anchor());
    }

    /// The exchange is over.
    pub(crate) fn release(self, lua: &Lua) {
        for anchor in [self.request, self.response].into_iter().flatten() {
            lua.release(anchor);
        }
    }
}

pub(super) fn open(lua: &Lua) {
    lua.push_table(0, 3);
    functions!(lua, "__index" => request, "__newindex" => set_request);
    lua.push_boolean(false);
    lua.set_raw(-2, "__metatable");
    set_registry(lua, REQUEST);
    lua.push_table(0, 3);
    functions!(lua, "__index" => response, "__newindex" => set_response);
    lua.push_boolean(false);
    lua.set_raw(-2, "__metatable");
    set_registry(lua, RESPONSE);
    lua.push_function(wrap(reroute));
    set_global(lua, "reroute");
}

/// Has the gateway look for the route again, by the request as it then is.
fn reroute(_lua: &Lua) -> Returns {
    if !Run::in_exchange() {
        return Err("there is no request to route".into());
    }
    abi::foreign("clear_route_cache", b"", |_| ())
        .map_err(|status| Raise(format!("the route was not looked for again: {status}")))?;
    Ok(0)
}

fn current(context: Option<u32>) -> Result<u32, Raise> {
    context
        .filter(|context| Run::is_current(*context))
        .ok_or_else(|| "this request is over, or is not the one that is handled now".into())
}

fn request(lua: &Lua) -> Returns {
    let name = lua.check_bytes(2);
    let context = lua.tagged::<Request>(1).map(|request| request.context);
    // Its own table outlives the exchange as long as the script holds it; all else is asked of the host.
    if name == b"ctx" {
        return push_ctx(lua, 1);
    }
    let context = current(context)?;
    match name {
        b"headers" => push_kept(lua, HEADERS, |lua| headers::push(lua, context, Map::Request)),
        b"method" => pseudo(lua, b":method", |value| value),
        b"uri" => pseudo(lua, b":path", |value| value),
        b"path" => pseudo(lua, b":path", |value| split(value).0),
        b"query" => pseudo(lua, b":path", |value| split(value).1.unwrap_or_default()),
        b"params" => push_kept(lua, PARAMS, push_params),
        b"host" => pseudo(lua, b":authority", |value| value),
        b"scheme" => pseudo(lua, b":scheme", |value| value),
        b"id" => property(lua, b"request\0id"),
        b"protocol" => property(lua, b"request\0protocol"),
        b"route" => property(lua, b"xds\0route_name"),
        b"client_ip" => address(lua, |address, _| lua.push(address)),
        b"client_port" => address(lua, |_, port| lua.push_integer(port)),
        b"tls" => push_tls(lua),
        _ => {
            let name = String::from_utf8_lossy(name);
            Err(Raise(format!("a request has no field `{name}`; what is yours goes into `req.ctx`")))
        }
    }
}

/// A user value of the object at 1, made at its first use.
fn push_kept(lua: &Lua, n: i32, make: impl FnOnce(&Lua)) -> Returns {
    if lua.get_user_value(1, n) == ffi::NIL {
        lua.pop(1);
        make(lua);
        lua.copy(-1);
        lua.set_user_value(1, n);
    }
    Ok(1)
}

fn push_ctx(lua: &Lua, request: i32) -> Returns {
    if lua.get_user_value(request, CTX) == ffi::NIL {
        lua.pop(1);
        lua.push_table(0, 4);
        lua.copy(-1);
        lua.set_user_value(request, CTX);
    }
    Ok(1)
}

fn pseudo(lua: &Lua, name: &[u8], part: impl for<'v> FnOnce(&'v [u8]) -> &'v [u8]) -> Returns {
    abi::header(Map::Request, name, |value| lua.push_option(value.map(part)));
    Ok(1)
}

fn property(lua: &Lua, path: &[u8]) -> Returns {
    if abi::property(path, |value| lua.push(value)).is_err() {
        lua.push_nil();
    }
    Ok(1)
}

fn split(uri: &[u8]) -> (&[u8], Option<&[u8]>) {
    match uri.iter().position(|byte| *byte == b'?') {
        Some(at) => (&uri[..at], Some(&uri[at + 1..])),
        None => (uri, None),
    }
}

/// The first value of each parameter.
fn push_params(lua: &Lua) {
    lua.push_table(0, 0);
    let table = lua.top();
    abi::header(Map::Request, b":path", |uri| {
        let pushed = lua.protect(&mut |inner| {
            inner.push_table(0, 0);
            for (name, value) in query::parameters(split(uri.unwrap_or_default()).1.unwrap_or_default()) {
                inner.push(&name);
                inner.copy(-1);
                let is_new = inner.get_raw_top(1) == ffi::NIL;
                inner.pop(1);
                if is_new {
                    inner.push(&value);
                    inner.set_raw_pair(1);
                } else {
                    inner.pop(1);
                }
            }
        });
        if !pushed {
            lua.throw_top();
        }
    });
    lua.insert(table);
    lua.set_top(table);
}

/// The client's address and port; a port that is not known is 0.
fn address(lua: &Lua, push: impl FnOnce(&[u8], i64)) -> Returns {
    let found = abi::property(b"source\0address", |text| {
        let at = text.iter().rposition(|byte| *byte == b':').unwrap_or(text.len());
        let port = text.get(at + 1..).and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        let address = &text[..at];
        let address = address.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(address);
        push(address, port.unwrap_or(0));
    });
    if found.is_err() {
        lua.push_nil();
    }
    Ok(1)
}

/// A table of what the handshake told, or nil if the connection is not encrypted.
fn push_tls(lua: &Lua) -> Returns {
    if abi::property(b"connection\0tls_version", |value| lua.push(value)).is_err() {
        lua.push_nil();
        return Ok(1);
    }
    lua.push_table(0, 5);
    lua.insert(-2);
    lua.set_raw(-2, "version");
    let facts: [(&[u8], &str); 4] = [
        (b"connection\0requested_server_name", "server_name"),
        (b"connection\0subject_peer_certificate", "subject"),
        (b"connection\0dns_san_peer_certificate", "dns_name"),
        (b"connection\0sha256_peer_certificate_digest", "fingerprint"),
    ];
    for (path, name) in facts {
        if abi::property(path, |value| lua.push(value)).is_ok() {
            lua.set_raw(-2, name);
        }
    }
    Ok(1)
}

fn set_request(lua: &Lua) -> Returns {
    let (name, value) = (lua.check_bytes(2), lua.check_bytes(3));
    current(lua.tagged::<Request>(1).map(|request| request.context))?;
    let set = |name: &[u8], value: &[u8]| abi::set_header(Map::Request, name, value);
    let result = match name {
        b"method" => set(b":method", value),
        b"host" => set(b":authority", value),
        b"uri" => set(b":path", value),
        b"path" | b"query" => set(b":path", &new_uri(name == b"path", value)),
        _ => {
            let name = String::from_utf8_lossy(name);
            return Err(Raise(format!("`req.{name}` cannot be set; what is yours goes into `req.ctx`")));
        }
    };
    if matches!(name, b"uri" | b"query") {
        lua.push_nil();
        lua.set_user_value(1, PARAMS);
    }
    result.map_err(|status| Raise(format!("the request was not changed: {status}")))?;
    Ok(0)
}

/// The request's path or query replaced by `value`, and the other kept.
fn new_uri(is_path: bool, value: &[u8]) -> Vec<u8> {
    abi::header(Map::Request, b":path", |uri| {
        let (path, query) = split(uri.unwrap_or_default());
        let (path, query) = match is_path {
            true => (value, query),
            false => (path, Some(value).filter(|value| !value.is_empty())),
        };
        let mut uri = path.to_vec();
        if let Some(query) = query {
            uri.push(b'?');
            uri.extend_from_slice(query);
        }
        uri
    })
}

fn response(lua: &Lua) -> Returns {
    let name = lua.check_bytes(2);
    let context = lua.tagged::<Response>(1).map(|response| response.context);
    if matches!(name, b"ctx" | b"request") && context.is_some() {
        lua.get_user_value(1, OF_REQUEST);
        return if name == b"ctx" { push_ctx(lua, lua.top()) } else { Ok(1) };
    }
    let context = current(context)?;
    match name {
        b"headers" => push_kept(lua, HEADERS, |lua| headers::push(lua, context, Map::Response)),
        b"status" => {
            abi::header(Map::Response, b":status", |value| {
                let status = value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
                match status {
                    Some(status) => lua.push_integer(status),
                    None => lua.push_nil(),
                }
            });
            Ok(1)
        }
        _ => {
            let name = String::from_utf8_lossy(name);
            Err(Raise(format!("a response has no field `{name}`; what is yours goes into `resp.ctx`")))
        }
    }
}

fn set_response(lua: &Lua) -> Returns {
    let name = lua.check_bytes(2);
    current(lua.tagged::<Response>(1).map(|response| response.context))?;
    if name != b"status" {
        let name = String::from_utf8_lossy(name);
        return Err(Raise(format!("`resp.{name}` cannot be set; what is yours goes into `resp.ctx`")));
    }
    let status = lua.check_integer(3);
    if !(200..=599).contains(&status) {
        return Err("a status is 200 to 599".into());
    }
    let status = status.to_string();
    abi::set_header(Map::Response, b":status", status.as_bytes())
        .map_err(|status| Raise(format!("the response was not changed: {status}")))?;
    Ok(0)
}
