//! What an exchange through real filters costs on this side of the gateway: an in-memory exchange, no HTTP, filters
//! at O2. `cargo bench -p tollgate-proxy-wasm --bench exchange [-- FILTER]`.
//!
//! An exchange is: create, request headers, response headers, finish. The guest's fuel for one is said first.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;

use divan::{Bencher, black_box};
use support::{Env, Exchange, module, plugin_spec, start};
use tollgate_proxy_wasm::{LogLevel, PluginId, Vm};
use tollgate_wasmedge::{Module, OptLevel, run_guarded};

const HEADERS: &str = r#"{"request":{"set":{"x-edge":"shop-12","x-client":"%{client}"}},
    "response":{"set":{"x-served":"edge"},"remove":["server"]}}"#;
const RULES: &str = r#"{"default":"allow","rules":[
    {"name":"admin","action":"deny","paths":[{"prefix":"/admin"}]}]}"#;
const EMPTY: &str = r#"(func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
    (func (export "proxy_on_log") (param i32)) (func (export "proxy_on_delete") (param i32))"#;

fn main() -> std::io::Result<()> {
    run_guarded("bench", divan::main)
}

/// Callbacks that do nothing: what the crossings take.
#[divan::bench]
fn empty(bencher: Bencher<'_, '_>) {
    static MODULE: OnceLock<Module> = OnceLock::new();
    measure(bencher, "empty", MODULE.get_or_init(|| module::wat(&module::guest("", EMPTY))), "");
}

#[divan::bench]
fn headers(bencher: Bencher<'_, '_>) {
    static MODULE: OnceLock<Module> = OnceLock::new();
    measure(bencher, "headers", MODULE.get_or_init(|| shipped("headers.wasm")), HEADERS);
}

#[divan::bench]
fn rules(bencher: Bencher<'_, '_>) {
    static MODULE: OnceLock<Module> = OnceLock::new();
    measure(bencher, "rules", MODULE.get_or_init(|| shipped("rules.wasm")), RULES);
}

fn shipped(name: &str) -> Module {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../filters/dist").join(name);
    module::load(&std::fs::read(path).expect("run `make filters` first"), OptLevel::O2)
}

fn measure(bencher: Bencher<'_, '_>, name: &str, module: &Module, configuration: &str) {
    let (vm, env) = start(module);
    env.level.set(LogLevel::Warn);
    let plugin = vm.add_plugin(plugin_spec(name, configuration.as_bytes())).unwrap();
    let exchange = exchange();
    serve(&vm, plugin, &exchange);
    let fuel = vm.fuel_used();
    serve(&vm, plugin, &exchange);
    println!("{name}: {} units of fuel an exchange", vm.fuel_used() - fuel);
    bencher.bench_local(|| serve(&vm, plugin, &exchange));
}

fn serve(vm: &Vm<Env>, plugin: PluginId, exchange: &Rc<Exchange>) {
    let context = vm.create_stream(plugin, Rc::clone(exchange)).unwrap();
    let _ = black_box(vm.on_request_headers(context, 10, true).unwrap());
    let _ = black_box(vm.on_response_headers(context, 10, true).unwrap());
    vm.finish(context).unwrap();
}

/// Ten headers each way.
fn exchange() -> Rc<Exchange> {
    let exchange = Exchange::request(&[
        (":method", "GET"),
        (":path", "/cart/items?id=7"),
        (":authority", "shop.test"),
        (":scheme", "http"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, br"),
        ("cookie", "session=0123456789abcdef"),
        ("x-request-id", "6f1c1f6e-4b61-4e5c-8a1e-2f0f1c9d7b10"),
    ]);
    exchange.respond(&[
        (":status", "200"),
        ("content-type", "text/html"),
        ("content-length", "5120"),
        ("date", "Sat, 21 Nov 2026 00:00:00 GMT"),
        ("server", "demo"),
        ("cache-control", "no-store"),
        ("etag", "\"abc\""),
        ("vary", "accept-encoding"),
        ("x-backend", "b1"),
        ("x-trace", "1"),
    ]);
    exchange
}
