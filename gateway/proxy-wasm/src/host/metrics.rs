//! Metrics of guests.

use tollgate_wasmedge::{Caller, Linker, Trap};

use super::memory::status_of;
use super::{State, host_functions};
use crate::abi::LogLevel;
use crate::abi::status::Status;
use crate::abi::types::MetricType;
use crate::environment::Environment;
use crate::guest_metrics::{DISCARDED, MetricError};

pub(super) fn link<E: Environment>(linker: &mut Linker<State<E>>) {
    host_functions!(linker, restricted,
        "proxy_define_metric" => define,
        "proxy_record_metric" => record,
        "proxy_increment_metric" => increment,
        "proxy_get_metric" => get,
    );
}

fn define<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (kind, name, name_len, id_out): (u32, u32, u32, u32),
) -> Result<Status, Trap> {
    let Some(kind) = MetricType::from_wire(kind) else {
        return Ok(Status::BadArgument);
    };
    let Some(name) = caller.read(name, name_len) else {
        return Ok(Status::InvalidMemoryAccess);
    };
    let host = caller.state();
    let id = host.env.metrics().define(kind, name);
    if id == DISCARDED {
        host.log(LogLevel::Warn, b"the host discards a metric: its name, its type or the table's size");
    }
    Ok(status_of(caller.write_u32(id_out, id)))
}

fn record<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (id, value): (u32, u64),
) -> Result<Status, Trap> {
    Ok(caller.state().env.metrics().record(id, value).map_or_else(status, |()| Status::Ok))
}

fn increment<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (id, delta): (u32, i64),
) -> Result<Status, Trap> {
    Ok(caller.state().env.metrics().increment(id, delta).map_or_else(status, |()| Status::Ok))
}

fn get<E: Environment>(
    caller: &mut Caller<'_, State<E>>,
    (id, value_out): (u32, u32),
) -> Result<Status, Trap> {
    let read = caller.state().env.metrics().get(id);
    Ok(read.map_or_else(status, |value| status_of(caller.write_u64(value_out, value))))
}

fn status(error: MetricError) -> Status {
    match error {
        MetricError::NotFound => Status::NotFound,
        MetricError::BadArgument => Status::BadArgument,
    }
}
