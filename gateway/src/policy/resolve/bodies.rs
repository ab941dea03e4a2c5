//! `body`, `request_body` and `response_body` of a Wasm filter.

use std::num::NonZeroU32;

use super::super::bodies::{BodyMode, BodyModes};
use super::super::raw::{self, Field};
use super::super::report::Problem;
use super::place::Place;
use super::scalar::{show_size, size_in};

/// Bytes that one filter may be shown at once.
const SHOWN_MAX: u64 = 1 << 30;

/// The modes of both sides. `memory`: bytes that the filter's memory may grow to; what it is shown at
/// once must leave room in it.
pub(super) fn resolve(place: Place<'_>, raw: &raw::WasmFilter, memory: Option<u64>) -> Option<BodyModes> {
    if !raw.body.is_absent() && !raw.request_body.is_absent() && !raw.response_body.is_absent() {
        let problem = Problem::new("without effect beside `request_body` and `response_body`");
        place.key("body").warn(problem.help("remove it").on_key());
    }
    let both = mode(place.key("body"), &raw.body, memory);
    let request = mode(place.key("request_body"), &raw.request_body, memory);
    let response = mode(place.key("response_body"), &raw.response_body, memory);
    let default = both?.unwrap_or_default();
    Some(BodyModes { request: request?.unwrap_or(default), response: response?.unwrap_or(default) })
}

/// The mode that is written at `place`; `Some(None)` if none is.
fn mode(place: Place<'_>, field: &Field<raw::BodyMode>, memory: Option<u64>) -> Option<Option<BodyMode>> {
    let mode = match field {
        Field::Absent => return Some(None),
        Field::Refused => return None,
        Field::Given(raw::BodyMode::None) => BodyMode::None,
        Field::Given(raw::BodyMode::Stream) => BodyMode::Stream,
        Field::Given(raw::BodyMode::Buffer(field)) => {
            BodyMode::Buffer(shown(place.key("buffer"), field, memory)?)
        }
        Field::Given(raw::BodyMode::Peek(field)) => BodyMode::Peek(shown(place.key("peek"), field, memory)?),
    };
    Some(Some(mode))
}

fn shown(place: Place<'_>, raw: &raw::Size, memory: Option<u64>) -> Option<NonZeroU32> {
    let bytes = size_in(place, raw, 1..=SHOWN_MAX)?;
    if let Some(memory) = memory.filter(|memory| bytes >= *memory) {
        let problem = Problem::new("more than the filter's memory holds")
            .expected(format!("less than `memory`, which is {}", show_size(memory)))
            .found(show_size(bytes))
            .help("raise `memory`: a guest needs some of it for itself");
        place.error(problem);
    }
    NonZeroU32::new(u32::try_from(bytes).ok()?)
}
