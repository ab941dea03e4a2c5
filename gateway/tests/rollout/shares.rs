//! Who is served by which policy.

use std::collections::HashSet;

use crate::support::{Gateway, Options, get};
use crate::{HALF, all, answering, old, rollout, try_out};

#[test]
fn a_user_stays_on_one_side_on_all_workers_and_connections() {
    let gateway = old();
    assert!(all(&gateway, 8).iter().all(|answer| answer == "old"));
    let running = try_out(&gateway, &(answering("new") + &rollout(HALF)));
    assert_eq!((running["share_percent"].as_f64(), running["base"].as_u64()), (Some(50.0), Some(1)));
    let sides = all(&gateway, 100);
    let new = sides.iter().filter(|answer| *answer == "new").count();
    assert!((20..=80).contains(&new), "{new} of 100");
    // The kernel spreads connections over both workers.
    for _ in 0..16 {
        assert_eq!(all(&gateway, 100), sides);
    }
    assert_eq!(gateway.status()["generation"]["number"], 1);
    assert_eq!(gateway.status()["rollout"]["generation"], 2);
}

/// The access log tells the generation that served each request.
#[test]
fn the_connection_that_is_open_already_takes_part() {
    let gateway = old();
    let mut client = gateway.client();
    assert_eq!(client.ask(get("/", &[("x-user", "1")])).text(), "old");
    try_out(&gateway, &(answering("new") + &rollout(HALF)));
    let answers: HashSet<String> =
        (0..64).map(|user| crate::ask(&mut client, user).text().to_owned()).collect();
    assert_eq!(answers, HashSet::from(["old".to_owned(), "new".to_owned()]));
    let stopped = {
        drop(client);
        gateway.stop()
    };
    let generations: HashSet<u64> =
        stopped.access_log.iter().map(|line| line["generation"].as_u64().unwrap()).collect();
    assert_eq!(generations, HashSet::from([1, 2]));
}

/// Through a proxy that is believed, so that there are clients enough.
#[test]
fn without_a_key_the_clients_address_decides() {
    let trusted = "trusted_proxies: [127.0.0.1]\n";
    let gateway = Gateway::start(&(answering("old") + trusted));
    try_out(&gateway, &(answering("new") + trusted + &format!("rollout: {{ {HALF} }}\n")));
    let mut client = gateway.client();
    let mut ask = |number: u32| {
        let address = format!("192.0.2.{number}");
        client.ask(get("/", &[("x-forwarded-for", &address)])).text().to_owned()
    };
    let first: Vec<String> = (0..100).map(&mut ask).collect();
    let again: Vec<String> = (0..100).map(&mut ask).collect();
    assert_eq!(first, again);
    assert!(first.iter().any(|answer| answer == "old") && first.iter().any(|answer| answer == "new"));
}

#[test]
fn a_cookie_decides_and_without_it_the_address() {
    let gateway = old();
    let by_cookie = format!("rollout: {{ key: {{ cookie: id }}, {HALF} }}\n");
    try_out(&gateway, &(answering("new") + &by_cookie));
    let mut client = gateway.client();
    let mut ask = |cookie: &str| client.ask(get("/", &[("cookie", cookie)])).text().to_owned();
    let sides: Vec<String> = (0..64).map(|user| ask(&format!("id={user}"))).collect();
    assert!(sides.iter().any(|answer| answer == "old") && sides.iter().any(|answer| answer == "new"));
    for (user, side) in sides.iter().enumerate() {
        assert_eq!(&ask(&format!("a=b; id={user}; c=d")), side);
    }
    let one_client: HashSet<String> = (0..32).map(|n| ask(&format!("other={n}"))).collect();
    assert_eq!(one_client.len(), 1);
}

/// A bucket of four is one bucket, whichever policy takes from it.
#[test]
fn token_buckets_are_shared_between_both() {
    let limited = |text: &str| {
        format!(
            "filters: {{ few: {{ rate_limit: {{ rate: 1/hour, burst: 4, key: {{ fixed: all }} }} }} }}\n\
             routes: [{{ filters: [few], respond: {{ status: 200, body: {text} }} }}]\n"
        )
    };
    let gateway = Gateway::start_with(&limited("old"), &Options::default());
    try_out(&gateway, &(limited("new") + &rollout(HALF)));
    let mut client = gateway.client();
    let answers: Vec<u16> = (0..64).map(|user| crate::ask(&mut client, user).status()).collect();
    assert_eq!(answers.iter().filter(|status| **status == 200).count(), 4);
    assert_eq!(&answers[..4], [200; 4]);
}
