//! Policies of `policies/` where test cases in YAML do not reach: what one request is given opens the door to the
//! next. The rest is in `policies/cases`.

use std::path::Path;

use serde_yaml::Value;

use crate::support::{Gateway, Message, Origin, get, post, response};
use crate::{ONE_WORKER, ready, repository};

/// A gateway with a policy as it is shipped, but with its own listeners and with these origins, by the upstream's
/// name.
fn start(name: &str, origins: &[(&str, &Origin)]) -> Gateway {
    ready();
    let text = std::fs::read_to_string(repository("policies").join(name)).unwrap();
    let mut policy: Value = serde_yaml::from_str(&text).unwrap();
    for key in ["version", "listeners", "admin"] {
        policy.as_mapping_mut().unwrap().remove(key).unwrap();
    }
    for (upstream, origin) in origins {
        policy["upstreams"][*upstream]["endpoints"][0] = origin.address().to_string().into();
    }
    for (_, filter) in policy["filters"].as_mapping_mut().unwrap() {
        let lua = &mut filter["lua"];
        absolute(&mut lua["file"]);
        lua.get_mut("modules")
            .into_iter()
            .flat_map(|modules| modules.as_mapping_mut().unwrap().values_mut())
            .for_each(absolute);
    }
    Gateway::start_with(&serde_yaml::to_string(&policy).unwrap(), &ONE_WORKER)
}

fn absolute(path: &mut Value) {
    let whole = repository("policies").join(Path::new(path.as_str().unwrap()));
    *path = whole.to_str().unwrap().into();
}

const SIGNED: [&str; 4] = ["x-key-id", "x-timestamp", "x-content-sha256", "x-signature"];

/// What `sign` makes of a request to the vendor, as headers to send again.
fn signed(gateway: &Gateway, origin: &Origin, request: &[u8]) -> Vec<(&'static str, String)> {
    assert_eq!(gateway.ask(request).status(), 200, "{:#?}", gateway.log());
    let seen = origin.requests().pop().unwrap();
    SIGNED.iter().map(|name| (*name, seen.header(name).unwrap().to_owned())).collect()
}

