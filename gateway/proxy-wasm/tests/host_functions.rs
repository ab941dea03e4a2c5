//! Every host function of the ABI, called by a guest with arguments of all kinds: one guest with a
//! case for each row of the tables, run on the real engine.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::rc::Rc;

use support::exchange::pairs;
use support::{Env, Exchange, guarded, module, plugin_spec, start_with, vm_spec};
use tollgate_proxy_wasm::{
    Action, Capabilities, FaultKind, GuestFault, LogLevel, MapType, MetricValue, Refusal, RefusalReason,
    StreamSide, VmSpec,
};

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const SERIALIZATION_FAILURE: u32 = 3;
const PARSE_FAILURE: u32 = 4;
const INVALID_MEMORY: u32 = 6;
const EMPTY: u32 = 7;
const CAS_MISMATCH: u32 = 8;
const INTERNAL_FAILURE: u32 = 10;

/// Where the guest asks results to be written: address and size of bytes, and a number.
const PTR: Arg = Arg::I(0);
const LEN: Arg = Arg::I(4);
const NUM: Arg = Arg::I(20);
/// An address that is not the guest's.
const WILD: i32 = -8;

#[derive(Clone)]
enum Arg {
    I(i32),
    L(i64),
    /// An address and a length.
    Bytes(Vec<u8>),
}
use Arg::{I, L};

fn t(text: &str) -> Arg {
    Arg::Bytes(text.as_bytes().to_vec())
}

/// What the guest saw.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: u32,
    number: u64,
    bytes: Vec<u8>,
}

/// One call and what must come of it.
struct Case {
    function: &'static str,
    args: Vec<Arg>,
    status: u32,
    check: fn(&Outcome, &Exchange, &Env),
}

fn case(function: &'static str, args: &[Arg], status: u32, check: fn(&Outcome, &Exchange, &Env)) -> Case {
    Case { function, args: args.to_vec(), status, check }
}

/// Runs the cases one after the other, each on an exchange of its own in the same VM.
fn run(cases: &[Case]) {
    run_allowed(Capabilities::ALL, cases);
}

/// The same with a guest that may not call everything.
fn run_allowed(capabilities: Capabilities, cases: &[Case]) {
    guarded(|| {
        let env = Env::new();
        let spec = VmSpec { capabilities, ..vm_spec() };
        let vm = start_with(&module::wat(&probe(cases)), spec, &env).unwrap();
        let plugin = vm.add_plugin(plugin_spec("filter", b"plugin configuration")).unwrap();
        for (index, case) in cases.iter().enumerate() {
            let exchange = exchange();
            let context = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
            env.lines.take();
            let action = vm.on_request_headers(context, index as u32, false).unwrap();
            let stopped = exchange.answer.borrow().is_some() || !exchange.closed.borrow().is_empty();
            assert_eq!(action != Action::Continue, stopped, "{} (case {index})", case.function);
            let outcome = outcome(&env);
            assert_eq!(outcome.status, case.status, "{} (case {index}): {outcome:?}", case.function);
            (case.check)(&outcome, &exchange, &env);
            vm.finish(context).unwrap();
        }
    });
}

fn exchange() -> Rc<Exchange> {
    let exchange = Exchange::request(&[
        (":method", "GET"),
        (":path", "/a"),
        ("x-id", "one"),
        ("x-id", "two"),
        ("x-empty", ""),
    ]);
    *exchange.request_body.borrow_mut() = b"0123456789".to_vec();
    *exchange.request_trailers.borrow_mut() = pairs(&[("x-sum", "7")]);
    *exchange.upstream_hosts.borrow_mut() = vec![("10.0.0.1:80", true), ("10.0.0.2:80", false)];
    exchange
}

/// The guest reports in its last two lines: status and number, then the bytes.
fn outcome(env: &Env) -> Outcome {
    let mut lines = env.lines.take();
    let bytes = lines.pop().unwrap().message;
    let numbers = lines.pop().unwrap().message;
    env.lines.replace(lines);
    Outcome {
        status: u32::from_le_bytes(numbers[..4].try_into().unwrap()),
        number: u64::from_le_bytes(numbers[4..12].try_into().unwrap()),
        bytes,
    }
}

/// A guest that makes the call of row `n` when it is told that there are `n` headers.
fn probe(cases: &[Case]) -> String {
    let mut imports = BTreeMap::from([("proxy_log", "i32 i32 i32".to_owned())]);
    let (mut fields, mut branches, mut data) = (String::new(), String::new(), 2048);
    for (index, case) in cases.iter().enumerate() {
        let (mut types, mut values) = (Vec::new(), String::new());
        for arg in &case.args {
            match arg {
                I(value) => {
                    types.push("i32");
                    write!(values, " (i32.const {value})").unwrap();
                }
                L(value) => {
                    types.push("i64");
                    write!(values, " (i64.const {value})").unwrap();
                }
                Arg::Bytes(bytes) => {
                    types.extend(["i32", "i32"]);
                    write!(values, " (i32.const {data}) (i32.const {})", bytes.len()).unwrap();
                    let text: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
                    writeln!(fields, "(data (i32.const {data}) \"{text}\")").unwrap();
                    data += bytes.len();
                }
            }
        }
        imports.insert(case.function, types.join(" "));
        writeln!(
            branches,
            "(if (i32.eq (local.get $row) (i32.const {index})) (then (i32.store (i32.const 16) \
             (call ${}{values}))))",
            case.function
        )
        .unwrap();
    }
    assert!(data < 65536, "the data reach into the heap");
    let import = |(name, types): (&&str, &String)| {
        format!("(import \"env\" \"{name}\" (func ${name} (param {types}) (result i32)))\n")
    };
    let callback = format!(
        r#"(func (export "proxy_on_request_headers") (param i32) (param $row i32) (param i32) (result i32)
  (i64.store (i32.const 0) (i64.const 0))
  (i64.store (i32.const 20) (i64.const 0))
  {branches}
  (drop (call $proxy_log (i32.const 2) (i32.const 16) (i32.const 12)))
  (drop (call $proxy_log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4))))
  (i32.const 0))"#
    );
    module::guest(&imports.iter().map(import).collect::<String>(), &format!("{fields}{callback}"))
}

