//! Durations, sizes, counts and names: text and numbers with bounds.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::raw::{self, Field, Size};
use super::super::report::{Problem, quoted};
use super::place::Place;

/// A duration such as `10s`, in bounds; `default` if it is not written.
pub(in crate::policy) fn duration(
    place: Place<'_>,
    field: &Field<raw::Duration>,
    default: Duration,
    bounds: RangeInclusive<Duration>,
) -> Option<Duration> {
    let Field::Given(raw::Duration(text)) = field else { return field.is_absent().then_some(default) };
    let Some(duration) = parse_duration(text) else {
        place.error(
            Problem::new("not a duration")
                .expected("a whole number and a unit (`us`, `ms`, `s`, `m`, `h`), such as `10s`")
                .found(quoted(text)),
        );
        return None;
    };
    if !bounds.contains(&duration) {
        let expected = format!("from {} to {}", show_duration(*bounds.start()), show_duration(*bounds.end()));
        place.error(Problem::new("impossible duration").expected(expected).found(quoted(text)));
        return None;
    }
    Some(duration)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let micros: u64 = match unit {
        "us" | "µs" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

/// A duration as one would write it.
pub(super) fn show_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units = [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];
    match units.into_iter().find(|(_, unit)| micros >= *unit && micros.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", micros / unit),
        None => format!("{micros}us"),
    }
}

/// A size such as `64KiB`, in bounds; `default` if it is not written.
pub(super) fn size(
    place: Place<'_>,
    field: &Field<Size>,
    default: u64,
    bounds: RangeInclusive<u64>,
) -> Option<u64> {
    match field {
        Field::Absent => Some(default),
        Field::Refused => None,
        Field::Given(raw) => size_in(place, raw, bounds),
    }
}

/// A size that is written, in bounds.
pub(super) fn size_in(place: Place<'_>, raw: &Size, bounds: RangeInclusive<u64>) -> Option<u64> {
    let (bytes, found) = match raw {
        Size::Bytes(bytes) => (Some(*bytes), bytes.to_string()),
        Size::Text(text) => (parse_size(text), quoted(text)),
    };
    let Some(bytes) = bytes else {
        let expected = "a whole number and a unit (`B`, `KiB`, `MiB`, `GiB`), such as `64KiB`";
        place.error(Problem::new("not a size").expected(expected).found(found));
        return None;
    };
    if !bounds.contains(&bytes) {
        let expected = format!("from {} to {}", show_size(*bounds.start()), show_size(*bounds.end()));
        place.error(Problem::new("impossible size").expected(expected).found(found));
        return None;
    }
    Some(bytes)
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let shift = SIZE_UNITS.into_iter().find(|(name, _)| *name == unit)?.1;
    number.checked_mul(1 << shift)
}

/// A number alone is one of bytes: from a variable it comes as text.
const SIZE_UNITS: [(&str, u32); 5] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0), ("", 0)];

/// A size as one would write it.
pub(super) fn show_size(bytes: u64) -> String {
    let fits = |shift: u32| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift);
    let unit = SIZE_UNITS.into_iter().find(|(_, shift)| fits(*shift));
    unit.map_or_else(|| format!("{bytes}B"), |(name, shift)| format!("{}{name}", bytes >> shift))
}

/// `10ms` as 10 and `ms`; a space between them is allowed.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// A number of things, in bounds; `default` if it is not written.
pub(super) fn count(
    place: Place<'_>,
    field: &Field<u64>,
    default: NonZeroU32,
    bounds: RangeInclusive<u32>,
) -> Option<NonZeroU32> {
    let Field::Given(number) = field else { return field.is_absent().then_some(default) };
    let count = u32::try_from(*number).ok().filter(|count| bounds.contains(count)).and_then(NonZeroU32::new);
    if count.is_none() {
        let expected = format!("from {} to {}", bounds.start(), bounds.end());
        place.error(Problem::new("impossible number").expected(expected).found(number.to_string()));
    }
    count
}

/// Whether `text` is fit to be a name: it becomes a metric label and a log field.
pub(super) fn check_name(place: Place<'_>, text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let right = text.len() <= NAME_MAX
        && text.bytes().all(inner)
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !right {
        let expected = format!(
            "1 to {NAME_MAX} letters, digits, `-`, `_` or `.`, the first of them a letter or a digit"
        );
        place.error(Problem::new("not a name").expected(expected).found(quoted(text)).on_key());
    }
    right
}

/// That it is a name, and written: names are in logs and metrics, and variables may be secrets.
pub(super) fn check_shown_name(place: Place<'_>, text: &str) -> bool {
    if place.report.is_from_variables(&place.at) {
        let problem = Problem::new("a variable in a name, which logs and metrics show");
        place.error(problem.help("write the name"));
        return false;
    }
    check_name(place, text)
}

const NAME_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_and_shows_them_back() {
        for text in ["100us", "10ms", "1s", "90s", "5m", "24h"] {
            let shown = show_duration(parse_duration(text).unwrap());
            assert_eq!(parse_duration(&shown), parse_duration(text), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "10 sec", "99999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn reads_sizes_and_shows_them_back() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("1 GiB"), Some(1 << 30));
        assert_eq!(show_size(65_536), "64KiB");
        assert_eq!(show_size(1), "1B");
        for text in ["64kb", "KiB", "99999999999999GiB", "1e3B"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
