//! What stands in for host functions that a guest may not call.
//!
//! A module is not refused for importing them: SDKs import all they know. A read finds nothing. A metric
//! keeps nothing and reads 0, as guests take it for granted that metrics work. A call to another server
//! fails. A write or an answer is told OK and fails the exchange (see [`crate::environment`]): a filter
//! that may not deny must not look as if it had let pass. The first call of each function is logged.

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::{ENV, State, host_functions};
use crate::abi::LogLevel;
use crate::abi::status::Status;
use crate::capabilities::Capabilities;
use crate::environment::{Environment, RefusalReason};

/// What a guest is told.
enum Answer {
    /// There is no such thing.
    NotFound,
    /// The call failed.
    Failed,
    /// OK, and the exchange fails.
    Refused,
    /// OK, with nothing in it.
    Empty,
}

/// Declares what stands in for functions of these parameters, where they are refused.
macro_rules! refuse {
    ($linker:ident, $allowed:ident, $($name:literal, $params:ty => $answer:ident;)+) => {
        $(if !$allowed.allow($name) && $linker.func_type(ENV, $name).is_some() {
            fn function<E: Environment>(
                caller: &mut Caller<'_, State<E>>,
                _: $params,
            ) -> Result<Status, Trap> {
                Ok(answer(caller, $name, Answer::$answer))
            }
            host_functions!($linker, restricted, $name => function);
        })+
    };
}

type U2 = (u32, u32);
type U3 = (u32, u32, u32);
type U4 = (u32, u32, u32, u32);
type U5 = (u32, u32, u32, u32, u32);
type U7 = (u32, u32, u32, u32, u32, u32, u32);
type Respond = (u32, u32, u32, u32, u32, u32, u32, i32);
type U9 = (u32, u32, u32, u32, u32, u32, u32, u32, u32);
type U10 = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);
type U12 = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

/// Puts refusals in the place of what is not allowed.
pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>, allowed: Capabilities) {
    exchange(linker, allowed);
    shared(linker, allowed);
    reaching_out(linker, allowed);
}

fn exchange<E: Environment>(linker: &mut Linker<State<E>>, allowed: Capabilities) {
    refuse!(linker, allowed,
        "proxy_get_header_map_size", U2 => Empty;
        "proxy_get_header_map_pairs", U3 => Empty;
        "proxy_set_header_map_pairs", U3 => Refused;
        "proxy_get_header_map_value", U5 => NotFound;
        "proxy_add_header_map_value", U5 => Refused;
        "proxy_replace_header_map_value", U5 => Refused;
        "proxy_remove_header_map_value", U3 => Refused;
        "proxy_set_buffer_bytes", U5 => Refused;
        "proxy_send_local_response", Respond => Refused;
        "proxy_close_stream", u32 => Refused;
        "proxy_get_property", U4 => NotFound;
        "proxy_set_property", U4 => Refused;
        "proxy_clear_route_cache", () => Refused;
        "proxy_get_upstream_hosts", U2 => NotFound;
        "proxy_set_upstream_override_host", U2 => Refused;
    );
}

fn shared<E: Environment>(linker: &mut Linker<State<E>>, allowed: Capabilities) {
    refuse!(linker, allowed,
        "proxy_get_shared_data", U5 => NotFound;
        "proxy_set_shared_data", U5 => Refused;
        "proxy_register_shared_queue", U3 => Empty;
        "proxy_resolve_shared_queue", U5 => NotFound;
        "proxy_enqueue_shared_queue", U3 => NotFound;
        "proxy_dequeue_shared_queue", U3 => NotFound;
        "proxy_define_metric", U4 => Empty;
        "proxy_record_metric", (u32, u64) => Empty;
        "proxy_increment_metric", (u32, i64) => Empty;
        "proxy_get_metric", U2 => Empty;
        "proxy_set_tick_period_milliseconds", u32 => Empty;
    );
}

fn reaching_out<E: Environment>(linker: &mut Linker<State<E>>, allowed: Capabilities) {
    refuse!(linker, allowed,
        "proxy_http_call", U10 => Failed;
        "proxy_grpc_call", U12 => Failed;
        "proxy_grpc_stream", U9 => Failed;
        "proxy_grpc_send", U4 => NotFound;
        "proxy_grpc_cancel", u32 => NotFound;
        "proxy_grpc_close", u32 => NotFound;
        "proxy_redis_init", U7 => Failed;
        "proxy_redis_call", U5 => Failed;
    );
}

fn answer<E: Environment>(caller: &Caller<'_, State<E>>, function: &'static str, answer: Answer) -> Status {
    let host = caller.state();
    host.log_refusal(function);
    match answer {
        Answer::NotFound => Status::NotFound,
        Answer::Failed => Status::InternalFailure,
        Answer::Empty => Status::Ok,
        Answer::Refused => host.refuse(function, RefusalReason::Forbidden),
    }
}

impl<E: Environment> super::Host<E> {
    /// Says once that a function is refused.
    pub(super) fn log_refusal(&self, function: &'static str) {
        let mut told = self.refusals_told.borrow_mut();
        if !told.contains(&function) {
            told.push(function);
            drop(told);
            self.log(LogLevel::Warn, format!("the policy does not allow this filter {function}").as_bytes());
        }
    }
}
