//! What clients are told: `RateLimit-Policy` and `RateLimit` as in
//! draft-ietf-httpapi-ratelimit-headers-11, and `Retry-After` (RFC 9110, 10.2.3).
//!
//! Both RateLimit fields are structured-field lists (RFC 9651) with the filter's name as policy
//! name, and are appended, so several limiters and the upstream can each add theirs.
//! * `RateLimit-Policy: "name";q=RATE;w=PERIOD`, and `;tollgate-burst=N` if the burst is not the rate.
//! * `RateLimit: "name";r=REMAINING;t=SECONDS`. In a bucket that refills one by one, the time within
//!   which a client can use no more than `r` ends when the next token comes: that is `t`.
//! * `Retry-After` equals that `t`, as the draft asks.
//!
//! Seconds are whole and rounded up, at least 1.

use std::fmt::Write;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::buckets::period;
use super::limiter::Decision;
use crate::policy::filter::RateLimit;

/// `RateLimit`
pub static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// `RateLimit-Policy`
pub static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The fields of one limiter.
#[derive(Debug)]
pub struct Fields {
    /// The policy's name as a structured-field string, quotes included.
    name: String,
    policy: HeaderValue,
}

impl Fields {
    pub(super) fn new(name: &str, definition: &RateLimit) -> Self {
        let name = sf_string(name);
        let window = period(definition.period).as_secs();
        let mut policy = format!("{name};q={};w={window}", definition.rate);
        if definition.burst != definition.rate {
            // Writing to a string does not fail.
            let _ = write!(policy, ";tollgate-burst={}", definition.burst);
        }
        Self { name, policy: visible(policy) }
    }

    /// Adds the fields to a response: to the one the gateway makes when a request is denied, and to
    /// the upstream's when it was allowed.
    pub fn add_to(&self, headers: &mut HeaderMap, decision: &Decision) {
        let (remaining, seconds) = match decision {
            Decision::Allowed { remaining, next_after, .. } => (*remaining, whole_seconds(*next_after)),
            Decision::Denied { retry_after } => {
                let seconds = whole_seconds(*retry_after);
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
                (0, seconds)
            }
        };
        headers.append(&RATELIMIT_POLICY, self.policy.clone());
        headers.append(&RATELIMIT, visible(format!("{};r={remaining};t={seconds}", self.name)));
    }
}

/// Seconds, rounded up, at least 1.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// A structured-field string (RFC 9651, 4.1.6). What such a string cannot hold becomes `?`.
fn sf_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}

fn visible(text: String) -> HeaderValue {
    // `sf_string` leaves only visible ASCII and spaces, and the rest is digits and punctuation.
    HeaderValue::try_from(text).expect("a field of visible ASCII")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::policy::filter::{Period, RateLimitKey};

    fn definition(rate: u32, period: Period, burst: u32) -> RateLimit {
        RateLimit {
            rate: NonZeroU32::new(rate).unwrap(),
            period,
            burst: NonZeroU32::new(burst).unwrap(),
            key: RateLimitKey::Route,
            keys_max: NonZeroU32::MIN,
        }
    }

    fn fields(name: &str, definition: &RateLimit, decision: Decision) -> HeaderMap {
        let mut headers = HeaderMap::new();
        Fields::new(name, definition).add_to(&mut headers, &decision);
        headers
    }

    #[test]
    fn an_allowed_request_is_told_what_is_left() {
        let allowed = Decision::Allowed {
            remaining: 42,
            next_after: Duration::from_millis(600),
            reset_after: Duration::from_secs(60),
        };
        let headers = fields("api", &definition(100, Period::Minute, 100), allowed);
        assert_eq!(headers[&RATELIMIT_POLICY], r#""api";q=100;w=60"#);
        assert_eq!(headers[&RATELIMIT], r#""api";r=42;t=1"#);
        assert!(!headers.contains_key(RETRY_AFTER));
    }

    #[test]
    fn a_denied_request_is_told_when_to_come_back() {
        let denied = Decision::Denied { retry_after: Duration::from_millis(4001) };
        let headers = fields("api", &definition(5, Period::Second, 20), denied);
        assert_eq!(headers[&RATELIMIT_POLICY], r#""api";q=5;w=1;tollgate-burst=20"#);
        assert_eq!(headers[&RATELIMIT], r#""api";r=0;t=5"#);
        assert_eq!(headers[RETRY_AFTER], "5");
    }

    #[test]
    fn retry_after_is_never_zero_and_rounded_up() {
        for (wait, seconds) in [(0, 1), (1, 1), (1_000_000_000, 1), (1_000_000_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_nanos(wait)), seconds);
        }
    }

    #[test]
    fn names_are_escaped_and_fields_of_others_are_kept() {
        let mut headers = HeaderMap::new();
        headers.append(&RATELIMIT, HeaderValue::from_static(r#""upstream";r=1;t=1"#));
        let denied = Decision::Denied { retry_after: Duration::from_secs(1) };
        Fields::new("a\"b\\c\nü", &definition(1, Period::Hour, 1)).add_to(&mut headers, &denied);
        let all: Vec<_> = headers.get_all(&RATELIMIT).iter().collect();
        assert_eq!(all, [r#""upstream";r=1;t=1"#, r#""a\"b\\c??";r=0;t=1"#]);
    }
}
