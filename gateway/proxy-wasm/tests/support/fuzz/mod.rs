//! What is fuzzed, as functions of bytes: the fuzz targets (`../../fuzz`) and the bounded tests
//! (`../fuzz_entries.rs`) run the same code.
//!
//! One generated guest ([`guest`]) imports every function that the host links. Its plugin
//! configuration is a program ([`program`]): in which callback to call which function with which
//! arguments, and what its allocator does. What must hold whatever it does: no panic in the host, no
//! status that an SDK cannot bear, no context or exchange left behind, no limit exceeded, and a
//! neighbour that shares the environment still works.

mod guest;
mod program;

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tollgate_proxy_wasm::{
    Action, Capabilities, Failure, HostFunctions, PeerType, PluginId, PluginSpec, QueueId, QueueReader,
    StartError, Vm, VmSpec,
};
use tollgate_wasmedge::{Module, Trap};

use super::exchange::Pairs;
use super::reply::Reply;
use super::{Env, Exchange, pairs, plugin_spec, vm_spec};
pub use program::{Argument, Operation, Program};

/// Pages of memory that the guest may have.
const PAGES_MAX: u32 = 8;
/// A program takes microseconds; one that runs so long hangs.
const BUDGET: Duration = Duration::from_secs(2);

/// The generated guest, made once. `load` compiles a module in WAT.
pub struct Subject {
    module: Module,
    /// Module and name of every function that the host links, in the order of their numbers.
    pub functions: Vec<(String, String)>,
}

impl Subject {
    pub fn get(load: impl FnOnce(&str) -> Module) -> &'static Self {
        static SUBJECT: OnceLock<Subject> = OnceLock::new();
        SUBJECT.get_or_init(|| {
            let functions = HostFunctions::<Env>::new();
            let types: Vec<_> = functions.types().collect();
            let names = types.iter().map(|(module, name, _)| (module.to_string(), name.to_string()));
            Self { module: load(&guest::source(&types)), functions: names.collect() }
        })
    }

    /// The number of a function of the ABI.
    pub fn number(&self, function: &str) -> u8 {
        let found = self.functions.iter().position(|(module, name)| module == "env" && name == function);
        u8::try_from(found.unwrap()).unwrap()
    }

    /// An HTTP call as it should be.
    fn good_call(&self, callback: u8) -> Operation {
        let bytes = |(address, bytes): (usize, &[u8])| [address as u32, bytes.len() as u32];
        let [server, request] = [guest::SERVER, guest::REQUEST].map(bytes);
        // No body, no trailers, a second's time; the id goes into the first word for results.
        let numbers = [server, request, [0, 0], [0, 0]].concat().into_iter().chain([1000]);
        let arguments = numbers.map(Argument::Value).chain([Argument::Slot(0)]).collect();
        Operation { callback, function: self.number("proxy_http_call"), arguments }
    }

    fn start(&self, env: &Rc<Env>, capabilities: Capabilities) -> Vm<Env> {
        let spec = VmSpec { memory_pages_max: PAGES_MAX, capabilities, ..vm_spec() };
        Vm::new(&self.module, &HostFunctions::new(), spec, Rc::clone(env)).unwrap()
    }
}

/// What `plugin_spec` lets a plugin have under way.
const CALLS_MAX: usize = 4;

/// Runs the program that `data` is decoded to through a plugin's whole life. Must run on a guarded
/// thread.
pub fn host_functions(subject: &Subject, data: &[u8]) {
    run(subject, &Program::decode(data, subject.functions.len()));
}

/// Runs a program, holds what must hold, and returns the exchange.
pub fn run(subject: &Subject, program: &Program) -> Rc<Exchange> {
    let mut program = program.clone();
    program.operations.splice(..0, program.calls_in.map(|callback| subject.good_call(callback)));
    let env = Env::new();
    let exchange = Exchange::request(&[(":method", "POST"), (":path", "/a?b"), ("x-one", "1")]);
    *exchange.request_body.borrow_mut() = b"request body".to_vec();
    exchange.request_trailers.replace(pairs(&[("x-trailer", "1")]));
    let capabilities = if program.is_forbidden { Capabilities::NONE } else { Capabilities::ALL };
    let vm = subject.start(&env, capabilities);
    let life = Life { subject, env: &env, vm: &vm, notices: Arc::default() };
    if let Some(plugin) = life.started(vm.add_plugin(life.specification(&program))) {
        life.serve(plugin, &exchange);
        vm.remove_plugin(plugin);
    }
    life.assert_bounded(&program);
    drop(vm);
    assert_eq!(Rc::strong_count(&exchange), 1, "the VM kept the exchange");
    neighbour_works(subject, &env);
    exchange
}

fn specification(program: &Program) -> PluginSpec {
    PluginSpec { budget: BUDGET, ..plugin_spec("fuzz", &program.encode()) }
}

