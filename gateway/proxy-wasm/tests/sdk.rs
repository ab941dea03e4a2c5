//! A guest built on the published SDK (`proxy-wasm` 0.2.5), unmodified, as a user's filter would be.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::OnceLock;

use support::exchange::pairs;
use support::{Env, Exchange, guarded, module, plugin_spec, start};
use tollgate_proxy_wasm::{
    Action, CallMap, CallReply, ContextId, Failure, MapType, MetricValue, PauseKind, Refusal, RefusalReason,
    StartError, StreamSide, Vm,
};
use tollgate_wasmedge::{Module, OptLevel, Trap};

/// Builds the guest with the toolchain that builds this test.
fn guest() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sdk-guest");
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sdk-guest");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--release", "--target", "wasm32-wasip1"])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(&package)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "is the target wasm32-wasip1 installed?\n{errors}");
        let wasm = std::fs::read(target.join("wasm32-wasip1/release/sdk_guest.wasm")).unwrap();
        module::load(&wasm, OptLevel::O0)
    })
}

/// Serves one request up to its headers.
fn request(
    test: impl FnOnce(&Vm<Env>, &Env, &Exchange, ContextId, Result<Action, Failure>) + Send,
    path: &str,
) {
    let module = guest();
    guarded(|| {
        let (vm, env) = start(module);
        let plugin = vm.add_plugin(plugin_spec("sdk", b"conf")).unwrap();
        assert_eq!(env.take_messages(), ["vm vm configuration 16"]);
        let exchange = Exchange::request(&[(":method", "POST"), (":path", path), ("x-gone", "1")]);
        let context = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
        let result = vm.on_request_headers(context, 3, false);
        test(&vm, &env, &exchange, context, result);
    });
}

#[test]
fn an_exchange_from_end_to_end() {
    request(
        |vm, env, exchange, context, result| {
            assert_eq!(result, Ok(Action::Continue));
            assert_eq!(exchange.header(MapType::RequestHeaders, "x-one"), ["1", "2"]);
            assert_eq!(exchange.header(MapType::RequestHeaders, "x-three"), ["3"]);
            assert!(exchange.header(MapType::RequestHeaders, "x-gone").is_empty());
            *exchange.request_body.borrow_mut() = b"some ".to_vec();
            assert_eq!(vm.on_request_body(context, 5, false), Ok(Action::Pause(PauseKind::Buffer)));
            exchange.request_body.borrow_mut().extend(b"bytes");
            assert_eq!(vm.on_request_body(context, 10, true), Ok(Action::Continue));
            assert_eq!(*exchange.request_body.borrow(), b"SOME BYTES");
            *exchange.request_trailers.borrow_mut() = pairs(&[("x-sum", "7")]);
            assert_eq!(vm.on_request_trailers(context, 1), Ok(Action::Continue));
            assert_eq!(exchange.header(MapType::RequestTrailers, "x-sum"), ["70"]);
            exchange.respond(&[(":status", "200"), ("content-length", "2")]);
            assert_eq!(vm.on_response_headers(context, 2, false), Ok(Action::Continue));
            assert_eq!(
                *exchange.response_headers.borrow(),
                pairs(&[(":status", "200"), ("x-status", "200")])
            );
            *exchange.response_body.borrow_mut() = b"ok".to_vec();
            assert_eq!(vm.on_response_body(context, 2, true), Ok(Action::Continue));
            assert_eq!(*exchange.response_body.borrow(), b"ok.");
            vm.finish(context).unwrap();
            assert_eq!(env.take_messages(), ["logged 200"]);
            assert!(exchange.refusals.borrow().is_empty());
            let mut metrics = Vec::new();
            env.metrics.visit(|name, value| metrics.push((name.to_owned(), value)));
            assert_eq!(
                metrics,
                [("requests".into(), MetricValue::Counter(1)), ("level".into(), MetricValue::Gauge(3))]
            );
        },
        "/x/pass",
    );
}

#[test]
fn a_denial_is_an_answer() {
    request(
        |vm, env, exchange, context, result| {
            assert_eq!(result, Ok(Action::Pause(PauseKind::Watermark)));
            let answer = exchange.answer.borrow().clone().unwrap();
            assert_eq!((answer.status, &answer.body[..]), (403, &b"denied\n"[..]));
            assert_eq!(answer.headers, pairs(&[("x-by", "conf")]));
            vm.finish(context).unwrap();
            assert_eq!(env.take_messages(), ["logged nothing"]);
        },
        "/deny",
    );
}

#[test]
fn a_pause_holds_everything() {
    request(|_, _, _, _, result| assert_eq!(result, Ok(Action::Pause(PauseKind::Watermark))), "/pause");
}

