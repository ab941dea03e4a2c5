//! State of the exchange that Envoy reaches by foreign functions: declared properties, filter state,
//! the route.

use prost::Message;

use super::Outcome;
use crate::abi::status::Status;
use crate::environment::{Environment, Stream};
use crate::host::Host;
use crate::limits::{PROPERTY_PATH_BYTES_MAX, PROPERTY_VALUE_BYTES_MAX};
use crate::plugin::Access;

/// Envoy's message. The type and the schema say how CEL reads the value, and the span how long it
/// lives: here values are bytes and live as long as the exchange.
#[derive(Clone, PartialEq, Message)]
struct DeclarePropertyArguments {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "2")]
    readonly: bool,
}

/// Envoy's message; its span is as above.
#[derive(Clone, PartialEq, Message)]
struct SetEnvoyFilterStateArguments {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// BAD_ARGUMENT for a name that is declared already.
pub(super) fn declare_property<E: Environment>(host: &Host<E>, arguments: &[u8]) -> Outcome {
    let declared = DeclarePropertyArguments::decode(arguments).map_err(|_| Status::BadArgument)?;
    let plugin = host.plugin().ok_or(Status::BadArgument)?;
    let access = if declared.readonly { Access::WriteOnce } else { Access::Write };
    match declared.name.len() <= PROPERTY_PATH_BYTES_MAX && plugin.declare(&declared.name, access) {
        true => Ok(Vec::new()),
        false => Err(Status::BadArgument),
    }
}

/// Readable by every filter of the exchange as the property `filter_state`, path.
pub(super) fn set_filter_state<E: Environment>(host: &Host<E>, arguments: &[u8]) -> Outcome {
    let state = SetEnvoyFilterStateArguments::decode(arguments).map_err(|_| Status::BadArgument)?;
    let fits = state.path.len() <= PROPERTY_PATH_BYTES_MAX && state.value.len() <= PROPERTY_VALUE_BYTES_MAX;
    let stream = host.stream().filter(|_| fits && !state.path.is_empty()).ok_or(Status::BadArgument)?;
    let path = [b"filter_state\0", state.path.as_bytes()].concat();
    match stream.set_property(&path, state.value.as_bytes()) {
        Ok(()) => Ok(Vec::new()),
        Err(_) => Err(Status::BadArgument),
    }
}

/// Outside an exchange there is no route.
pub(super) fn clear_route_cache<E: Environment>(host: &Host<E>) {
    if let Some(stream) = host.stream() {
        stream.clear_route_cache();
    }
}
