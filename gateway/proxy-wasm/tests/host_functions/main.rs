//! Every host function of the ABI, called by a guest with arguments of all kinds: one guest with a
//! case for each row of the tables, run on the real engine.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod calls;
mod exchange;
mod foreign;
mod policy;
mod stores;
#[path = "../support/mod.rs"]
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
