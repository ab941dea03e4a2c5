//! Starts the filters of a new policy aside from the workers, before any of them sees it.
//!
//! A filter that traps, loops or refuses its configuration at its start is told here, once, with its
//! own last lines, and costs no worker its time. Only what differs from the policy in force is
//! started: equal module and configuration did start before.
//!
//! Each VM gets an environment of its own that leads nowhere: what a canary writes to shared data
//! or metrics is gone with it, and what it logs is told only if it fails.
//!
//! Limits: each callback has the filter's start budget; at most [`FAULTS_MAX`] faults are looked for.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use tollgate_proxy_wasm::{
    BufferError, CallError, CallId, Capabilities, Environment, GrpcCall, GuestFault, GuestMetrics,
    HostFunctions, HttpCall, LocalResponse, LogLevel, MapError, MapType, MessageEnd, Pair, Plugin, PluginId,
    PropertyError, RedisLogin, RedisUpstream, Refusal, SharedData, SharedQueues, Stream, StreamSide, Vm,
    VmSpec,
};
use tollgate_wasmedge::run_guarded;

use super::blueprint::Modules;
use super::modules::{FAULTS_MAX, FilterFault, FilterFaults, wasm_filters};
use crate::filter::wasm::plugin_spec;
use crate::policy::Policy;
use crate::policy::filter::{Allow, Filter, WasmFilter};
use crate::upstream::EndpointName;

/// Why the canary gave no result, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// Filters do not start.
    #[error(transparent)]
    Faults(#[from] FilterFaults),
    /// Its thread did not start or run to its end.
    #[error("the thread that tries new filters failed: {0}")]
    Thread(#[from] io::Error),
}

/// Starts every filter of `policy` that `current` does not have just so. Blocks, for up to the sum of
/// the start budgets; not for workers.
///
/// # Errors
/// The filters that do not start.
pub fn try_start(policy: &Policy, current: Option<&Policy>, modules: &Modules) -> Result<(), CanaryError> {
    let vms = changed_vms(policy, current);
    if vms.is_empty() {
        return Ok(());
    }
    let faults = run_guarded("canary", || start_all(&vms, modules))?;
    if faults.is_empty() { Ok(()) } else { Err(FilterFaults(faults).into()) }
}

type VmKey<'p> = (&'p [u8; 32], &'p str, &'p [u8], &'p [(Arc<str>, Arc<str>)], u32, Capabilities, Duration);
type PluginKey<'p> = (VmKey<'p>, &'p str, &'p str, &'p [u8], &'p Allow);

/// The filters to start, by the VM that they share.
fn changed_vms<'p>(
    policy: &'p Policy,
    current: Option<&'p Policy>,
) -> IndexMap<VmKey<'p>, Vec<(&'p Filter, &'p WasmFilter)>> {
    let known: HashSet<_> =
        current.into_iter().flat_map(wasm_filters).map(|(filter, wasm)| plugin_key(filter, wasm)).collect();
    let mut vms = IndexMap::<_, Vec<_>>::new();
    for (filter, wasm) in wasm_filters(policy) {
        if !known.contains(&plugin_key(filter, wasm)) {
            vms.entry(vm_key(wasm)).or_default().push((filter, wasm));
        }
    }
    vms
}

/// All that a VM's start depends on.
fn vm_key(wasm: &WasmFilter) -> VmKey<'_> {
    let WasmFilter { digest, vm_id, vm_configuration, environment, memory_pages_max, start_budget, .. } =
        wasm;
    let functions = wasm.allow.functions;
    (digest, vm_id, vm_configuration, environment, memory_pages_max.get(), functions, *start_budget)
}

/// All that a plugin's start depends on.
fn plugin_key<'p>(filter: &'p Filter, wasm: &'p WasmFilter) -> PluginKey<'p> {
    (vm_key(wasm), &filter.name, &wasm.root_id, &wasm.configuration, &wasm.allow)
}

fn start_all(vms: &IndexMap<VmKey<'_>, Vec<(&Filter, &WasmFilter)>>, modules: &Modules) -> Vec<FilterFault> {
    let functions = HostFunctions::new();
    let mut faults = Vec::new();
    for filters in vms.values() {
        start_vm(filters, modules, &functions, &mut faults);
        if faults.len() >= FAULTS_MAX {
            break;
        }
    }
    faults
}

/// Starts the filters of one VM, the next one in a VM made anew if one broke it.
fn start_vm(
    filters: &[(&Filter, &WasmFilter)],
    modules: &Modules,
    functions: &HostFunctions<Nowhere>,
    faults: &mut Vec<FilterFault>,
) {
    let environment = Rc::new(Nowhere::default());
    let mut running: Option<Vm<Nowhere>> = None;
    for (filter, wasm) in filters {
        // `modules` was fetched for this policy, so it has them all.
        let Some(compiled) = modules.get(&wasm.digest) else { continue };
        let vm = match running.take().filter(|vm| vm.failed().is_none()) {
            Some(vm) => Ok(vm),
            None => Vm::new(&compiled.module, functions, vm_spec(wasm), Rc::clone(&environment)),
        };
        let started = vm.and_then(|vm| {
            environment.allow.replace(wasm.allow.clone());
            let started = vm.add_plugin(plugin_spec(&filter.name, wasm)).map(drop);
            running = Some(vm);
            started
        });
        if let Err(fault) = started {
            faults.push(FilterFault::new(filter, wasm, fault));
        }
        if faults.len() >= FAULTS_MAX || running.is_none() {
            // Without a VM the other filters of it would fail the same way.
            return;
        }
    }
}

