//! The guest's exports, looked up once.

use tollgate_wasmedge::{BEGIN, END, Func, Instance, Module, WasmParams, WasmResults};

use crate::abi::AbiVersion;
use crate::environment::Environment;
use crate::host::State;
use crate::vm::error::StartError;

/// Names that more than one file needs.
pub(super) mod name {
    pub(in crate::vm) const INITIALIZE: &str = "_initialize";
    pub(in crate::vm) const START: &str = "_start";
    pub(in crate::vm) const MAIN: &str = "main";
    pub(in crate::vm) const MAIN_VOID: &str = "__main_void";
    pub(in crate::vm) const ALLOCATE: &str = "proxy_on_memory_allocate";
    pub(in crate::vm) const MALLOC: &str = "malloc";
    pub(in crate::vm) const CONTEXT_CREATE: &str = "proxy_on_context_create";
    pub(in crate::vm) const VM_START: &str = "proxy_on_vm_start";
    pub(in crate::vm) const CONFIGURE: &str = "proxy_on_configure";
    pub(in crate::vm) const TICK: &str = "proxy_on_tick";
    pub(in crate::vm) const NEW_CONNECTION: &str = "proxy_on_new_connection";
    pub(in crate::vm) const DOWNSTREAM_DATA: &str = "proxy_on_downstream_data";
    pub(in crate::vm) const UPSTREAM_DATA: &str = "proxy_on_upstream_data";
    pub(in crate::vm) const DOWNSTREAM_CLOSE: &str = "proxy_on_downstream_connection_close";
    pub(in crate::vm) const UPSTREAM_CLOSE: &str = "proxy_on_upstream_connection_close";
    pub(in crate::vm) const QUEUE_READY: &str = "proxy_on_queue_ready";
    pub(in crate::vm) const HTTP_CALL_RESPONSE: &str = "proxy_on_http_call_response";
    pub(in crate::vm) const GRPC_RECEIVE_INITIAL_METADATA: &str = "proxy_on_grpc_receive_initial_metadata";
    pub(in crate::vm) const GRPC_RECEIVE: &str = "proxy_on_grpc_receive";
    pub(in crate::vm) const GRPC_RECEIVE_TRAILING_METADATA: &str = "proxy_on_grpc_receive_trailing_metadata";
    /// What the C++ SDK's header calls the one before.
    pub(in crate::vm) const GRPC_TRAILING_METADATA: &str = "proxy_on_grpc_trailing_metadata";
    pub(in crate::vm) const GRPC_CLOSE: &str = "proxy_on_grpc_close";
    pub(in crate::vm) const REDIS_CALL_RESPONSE: &str = "proxy_on_redis_call_response";
    pub(in crate::vm) const REQUEST_HEADERS: &str = "proxy_on_request_headers";
    pub(in crate::vm) const REQUEST_BODY: &str = "proxy_on_request_body";
    pub(in crate::vm) const REQUEST_TRAILERS: &str = "proxy_on_request_trailers";
    pub(in crate::vm) const RESPONSE_HEADERS: &str = "proxy_on_response_headers";
    pub(in crate::vm) const RESPONSE_BODY: &str = "proxy_on_response_body";
    pub(in crate::vm) const RESPONSE_TRAILERS: &str = "proxy_on_response_trailers";
    pub(in crate::vm) const DONE: &str = "proxy_on_done";
    pub(in crate::vm) const LOG: &str = "proxy_on_log";
    pub(in crate::vm) const DELETE: &str = "proxy_on_delete";
}

pub(super) type U2 = (u32, u32);
pub(super) type U3 = (u32, u32, u32);
pub(super) type U4 = (u32, u32, u32, u32);
pub(super) type U5 = (u32, u32, u32, u32, u32);

/// The callbacks of the ABI that the module has; all are optional.
pub(super) struct Exports {
    pub(super) context_create: Option<Func<U2, ()>>,
    pub(super) vm_start: Option<Func<U2, u32>>,
    pub(super) configure: Option<Func<U2, u32>>,
    pub(super) tick: Option<Func<u32, ()>>,
    pub(super) new_connection: Option<Func<u32, u32>>,
    pub(super) downstream_data: Option<Func<U3, u32>>,
    pub(super) upstream_data: Option<Func<U3, u32>>,
    pub(super) downstream_close: Option<Func<U2, ()>>,
    pub(super) upstream_close: Option<Func<U2, ()>>,
    pub(super) queue_ready: Option<Func<U2, ()>>,
    pub(super) request_headers: Option<HeadersCallback>,
    pub(super) http_call_response: Option<Func<U5, ()>>,
    pub(super) grpc_receive_initial_metadata: Option<Func<U3, ()>>,
    pub(super) grpc_receive: Option<Func<U3, ()>>,
    pub(super) grpc_receive_trailing_metadata: (&'static str, Option<Func<U3, ()>>),
    pub(super) grpc_close: Option<Func<U3, ()>>,
    pub(super) redis_call_response: Option<Func<U4, ()>>,
    pub(super) request_body: Option<Func<U3, u32>>,
    pub(super) request_trailers: Option<Func<U2, u32>>,
    pub(super) response_headers: Option<HeadersCallback>,
    pub(super) response_body: Option<Func<U3, u32>>,
    pub(super) response_trailers: Option<Func<U2, u32>>,
    pub(super) done: Option<Func<u32, u32>>,
    pub(super) log: Option<Func<u32, ()>>,
    pub(super) delete: Option<Func<u32, ()>>,
    /// Creates a context and shows it the request's headers, in one call.
    pub(super) begin: Option<Func<U4, u64>>,
    /// Done, log and delete in one call.
    pub(super) end: Option<Func<u32, u64>>,
}

/// A headers callback, whose parameters differ by version.
pub(super) enum HeadersCallback {
    /// ABI 0.1.0: the context and the number of headers.
    WithoutEnd(Func<U2, u32>),
    /// Later: and whether nothing follows.
    WithEnd(Func<U3, u32>),
}

impl HeadersCallback {
    fn find<E: Environment>(
        find: &Finder<'_, E>,
        name: &'static str,
        abi: AbiVersion,
    ) -> Result<Option<Self>, StartError> {
        match abi {
            AbiVersion::V0_1_0 => Ok(find.func(name)?.map(Self::WithoutEnd)),
            AbiVersion::V0_2_0 | AbiVersion::V0_2_1 | AbiVersion::V0_2_100 => {
                Ok(find.func(name)?.map(Self::WithEnd))
            }
        }
    }
}

/// Which callbacks a module has. A callback that is missing is not called; its phase continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handles {
    /// `proxy_on_new_connection`.
    pub new_connection: bool,
    /// `proxy_on_downstream_data`.
    pub downstream_data: bool,
    /// `proxy_on_upstream_data`.
    pub upstream_data: bool,
    /// `proxy_on_downstream_connection_close`.
    pub downstream_close: bool,
    /// `proxy_on_upstream_connection_close`.
    pub upstream_close: bool,
    /// `proxy_on_request_headers`.
    pub request_headers: bool,
    /// `proxy_on_request_body`.
    pub request_body: bool,
    /// `proxy_on_request_trailers`.
    pub request_trailers: bool,
    /// `proxy_on_response_headers`.
    pub response_headers: bool,
    /// `proxy_on_response_body`.
    pub response_body: bool,
    /// `proxy_on_response_trailers`.
    pub response_trailers: bool,
    /// `proxy_on_log`.
    pub log: bool,
    /// `proxy_on_tick`.
    pub tick: bool,
}

