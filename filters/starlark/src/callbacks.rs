//! What the host calls (Proxy-Wasm ABI 0.2.1).

use tollgate_guest::abi::{self, Buffer};
use tollgate_guest::settings::Settings;

use crate::limits::begin_budget as begin;
use crate::report;
use crate::script::{Handler, Script};
use crate::world::{self, Action};

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// A reactor's start: the C library's. That it is called here also keeps the linker from wrapping every
/// export in a start and an end of its own.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the linker's function, called once, first.
    unsafe { __wasm_call_ctors() };
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Plugins have no parent, and begin when they are configured.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    if parent != 0 {
        world::with(|world| world.begin(context, parent));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_context: u32, _size: u32) -> u32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(plugin: u32, _size: u32) -> u32 {
    begin();
    let filter = abi::property(b"plugin_name", <[u8]>::to_vec).unwrap_or_default();
    let settings = match abi::buffer(Buffer::Configuration, Settings::read) {
        Ok(settings) => settings,
        Err(status) => Err(format!("the configuration cannot be read: {status}")),
    };
    let script = settings.and_then(|settings| Script::start(filter, settings));
    abi::trim();
    match script {
        Ok(script) => {
            world::with(|world| world.add_script(plugin, script));
            1
        }
        Err(error) => {
            report::log(&error);
            0
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _count: u32, _is_last: u32) -> u32 {
    headers(context, Handler::Request)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context: u32, _count: u32, _is_last: u32) -> u32 {
    headers(context, Handler::Response)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(context: u32, _size: u32, is_last: u32) -> u32 {
    body(context, Handler::RequestBody, is_last)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(context: u32, _size: u32, is_last: u32) -> u32 {
    body(context, Handler::ResponseBody, is_last)
}

fn headers(context: u32, handler: Handler) -> u32 {
    begin();
    world::with(|world| world.on_headers(context, handler)) as u32
}

fn body(context: u32, handler: Handler, is_last: u32) -> u32 {
    begin();
    let action: Action = world::with(|world| world.on_body(context, handler, is_last != 0));
    abi::trim();
    action as u32
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(plugin: u32) {
    begin();
    world::with(|world| world.on_tick(plugin));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    _plugin: u32,
    token: u32,
    headers: u32,
    _body: u32,
    _trailers: u32,
) {
    begin();
    world::with(|world| world.on_call_response(token, headers));
    abi::trim();
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(context: u32) {
    begin();
    world::with(|world| world.on_headers(context, Handler::Log));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(_context: u32) -> u32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    world::with(|world| world.end(context));
}
