//! The filters that come with the gateway, as they are shipped (`filters/dist`, made by `make filters`).
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use std::path::Path;
use std::rc::Rc;
use std::sync::OnceLock;

use support::exchange::pairs;
use support::{Env, Exchange, guarded, module, plugin_spec, start};
use tollgate_proxy_wasm::{Action, MapType, PauseKind, PluginId, StartError, Vm};
use tollgate_wasmedge::{Module, OptLevel};

fn filter(name: &str) -> Module {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../filters/dist").join(name);
    let wasm = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; `make filters` builds it", path.display()));
    module::load(&wasm, OptLevel::O0)
}

fn with_plugin(module: &Module, configuration: &str, test: impl FnOnce(&Vm<Env>, &Rc<Env>, PluginId) + Send) {
    guarded(|| {
        let (vm, env) = start(module);
        let plugin = vm.add_plugin(plugin_spec("filter", configuration.as_bytes())).unwrap();
        test(&vm, &env, plugin);
        vm.remove_plugin(plugin);
        assert_eq!((vm.failed(), vm.contexts()), (None, 0));
    });
}

fn headers() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| filter("headers.wasm"))
}

#[test]
fn headers_are_set_added_and_removed() {
    let configuration = r#"{"request":{"remove":["x-debug"],"set":{"x-edge":"shop-12","x-client":"%{client}"}},
        "response":{"set":{"x-served-for":"%{host}%{path}"},"add":{"via":"1.1 shop-12"},"remove":["server"]}}"#;
    with_plugin(headers(), configuration, |vm, _, plugin| {
        let exchange = Exchange::request(&[
            (":method", "GET"),
            (":path", "/cart?id=7"),
            (":authority", "shop.test"),
            (":scheme", "http"),
            ("x-debug", "1"),
            ("x-edge", "forged"),
        ]);
        let context = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
        assert_eq!(vm.on_request_headers(context, 6, true), Ok(Action::Continue));
        assert!(exchange.header(MapType::RequestHeaders, "x-debug").is_empty());
        assert_eq!(exchange.header(MapType::RequestHeaders, "x-edge"), ["shop-12"]);
        assert_eq!(exchange.header(MapType::RequestHeaders, "x-client"), ["192.0.2.7"]);
        exchange.respond(&[(":status", "200"), ("server", "leaky"), ("via", "1.1 a")]);
        assert_eq!(vm.on_response_headers(context, 3, true), Ok(Action::Continue));
        let expected = [
            (":status", "200"),
            ("via", "1.1 a"),
            ("x-served-for", "shop.test/cart"),
            ("via", "1.1 shop-12"),
        ];
        assert_eq!(*exchange.response_headers.borrow(), pairs(&expected));
        vm.finish(context).unwrap();
        assert!(exchange.refusals.borrow().is_empty());
    });
}

#[test]
fn headers_refuses_a_wrong_configuration_in_words() {
    guarded(|| {
        let (vm, _) = start(headers());
        let error = vm.add_plugin(plugin_spec("filter", br#"{"requests":{}}"#)).unwrap_err();
        assert!(matches!(&error, StartError::ConfigurationRefused { log } if log.lines().count() > 0));
        assert!(error.to_string().contains("requests"), "{error}");
    });
}

#[test]
fn rules_deny_what_they_say() {
    let configuration = r#"{"default":"allow","denied":{"status":403,"body":"no entry\n"},
        "rules":[{"name":"admin","action":"deny","paths":[{"prefix":"/admin"}]}]}"#;
    let table = [("/", None), ("/admin", Some(403)), ("/x/../%61dmin", Some(403)), ("/administrator", None)];
    with_plugin(&filter("rules.wasm"), configuration, |vm, _, plugin| {
        for (path, expected) in table {
            let exchange = Exchange::request(&[(":method", "GET"), (":path", path), (":authority", "a")]);
            let context = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
            let action = vm.on_request_headers(context, 3, true).unwrap();
            let answer = exchange.answer.borrow().clone();
            assert_eq!(answer.as_ref().map(|answer| answer.status), expected, "{path}");
            assert_eq!(action == Action::Continue, expected.is_none(), "{path}");
            assert!(answer.is_none_or(|answer| answer.body == b"no entry\n"));
            vm.finish(context).unwrap();
        }
    });
}

#[test]
fn redact_finds_a_match_across_chunks() {
    let configuration = r#"{"sides":"response","patterns":[{"literal":"internal-use-only"}]}"#;
    with_plugin(&filter("redact.wasm"), configuration, |vm, _, plugin| {
        let exchange = Exchange::request(&[(":method", "GET"), (":path", "/"), (":authority", "a")]);
        let context = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
        assert_eq!(vm.on_request_headers(context, 3, true), Ok(Action::Continue));
        exchange.respond(&[(":status", "200"), ("content-type", "text/plain"), ("content-length", "24")]);
        assert_eq!(vm.on_response_headers(context, 3, false), Ok(Action::Continue));
        assert!(exchange.header(MapType::ResponseHeaders, "content-length").is_empty());
        let mut sent = Vec::new();
        for (chunk, last) in [("it is intern", false), ("al-use-only", false), (".", true)] {
            exchange.response_body.borrow_mut().extend(chunk.as_bytes());
            let size = exchange.response_body.borrow().len() as u32;
            match vm.on_response_body(context, size, last).unwrap() {
                Action::Continue => sent.append(&mut exchange.response_body.borrow_mut()),
                Action::Pause(kind) => assert_eq!(kind, PauseKind::Buffer),
            }
        }
        assert_eq!(String::from_utf8_lossy(&sent), "it is [redacted].");
        vm.finish(context).unwrap();
    });
}
