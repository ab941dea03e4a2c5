//! `on_failure`, `circuit` and `role` of a Wasm filter, and whether they fit each other.

use std::time::Duration;

use super::super::fault::{Circuit, OnFailure, Role};
use super::super::filter::WasmFilter;
use super::super::raw::{self, Field};
use super::super::report::{Problem, quoted};
use super::place::Place;
use super::scalar::{count, duration, show_duration};

const REST_MIN: Duration = Duration::from_millis(1);
const REST_MAX: Duration = Duration::from_secs(3600);
/// Words in the name of a filter that likely tells who may pass.
const GUARDS: [&str; 16] = [
    "auth",
    "authn",
    "authz",
    "authentication",
    "authorization",
    "authorisation",
    "apikey",
    "hmac",
    "jwt",
    "key",
    "keys",
    "login",
    "oauth",
    "oauth2",
    "oidc",
    "saml",
];

/// The circuit, with the default for what is not written.
pub(super) fn circuit(place: Place<'_>, field: &Field<raw::Circuit>) -> Option<Circuit> {
    let raw = match field {
        Field::Absent => return Some(Circuit::default()),
        Field::Refused => return None,
        Field::Given(raw) => raw,
    };
    let default = Circuit::default();
    let failures = count(place.key("failures"), &raw.failures, default.failures, 1..=1_000_000);
    let rest = duration(place.key("rest"), &raw.rest, default.rest, REST_MIN..=REST_MAX);
    let longest = default.longest_rest.max(rest.unwrap_or_default());
    let longest_rest = duration(place.key("longest_rest"), &raw.longest_rest, longest, REST_MIN..=REST_MAX);
    let circuit = Circuit { failures: failures?, rest: rest?, longest_rest: longest_rest? };
    if circuit.longest_rest < circuit.rest {
        let problem = Problem::new("shorter than `rest`")
            .expected(format!("at least {}", show_duration(circuit.rest)))
            .found(show_duration(circuit.longest_rest));
        place.key("longest_rest").error(problem);
    }
    Some(circuit)
}

pub(super) fn on_failure(field: &Field<raw::OnFailure>) -> OnFailure {
    match field.given() {
        Some(raw::OnFailure::Open) => OnFailure::Open,
        Some(raw::OnFailure::Shadow) => OnFailure::Shadow,
        Some(raw::OnFailure::Closed) | None => OnFailure::Closed,
    }
}

pub(super) fn role(field: &Field<raw::Role>) -> Option<Role> {
    field.given().map(|raw::Role::Authentication| Role::Authentication)
}

/// A filter that tells who may pass must not be passed when it fails, or always.
pub(super) fn check(place: Place<'_>, name: &str, filter: &WasmFilter) {
    let (word, passed) = match filter.on_failure {
        OnFailure::Closed => return,
        OnFailure::Open => ("open", "passed when it fails"),
        OnFailure::Shadow => ("shadow", "passed whatever it says"),
    };
    let on_failure = place.key("on_failure");
    if filter.role == Some(Role::Authentication) {
        let problem = Problem::new(format!("a filter for authentication would be {passed}"))
            .expected("`closed`")
            .found(quoted(word))
            .help("close it, or do without `role: authentication`")
            .see(place.report.place(&place.key("role").at, "`role`"));
        on_failure.error(problem);
    } else if let Some(guard) = guard_in(name) {
        let problem = Problem::new(format!("{} sounds like authentication, and is {passed}", quoted(guard)))
            .help("close it and mark it with `role: authentication`, or give it another name");
        on_failure.warn(problem);
    }
}

/// The word of a name that sounds like a guard.
fn guard_in(name: &str) -> Option<&str> {
    let mut words = name.split(['-', '_', '.', '@']);
    words.find(|word| GUARDS.iter().any(|guard| word.eq_ignore_ascii_case(guard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_told_by_whole_words() {
        for name in ["auth", "edge-auth", "JWT_check", "api.key", "oauth2-proxy"] {
            assert!(guard_in(name).is_some(), "{name}");
        }
        for name in ["author", "keyboard", "redact", "monkey-patch", "authority-header"] {
            assert_eq!(guard_in(name), None, "{name}");
        }
    }
}
