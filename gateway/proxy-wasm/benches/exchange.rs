//! What an exchange through real filters costs on this side of the gateway: an in-memory exchange, no
//! HTTP, filters at O2. `cargo bench -p tollgate-proxy-wasm --bench exchange [-- FILTER]`.
//!
//! Prints, for each filter, the median over rounds of the time per exchange (create, request headers,
//! response headers, finish), the time per guest callback, and the guest's fuel per exchange.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use support::{Env, Exchange, guarded, module, plugin_spec, start};
use tollgate_proxy_wasm::{LogLevel, PluginId, Vm};
use tollgate_wasmedge::{Module, OptLevel};

const ROUNDS: usize = 31;
const EXCHANGES: u32 = 10_000;

const HEADERS: &str = r#"{"request":{"set":{"x-edge":"shop-12","x-client":"%{client}"}},
    "response":{"set":{"x-served":"edge"},"remove":["server"]}}"#;
const RULES: &str = r#"{"default":"allow","rules":[
    {"name":"admin","action":"deny","paths":[{"prefix":"/admin"}]}]}"#;
const EMPTY: &str = r#"(func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
    (func (export "proxy_on_log") (param i32)) (func (export "proxy_on_delete") (param i32))"#;

fn main() {
    // Cargo adds `--bench`; what is left names a filter.
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    println!("{:<10} {:>12} {:>12} {:>12}", "filter", "µs/exchange", "µs/callback", "fuel");
    if wanted("empty") {
        measure("empty", &module::wat(&module::guest("", EMPTY)), "");
    }
    if wanted("headers") {
        measure("headers", &shipped("headers.wasm"), HEADERS);
    }
    if wanted("rules") {
        measure("rules", &shipped("rules.wasm"), RULES);
    }
}

fn shipped(name: &str) -> Module {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../filters/dist").join(name);
    module::load(&std::fs::read(path).expect("run `make filters` first"), OptLevel::O2)
}

fn measure(name: &str, module: &Module, configuration: &str) {
    guarded(|| {
        let (vm, env) = start(module);
        env.level.set(LogLevel::Warn);
        let plugin = vm.add_plugin(plugin_spec(name, configuration.as_bytes())).unwrap();
        let exchange = exchange();
        serve(&vm, plugin, &exchange);
        let fuel = vm.fuel_used();
        serve(&vm, plugin, &exchange);
        let fuel = vm.fuel_used() - fuel;
        let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(&vm, plugin, &exchange)).collect();
        rounds.sort_by(f64::total_cmp);
        let median = rounds[ROUNDS / 2];
        // create, request headers, response headers, done, log, delete
        println!("{name:<10} {median:>12.2} {:>12.2} {fuel:>12}", median / 6.0);
    });
}

/// Microseconds for each exchange of a round.
fn round(vm: &Vm<Env>, plugin: PluginId, exchange: &Rc<Exchange>) -> f64 {
    let start = Instant::now();
    (0..EXCHANGES).for_each(|_| serve(vm, plugin, exchange));
    start.elapsed().as_secs_f64() * 1e6 / f64::from(EXCHANGES)
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
