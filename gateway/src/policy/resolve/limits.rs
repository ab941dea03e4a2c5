//! `limits`: defaults, bounds, and timeouts that contradict each other.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::super::limits::Limits;
use super::super::raw::{self, Field};
use super::super::report::Problem;
use super::place::Place;
use super::scalar::{count, duration, show_duration, size};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// No timeout is shorter or longer: less is no time for a network, more is no timeout.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(1);
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

const HEADER_COUNT: NonZeroU32 = NonZeroU32::new(100).unwrap();
const CONNECTIONS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();

/// The limits, with the default for each that is not written. `None` if one is wrong.
pub(super) fn resolve(place: Place<'_>, field: &Field<raw::Limits>) -> Option<Limits> {
    let default = raw::Limits::default();
    let raw = field.given().unwrap_or(&default);
    let timeout = |key: &'static str, field: &Field<raw::Duration>, default: u64| {
        duration(place.key(key), field, Duration::from_secs(default), TIMEOUT_MIN..=TIMEOUT_MAX)
    };
    let header_bytes = size(place.key("header_bytes"), &raw.header_bytes, 64 * KIB, 8 * KIB..=MIB);
    let header_count = count(place.key("header_count"), &raw.header_count, HEADER_COUNT, 1..=10_000);
    let body_bytes = size(place.key("body_bytes"), &raw.body_bytes, 64 * MIB, 1..=1024 * GIB);
    let buffer_bytes = size(place.key("buffer_bytes"), &raw.buffer_bytes, MIB, 1..=GIB);
    let connections = count(place.key("connections"), &raw.connections, CONNECTIONS, 1..=1_000_000);
    let header_read_timeout = timeout("header_read_timeout", &raw.header_read_timeout, 10);
    let idle_timeout = timeout("idle_timeout", &raw.idle_timeout, 75);
    let total_timeout = match &raw.total_timeout {
        Field::Given(raw::Duration(text)) if text == "none" => Some(None),
        field => timeout("total_timeout", field, 300).map(Some),
    };
    let drain_timeout = timeout("drain_timeout", &raw.drain_timeout, 30);
    check_order(place, header_read_timeout, total_timeout.flatten());
    Some(Limits {
        header_bytes_max: u32::try_from(header_bytes?).ok()?,
        header_count_max: header_count?,
        body_bytes_max: NonZeroU64::new(body_bytes?)?,
        buffer_bytes_max: NonZeroU64::new(buffer_bytes?)?,
        connections_max: connections?,
        header_read_timeout: header_read_timeout?,
        idle_timeout: idle_timeout?,
        total_timeout: total_timeout?,
        drain_timeout: drain_timeout?,
    })
}

/// Reading the head may not take longer than the whole.
fn check_order(place: Place<'_>, head: Option<Duration>, total: Option<Duration>) {
    if let (Some(head), Some(total)) = (head, total)
        && head > total
    {
        let problem = Problem::new("longer than `total_timeout`")
            .expected(format!("at most {}", show_duration(total)))
            .found(show_duration(head))
            .see(place.report.place(&place.key("total_timeout").at, "`total_timeout`"));
        place.key("header_read_timeout").error(problem);
    }
}
