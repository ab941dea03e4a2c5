//! `policies/lua/risk.lua` with the configuration of `policies/risk.yaml`, over real sockets.

use serde_json::Value;

use crate::support::{Gateway, Message, Origin, get, response};
use crate::{file, repository, start};

/// The filter as the example has it, less its file's path, which is relative to the example.
fn gateway(origin: &Origin) -> Gateway {
    let text = std::fs::read_to_string(repository("policies/risk.yaml")).unwrap();
    let policy: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let config = &policy["filters"]["risk"]["lua"]["config"];
    let config: Value = serde_json::to_value(config).unwrap();
    start(origin, &[("risk", file(&repository("policies/lua/risk.lua"), &format!(", config: {config}")))])
}

fn score(answer: &Message) -> Option<&str> {
    answer.header("x-risk-score")
}

#[test]
fn requests_are_scored_and_the_worst_refused() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = gateway(&origin);
    let browser = ("user-agent", "Mozilla/5.0");
    // A path, the headers, and the score that the origin is told; `None`: refused.
    type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], Option<&'c str>);
    let cases: [Case<'_>; 7] = [
        ("/", &[browser], Some("0")),
        ("/", &[], Some("25")),
        ("/index.php", &[browser, ("x-country", "FR")], Some("35")),
        ("/admin", &[("user-agent", "curl/8.0"), ("x-country", "DE")], Some("46")),
        ("/api/v2/export", &[("user-agent", "SQLMap/1.7")], None),
        ("/.git/config", &[browser, ("x-country", "FR")], Some("55")),
        ("/admin/.git/config", &[browser], None),
    ];
    for (path, headers, passed_with) in cases {
        let before = origin.requests().len();
        let answer = gateway.ask(get(path, headers));
        match passed_with {
            Some(expected) => {
                assert_eq!(answer.status(), 200, "{path}");
                assert_eq!(origin.requests()[before].header("x-risk-score"), Some(expected), "{path}");
            }
            None => {
                assert_eq!((answer.status(), answer.text()), (403, "Refused.\n"), "{path}");
                assert!(score(&answer).is_some() && origin.requests().len() == before, "{path}");
            }
        }
    }
}

/// 500 in ten seconds are the limit; the scores of the others add to the rate's.
#[test]
fn a_client_that_asks_too_often_is_scored_for_it() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = gateway(&origin);
    let mut client = gateway.client();
    let mut asked = 0;
    let refused = loop {
        let answer = client.ask(get("/index.php", &[("user-agent", "curl")]));
        asked += 1;
        if answer.status() != 200 || asked > 5000 {
            break answer;
        }
    };
    assert_eq!((refused.status(), score(&refused)), (403, Some("65")));
    assert!(asked > 500, "refused after {asked}");
}
