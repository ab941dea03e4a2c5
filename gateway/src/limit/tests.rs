//! What must hold of limiters, on a clock that the test moves.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;

use super::buckets::{FakeRelativeClock, period};
use super::{Decision, Key, Limiter, LimiterSet, Subject};
use crate::policy::filter::{Filter, FilterKind, Period, RateLimit, RateLimitKey};

fn definition(rate: u32, period: Period, burst: u32, keys_max: u32) -> RateLimit {
    RateLimit {
        rate: NonZeroU32::new(rate).unwrap(),
        period,
        burst: NonZeroU32::new(burst).unwrap(),
        key: RateLimitKey::ClientAddress,
        keys_max: NonZeroU32::new(keys_max).unwrap(),
    }
}

fn limiter(definition: &RateLimit) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limiter::with_clock(&Arc::from("test"), definition, clock.clone()), clock)
}

fn client(limiter: &Limiter<FakeRelativeClock>, n: u32) -> Key {
    let headers = HeaderMap::new();
    limiter.key(&Subject { client: Ipv4Addr::from_bits(n).into(), headers: &headers, route: "r" })
}

fn passes(limiter: &Limiter<FakeRelativeClock>, n: u32) -> bool {
    matches!(limiter.check(&client(limiter, n)), Decision::Allowed { .. })
}

/// Fails if in any window more passed than `rate × time + burst`. `times` are in nanoseconds, in order.
fn assert_within(definition: &RateLimit, times: &[u64]) {
    let nanos = period(definition.period).as_nanos();
    for (i, from) in times.iter().enumerate() {
        for (j, to) in times.iter().enumerate().skip(i) {
            let refilled = u128::from(to - from) * u128::from(definition.rate.get()) / nanos;
            let most = u128::from(definition.burst.get()) + refilled;
            let passed = (j - i + 1) as u128;
            assert!(passed <= most, "{passed} passed in {} ns, at most {most} may", to - from);
        }
    }
}

/// A step of a run: wait so long, then this client asks.
#[derive(Debug, Clone)]
struct Step {
    wait: Duration,
    client: u32,
    sweep: bool,
}

fn steps(clients: u32, unit: u64) -> impl Strategy<Value = Vec<Step>> {
    // Mostly bursts, some waits around the time of one token, a few that refill everything.
    let wait = prop_oneof![6 => Just(0), 3 => 0..unit, 1 => 0..unit * 20].prop_map(Duration::from_nanos);
    let step = (wait, 0..clients, prop::bool::weighted(0.1)).prop_map(|(wait, client, sweep)| Step {
        wait,
        client,
        sweep,
    });
    prop::collection::vec(step, 1..400)
}

fn definitions(keys_max: std::ops::Range<u32>) -> impl Strategy<Value = RateLimit> {
    let period = prop_oneof![Just(Period::Second), Just(Period::Minute), Just(Period::Hour)];
    (1..50_u32, period, 1..10_u32, keys_max).prop_map(|(r, p, b, k)| definition(r, p, b, k))
}

fn runs(clients: u32, keys_max: std::ops::Range<u32>) -> impl Strategy<Value = (RateLimit, Vec<Step>)> {
    definitions(keys_max).prop_flat_map(move |definition| {
        let unit = period(definition.period).as_nanos() as u64 / u64::from(definition.rate.get());
        (Just(definition), steps(clients, unit.max(1)))
    })
}