fn borrowed<'h>(headers: &'h [(&'static str, String)]) -> Vec<(&'static str, &'h str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Both filters guard one route here, so that one signs what the other checks.
#[test]
fn what_is_signed_passes_once_and_unchanged() {
    let (app, vendor) =
        (Origin::answering(response(200, &[], b"in")), Origin::answering(response(200, &[], b"out")));
    let signer = start("signing.yaml", &[("app", &app), ("vendor", &vendor)]);
    // The path is signed: the vendor's own gateway has it as its partners'.
    let headers = signed(&signer, &vendor, &post("/vendor/partners?id=7", &[], b"one egg"));
    let text = std::fs::read_to_string(signer.policy_path()).unwrap();
    signer.write_whole(&text.replace("/partners", "/vendor/partners"));
    assert_eq!(signer.reload().status(), 200);

    let target = "/vendor/partners?id=7";
    let ask = |target: &str, headers: &[(&str, &str)], body: &[u8]| {
        signer.ask(post(target, headers, body)).status()
    };
    let headers = borrowed(&headers);
    // None of these spends the signature, but for the body, which is looked at when it has come.
    assert_eq!(ask("/vendor/partners?id=8", &headers, b"one egg"), 401);
    assert_eq!(signer.ask(get(target, &headers)).status(), 401, "another method");
    for left_out in SIGNED {
        let rest: Vec<_> = headers.iter().copied().filter(|(name, _)| *name != left_out).collect();
        assert_eq!(ask(target, &rest, b"one egg"), 401, "without {left_out}");
    }
    assert_eq!(app.requests().len(), 0);
    assert_eq!(ask(target, &headers, b"one egg"), 200, "{:#?}", signer.log());
    let seen = app.request();
    assert_eq!((seen.text(), seen.header("x-consumer")), ("one egg", Some("partner-1")));
    assert!(SIGNED.iter().all(|name| seen.header(name).is_none()));
    assert_eq!(ask(target, &headers, b"one egg"), 401, "a second time");
}

#[test]
fn a_signature_holds_for_its_body_alone() {
    let (app, vendor) =
        (Origin::answering(response(200, &[], b"in")), Origin::answering(response(200, &[], b"out")));
    let gateway = start("signing.yaml", &[("app", &app), ("vendor", &vendor)]);
    let headers = signed(&gateway, &vendor, &post("/vendor/partners", &[], b"one egg"));
    let other = signed(&gateway, &vendor, &post("/vendor/partners", &[], b"two eggs"));
    let text = std::fs::read_to_string(gateway.policy_path()).unwrap();
    gateway.write_whole(&text.replace("/partners", "/vendor/partners"));
    assert_eq!(gateway.reload().status(), 200);
    let target = "/vendor/partners";
    assert_eq!(gateway.ask(post(target, &borrowed(&headers), b"one ego")).status(), 401, "another body");
    let bare = gateway.ask(format!(
        "POST {target} HTTP/1.1\r\nhost: test.example\r\ncontent-length: 0\r\n{}\r\n",
        other.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>()
    ));
    assert_eq!(bare.status(), 401, "no body");
    assert_eq!(app.requests().len(), 0);
}

/// What a browser does with the page of a challenge: the task, and a number that solves it.
fn solve(page: &Message) -> String {
    use sha2::{Digest, Sha256};
    let task = page.header("x-challenge").unwrap();
    let bits = 16;
    assert!(page.text().contains(&format!("const task = \"{task}\", bits = {bits}")), "{}", page.text());
    let is_solved = |number: &u64| {
        let digest = Sha256::digest(format!("{task}.{number}"));
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> (32 - bits) == 0
    };
    format!("{task}.{}", (0..).find(is_solved).unwrap())
}

#[test]
fn a_solution_opens_the_door_once_and_a_pass_keeps_it_open() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = start("challenge.yaml", &[("app", &origin)]);
    let page = gateway.get("/login");
    assert_eq!(page.status(), 429);
    let solution = solve(&page);
    let answer = gateway.ask(get("/login", &[("x-challenge-answer", &solution)]));
    assert_eq!((answer.status(), answer.text()), (204, ""));
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(gateway.ask(get("/login", &[("x-challenge-answer", &solution)])).status(), 403, "again");
    let first = &[("cookie", cookie.as_str())];
    assert_eq!(gateway.ask(get("/login", first)).status(), 200);
    // Beyond the rate too, and among other cookies.
    let among = format!("a=b; {cookie}; c=d");
    for _ in 0..30 {
        assert_eq!(gateway.ask(get("/", &[("cookie", &among)])).status(), 200);
    }
    // A pass whose end was moved is none.
    let later = cookie.replacen("tollgate_pass=", "tollgate_pass=1", 1);
    assert_eq!(gateway.ask(get("/login", &[("cookie", &later)])).status(), 429);
}

#[test]
fn a_variant_chooses_the_upstream() {
    let (stable, next) =
        (Origin::answering(response(200, &[], b"stable")), Origin::answering(response(200, &[], b"next")));
    let gateway = start("variants.yaml", &[("stable", &stable), ("next", &next)]);
    let cases = [
        (("cookie", "variant=a"), "stable"),
        (("cookie", "variant=b"), "next"),
        (("x-force-variant", "b"), "next"),
    ];
    for (header, expected) in cases {
        // Whichever route the client aims at.
        for claimed in ["a", "b"] {
            let answer = gateway.ask(get("/", &[header, ("x-variant", claimed)]));
            assert_eq!(answer.text(), expected, "{header:?}, claiming {claimed}: {:#?}", gateway.log());
        }
    }
}