#[test]
fn a_panic_is_a_trap_that_says_why() {
    request(
        |vm, env, _, _, result| {
            let failure = Failure::Trap { callback: "proxy_on_request_headers", trap: Trap::Unreachable };
            assert_eq!((result, vm.failed()), (Err(failure.clone()), Some(&failure)));
            let said = env.take_messages().concat();
            assert!(said.contains("as asked"), "{said}");
        },
        "/panic",
    );
}

#[test]
fn a_forged_header_is_refused_without_a_panic() {
    request(
        |vm, _, exchange, context, result| {
            assert_eq!((result, vm.failed()), (Ok(Action::Continue), None));
            let function = "proxy_replace_header_map_value";
            assert_eq!(*exchange.refusals.borrow(), [Refusal { function, reason: RefusalReason::BadValue }]);
            assert!(exchange.header(MapType::RequestHeaders, "x-user").is_empty());
            vm.finish(context).unwrap();
        },
        "/forge",
    );
}

#[test]
fn side_calls_are_errors_not_panics() {
    request(
        |_, env, exchange, _, result| {
            assert_eq!(result, Ok(Action::Continue), "{:?}", env.take_messages());
            assert_eq!(*exchange.resumed.borrow(), [StreamSide::Request]);
        },
        "/side-calls",
    );
}

/// What the SDK is told fits what it expects: it panics on most that does not.
#[test]
fn grpc_calls_and_streams() {
    request(
        |vm, env, _, _, result| {
            assert!(matches!(result, Ok(Action::Pause(_))), "{:?}", env.take_messages());
            let (call, stream) = ("s.S/M k=v", "s.S/M k=v stream");
            let calls = [&format!("{call} m Some(250ms)"), &format!("{call}  Some(250ms)")];
            assert_eq!(env.asked.take(), [calls[0], calls[1], stream, stream, " Last"]);
            let ids: Vec<_> = env.opened.take().into_iter().map(|(id, _)| id).collect();
            assert_eq!(env.cancelled.take(), [ids[3]]);
            let tell = |reply: GrpcReply| Rc::new(reply);
            vm.on_grpc_message(ids[0], tell(GrpcReply { message: "hello", ..GrpcReply::default() })).unwrap();
            vm.on_grpc_close(ids[1], tell(GrpcReply { status: 5, ..GrpcReply::default() })).unwrap();
            vm.on_grpc_initial_metadata(ids[2], tell(GrpcReply::default())).unwrap();
            vm.on_grpc_message(ids[2], tell(GrpcReply { message: "one", ..GrpcReply::default() })).unwrap();
            assert_eq!(env.asked.take(), ["one More", "close"]);
            vm.on_grpc_trailing_metadata(ids[2], tell(GrpcReply::default())).unwrap();
            vm.on_grpc_close(ids[2], tell(GrpcReply::default())).unwrap();
            let expected = [
                "call 0 hello (0, None)",
                "call 5  (5, Some(\"why\"))",
                "initial 1 [(\"k\", [118])] Some([118])",
                "message one",
                "trailing 1 [(\"k\", [118])]",
                "close 0 (0, None)",
            ];
            assert_eq!(env.take_messages(), expected);
        },
        "/grpc",
    );
}

/// One thing that a gRPC call brings. Its metadata are one pair, a failure has a text.
#[derive(Default)]
struct GrpcReply {
    message: &'static str,
    status: u32,
}

impl CallReply for GrpcReply {
    fn map_len(&self, _: CallMap) -> usize {
        1
    }

    fn map_pairs(&self, _: CallMap, f: &mut dyn FnMut(&[u8], &[u8])) {
        f(b"k", b"v");
    }

    fn map_get(&self, _: CallMap, _: &[u8]) -> Option<&[u8]> {
        Some(b"v")
    }

    fn body(&self) -> &[u8] {
        self.message.as_bytes()
    }

    fn status(&self) -> (u32, &[u8]) {
        (self.status, if self.status == 0 { b"" } else { b"why" })
    }
}

#[test]
fn ticks_shared_data_and_refused_configuration() {
    let module = guest();
    guarded(|| {
        let (vm, env) = start(module);
        let error = vm.add_plugin(plugin_spec("sdk", b"refuse")).unwrap_err();
        assert!(matches!(error, StartError::ConfigurationRefused { .. }));
        assert!(error.to_string().ends_with("\"told to refuse\""), "{error}");
        let plugin = vm.add_plugin(plugin_spec("sdk", b"conf")).unwrap();
        assert_eq!(env.ticks.borrow().last().unwrap().1, Some(std::time::Duration::from_millis(100)));
        vm.on_tick(plugin).unwrap();
        vm.on_tick(plugin).unwrap();
        env.take_messages();
        vm.remove_plugin(plugin);
        assert_eq!(env.take_messages(), ["root done"]);
        assert_eq!((vm.failed(), vm.contexts(), env.shared.keys()), (None, 0, 1));
    });
}
