//! An exchange and an environment that keep everything in memory, and the way from WAT to a VM.
#![allow(dead_code)] // each test binary uses its part

pub mod exchange;
pub mod fuzz;
pub mod module;
pub mod reply;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use exchange::Pairs;
use tollgate_proxy_wasm::{
    CallError, CallId, Capabilities, Environment, GrpcCall, GrpcKind, GuestFault, GuestMetrics,
    HostFunctions, HttpCall, LogLevel, MessageEnd, Pair, Plugin, PluginId, PluginSpec, RedisLogin,
    RedisUpstream, SharedData, SharedQueues, StartError, Vm, VmSpec,
};
use tollgate_wasmedge::Module;

pub use exchange::{Exchange, pairs};

/// What a guest logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub plugin: Option<String>,
    pub in_stream: bool,
    pub level: LogLevel,
    pub message: Vec<u8>,
}

/// A call of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub id: CallId,
    pub plugin: PluginId,
    pub in_stream: bool,
    pub headers: Pairs,
    pub body: Vec<u8>,
    pub trailers: Pairs,
    pub timeout: Option<Duration>,
}

pub struct Env {
    pub level: Cell<LogLevel>,
    pub lines: RefCell<Vec<Line>>,
    pub ticks: RefCell<Vec<(PluginId, Option<Duration>)>>,
    /// Calls that were sent, and those that were cancelled.
    pub sent: RefCell<Vec<Sent>>,
    pub cancelled: RefCell<Vec<CallId>>,
    /// Failures that guests told of, and whether in a stream.
    pub faults: RefCell<Vec<(bool, GuestFault)>>,
    /// Calls by gRPC and to Redis, and all that was asked for them, as text.
    pub opened: RefCell<Vec<(CallId, PluginId)>>,
    pub asked: RefCell<Vec<String>>,
    pub shared: Arc<SharedData>,
    pub queues: Arc<SharedQueues>,
    pub metrics: Arc<GuestMetrics>,
}

impl Env {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            level: Cell::new(LogLevel::Trace),
            lines: RefCell::default(),
            ticks: RefCell::default(),
            sent: RefCell::default(),
            cancelled: RefCell::default(),
            faults: RefCell::default(),
            opened: RefCell::default(),
            asked: RefCell::default(),
            shared: Arc::default(),
            queues: Arc::default(),
            metrics: Arc::default(),
        })
    }

    /// The messages as text, oldest first, and forgets them.
    pub fn take_messages(&self) -> Vec<String> {
        let text = |line: Line| String::from_utf8_lossy(&line.message).into_owned();
        self.lines.take().into_iter().map(text).collect()
    }
}

impl Environment for Env {
    type Stream = Exchange;

    fn log(&self, plugin: Option<&Plugin>, stream: Option<&Exchange>, level: LogLevel, message: &[u8]) {
        self.lines.borrow_mut().push(Line {
            plugin: plugin.map(|plugin| plugin.spec().name.to_string()),
            in_stream: stream.is_some(),
            level,
            message: message.to_vec(),
        });
    }

    fn log_level(&self) -> LogLevel {
        self.level.get()
    }

    fn set_tick(&self, plugin: PluginId, period: Option<Duration>) {
        self.ticks.borrow_mut().push((plugin, period));
    }