fn nothing(_: &Outcome, _: &Exchange, _: &Env) {}

fn refused(exchange: &Exchange, function: &'static str, reason: RefusalReason) {
    assert_eq!(*exchange.refusals.borrow(), [Refusal { function, reason }]);
}

fn blob(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        out.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    out
}

#[test]
fn header_reads() {
    const GET: &str = "proxy_get_header_map_value";
    const PAIRS: &str = "proxy_get_header_map_pairs";
    const SIZE: &str = "proxy_get_header_map_size";
    run(&[
        case(GET, &[I(0), t("x-id"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"one")),
        case(GET, &[I(0), t("X-ID"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"one")),
        case(GET, &[I(0), t(":method"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"GET")),
        case(GET, &[I(0), t("x-empty"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(GET, &[I(0), t("x-absent"), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(0), Arg::Bytes(vec![b'n'; 100]), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(1), t("x-sum"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"7")),
        // Maps that are not there: the response has not begun; side calls do not exist.
        case(GET, &[I(2), t(":status"), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(6), t(":status"), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(8), t("x-id"), PTR, LEN], BAD_ARGUMENT, nothing),
        case(GET, &[I(0), I(WILD), I(16), PTR, LEN], INVALID_MEMORY, nothing),
        case(GET, &[I(0), I(0), I(-1), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(0), t("x-id"), I(WILD), I(WILD)], INVALID_MEMORY, nothing),
        case(PAIRS, &[I(0), PTR, LEN], OK, |o, _, _| {
            let expected =
                [(":method", "GET"), (":path", "/a"), ("x-id", "one"), ("x-id", "two"), ("x-empty", "")];
            assert_eq!(o.bytes, blob(&expected));
        }),
        case(PAIRS, &[I(2), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(PAIRS, &[I(7), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(PAIRS, &[I(99), PTR, LEN], BAD_ARGUMENT, nothing),
        case(SIZE, &[I(1), NUM], OK, |o, _, _| assert_eq!(o.number, blob(&[("x-sum", "7")]).len() as u64)),
        case(SIZE, &[I(3), NUM], OK, |o, _, _| assert_eq!(o.number, 0)),
        case(SIZE, &[I(1), I(WILD)], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn header_writes() {
    const ADD: &str = "proxy_add_header_map_value";
    const REPLACE: &str = "proxy_replace_header_map_value";
    const REMOVE: &str = "proxy_remove_header_map_value";
    const SET: &str = "proxy_set_header_map_pairs";
    run(&[
        case(ADD, &[I(0), t("X-Id"), t("three")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["one", "two", "three"]);
        }),
        case(REPLACE, &[I(0), t("x-id"), t("three")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["three"]);
        }),
        case(REPLACE, &[I(1), t("x-new"), t("")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestTrailers, "x-new"), [""]);
        }),
        case(REMOVE, &[I(0), t("x-id")], OK, |_, e, _| {
            assert!(e.header(MapType::RequestHeaders, "x-id").is_empty());
        }),
        case(REMOVE, &[I(0), t("x-absent")], OK, |_, e, _| assert!(e.refusals.borrow().is_empty())),
        case(SET, &[I(0), Arg::Bytes(blob(&[(":path", "/b"), ("x-a", "1")]))], OK, |_, e, _| {
            assert_eq!(*e.request_headers.borrow(), pairs(&[(":path", "/b"), ("x-a", "1")]));
        }),
        case(SET, &[I(1), I(0), I(0)], OK, |_, e, _| assert!(e.request_trailers.borrow().is_empty())),
        // What cannot be done is refused, and leaves the map as it was.
        case(ADD, &[I(0), t("x-id"), t("a\r\nb: c")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["one", "two"]);
            refused(e, ADD, RefusalReason::BadValue);
        }),
        case(REPLACE, &[I(0), t("a b"), t("v")], OK, |_, e, _| refused(e, REPLACE, RefusalReason::BadName)),
        case(ADD, &[I(2), t("x-id"), t("v")], OK, |_, e, _| refused(e, ADD, RefusalReason::Unavailable)),
        case(ADD, &[I(4), t("x-id"), t("v")], OK, |_, e, _| refused(e, ADD, RefusalReason::Unavailable)),
        case(ADD, &[I(0), t("x"), I(0), I(65537)], OK, |_, e, _| refused(e, ADD, RefusalReason::TooLarge)),
        case(SET, &[I(0), t("nonsense")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["one", "two"]);
            refused(e, SET, RefusalReason::TooLarge);
        }),
        case(SET, &[I(0), Arg::Bytes(vec![1, 0, 0, 0, 9])], OK, |_, e, _| {
            refused(e, SET, RefusalReason::Malformed);
        }),
        case(ADD, &[I(9), t("x-id"), t("v")], BAD_ARGUMENT, nothing),
        case(ADD, &[I(0), t("x-id"), I(WILD), I(99)], INVALID_MEMORY, nothing),
        case(SET, &[I(0), I(4), I(-1)], INVALID_MEMORY, nothing),
        case(REMOVE, &[I(0), I(-1), I(2)], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn buffers() {
    const GET: &str = "proxy_get_buffer_bytes";
    const SET: &str = "proxy_set_buffer_bytes";
    const STATUS: &str = "proxy_get_buffer_status";
    const CONFIGURATION: &str = "proxy_get_configuration";
    run(&[
        case(GET, &[I(0), I(0), I(-1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"0123456789")),
        case(GET, &[I(0), I(2), I(3), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"234")),
        case(GET, &[I(0), I(8), I(-1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"89")),
        case(GET, &[I(0), I(99), I(1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(GET, &[I(1), I(0), I(9), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(4), I(0), I(9), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(10), I(0), I(9), PTR, LEN], BAD_ARGUMENT, nothing),
        case(GET, &[I(6), I(0), I(99), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"vm configuration")),
        case(GET, &[I(7), I(7), I(99), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"configuration")),
        case(GET, &[I(0), I(0), I(9), I(WILD), LEN], INVALID_MEMORY, nothing),
        case(SET, &[I(0), I(0), I(0), t("ab")], OK, |_, e, _| {
            assert_eq!(*e.request_body.borrow(), b"ab0123456789")
        }),
        case(SET, &[I(0), I(2), I(7), t("-")], OK, |_, e, _| assert_eq!(*e.request_body.borrow(), b"01-9")),
        case(SET, &[I(0), I(0), I(-1), t("new")], OK, |_, e, _| assert_eq!(*e.request_body.borrow(), b"new")),
        case(SET, &[I(0), I(-1), I(0), t("!")], OK, |_, e, _| {
            assert_eq!(*e.request_body.borrow(), b"0123456789!")
        }),
        case(SET, &[I(1), I(0), I(0), t("x")], OK, |_, e, _| refused(e, SET, RefusalReason::Unavailable)),
        case(SET, &[I(5), I(0), I(0), t("x")], OK, |_, e, _| refused(e, SET, RefusalReason::Unavailable)),
        case(SET, &[I(7), I(0), I(0), t("x")], OK, |_, e, _| refused(e, SET, RefusalReason::ReadOnly)),
        case(SET, &[I(10), I(0), I(0), t("x")], BAD_ARGUMENT, nothing),
        case(SET, &[I(0), I(0), I(0), I(0), I(-1)], INVALID_MEMORY, nothing),
        case(STATUS, &[I(0), NUM, I(24)], OK, |o, _, _| assert_eq!(o.number, 10)),
        case(STATUS, &[I(7), NUM, I(24)], OK, |o, _, _| assert_eq!(o.number, 20)),
        case(STATUS, &[I(8), NUM, I(24)], NOT_FOUND, nothing),
        case(STATUS, &[I(0), NUM, I(WILD)], INVALID_MEMORY, nothing),
        case(CONFIGURATION, &[PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"plugin configuration")),
    ]);
}

#[test]
fn course_of_an_exchange() {
    const RESPOND: &str = "proxy_send_local_response";
    const CONTINUE: &str = "proxy_continue_stream";
    const CLOSE: &str = "proxy_close_stream";
    let headers = || Arg::Bytes(blob(&[("x-why", "rules")]));
    run(&[
        case(RESPOND, &[I(403), t("denied"), t("no"), headers(), I(-1)], OK, |_, e, _| {
            let answer = e.answer.borrow().clone().unwrap();
            assert_eq!((answer.status, answer.grpc_status), (403, None));
            assert_eq!((&answer.details[..], &answer.body[..]), (&b"denied"[..], &b"no"[..]));
            assert_eq!(answer.headers, pairs(&[("x-why", "rules")]));
        }),
        case(RESPOND, &[I(200), I(0), I(0), I(0), I(0), I(0), I(0), I(7)], OK, |_, e, _| {
            assert_eq!(e.answer.borrow().clone().unwrap().grpc_status, Some(7));
        }),
        // A denial stands, whatever is wrong with its form.
        case(RESPOND, &[I(99999), t(""), t(""), t("malformed"), I(-1)], OK, |_, e, env| {
            let answer = e.answer.borrow().clone().unwrap();
            assert_eq!((answer.status, answer.headers.len()), (500, 0));
            let line = env.lines.borrow().last().cloned().unwrap();
            assert!(line.message.starts_with(b"local response without its headers"), "{line:?}");
        }),
        case(RESPOND, &[I(403), I(WILD), I(9), t(""), t(""), I(-1)], INVALID_MEMORY, nothing),
        case(CONTINUE, &[I(0)], OK, |_, e, _| assert_eq!(*e.resumed.borrow(), [StreamSide::Request])),
        case(CONTINUE, &[I(1)], OK, |_, e, _| assert_eq!(*e.resumed.borrow(), [StreamSide::Response])),
        case(CONTINUE, &[I(3)], OK, |_, e, _| assert!(e.resumed.borrow().is_empty())),
        case(CONTINUE, &[I(4)], BAD_ARGUMENT, nothing),
        case("proxy_continue_request", &[], OK, |_, e, _| {
            assert_eq!(*e.resumed.borrow(), [StreamSide::Request])
        }),
        case("proxy_continue_response", &[], OK, |_, e, _| {
            assert_eq!(*e.resumed.borrow(), [StreamSide::Response])
        }),
        case(CLOSE, &[I(0)], OK, |_, e, _| assert_eq!(*e.closed.borrow(), [StreamSide::Request])),
        case(CLOSE, &[I(1)], OK, |_, e, _| assert_eq!(*e.closed.borrow(), [StreamSide::Response])),
        case(CLOSE, &[I(9)], BAD_ARGUMENT, nothing),
        case("proxy_done", &[], OK, nothing),
        case("proxy_set_effective_context", &[I(1)], OK, nothing),
        case("proxy_set_effective_context", &[I(0)], BAD_ARGUMENT, nothing),
        case("proxy_set_effective_context", &[I(4242)], BAD_ARGUMENT, nothing),
        case("proxy_set_tick_period_milliseconds", &[I(250)], OK, |_, _, env| {
            let ticks: Vec<_> = env.ticks.take().into_iter().map(|(id, period)| (id.get(), period)).collect();
            assert_eq!(ticks, [(1, Some(std::time::Duration::from_millis(250)))]);
        }),
        case("proxy_set_tick_period_milliseconds", &[I(0)], OK, |_, _, env| {
            assert_eq!(env.ticks.take()[0].1, None);
        }),
    ]);
}

#[test]
fn properties() {
    const GET: &str = "proxy_get_property";
    const SET: &str = "proxy_set_property";
    run(&[
        case(GET, &[t("request\0path"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"/a")),
        case(GET, &[t("request\0path\0"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"/a")),
        case(GET, &[t("plugin_name"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"filter")),
        case(GET, &[t("plugin_root_id"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"root")),
        case(GET, &[t("plugin_vm_id"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"vm")),
        case(GET, &[t("nothing\0here"), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(0), I(5000), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(WILD), I(9), PTR, LEN], INVALID_MEMORY, nothing),
        case(SET, &[t("mine"), t("v")], OK, |_, e, _| {
            assert_eq!(e.properties.borrow().get(&b"mine"[..]).unwrap(), b"v");
        }),
        case(SET, &[t("mine"), I(0), I(0)], OK, |_, e, _| {
            assert_eq!(e.properties.borrow().get(&b"mine"[..]).unwrap(), b"");
        }),
        case(SET, &[t("request\0path"), t("/")], OK, |_, e, _| refused(e, SET, RefusalReason::ReadOnly)),
        case(SET, &[I(0), I(5000), t("v")], OK, |_, e, _| refused(e, SET, RefusalReason::TooLarge)),
        case(SET, &[t("p"), I(0), I(-1)], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn shared_data() {
    const GET: &str = "proxy_get_shared_data";
    const SET: &str = "proxy_set_shared_data";
    run(&[
        case(GET, &[t("k"), PTR, LEN, NUM], NOT_FOUND, nothing),
        case(SET, &[t("k"), t("one"), I(0)], OK, nothing),
        case(GET, &[t("k"), PTR, LEN, NUM], OK, |o, _, _| {
            assert_eq!((&o.bytes[..], o.number), (&b"one"[..], 1))
        }),
        case(SET, &[t("k"), t("two"), I(1)], OK, nothing),
        case(SET, &[t("k"), t("three"), I(1)], CAS_MISMATCH, nothing),
        case(GET, &[t("k"), PTR, LEN, NUM], OK, |o, _, _| {
            assert_eq!((&o.bytes[..], o.number), (&b"two"[..], 2))
        }),
        case(SET, &[I(0), I(5000), t("v"), I(0)], OK, |_, e, _| refused(e, SET, RefusalReason::TooLarge)),
        case(SET, &[t("k"), I(0), I(-1), I(0)], INVALID_MEMORY, nothing),
        case(GET, &[t("k"), PTR, LEN, I(WILD)], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn queues() {
    const REGISTER: &str = "proxy_register_shared_queue";
    const RESOLVE: &str = "proxy_resolve_shared_queue";
    const ENQUEUE: &str = "proxy_enqueue_shared_queue";
    const DEQUEUE: &str = "proxy_dequeue_shared_queue";
    fn is_one(o: &Outcome, _: &Exchange, _: &Env) {
        assert_eq!(o.number, 1);
    }
    run(&[
        case(RESOLVE, &[t(""), t("q"), NUM], NOT_FOUND, nothing),
        case(REGISTER, &[t("q"), NUM], OK, is_one),
        case(REGISTER, &[t("q"), NUM], OK, is_one),
        case(RESOLVE, &[t(""), t("q"), NUM], OK, is_one),
        case(RESOLVE, &[t("vm"), t("q"), NUM], OK, is_one),
        case(RESOLVE, &[t("other"), t("q"), NUM], NOT_FOUND, nothing),
        case(RESOLVE, &[Arg::Bytes(vec![0xff]), t("q"), NUM], NOT_FOUND, nothing),
        case(DEQUEUE, &[I(1), PTR, LEN], EMPTY, nothing),
        case(ENQUEUE, &[I(1), t("one")], OK, nothing),
        case(ENQUEUE, &[I(1), t("")], OK, |_, _, env| assert_eq!(env.queues.bytes(), 3)),
        case(DEQUEUE, &[I(1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"one")),
        case(DEQUEUE, &[I(1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(DEQUEUE, &[I(1), PTR, LEN], EMPTY, nothing),
        case(ENQUEUE, &[I(0), t("x")], NOT_FOUND, nothing),
        case(ENQUEUE, &[I(2), t("x")], NOT_FOUND, nothing),
        case(DEQUEUE, &[I(0), PTR, LEN], NOT_FOUND, nothing),
        case(DEQUEUE, &[I(2), PTR, LEN], NOT_FOUND, nothing),
        case(REGISTER, &[I(0), I(5000), NUM], OK, |o, _, env| {
            assert_eq!(o.number, 0, "the name is too long");
            assert!(env.take_messages()[0].starts_with("a queue was not registered"));
        }),
        case(ENQUEUE, &[I(1), I(WILD), I(9)], INVALID_MEMORY, nothing),
        case(REGISTER, &[I(WILD), I(9), NUM], INVALID_MEMORY, nothing),
        case(REGISTER, &[t("q"), I(WILD)], INVALID_MEMORY, nothing),
        case(RESOLVE, &[t(""), I(WILD), I(9), NUM], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn foreign_functions() {
    const CALL: &str = "proxy_call_foreign_function";
    let call = |name: &str, arguments: Vec<u8>| vec![t(name), Arg::Bytes(arguments), PTR, LEN];
    let zeros = compressed(&vec![0; 9 << 20]);
    assert!(zeros.len() < 16 << 10, "a small stream of much");
    // Messages in the wire form of protocol buffers: a tag, a length, the bytes.
    let filter_state = [&b"\x0a\x03key\x12\x05value"[..]].concat();
    let declare = [&b"\x0a\x04mine\x10\x01"[..]].concat();
    run(&[
        case(CALL, &call("unknown", vec![]), NOT_FOUND, nothing),
        case(CALL, &call("compress", b"text".to_vec()), OK, |o, _, _| {
            assert_eq!(uncompressed(&o.bytes), b"text");
        }),
        case(CALL, &call("uncompress", compressed(b"other text")), OK, |o, _, _| {
            assert_eq!(o.bytes, b"other text");
        }),
        case(CALL, &call("uncompress", b"no stream".to_vec()), SERIALIZATION_FAILURE, nothing),
        case(CALL, &call("uncompress", compressed(b"cut off")[..8].to_vec()), SERIALIZATION_FAILURE, nothing),
        case(CALL, &call("uncompress", zeros), SERIALIZATION_FAILURE, nothing),
        case(CALL, &call("verify_signature", b"\x0a".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("verify_signature", b"".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("verify_signature", signature_of(b"the text")), OK, |o, _, _| {
            assert_eq!(o.bytes, [0x08, 1], "true, and no error");
        }),
        case(CALL, &call("verify_signature", signature_of(b"a forged text")), OK, |o, _, _| {
            assert_eq!(o.bytes[..2], [0x12, o.bytes.len() as u8 - 2], "an error, and not true");
        }),
        case(CALL, &call("sign", b"\x0a\x06sha256".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("set_envoy_filter_state", filter_state), OK, |_, e, _| {
            assert_eq!(e.properties.borrow().get(&b"filter_state\0key"[..]).unwrap(), b"value");
        }),
        case(CALL, &call("set_envoy_filter_state", b"\x0a\x09".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("declare_property", declare.clone()), OK, nothing),
        case(CALL, &call("declare_property", declare), BAD_ARGUMENT, nothing),
        case("proxy_set_property", &[t("mine"), t("1")], OK, |_, e, _| assert!(e.refusals.take().is_empty())),
        case(CALL, &call("clear_route_cache", vec![]), OK, |_, e, _| assert_eq!(e.route_clearings.get(), 1)),
        case(CALL, &[t("clear_route_cache"), t(""), I(0), I(0)], OK, nothing),
        case("proxy_clear_route_cache", &[], OK, |_, e, _| assert_eq!(e.route_clearings.get(), 1)),
        case(CALL, &call("get_log_level", vec![]), OK, |o, _, _| assert_eq!(o.bytes, [0; 4])),
        case(CALL, &call("tollgate_fail", b"\x00line 7: boom".to_vec()), OK, |_, _, v| {
            let fault = GuestFault { kind: FaultKind::Error, reason: "line 7: boom".into() };
            assert_eq!(v.faults.take(), [(true, fault)]);
        }),
        case(CALL, &call("tollgate_fail", [&b"\x01"[..], &[b'x'; 300]].concat()), OK, |_, _, v| {
            let faults = v.faults.take();
            assert_eq!((faults[0].1.kind, faults[0].1.reason.len()), (FaultKind::Budget, 256));
        }),
        case(CALL, &call("tollgate_fail", b"\x02".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("tollgate_fail", vec![]), BAD_ARGUMENT, nothing),
        case(CALL, &[t("compress"), I(WILD), I(9), PTR, LEN], INVALID_MEMORY, nothing),
        case(CALL, &[I(WILD), I(9), t(""), PTR, LEN], INVALID_MEMORY, nothing),
        case(CALL, &[t("compress"), t("text"), I(WILD), LEN], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn foreign_functions_of_shared_data() {
    const CALL: &str = "proxy_call_foreign_function";
    const DELETE: &str = "tollgate_shared_data_delete";
    const SET_TTL: &str = "tollgate_shared_data_set_ttl";
    const INCREMENT: &str = "tollgate_shared_data_increment";
    let call = |name: &str, parts: &[&[u8]]| vec![t(name), Arg::Bytes(parts.concat()), PTR, LEN];
    let (hour, never) = (3_600_000_u64.to_le_bytes(), 0_u64.to_le_bytes());
    let add = |delta: i64| delta.to_le_bytes();
    fn is(expected: i64, o: &Outcome) {
        assert_eq!(o.bytes, expected.to_le_bytes());
    }
    run(&[
        case(CALL, &call(DELETE, &[b"k"]), NOT_FOUND, nothing),
        case("proxy_set_shared_data", &[t("k"), t("v"), I(0)], OK, nothing),
        case(CALL, &call(SET_TTL, &[&hour, b"k"]), OK, nothing),
        case(CALL, &call(SET_TTL, &[&never, b"k"]), OK, nothing),
        case(CALL, &call(SET_TTL, &[&hour, b"absent"]), NOT_FOUND, nothing),
        case(CALL, &call(SET_TTL, &[b"short"]), BAD_ARGUMENT, nothing),
        case(CALL, &call(DELETE, &[b"k"]), OK, nothing),
        case("proxy_get_shared_data", &[t("k"), PTR, LEN, NUM], NOT_FOUND, nothing),
        case(CALL, &call(INCREMENT, &[&add(2), &hour, b"n"]), OK, |o, _, _| is(2, o)),
        case(CALL, &call(INCREMENT, &[&add(-5), &hour, b"n"]), OK, |o, _, _| is(-3, o)),
        case(CALL, &call(INCREMENT, &[&add(1), b"short"]), BAD_ARGUMENT, nothing),
        case("proxy_set_shared_data", &[t("t"), t("text"), I(0)], OK, nothing),
        case(CALL, &call(INCREMENT, &[&add(1), &never, b"t"]), BAD_ARGUMENT, nothing),
        case(CALL, &call(INCREMENT, &[&add(1), &never, &[b'k'; 5000]]), INTERNAL_FAILURE, nothing),
    ]);
}

/// Envoy's message for a signature that OpenSSL made of `the text`.
fn signature_of(text: &[u8]) -> Vec<u8> {
    const PEM: &[u8] = include_bytes!("../src/host/foreign/signature/fixtures/p256.pem");
    let signatures = include_str!("../src/host/foreign/signature/fixtures/signatures.txt");
    let signature = signatures.lines().find_map(|line| line.strip_prefix("p256 sha256 ")).unwrap();
    let byte = |at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap();
    let signature: Vec<u8> = (0..signature.len()).step_by(2).map(byte).collect();
    let mut message = Vec::new();
    let fields = [(1_u8, &b"sha256"[..]), (3, &signature), (4, text), (5, PEM)];
    for (number, bytes) in fields {
        message.push(number << 3 | 2);
        // A length takes seven bits a byte.
        let len = bytes.len();
        message.extend(if len < 128 { vec![len as u8] } else { vec![len as u8 | 0x80, (len >> 7) as u8] });
        message.extend(bytes);
    }
    message
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn uncompressed(stream: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(stream).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn metrics() {
    const DEFINE: &str = "proxy_define_metric";
    run(&[
        case(DEFINE, &[I(0), t("hits"), NUM], OK, |o, _, _| assert_eq!(o.number, 0)),
        case(DEFINE, &[I(1), t("level"), NUM], OK, |o, _, _| assert_eq!(o.number, 5)),
        case(DEFINE, &[I(2), t("sizes"), NUM], OK, |o, _, _| assert_eq!(o.number, 10)),
        case(DEFINE, &[I(3), t("x"), NUM], BAD_ARGUMENT, nothing),
        case(DEFINE, &[I(1), t("hits"), NUM], OK, |o, _, env| {
            assert_eq!(o.number, u64::from(u32::MAX));
            assert!(env.take_messages()[0].starts_with("the host discards a metric"));
        }),
        case("proxy_record_metric", &[I(0), L(5)], OK, nothing),
        case("proxy_increment_metric", &[I(0), L(2)], OK, nothing),
        case("proxy_increment_metric", &[I(0), L(-2)], BAD_ARGUMENT, nothing),
        case("proxy_get_metric", &[I(0), NUM], OK, |o, _, _| assert_eq!(o.number, 7)),
        case("proxy_record_metric", &[I(5), L(9)], OK, nothing),
        case("proxy_increment_metric", &[I(5), L(-4)], OK, nothing),
        case("proxy_get_metric", &[I(5), NUM], OK, |o, _, _| assert_eq!(o.number, 5)),
        case("proxy_record_metric", &[I(10), L(9)], OK, nothing),
        case("proxy_increment_metric", &[I(10), L(1)], BAD_ARGUMENT, nothing),
        case("proxy_get_metric", &[I(10), NUM], BAD_ARGUMENT, nothing),
        case("proxy_record_metric", &[I(77), L(9)], NOT_FOUND, nothing),
        case("proxy_record_metric", &[I(-1), L(9)], OK, nothing),
        case("proxy_get_metric", &[I(77), NUM], NOT_FOUND, nothing),
        case("proxy_get_metric", &[I(0), I(WILD)], INVALID_MEMORY, |_, _, env| {
            let mut values = Vec::new();
            env.metrics.visit(|name, value| values.push((name.to_owned(), value)));
            assert_eq!(values[0], ("hits".into(), MetricValue::Counter(7)));
            assert_eq!(values.len(), 3);
        }),
    ]);
}

#[test]
fn log_and_time() {
    run(&[
        case("proxy_log", &[I(4), t("hello")], OK, |_, _, env| {
            let line = env.lines.borrow().last().cloned().unwrap();
            assert_eq!((line.level, &line.message[..]), (LogLevel::Error, &b"hello"[..]));
            assert_eq!((line.plugin.as_deref(), line.in_stream), (Some("filter"), true));
        }),
        case("proxy_log", &[I(2), I(0), I(9000)], OK, |_, _, env| {
            assert_eq!(env.lines.borrow().last().unwrap().message.len(), 8192);
        }),
        case("proxy_log", &[I(6), t("hello")], BAD_ARGUMENT, nothing),
        case("proxy_log", &[I(2), I(WILD), I(9)], INVALID_MEMORY, nothing),
        case("proxy_get_log_level", &[NUM], OK, |o, _, _| assert_eq!(o.number, 0)),
        case("proxy_get_log_level", &[I(WILD)], INVALID_MEMORY, nothing),
        case("proxy_get_current_time_nanoseconds", &[NUM], OK, |o, _, _| {
            assert!(o.number > 1_700_000_000_000_000_000, "after November 2023");
        }),
    ]);
}

#[test]
fn redis_calls() {
    fn refused(_: &Outcome, _: &Exchange, env: &Env) {
        assert!(env.asked.take().is_empty());
    }
    let init = |upstream: &str| [t(upstream), t("user"), t("secret"), I(250)];
    let (redis_init, redis_call) = ("proxy_redis_init", "proxy_redis_call");
    run(&[
        case(redis_init, &init("known?db=3&max_buffer_size_before_flush=0"), OK, |_, _, env| {
            assert_eq!(env.asked.take(), ["3 user secret Some(250ms)"]);
        }),
        case(redis_init, &init("other"), BAD_ARGUMENT, refused),
        case(redis_init, &init("known?db=x"), BAD_ARGUMENT, refused),
        case(redis_init, &init(&"x".repeat(5000)), BAD_ARGUMENT, refused),
        case(redis_init, &[t("known"), I(WILD), I(9), t(""), I(0)], INVALID_MEMORY, refused),
        case(redis_call, &[t("known"), t("GET"), NUM], OK, |o, _, env| {
            assert_eq!(env.asked.take(), ["GET"]);
            assert_eq!(o.number, u64::from(env.opened.take()[0].0.get()));
        }),
        case(redis_call, &[t("other"), t("GET"), NUM], BAD_ARGUMENT, refused),
        case(redis_call, &[t("known"), t("GET"), I(WILD)], INVALID_MEMORY, refused),
    ]);
}

#[test]
fn grpc_calls() {
    fn refused(_: &Outcome, _: &Exchange, env: &Env) {
        assert!(env.asked.take().is_empty());
    }
    fn told(outcome: &Outcome, env: &Env, expected: &str) {
        assert_eq!(env.asked.take(), [expected]);
        assert_eq!(outcome.number, u64::from(env.opened.take()[0].0.get()));
    }
    let pair = || Arg::Bytes(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0k\0v\0".to_vec());
    let cut = Arg::Bytes(b"\x01\0\0\0\x01".to_vec());
    let long = t(&"x".repeat(5000));
    let to = |upstream: Arg, more: &[Arg]| [&[upstream, t("s.S"), t("M"), pair()], more].concat();
    let inside = Arg::Bytes(b"\x0a\x07\x0a\x05known".to_vec());
    let stream = "proxy_grpc_stream";
    run(&[
        case(stream, &to(t("other"), &[NUM]), PARSE_FAILURE, refused),
        case(stream, &to(long.clone(), &[NUM]), PARSE_FAILURE, refused),
        case(stream, &[t("known"), t(""), t("M"), t(""), NUM], PARSE_FAILURE, refused),
        case(stream, &[t("known"), t("s.S"), long, t(""), NUM], PARSE_FAILURE, refused),
        case(stream, &[t("known"), t("s.S"), t("M"), cut, NUM], PARSE_FAILURE, refused),
        case(stream, &to(t("known"), &[I(WILD)]), INVALID_MEMORY, refused),
        case(stream, &[t("known"), t("s.S"), t("M"), I(WILD), I(9), NUM], INVALID_MEMORY, refused),
        case("proxy_grpc_call", &to(t("other"), &[t("m"), I(250), NUM]), PARSE_FAILURE, refused),
        case("proxy_grpc_call", &to(t("known"), &[I(WILD), I(9), I(250), NUM]), INVALID_MEMORY, refused),
        case("proxy_grpc_call", &to(t("known"), &[t("m"), I(250), NUM]), OK, |o, _, env| {
            told(o, env, "s.S/M k=v m Some(250ms)");
        }),
        case("proxy_grpc_call", &to(t("known"), &[t(""), I(0), NUM]), OK, |o, _, env| {
            told(o, env, "s.S/M k=v  None");
        }),
        case(stream, &to(t("known"), &[NUM]), OK, |o, _, env| told(o, env, "s.S/M k=v stream")),
        case(stream, &to(inside, &[NUM]), OK, |o, _, env| told(o, env, "s.S/M k=v stream")),
        case(stream, &to(t("known"), &[NUM]), INTERNAL_FAILURE, refused),
        case("proxy_grpc_send", &[I(99), t("x"), I(0)], NOT_FOUND, refused),
        case("proxy_grpc_send", &[I(1), I(WILD), I(9), I(0)], INVALID_MEMORY, refused),
        case("proxy_grpc_cancel", &[I(99)], NOT_FOUND, refused),
        case("proxy_grpc_close", &[I(0)], NOT_FOUND, refused),
        case("proxy_get_status", &[NUM, PTR, LEN], OK, |o, _, _| {
            assert_eq!((o.number, o.bytes.len()), (0, 0))
        }),
    ]);
}

#[test]
fn endpoints_of_the_upstream() {
    const GET: &str = "proxy_get_upstream_hosts";
    const SET: &str = "proxy_set_upstream_override_host";
    run(&[
        case(GET, &[PTR, LEN], OK, |o, _, _| {
            let healthy = r#"{"health_status":"Healthy"}"#;
            let unhealthy = r#"{"health_status":"Unhealthy"}"#;
            assert_eq!(o.bytes, blob(&[("10.0.0.1:80", healthy), ("10.0.0.2:80", unhealthy)]));
        }),
        case(GET, &[I(WILD), LEN], INVALID_MEMORY, nothing),
        case(SET, &[t("10.0.0.2:80")], OK, |_, e, _| {
            assert_eq!(*e.first_upstream_host.borrow(), b"10.0.0.2:80");
        }),
        case(SET, &[t("10.0.0.3:80")], BAD_ARGUMENT, nothing),
        case(SET, &[t("")], BAD_ARGUMENT, nothing),
        case(SET, &[I(WILD), I(9)], INVALID_MEMORY, nothing),
    ]);
}

/// A write that was refused by the policy, which the log tells.
fn forbidden(_: &Outcome, exchange: &Exchange, env: &Env) {
    let refusals = exchange.refusals.take();
    let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.reason).collect();
    assert_eq!(reasons, [RefusalReason::Forbidden]);
    let told = env.take_messages();
    assert!(told[0].contains(refusals[0].function), "{told:?}");
}

fn empty(outcome: &Outcome, exchange: &Exchange, _: &Env) {
    assert_eq!((outcome.number, &*outcome.bytes), (0, &b""[..]));
    assert!(exchange.refusals.take().is_empty());
}

/// The types are those of the functions that they stand in for: the guest would not link otherwise.
#[test]
fn what_the_policy_refuses_of_an_exchange() {
    let zeros = |n: usize| vec![I(0); n];
    let name = [I(0), t("x-id"), PTR, LEN];
    let write = [I(0), t("x-id"), t("forged")];
    run_allowed(
        Capabilities::NONE,
        &[
            case("proxy_get_header_map_value", &name, NOT_FOUND, |_, _, env| {
                let told = env.take_messages();
                assert_eq!(told, ["the policy does not allow this filter proxy_get_header_map_value"]);
            }),
            case("proxy_get_header_map_value", &name, NOT_FOUND, |_, _, env| {
                assert!(env.take_messages().is_empty(), "it is told once");
            }),
            case("proxy_get_header_map_size", &[I(0), NUM], OK, empty),
            case("proxy_get_header_map_pairs", &[I(0), PTR, LEN], OK, empty),
            case("proxy_set_header_map_pairs", &zeros(3), OK, forbidden),
            case("proxy_add_header_map_value", &write, OK, forbidden),
            case("proxy_replace_header_map_value", &write, OK, |o, e, env| {
                forbidden(o, e, env);
                assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["one", "two"]);
            }),
            case("proxy_remove_header_map_value", &[I(0), t("x-id")], OK, forbidden),
            case("proxy_set_buffer_bytes", &zeros(5), OK, forbidden),
            case("proxy_send_local_response", &zeros(8), OK, forbidden),
            case("proxy_close_stream", &zeros(1), OK, forbidden),
            case("proxy_get_property", &[t("plugin_name"), PTR, LEN], NOT_FOUND, nothing),
            case("proxy_set_property", &zeros(4), OK, forbidden),
            case("proxy_clear_route_cache", &[], OK, forbidden),
            case("proxy_get_upstream_hosts", &[PTR, LEN], NOT_FOUND, nothing),
            case("proxy_set_upstream_override_host", &[t("10.0.0.1:80")], OK, forbidden),
            case("proxy_get_buffer_bytes", &[I(0), I(0), I(9), PTR, LEN], OK, |o, _, _| {
                assert_eq!(o.bytes, b"012345678", "reading a body is always there");
            }),
        ],
    );
}

#[test]
fn what_the_policy_refuses_beside_it() {
    let zeros = |n: usize| vec![I(0); n];
    let foreign = |name: &str| vec![t(name), t(""), PTR, LEN];
    run_allowed(
        Capabilities::NONE,
        &[
            case("proxy_set_shared_data", &zeros(5), OK, forbidden),
            case("proxy_get_shared_data", &[t("key"), PTR, LEN, NUM], NOT_FOUND, nothing),
            case("proxy_register_shared_queue", &[t("queue"), NUM], OK, empty),
            case("proxy_resolve_shared_queue", &[t("vm"), t("queue"), NUM], NOT_FOUND, nothing),
            case("proxy_enqueue_shared_queue", &[I(1), t("item")], NOT_FOUND, nothing),
            case("proxy_dequeue_shared_queue", &[I(1), PTR, LEN], NOT_FOUND, nothing),
            case("proxy_define_metric", &[I(0), t("metric"), NUM], OK, empty),
            case("proxy_record_metric", &[I(1), L(1)], OK, nothing),
            case("proxy_increment_metric", &[I(1), L(1)], OK, nothing),
            case("proxy_get_metric", &[I(1), NUM], OK, empty),
            case("proxy_set_tick_period_milliseconds", &[I(5)], OK, |_, _, env| {
                assert!(env.ticks.take().is_empty());
            }),
            case("proxy_http_call", &zeros(10), INTERNAL_FAILURE, |_, _, env| {
                assert!(env.sent.take().is_empty())
            }),
            case("proxy_grpc_call", &zeros(12), INTERNAL_FAILURE, nothing),
            case("proxy_grpc_stream", &zeros(9), INTERNAL_FAILURE, nothing),
            case("proxy_grpc_send", &zeros(4), NOT_FOUND, nothing),
            case("proxy_grpc_cancel", &zeros(1), NOT_FOUND, nothing),
            case("proxy_grpc_close", &zeros(1), NOT_FOUND, nothing),
            case("proxy_call_foreign_function", &foreign("compress"), NOT_FOUND, nothing),
            case("proxy_call_foreign_function", &foreign("declare_property"), NOT_FOUND, nothing),
            case("proxy_call_foreign_function", &foreign("get_log_level"), OK, nothing),
        ],
    );
}

#[test]
fn what_the_policy_allows_in_part() {
    let name = [I(0), t("x-id"), PTR, LEN];
    let foreign = |name: &str| vec![t(name), t(""), PTR, LEN];
    let some = Capabilities::named("headers").unwrap().union(Capabilities::named("compress").unwrap());
    run_allowed(
        some,
        &[
            case("proxy_get_header_map_value", &name, OK, |o, _, _| assert_eq!(o.bytes, b"one")),
            case("proxy_call_foreign_function", &foreign("compress"), OK, nothing),
            case("proxy_call_foreign_function", &foreign("uncompress"), NOT_FOUND, nothing),
            case("proxy_send_local_response", &vec![I(0); 8], OK, forbidden),
        ],
    );
}