struct Life<'a> {
    subject: &'a Subject,
    env: &'a Env,
    vm: &'a Vm<Env>,
    notices: Arc<Notices>,
}

/// Queues with something to read.
#[derive(Debug, Default)]
struct Notices(Mutex<Vec<QueueId>>);

impl QueueReader for Notices {
    fn notify(&self, queue: QueueId) {
        self.0.lock().unwrap().push(queue);
    }
}

impl Life<'_> {
    fn specification(&self, program: &Program) -> PluginSpec {
        PluginSpec { queue_reader: Some(Arc::clone(&self.notices) as _), ..specification(program) }
    }

    /// The plugin, or `None` if the program stopped it as guests may.
    fn started(&self, result: Result<PluginId, StartError>) -> Option<PluginId> {
        match result {
            Ok(plugin) => Some(plugin),
            Err(StartError::Failed { failure, .. }) => {
                self.assert_allowed(Err(failure));
                None
            }
            Err(StartError::ConfigurationRefused { .. } | StartError::VmRefused { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// An exchange and a connection, and what happens between them.
    fn serve(&self, plugin: PluginId, exchange: &Rc<Exchange>) {
        self.exchange(plugin, exchange);
        self.between(plugin);
        self.connection(plugin);
        self.between(plugin);
    }

    fn exchange(&self, plugin: PluginId, exchange: &Rc<Exchange>) {
        let vm = self.vm;
        let context = match vm.create_stream(plugin, Rc::clone(exchange)) {
            Ok(context) => context,
            Err(failure) => return self.assert_allowed(Err(failure)),
        };
        let action = |result: Result<Action, Failure>| self.assert_allowed(result.map(drop));
        action(vm.on_request_headers(context, 3, false));
        action(vm.on_request_body(context, 12, false));
        action(vm.on_request_trailers(context, 1));
        self.between(plugin);
        exchange.respond(&[(":status", "200"), ("content-length", "4")]);
        *exchange.response_body.borrow_mut() = b"body".to_vec();
        action(vm.on_response_headers(context, 2, false));
        action(vm.on_response_body(context, 4, true));
        action(vm.on_response_trailers(context, 0));
        self.assert_allowed(vm.finish(context));
    }

    fn connection(&self, plugin: PluginId) {
        let vm = self.vm;
        let context = match vm.create_stream(plugin, Exchange::connection(b"down", b"up")) {
            Ok(context) => context,
            Err(failure) => return self.assert_allowed(Err(failure)),
        };
        let action = |result: Result<Action, Failure>| self.assert_allowed(result.map(drop));
        action(vm.on_new_connection(context));
        action(vm.on_downstream_data(context, 4, false));
        action(vm.on_upstream_data(context, 2, true));
        self.assert_allowed(vm.on_downstream_close(context, PeerType::Remote));
        self.assert_allowed(vm.on_upstream_close(context, PeerType::Local));
        self.assert_allowed(vm.finish(context));
    }

    /// A tick, the queues that have something to read, and the answers to all calls. An answer to a
    /// call that has had its own is passed over.
    fn between(&self, plugin: PluginId) {
        self.assert_allowed(self.vm.on_tick(plugin));
        let queues = std::mem::take(&mut *self.notices.0.lock().unwrap());
        for queue in queues {
            self.assert_allowed(self.vm.on_queue_ready(plugin, queue).map(drop));
        }
        let calls: Vec<_> = self.env.sent.borrow().iter().map(|call| call.id).collect();
        for (number, call) in calls.into_iter().enumerate() {
            let reply = if number % 2 == 0 { Reply::arrived() } else { Reply::failed("timeout") };
            self.assert_allowed(self.vm.on_http_call_response(call, reply));
        }
    }

    /// Guests may trap, exit, and be refused; the host may not panic. The generated guest executes
    /// `unreachable` when a function answers a status that SDKs do not bear.
    fn assert_allowed(&self, result: Result<(), Failure>) {
        match result {
            Err(Failure::Trap { callback, trap: Trap::Unreachable }) => {
                panic!("in {callback}: {}", self.last_status());
            }
            Err(Failure::Trap { callback, trap: trap @ (Trap::HostPanic | Trap::Other(_)) }) => {
                panic!("{trap:?} in {callback}");
            }
            Err(Failure::Budget { callback }) => panic!("{callback} hung"),
            Err(failure @ (Failure::Reentered | Failure::UnknownContext)) => panic!("{failure}"),
            Ok(()) | Err(_) => {}
        }
    }

    /// The function and its status that the guest logged before it trapped.
    fn last_status(&self) -> String {
        let lines = self.env.lines.borrow();
        let words: [u8; 8] = lines.last().unwrap().message.as_slice().try_into().unwrap();
        let (function, status) = words.split_at(4);
        format!("{:?} answered {}", self.subject.functions[usize::from(function[0])], status[0])
    }

    fn assert_bounded(&self, program: &Program) {
        let most = program.operations.len() * guest::CALLBACKS.len() * 2;
        assert!(self.vm.memory_bytes() <= u64::from(PAGES_MAX) << 16);
        // A guest that is never done keeps its contexts until it is.
        if self.vm.failed().is_none() && !program.never_done {
            assert_eq!((self.vm.contexts(), self.vm.calls()), (0, 0));
        }
        if self.vm.failed().is_some() {
            assert_eq!(self.vm.calls(), 0);
        }
        assert!(self.vm.calls() <= CALLS_MAX);
        // An answered call is not cancelled, and none is cancelled twice.
        let sent: HashSet<_> = self.env.sent.borrow().iter().map(|call| call.id).collect();
        let cancelled = self.env.cancelled.borrow();
        assert_eq!(sent.len(), self.env.sent.borrow().len(), "ids are unique");
        assert!(cancelled.iter().all(|id| sent.contains(id)));
        assert_eq!(cancelled.iter().collect::<HashSet<_>>().len(), cancelled.len());
        assert!(self.env.queues.len() <= most);
        assert!(self.env.shared.keys() <= most);
        let mut metrics = 0;
        self.env.metrics.visit(|name, _| {
            assert!(!name.is_empty() && name.len() <= 256, "{name:?}");
            metrics += 1;
        });
        assert!(metrics <= most);
    }
}

/// A well-behaved plugin with the same environment serves its exchange.
fn neighbour_works(subject: &Subject, env: &Rc<Env>) {
    let vm = subject.start(env, Capabilities::ALL);
    let plugin = vm.add_plugin(specification(&Program::default())).unwrap();
    let exchange = Exchange::request(&[(":path", "/")]);
    let context = vm.create_stream(plugin, Rc::clone(&exchange)).unwrap();
    assert_eq!(vm.on_request_headers(context, 1, true), Ok(Action::Continue));
    vm.finish(context).unwrap();
    vm.remove_plugin(plugin);
    assert_eq!((vm.failed(), vm.contexts(), exchange.refusals.borrow().len()), (None, 0, 0));
}

/// A map that a guest writes: what the host reads out of `blob` is what a plain reading of the
/// specification finds there. The guest reads the map back and writes it again, which changes nothing.
pub fn map_pairs(subject: &Subject, blob: &[u8]) {
    let blob = &blob[..blob.len().min(Program::DATA_BYTES)];
    let exchange = write_map(subject, blob);
    let headers = exchange.request_headers.borrow();
    match plain_reading(blob) {
        // Names and values that HTTP forbids are refused, and the map left as it was.
        Some(read) if exchange.refusals.borrow().is_empty() => assert_eq!(*headers, lower_case(&read)),
        _ => assert!(headers.iter().any(|(name, _)| name == b"x-one"), "{headers:?}"),
    }
}

/// The request headers after a guest has replaced them by `blob`, which must be a good map.
pub fn written_map(subject: &Subject, blob: &[u8]) -> Pairs {
    let exchange = write_map(subject, blob);
    assert_eq!(*exchange.refusals.borrow(), []);
    exchange.request_headers.take()
}

fn write_map(subject: &Subject, blob: &[u8]) -> Rc<Exchange> {
    let write = |address: Argument, size: Argument| Operation {
        callback: guest::REQUEST_HEADERS,
        function: subject.number("proxy_set_header_map_pairs"),
        arguments: vec![Argument::Value(0), address, size],
    };
    let read = Operation {
        callback: guest::REQUEST_HEADERS,
        function: subject.number("proxy_get_header_map_pairs"),
        arguments: vec![Argument::Value(0), Argument::Slot(0), Argument::Slot(1)],
    };
    let size = Argument::Value(u32::try_from(blob.len()).unwrap());
    let operations = vec![write(Argument::Data(0), size), read, write(Argument::Load(0), Argument::Load(1))];
    let program = Program { operations, data: blob.to_vec(), ..Program::default() };
    run(subject, &program)
}

fn lower_case(map: &Pairs) -> Pairs {
    map.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

/// The specification's layout, read in the plainest way.
fn plain_reading(blob: &[u8]) -> Option<Pairs> {
    if blob.is_empty() || blob == [0] {
        return Some(Pairs::new());
    }
    let number = |at: usize| Some(u32::from_le_bytes(blob.get(at..at + 4)?.try_into().ok()?) as usize);
    let count = number(0).filter(|count| *count <= 1024)?;
    let mut at = 4 + 8 * count;
    let mut text = |len: usize| {
        let text = blob.get(at..at.checked_add(len)?)?.to_vec();
        let end = *blob.get(at + len)?;
        at += len + 1;
        (end == 0).then_some(text)
    };
    (0..count).map(|pair| Some((text(number(4 + 8 * pair)?)?, text(number(8 + 8 * pair)?)?))).collect()
}