fn vm_spec(wasm: &WasmFilter) -> VmSpec {
    let environment = wasm.environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    VmSpec {
        vm_id: Arc::clone(&wasm.vm_id),
        configuration: Arc::clone(&wasm.vm_configuration),
        environment: environment.collect(),
        memory_pages_max: wasm.memory_pages_max.get(),
        capabilities: wasm.allow.functions,
        start_budget: wasm.start_budget,
    }
}

/// An environment without exchanges, whose state goes with it.
#[derive(Default)]
struct Nowhere {
    shared_data: SharedData,
    shared_queues: SharedQueues,
    metrics: GuestMetrics,
    /// Of the filter that is being started.
    allow: RefCell<Allow>,
}

impl Environment for Nowhere {
    type Stream = NoStream;

    /// The VM itself keeps the last lines for its [`StartError`](tollgate_proxy_wasm::StartError).
    fn log(&self, _: Option<&Plugin>, _: Option<&NoStream>, _: LogLevel, _: &[u8]) {}

    fn log_level(&self) -> LogLevel {
        LogLevel::Info
    }

    fn set_tick(&self, _: PluginId, _: Option<Duration>) {}

    /// A call that would be made is taken and never answered: the filter has started before.
    fn http_call(
        &self,
        _: CallId,
        _: &Plugin,
        _: Option<&NoStream>,
        call: HttpCall<'_>,
    ) -> Result<(), CallError> {
        self.reaches([call.upstream])
    }

    fn grpc_open(&self, _: CallId, _: &Plugin, call: GrpcCall<'_>) -> Result<(), CallError> {
        self.reaches(call.upstream.names())
    }

    fn grpc_send(&self, _: CallId, _: &[u8], _: MessageEnd) -> Result<(), CallError> {
        Ok(())
    }

    fn grpc_close(&self, _: CallId) {}

    fn redis_init(
        &self,
        _: &Plugin,
        upstream: RedisUpstream<'_>,
        _: RedisLogin<'_>,
    ) -> Result<(), CallError> {
        self.reaches([upstream.name])
    }

    fn redis_call(&self, _: CallId, _: &Plugin, upstream: &[u8], _: &[u8]) -> Result<(), CallError> {
        self.reaches([upstream])
    }

    fn cancel_call(&self, _: CallId) {}

    fn fault(&self, _: &Plugin, _: Option<&NoStream>, _: GuestFault) {
        // There is no exchange to fail, and what the guest says while it starts is kept.
    }

    fn shared_data(&self) -> &SharedData {
        &self.shared_data
    }

    fn shared_queues(&self) -> &SharedQueues {
        &self.shared_queues
    }

    fn metrics(&self) -> &GuestMetrics {
        &self.metrics
    }
}

impl Nowhere {
    /// Whether the filter that is being started may reach one of these.
    fn reaches<'a>(&self, names: impl IntoIterator<Item = &'a [u8]>) -> Result<(), CallError> {
        let allow = self.allow.borrow();
        let is_listed = names.into_iter().any(|name| reaches(&allow, name));
        if is_listed { Ok(()) } else { Err(CallError::Upstream) }
    }
}

/// Whether `allow` lists the server.
fn reaches(allow: &Allow, upstream: &[u8]) -> bool {
    let is_host = |endpoint| EndpointName::from(endpoint).text().as_bytes().eq_ignore_ascii_case(upstream);
    allow.upstreams.iter().any(|name| name.as_bytes() == upstream) || allow.hosts.iter().any(is_host)
}

/// The exchange that a canary never has.
enum NoStream {}

impl Stream for NoStream {
    fn map_pairs(&self, _: MapType, _: &mut dyn FnMut(&[u8], &[u8])) -> bool {
        match *self {}
    }

    fn map_get<R>(&self, _: MapType, _: &[u8], _: impl FnOnce(Option<&[u8]>) -> R) -> Option<R> {
        match *self {}
    }

    fn map_set(&self, _: MapType, _: &[u8], _: &[u8]) -> Result<(), MapError> {
        match *self {}
    }

    fn map_add(&self, _: MapType, _: &[u8], _: &[u8]) -> Result<(), MapError> {
        match *self {}
    }

    fn map_remove(&self, _: MapType, _: &[u8]) -> Result<(), MapError> {
        match *self {}
    }

    fn map_replace_all(&self, _: MapType, _: &[Pair<'_>]) -> Result<(), MapError> {
        match *self {}
    }

    fn body_len(&self, _: StreamSide) -> Option<usize> {
        match *self {}
    }

    fn body_read<R>(&self, _: StreamSide, _: usize, _: usize, _: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match *self {}
    }

    fn body_splice(&self, _: StreamSide, _: usize, _: usize, _: &[u8]) -> Result<(), BufferError> {
        match *self {}
    }

    fn property<R>(&self, _: &[u8], _: impl FnOnce(&[u8]) -> R) -> Option<R> {
        match *self {}
    }

    fn set_property(&self, _: &[u8], _: &[u8]) -> Result<(), PropertyError> {
        match *self {}
    }

    fn clear_route_cache(&self) {
        match *self {}
    }

    fn upstream_hosts(&self, _: &mut dyn FnMut(&[u8], bool)) -> bool {
        match *self {}
    }

    fn override_upstream_host(&self, _: &[u8]) -> bool {
        match *self {}
    }

    fn local_response(&self, _: LocalResponse<'_>) {
        match *self {}
    }

    fn resume(&self, _: StreamSide) {
        match *self {}
    }

    fn close(&self, _: StreamSide) {
        match *self {}
    }

    fn refuse(&self, _: Refusal) {
        match *self {}
    }
}
