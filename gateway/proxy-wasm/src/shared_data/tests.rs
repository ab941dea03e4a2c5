//! What is kept, for how long, and what limits hold.

use super::*;

fn small() -> SharedData {
    SharedData::new(SharedDataLimits {
        keys_max: 2,
        bytes_max: 32,
        key_bytes_max: 8,
        value_bytes_max: 16,
        ttl: None,
    })
}

#[test]
fn a_write_with_a_stale_number_is_refused() {
    let data = SharedData::default();
    let space = data.namespace(&"vm".into());
    space.set(b"k", b"one", 0).unwrap();
    let (value, cas) = space.get(b"k").unwrap();
    assert_eq!((&*value, cas != 0), (&b"one"[..], true));
    space.set(b"k", b"two", cas).unwrap();
    assert_eq!(space.set(b"k", b"three", cas), Err(SetError::CasMismatch));
    assert_eq!(&*space.get(b"k").unwrap().0, b"two");
    assert_eq!(space.set(b"absent", b"v", 77), Ok(()), "as in the C++ host");
}

#[test]
fn names_separate_and_unite() {
    let data = SharedData::default();
    data.namespace(&"a".into()).set(b"k", b"v", 0).unwrap();
    assert!(data.namespace(&"b".into()).get(b"k").is_none());
    assert!(data.namespace(&"a".into()).get(b"k").is_some());
}

#[test]
fn limits_hold_and_are_given_back() {
    let data = small();
    let space = data.namespace(&"vm".into());
    assert_eq!(space.set(b"k-too-long", b"", 0), Err(SetError::TooLarge));
    assert_eq!(space.set(b"k", &[0; 17], 0), Err(SetError::TooLarge));
    space.set(b"a", &[0; 15], 0).unwrap();
    space.set(b"b", &[0; 15], 0).unwrap();
    assert_eq!(space.set(b"c", b"", 0), Err(SetError::TooLarge));
    assert_eq!(space.set(b"a", &[0; 16], 0), Err(SetError::TooLarge));
    assert_eq!((data.keys(), data.bytes()), (2, 32));
    space.set(b"a", b"", 0).unwrap();
    assert_eq!(data.bytes(), 17);
    data.retain(|_| false);
    drop(space);
    assert_eq!((data.keys(), data.bytes()), (0, 0));
}

#[test]
fn what_has_expired_is_absent_and_makes_room() {
    let data = small();
    let space = data.namespace(&"vm".into());
    space.set(b"a", b"1", 0).unwrap();
    space.set(b"b", b"2", 0).unwrap();
    assert!(space.set_lifetime(b"a", Lifetime::For(Duration::from_secs(3600))));
    assert!(space.get(b"a").is_some(), "its hour is not over");
    assert!(space.set_lifetime(b"a", Lifetime::For(Duration::ZERO)));
    assert!(space.get(b"a").is_none());
    assert!(!space.set_lifetime(b"a", Lifetime::Endless), "too late");
    assert_eq!(data.keys(), 2, "nothing has touched it");
    space.set(b"c", b"3", 0).unwrap();
    assert_eq!((data.keys(), data.bytes()), (2, 4));
    assert!(space.set_lifetime(b"b", Lifetime::For(Duration::ZERO)));
    data.sweep();
    assert_eq!((data.keys(), space.get(b"c").is_some()), (1, true));
}

#[test]
fn a_write_begins_a_life_anew() {
    let data = small();
    let space = data.namespace(&"vm".into());
    data.set_limits(SharedDataLimits { ttl: Some(Duration::ZERO), ..SharedDataLimits::default() });
    space.set(b"k", b"1", 0).unwrap();
    assert!(space.get(b"k").is_none(), "the default is to live for no time at all");
    data.set_limits(SharedDataLimits::default());
    assert_eq!(space.set(b"k", b"2", 77), Ok(()), "an absent key has no number to mismatch");
    data.sweep();
    assert_eq!(&*space.get(b"k").unwrap().0, b"2");
}

#[test]
fn keys_are_deleted() {
    let data = small();
    let space = data.namespace(&"vm".into());
    space.set(b"k", b"value", 0).unwrap();
    space.set_lifetime(b"k", Lifetime::For(Duration::from_secs(3600)));
    assert!(space.delete(b"k"));
    assert!(!space.delete(b"k"));
    assert_eq!((data.keys(), data.bytes(), lock(&space.entries).expiring.len()), (0, 0, 0));
}

#[test]
fn numbers_are_counted_in() {
    let data = small();
    let space = data.namespace(&"vm".into());
    let hour = Lifetime::For(Duration::from_secs(3600));
    assert_eq!(space.increment(b"n", 2, hour), Ok(2));
    assert_eq!(space.increment(b"n", -5, Lifetime::Endless), Ok(-3));
    assert_eq!(lock(&space.entries).expiring.len(), 1, "it keeps its time");
    assert_eq!(space.increment(b"n", i64::MAX, hour), Ok(i64::MAX - 3));
    assert_eq!(space.increment(b"n", i64::MAX, hour), Ok(i64::MAX));
    space.set(b"t", b"text", 0).unwrap();
    assert_eq!(space.increment(b"t", 1, hour), Err(IncrementError::NotANumber));
    assert_eq!(space.increment(b"more", 1, hour), Err(IncrementError::TooLarge));
}

#[test]
fn concurrent_increments_by_cas_lose_nothing() {
    let data = SharedData::default();
    data.namespace(&"vm".into()).set(b"n", &0u32.to_le_bytes(), 0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let space = data.namespace(&"vm".into());
                (0..500).for_each(|_| increment(&space));
            });
        }
    });
    let value = data.namespace(&"vm".into()).get(b"n").unwrap().0;
    assert_eq!(number(&value), 2000);
}

fn increment(space: &Namespace) {
    loop {
        let (value, cas) = space.get(b"n").unwrap();
        if space.set(b"n", &(number(&value) + 1).to_le_bytes(), cas).is_ok() {
            return;
        }
    }
}

fn number(value: &[u8]) -> u32 {
    u32::from_le_bytes(value.try_into().unwrap())
}