proptest! {
    /// Any interleaving, with room for all keys: the bound holds for each, and what is denied is
    /// allowed exactly when it was promised.
    #[test]
    fn never_more_than_rate_times_time_plus_burst((definition, steps) in runs(4, 4..8)) {
        let (limiter, clock) = limiter(&definition);
        let mut now = 0;
        let mut passed = HashMap::<u32, Vec<u64>>::new();
        for step in steps {
            clock.advance(step.wait);
            now += step.wait.as_nanos() as u64;
            if passes(&limiter, step.client) {
                passed.entry(step.client).or_default().push(now);
            }
            if step.sweep {
                limiter.sweep();
            }
        }
        for times in passed.values() {
            assert_within(&definition, times);
        }
        prop_assert_eq!(limiter.figures().overflowed, 0);
    }

    /// The same with many more keys than places.
    #[test]
    fn the_bound_holds_while_keys_are_dropped((definition, steps) in runs(40, 1..4)) {
        let (limiter, clock) = limiter(&definition);
        let mut now = 0;
        let mut passed = HashMap::<u32, Vec<u64>>::new();
        for step in steps {
            clock.advance(step.wait);
            now += step.wait.as_nanos() as u64;
            if passes(&limiter, step.client) {
                passed.entry(step.client).or_default().push(now);
            }
            if step.sweep {
                limiter.sweep();
            }
            prop_assert!(limiter.figures().keys <= u64::from(definition.keys_max.get()));
        }
        for times in passed.values() {
            assert_within(&definition, times);
        }
    }

    /// A sole key with a place is a plain token bucket: never stricter than promised either.
    #[test]
    fn a_key_that_is_held_gets_all_it_is_due((definition, steps) in runs(1, 1..3)) {
        let (limiter, clock) = limiter(&definition);
        let mut due = None::<Duration>;
        for step in steps {
            clock.advance(step.wait);
            due = due.map(|left| left.saturating_sub(step.wait));
            match limiter.check(&client(&limiter, 0)) {
                Decision::Allowed { remaining, next_after, reset_after } => {
                    prop_assert!(due.is_none_or(|left| left.is_zero()), "allowed {due:?} too early");
                    prop_assert!(next_after <= reset_after);
                    prop_assert!(remaining < definition.burst.get());
                    due = (remaining == 0).then_some(next_after);
                }
                Decision::Denied { retry_after } => {
                    prop_assert!(!retry_after.is_zero());
                    prop_assert_eq!(due, Some(retry_after), "denied although it was due");
                }
            }
        }
    }

    /// Denied requests are free: with any number of them in between, the same requests pass.
    #[test]
    fn a_denied_request_costs_nothing(definition in definitions(1..3), denials in 1..50_usize) {
        let (limiter, clock) = limiter(&definition);
        for _ in 0..definition.burst.get() {
            prop_assert!(passes(&limiter, 1));
        }
        let Decision::Denied { retry_after } = limiter.check(&client(&limiter, 1)) else {
            return Err(TestCaseError::fail("more than the burst passed"));
        };
        clock.advance(retry_after - Duration::from_nanos(1));
        for _ in 0..denials {
            prop_assert!(!passes(&limiter, 1));
        }
        clock.advance(Duration::from_nanos(1));
        prop_assert!(passes(&limiter, 1));
        prop_assert!(!passes(&limiter, 1));
    }
}

#[test]
fn a_bucket_counts_down_and_refills_one_by_one() {
    let (limiter, clock) = limiter(&definition(10, Period::Second, 3, 10));
    let key = client(&limiter, 1);
    let ms = Duration::from_millis;
    let allowed = |remaining, next, reset| Decision::Allowed {
        remaining,
        next_after: ms(next),
        reset_after: ms(reset),
    };
    assert_eq!(limiter.check(&key), allowed(2, 100, 100));
    assert_eq!(limiter.check(&key), allowed(1, 100, 200));
    clock.advance(ms(30));
    assert_eq!(limiter.check(&key), allowed(0, 70, 270));
    assert_eq!(limiter.check(&key), Decision::Denied { retry_after: ms(70) });
    clock.advance(ms(70));
    assert_eq!(limiter.check(&key), allowed(0, 100, 300));
}

#[test]
fn a_key_without_a_place_comes_back_as_empty_as_it_left() {
    let (limiter, clock) = limiter(&definition(1, Period::Hour, 5, 1));
    assert!(passes(&limiter, 1));
    // Client 1 holds the only place: 2 spends its burst in the spill bucket.
    assert_eq!((0..10).filter(|_| passes(&limiter, 2)).count(), 5);
    assert_eq!(limiter.figures().overflowed, 5);
    // An hour later client 1 is full again and its place is free; 2 has earned one request, not five.
    clock.advance(Duration::from_secs(3600));
    assert_eq!((0..10).filter(|_| passes(&limiter, 2)).count(), 1);
    assert_eq!(limiter.figures().overflowed, 5);
    assert_eq!(limiter.figures().keys, 1);
}