    fn http_call(
        &self,
        id: CallId,
        plugin: &Plugin,
        stream: Option<&Exchange>,
        call: HttpCall<'_>,
    ) -> Result<(), CallError> {
        if call.upstream != b"known" {
            return Err(CallError::Upstream);
        }
        let copied = |pairs: &[Pair<'_>]| pairs.iter().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
        self.sent.borrow_mut().push(Sent {
            id,
            plugin: plugin.id(),
            in_stream: stream.is_some(),
            headers: copied(call.headers),
            body: call.body.to_vec(),
            trailers: copied(call.trailers),
            timeout: call.timeout,
        });
        Ok(())
    }

    fn grpc_open(&self, id: CallId, plugin: &Plugin, call: GrpcCall<'_>) -> Result<(), CallError> {
        if !call.upstream.names().any(|name| name == b"known") {
            return Err(CallError::Upstream);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let metadata = call.metadata.iter().map(|(name, value)| format!(" {}={}", text(name), text(value)));
        let kind = match call.kind {
            GrpcKind::Unary { message, timeout } => format!("{} {timeout:?}", text(message)),
            GrpcKind::Stream => "stream".to_owned(),
        };
        let call =
            format!("{}/{}{} {kind}", text(call.service), text(call.method), metadata.collect::<String>());
        self.opened.borrow_mut().push((id, plugin.id()));
        self.asked.borrow_mut().push(call);
        Ok(())
    }

    fn grpc_send(&self, _: CallId, message: &[u8], end: MessageEnd) -> Result<(), CallError> {
        match message {
            b"full" => Err(CallError::Full),
            message => {
                self.asked.borrow_mut().push(format!("{} {end:?}", String::from_utf8_lossy(message)));
                Ok(())
            }
        }
    }

    fn grpc_close(&self, _: CallId) {
        self.asked.borrow_mut().push("close".to_owned());
    }

    fn redis_init(
        &self,
        _: &Plugin,
        upstream: RedisUpstream<'_>,
        login: RedisLogin<'_>,
    ) -> Result<(), CallError> {
        if upstream.name != b"known" {
            return Err(CallError::Upstream);
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.asked.borrow_mut().push(format!(
            "{} {} {} {:?}",
            upstream.database,
            text(login.user),
            text(login.password),
            login.timeout
        ));
        Ok(())
    }

    fn redis_call(
        &self,
        id: CallId,
        plugin: &Plugin,
        upstream: &[u8],
        command: &[u8],
    ) -> Result<(), CallError> {
        if upstream != b"known" {
            return Err(CallError::Upstream);
        }
        self.opened.borrow_mut().push((id, plugin.id()));
        self.asked.borrow_mut().push(String::from_utf8_lossy(command).into_owned());
        Ok(())
    }

    fn cancel_call(&self, id: CallId) {
        self.cancelled.borrow_mut().push(id);
    }

    fn fault(&self, _: &Plugin, stream: Option<&Exchange>, fault: GuestFault) {
        self.faults.borrow_mut().push((stream.is_some(), fault));
    }

    fn shared_data(&self) -> &SharedData {
        &self.shared
    }

    fn shared_queues(&self) -> &SharedQueues {
        &self.queues
    }

    fn metrics(&self) -> &GuestMetrics {
        &self.metrics
    }
}

pub fn vm_spec() -> VmSpec {
    VmSpec {
        vm_id: "vm".into(),
        configuration: b"vm configuration"[..].into(),
        environment: vec![("COLOUR".into(), "blue".into()), ("EMPTY".into(), String::new())],
        memory_pages_max: 256,
        capabilities: Capabilities::ALL,
        start_budget: Duration::from_secs(5),
    }
}

pub fn plugin_spec(name: &str, configuration: &[u8]) -> PluginSpec {
    PluginSpec {
        name: name.into(),
        root_id: "root".into(),
        configuration: configuration.into(),
        budget: Duration::from_secs(5),
        queue_reader: None,
        calls_max: 4,
    }
}

/// A VM of `module` with its environment.
pub fn start(module: &Module) -> (Vm<Env>, Rc<Env>) {
    let env = Env::new();
    (start_with(module, vm_spec(), &env).unwrap(), env)
}

pub fn start_with(module: &Module, spec: VmSpec, env: &Rc<Env>) -> Result<Vm<Env>, StartError> {
    Vm::new(module, &HostFunctions::new(), spec, Rc::clone(env))
}

/// Runs a test on a thread that guests may run on.
pub fn guarded(test: impl FnOnce() + Send) {
    tollgate_wasmedge::run_guarded("test", test).unwrap();
}
