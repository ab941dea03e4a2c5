//! `rollout`: steps, key and margins.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::raw::{self, Field};
use super::super::report::{Problem, quoted};
use super::super::rollout::{Margins, Rollout, RolloutKey, Share, Step};
use super::headers::resolve_name;
use super::limits::{TIMEOUT_MAX, TIMEOUT_MIN};
use super::place::Place;
use super::scalar::{count, duration};

const STEPS_MAX: usize = 32;
const REQUESTS: NonZeroU32 = NonZeroU32::new(100).unwrap();
const STEP_TIME: Duration = Duration::from_secs(60);
/// In hundredths of a percent.
const SHARES: [u16; 3] = [100, 1_000, 5_000];
const RATE: Option<Share> = Share::new(100);
const TRAPS: Option<Share> = Share::new(10);
const LATENCY: Duration = Duration::from_millis(50);
const COOKIE_MAX: usize = 256;

/// The rollout, if one is written. `has_http`: whether there are requests to share out.
pub(super) fn resolve(place: Place<'_>, field: &Field<raw::Rollout>, has_http: bool) -> Option<Rollout> {
    let raw = field.given()?;
    if !has_http {
        let problem = Problem::new("there are no requests to share out").on_key();
        place.error(problem.help("no listener serves HTTP; TCP connections are not shared out: remove it"));
    }
    let steps = steps(place.key("steps"), &raw.steps);
    let key = key(place.key("key"), &raw.key);
    let minimum = count(place.key("minimum_requests"), &raw.minimum_requests, REQUESTS, 1..=1_000_000_000);
    let margins = margins(place.key("margins"), &raw.margins);
    Some(Rollout { steps: steps?, key: key?, margins: margins?, minimum_requests: minimum? })
}

fn steps(place: Place<'_>, field: &Field<Vec<Field<raw::RolloutStep>>>) -> Option<Vec<Step>> {
    if field.is_absent() {
        let step = |hundredths| Some(Step { share: Share::new(hundredths)?, time: STEP_TIME });
        return SHARES.into_iter().map(step).collect();
    }
    if field.given()?.is_empty() {
        place.error(Problem::new("no step").expected("at least one, such as `{ share: 1%, time: 1m }`"));
        return None;
    }
    let mut steps: Vec<Step> = Vec::new();
    for (index, raw) in place.list(field, STEPS_MAX) {
        let entry = place.index(index);
        let share = entry.required(&raw.share, "share", "a percentage such as `1%`");
        let share = share.and_then(|text| percentage(entry.key("share"), text));
        let time = duration(entry.key("time"), &raw.time, STEP_TIME, TIMEOUT_MIN..=TIMEOUT_MAX);
        if let (Some(share), Some(time)) = (share, time) {
            check_order(entry.key("share"), share, steps.last());
            steps.push(Step { share, time });
        }
    }
    (!steps.is_empty()).then_some(steps)
}

/// Shares grow from something to all, and the first leaves the old policy something to be compared by.
fn check_order(place: Place<'_>, share: Share, before: Option<&Step>) {
    let problem = Problem::new("impossible share").found(quoted(&share.to_string()));
    match before {
        None if share == Share::NONE || share == Share::ALL => {
            place.error(problem.expected("in the first step more than 0% and less than 100%"));
        }
        Some(before) if share <= before.share => {
            place.error(problem.expected(format!("more than the {} of the step before", before.share)));
        }
        None | Some(_) => {}
    }
}

fn key(place: Place<'_>, field: &Field<raw::RolloutKey>) -> Option<RolloutKey> {
    match field {
        Field::Absent | Field::Given(raw::RolloutKey::ClientAddress) => Some(RolloutKey::ClientAddress),
        Field::Refused => None,
        Field::Given(raw::RolloutKey::Header(name)) => {
            resolve_name(place.key("header"), name).map(RolloutKey::Header)
        }
        Field::Given(raw::RolloutKey::Cookie(name)) => {
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || name.len() > COOKIE_MAX || !name.bytes().all(is_token) {
                let problem = Problem::new("not the name of a cookie").found(quoted(name));
                place
                    .key("cookie")
                    .error(problem.expected("letters, digits, `-` and `_`, such as `session`"));
                return None;
            }
            Some(RolloutKey::Cookie(name.as_str().into()))
        }
    }
}

fn margins(place: Place<'_>, field: &Field<raw::Margins>) -> Option<Margins> {
    let default = raw::Margins::default();
    let raw = match field {
        Field::Absent => &default,
        Field::Refused => return None,
        Field::Given(raw) => raw,
    };
    let errors = margin(place.key("errors"), &raw.errors, RATE);
    let traps = margin(place.key("traps"), &raw.traps, TRAPS);
    let denials = margin(place.key("denials"), &raw.denials, RATE);
    let latency = match &raw.latency {
        Field::Given(raw::Duration(text)) if text == "none" => Some(None),
        field => duration(place.key("latency"), field, LATENCY, TIMEOUT_MIN..=TIMEOUT_MAX).map(Some),
    };
    Some(Margins { errors: errors?, traps: traps?, denials: denials?, latency: latency? })
}

/// `None` if it is wrong; `Some(None)` for `none`.
fn margin(place: Place<'_>, field: &Field<raw::Percentage>, default: Option<Share>) -> Option<Option<Share>> {
    match field {
        Field::Absent => Some(default),
        Field::Refused => None,
        Field::Given(raw::Percentage(text)) if text == "none" => Some(None),
        Field::Given(text) => percentage(place, text).map(Some),
    }
}

fn percentage(place: Place<'_>, raw::Percentage(text): &raw::Percentage) -> Option<Share> {
    let share = Share::parse(text);
    if share.is_none() {
        let expected = "0% to 100%, with at most two decimals, such as `0.5%`";
        place.error(Problem::new("not a percentage").expected(expected).found(quoted(text)));
    }
    share
}