#[test]
fn a_flood_of_keys_takes_no_more_than_keys_max_and_spares_those_held() {
    let (limiter, clock) = limiter(&definition(1, Period::Minute, 2, 5000));
    assert!(passes(&limiter, 0));
    for n in 1..50_000 {
        let _ = passes(&limiter, n);
        clock.advance(Duration::from_micros(1));
    }
    let figures = limiter.figures();
    assert!(figures.keys <= 5000, "{} keys", figures.keys);
    assert!(figures.denied > 0 && figures.overflowed > 0);
    assert_eq!(figures.allowed + figures.denied, 50_000);
    assert!(passes(&limiter, 0), "a held key keeps its own bucket");
    assert!(!passes(&limiter, 0));
}

#[test]
fn a_sweep_drops_what_has_refilled_and_nothing_else() {
    let (limiter, clock) = limiter(&definition(1, Period::Minute, 1, 10_000));
    (0..2_000).for_each(|n| assert!(passes(&limiter, n)));
    clock.advance(Duration::from_secs(90));
    (2_000..2_500).for_each(|n| assert!(passes(&limiter, n)));
    clock.advance(Duration::from_secs(30));
    limiter.sweep();
    assert_eq!(limiter.figures().keys, 500);
    assert!((2_000..2_500).all(|n| !passes(&limiter, n)));
    assert!((0..2_000).all(|n| passes(&limiter, n)));
}

#[test]
fn extreme_definitions_neither_overflow_nor_loosen() {
    let most = u32::MAX;
    for (rate, period) in [(1, Period::Hour), (most, Period::Second), (most, Period::Hour)] {
        let (limiter, clock) = limiter(&definition(rate, period, most, 1));
        let Decision::Allowed { remaining, .. } = limiter.check(&client(&limiter, 1)) else {
            panic!("a full bucket denied");
        };
        assert!(remaining < most);
        clock.advance(Duration::from_secs(86_400 * 365));
        assert!(passes(&limiter, 1));
    }
    // One per nanosecond is the fastest there is.
    let (limiter, clock) = limiter(&definition(most, Period::Second, 1, 1));
    assert!(passes(&limiter, 1));
    assert!(!passes(&limiter, 1));
    clock.advance(Duration::from_nanos(1));
    assert!(passes(&limiter, 1));
}

#[test]
fn threads_share_one_bucket() {
    let definition = definition(1, Period::Hour, 1000, 100);
    let (limiter, _clock) = limiter(&definition);
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..1000).filter(|_| passes(&limiter, 7)).count())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 1000);
    assert_eq!(limiter.figures().denied, 3000);
}

fn filter(name: &str, kind: FilterKind) -> Arc<Filter> {
    Arc::new(Filter { name: Arc::from(name), kind })
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    let limit = |rate| FilterKind::RateLimit(definition(rate, Period::Hour, 1, 10));
    let headers = filter("headers", FilterKind::Headers(Box::default()));
    let first =
        LimiterSet::build(&[filter("a", limit(1)), filter("b", limit(1)), Arc::clone(&headers)], None);
    assert_eq!(first.iter().count(), 2);
    assert!(first.get("headers").is_none());

    let spend = |set: &LimiterSet, name: &str| {
        let (limiter, fields) = (set.get(name).unwrap(), HeaderMap::new());
        let key = limiter.key(&Subject { client: Ipv4Addr::LOCALHOST.into(), headers: &fields, route: "r" });
        matches!(limiter.check(&key), Decision::Allowed { .. })
    };
    assert!(spend(&first, "a") && spend(&first, "b"));

    let second = LimiterSet::build(
        &[filter("a", limit(1)), filter("b", limit(2)), filter("c", limit(1))],
        Some(&first),
    );
    assert!(!spend(&second, "a"), "a kept bucket is as empty as before");
    assert!(spend(&second, "b"), "a changed definition is another limiter");
    assert!(spend(&second, "c"));
    assert!(!spend(&first, "b"), "the old set goes on as it was");
}
