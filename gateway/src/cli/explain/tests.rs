use crate::policy;
use clap::Parser;

use super::*;
use crate::explain::Report;

const POLICY: &str = r#"
version: 1
listeners: [{ address: 127.0.0.1:0 }]
trusted_proxies: [10.0.0.0/8]
upstreams: { shop: { endpoints: ["127.0.0.1:9000"] } }
filters:
  slow: { rate_limit: { rate: 5/second, key: client_address } }
  keyed: { rate_limit: { rate: 5/second, key: { header: x-key } } }
  stamp: { headers: { request: { set: { x-edge: "1" }, remove: [x-debug] } } }
routes:
  - name: api
    match: { host: "*.example.com", path: { prefix: /v1 }, methods: [GET], query: [{ name: f, exact: full }] }
    filters: [slow, keyed, stamp]
    forward: { upstream: shop, rewrite_prefix: /in }
  - name: orders
    match: { path: { regex: "/orders/[0-9]+" } }
    respond: { status: 204 }
  - name: rest
    filters: [slow]
    respond: { status: 200, body: hello }
"#;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn report(args: &[&str]) -> Report {
    let loaded = policy::parse(POLICY, std::path::Path::new("p.yaml"), std::path::Path::new("")).unwrap();
    let args = Cli::try_parse_from(["explain", "p.yaml"].iter().chain(args)).unwrap().args;
    explain_request(&loaded.policy, &inquiry(&args), NEAREST).unwrap()
}

fn text(args: &[&str]) -> String {
    Text(&report(args)).to_string()
}

#[test]
fn the_route_its_chain_and_those_behind() {
    let told = text(&[
        "GET",
        "http://a.Example.com/x/../v1/y?f=full",
        "--from",
        "10.1.1.1",
        "-H",
        "x-forwarded-for: 203.0.113.7",
        "-H",
        "x-key: secret",
    ]);
    let expected = "\
request   GET a.example.com/v1/y?f=full
          its path was written /x/../v1/y
          from 203.0.113.7, through the trusted 10.1.1.1
route     api (number 1): paths under /v1, host *.example.com, GET, query f = full
filters   1. slow (rate_limit): rate 5/second, burst 5, key client_address, keys 100000
             shares a bucket with client 203.0.113.7
          2. keyed (rate_limit): rate 5/second, burst 5, key header x-key, keys 100000
             shares a bucket with requests with the same x-key
          3. stamp (headers): request remove x-debug; set x-edge (1 byte, sha256 6b86b273ff34)
then      forward to upstream shop (127.0.0.1:9000), as /in/y?f=full
behind    rest (number 3) matches too: every path
not       orders (number 2) takes paths like /orders/[0-9]+
";
    assert_eq!(told, expected);
    assert!(!told.contains("secret"));
}

#[test]
fn the_nearest_come_first_with_the_reason() {
    let told = text(&["GET", "http://a.example.com/v1"]);
    assert!(told.contains("route     rest (number 3)"), "{told}");
    let not: Vec<&str> = told.lines().skip_while(|line| !line.starts_with("not")).collect();
    assert_eq!(
        not,
        [
            "not       api (number 1) asks for query f = full",
            "          orders (number 2) takes paths like /orders/[0-9]+",
        ]
    );
}

#[test]
fn what_the_gateway_would_refuse_is_told_so() {
    let refused = |args: &[&str]| {
        let args = Cli::try_parse_from(["explain", "p.yaml"].iter().chain(args)).unwrap().args;
        let loaded = policy::parse(POLICY, std::path::Path::new("p.yaml"), std::path::Path::new("")).unwrap();
        explain_request(&loaded.policy, &inquiry(&args), NEAREST).unwrap_err().to_string()
    };
    assert!(refused(&["GET", "/a/%2fb"]).contains("400"));
    assert!(refused(&["GET", "/", "-H", "host: a b"]).contains("400"));
    assert!(refused(&["CONNECT", "/"]).contains("501"));
    assert!(refused(&["POST", "/", "-H", "transfer-encoding: gzip"]).contains("501"));
    assert!(refused(&["POST", "/", "-H", "content-length: 99999999999"]).contains("413"));
    assert!(refused(&["GET", "/", "-H", &format!("x: {}", "y".repeat(70_000))]).contains("431"));
    assert!(refused(&[vec!["GET", "/"], ["-H", "x: y"].repeat(100)].concat()).contains("431"));
    let wrong = |args: &[&str]| Cli::try_parse_from(["explain", "p.yaml"].iter().chain(args)).is_err();
    assert!(wrong(&["GET", "/", "-H", "no colon"]));
    assert!(wrong(&["GET", "/", "-H", "bad name: x"]));
    assert!(wrong(&["GE T", "/"]));
}