impl Exports {
    pub(super) fn look_up<E: Environment>(
        instance: &Instance<State<E>>,
        module: &Module,
        abi: AbiVersion,
    ) -> Result<Self, StartError> {
        let find = Finder { instance, module };
        Ok(Self {
            context_create: find.func(name::CONTEXT_CREATE)?,
            vm_start: find.func(name::VM_START)?,
            configure: find.func(name::CONFIGURE)?,
            tick: find.func(name::TICK)?,
            new_connection: find.func(name::NEW_CONNECTION)?,
            downstream_data: find.func(name::DOWNSTREAM_DATA)?,
            upstream_data: find.func(name::UPSTREAM_DATA)?,
            downstream_close: find.func(name::DOWNSTREAM_CLOSE)?,
            upstream_close: find.func(name::UPSTREAM_CLOSE)?,
            queue_ready: find.func(name::QUEUE_READY)?,
            request_headers: HeadersCallback::find(&find, name::REQUEST_HEADERS, abi)?,
            http_call_response: find.func(name::HTTP_CALL_RESPONSE)?,
            grpc_receive_initial_metadata: find.func(name::GRPC_RECEIVE_INITIAL_METADATA)?,
            grpc_receive: find.func(name::GRPC_RECEIVE)?,
            grpc_receive_trailing_metadata: match find.func(name::GRPC_RECEIVE_TRAILING_METADATA)? {
                Some(function) => (name::GRPC_RECEIVE_TRAILING_METADATA, Some(function)),
                None => (name::GRPC_TRAILING_METADATA, find.func(name::GRPC_TRAILING_METADATA)?),
            },
            grpc_close: find.func(name::GRPC_CLOSE)?,
            redis_call_response: find.func(name::REDIS_CALL_RESPONSE)?,
            request_body: find.func(name::REQUEST_BODY)?,
            request_trailers: find.func(name::REQUEST_TRAILERS)?,
            response_headers: HeadersCallback::find(&find, name::RESPONSE_HEADERS, abi)?,
            response_body: find.func(name::RESPONSE_BODY)?,
            response_trailers: find.func(name::RESPONSE_TRAILERS)?,
            done: find.func(name::DONE)?,
            log: find.func(name::LOG)?,
            delete: find.func(name::DELETE)?,
            begin: instance.entry(&BEGIN),
            end: instance.entry(&END),
        })
    }

    pub(super) fn handles(&self) -> Handles {
        Handles {
            new_connection: self.new_connection.is_some(),
            downstream_data: self.downstream_data.is_some(),
            upstream_data: self.upstream_data.is_some(),
            downstream_close: self.downstream_close.is_some(),
            upstream_close: self.upstream_close.is_some(),
            request_headers: self.request_headers.is_some(),
            request_body: self.request_body.is_some(),
            request_trailers: self.request_trailers.is_some(),
            response_headers: self.response_headers.is_some(),
            response_body: self.response_body.is_some(),
            response_trailers: self.response_trailers.is_some(),
            log: self.log.is_some(),
            tick: self.tick.is_some(),
        }
    }
}

/// Looks up exports and tells a missing one from one of the wrong type.
pub(super) struct Finder<'a, E: Environment> {
    pub(super) instance: &'a Instance<State<E>>,
    pub(super) module: &'a Module,
}

impl<E: Environment> Finder<'_, E> {
    pub(super) fn func<P: WasmParams, R: WasmResults>(
        &self,
        name: &'static str,
    ) -> Result<Option<Func<P, R>>, StartError> {
        match (self.instance.func(name), self.module.func_type(name)) {
            (Some(function), _) => Ok(Some(function)),
            (None, None) => Ok(None),
            (None, Some(found)) => Err(StartError::Signature { name, found: found.to_string() }),
        }
    }
}
