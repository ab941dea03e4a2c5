//! What a right policy becomes. What a wrong one is answered with: `tests/policy_diagnostics.rs`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::fault::OnFailure;
use super::filter::{FilterKind, Period, RateLimitKey};
use super::remote::NoFetch;
use super::route::{Action, HostPattern, PathPattern, RedirectPath, ValueMatch};
use super::upstream::HostHeader;
use super::*;

const MODULE: &[u8] = b"\0asm\x01\0\0\0";

const MINIMAL: &str = "
version: 1
listeners: [{address: 127.0.0.1:8080}]
upstreams: {shop: {endpoints: ['127.0.0.1:9000']}}
routes: [{forward: {upstream: shop}}]
";

fn read(text: &str) -> Loaded {
    parse(text, Path::new("test.yaml"), Path::new(".")).unwrap_or_else(|findings| panic!("{findings}"))
}

#[test]
fn fills_in_the_defaults() {
    let Loaded { policy, warnings, .. } = read(MINIMAL);
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(policy.limits.header_bytes_max, 65_536);
    assert_eq!(policy.limits.total_timeout, Some(Duration::from_secs(300)));
    assert_eq!(policy.upstreams[0].host, HostHeader::Client);
    assert_eq!(policy.upstreams[0].connect_timeout, Duration::from_secs(2));
    assert_eq!(&*policy.routes[0].name, "route-1");
    assert!(matches!(&policy.routes[0].matches.path, PathPattern::Prefix(path) if &**path == "/"));
    assert!(policy.admin.is_none() && policy.filters.is_empty());
}

#[test]
fn binds_names_to_the_same_values() {
    let policy = read(MINIMAL).policy;
    let Action::Forward { upstream, rewrite_prefix: None } = &policy.routes[0].action else { panic!() };
    assert!(Arc::ptr_eq(upstream, &policy.upstreams[0]));
}

#[test]
fn reads_every_kind_of_match_and_action() {
    let text = r#"
version: 1
listeners: [{address: "[::1]:0"}]
limits: {total_timeout: none, body_bytes: 1000}
trusted_proxies: [10.0.0.0/8, "2001:db8::1"]
routes:
  - match:
      host: [A.example.com, "*.b.example.com"]
      path: {regex: "/v[0-9]+"}
      methods: [GET, PROPFIND]
      headers: [{name: X-A, exact: b}, {name: x-c, regex: "d+"}, {name: x-e, present: true}]
      query: [{name: q, absent: true}]
    redirect: {scheme: https, host: c.example.com, port: 8443, path: /new, status: 301}
  - match: {path: {prefix: /api/}}
    redirect: {prefix: /v2/}
  - respond: {status: 404, headers: {content-type: text/plain, x-many: [a, b]}, body: none}
"#;
    let policy = read(text).policy;
    assert_eq!(policy.limits.total_timeout, None);
    assert_eq!(policy.limits.body_bytes_max.get(), 1000);
    assert_eq!(policy.trusted_proxies[1].to_string(), "2001:db8::1/128");
    let matches = &policy.routes[0].matches;
    let hosts = [HostPattern::Exact("a.example.com".into()), HostPattern::Suffix(".b.example.com".into())];
    assert_eq!(matches.hosts, hosts);
    let PathPattern::Regex(regex) = &matches.path else { panic!() };
    assert!(regex.is_match("/v12") && !regex.is_match("/v12/x"));
    assert_eq!(matches.headers[0].name, "x-a");
    assert!(
        matches!(&matches.headers[1].value, ValueMatch::Regex(r) if r.is_match("dd") && !r.is_match("de"))
    );
    assert!(matches!(matches.query[0].value, ValueMatch::Absent));
    let Action::Redirect(redirect) = &policy.routes[0].action else { panic!() };
    assert_eq!((redirect.status.as_u16(), redirect.port.map(u16::from)), (301, Some(8443)));
    assert_eq!(redirect.path, Some(RedirectPath::Full("/new".into())));
    let Action::Redirect(redirect) = &policy.routes[1].action else { panic!() };
    assert_eq!(redirect.path, Some(RedirectPath::Prefix("/v2".into())));
    assert!(matches!(&policy.routes[1].matches.path, PathPattern::Prefix(path) if &**path == "/api"));
    let Action::Respond(response) = &policy.routes[2].action else { panic!() };
    assert_eq!(response.headers.get_all("x-many").iter().count(), 2);
    assert_eq!(&response.body[..], b"none");
}

const FILTERED: &str = r#"
version: 1
listeners: [{address: 127.0.0.1:8080}]
filters:
  guard:
    wasm:
      module: guard.wasm
      config: {z: 1, a: [true, "x", 1.5]}
      vm_config: "as it is"
      environment: {B: "1", A: "2"}
      memory: 1MiB
      on_failure: open
  same: {wasm: {module: guard.wasm}}
  slow: {rate_limit: {rate: 90/minute, key: {header: X-Key}}}
  stamp:
    headers:
      request: {set: {X-A: "1"}, add: {x-b: [c, d]}, remove: [x-e]}
      response: {remove: [server]}
routes:
  - filters: [slow, guard, same, stamp]
    respond: {status: 200}
"#;

#[test]
fn reads_every_kind_of_filter() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guard.wasm"), MODULE).unwrap();
    let policy = parse(FILTERED, Path::new("test.yaml"), folder.path()).unwrap().policy;
    let kinds: Vec<&FilterKind> = policy.filters.iter().map(|filter| &filter.kind).collect();
    let [
        FilterKind::Wasm(guard),
        FilterKind::Wasm(same),
        FilterKind::RateLimit(slow),
        FilterKind::Headers(stamp),
    ] = kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!(&*guard.configuration, br#"{"z":1,"a":[true,"x",1.5]}"#);
    assert_eq!(&*guard.vm_configuration, b"as it is");
    assert_eq!(&*guard.environment[0].0, "B");
    assert_eq!((guard.memory_pages_max.get(), guard.on_failure), (16, OnFailure::Open));
    assert_eq!((same.memory_pages_max.get(), same.on_failure), (256, OnFailure::Closed));
    assert!(Arc::ptr_eq(&guard.code, &same.code), "a file is read once");
    assert_eq!((slow.rate.get(), slow.burst.get(), slow.period), (90, 90, Period::Minute));
    assert_eq!(slow.key, RateLimitKey::Header(http::HeaderName::from_static("x-key")));
    assert_eq!(stamp.request.add.len(), 2);
    assert_eq!(stamp.response.remove, [http::header::SERVER]);
    let chain: Vec<&str> = policy.routes[0].filters.iter().map(|filter| &*filter.name).collect();
    assert_eq!(chain, ["slow", "guard", "same", "stamp"]);
}

#[test]
fn digest_follows_text_and_modules() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("guard.wasm");
    let digest = |text: &str| parse(text, Path::new("test.yaml"), folder.path()).unwrap().digest;
    std::fs::write(&module, MODULE).unwrap();
    let first = digest(FILTERED);
    assert_eq!(first, digest(FILTERED));
    assert_ne!(first, digest(&format!("{FILTERED}\n")));
    std::fs::write(&module, [MODULE, b"\0\x02\x01x"].concat()).unwrap();
    assert_ne!(first, digest(FILTERED));
}

#[test]
fn debug_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guard.wasm"), MODULE).unwrap();
    let text = FILTERED.replace("as it is", "s3cret").replace(r#"X-A: "1""#, "X-A: s3cret");
    let loaded = parse(&text, Path::new("test.yaml"), folder.path()).unwrap();
    assert!(!format!("{loaded:?}").contains("s3cret"));
}

#[test]
fn loads_from_a_file_and_finds_modules_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    std::fs::write(folder.path().join("guard.wasm"), MODULE).unwrap();
    std::fs::write(&path, format!("\u{FEFF}{FILTERED}")).unwrap();
    assert_eq!(load(&path, &NoFetch::shared()).unwrap().policy.filters.len(), 4);
    let findings = load(&folder.path().join("missing.yaml"), &NoFetch::shared()).unwrap_err();
    assert!(findings.to_string().contains("there is no such file"), "{findings}");
    std::fs::write(&path, b"version: \xff").unwrap();
    assert!(load(&path, &NoFetch::shared()).unwrap_err().to_string().contains("not UTF-8 at byte 10"));
}

#[test]
fn json_names_the_place() {
    let text = MINIMAL.replace("shop}}]", "shpo}}]");
    let findings = parse(&text, Path::new("test.yaml"), Path::new(".")).unwrap_err();
    let json = serde_json::to_value(&findings).unwrap();
    let first = &json["list"][0];
    assert_eq!(first["severity"], "error");
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(5), Some(31)));
    assert_eq!(first["path"], "routes[0].forward.upstream");
    assert_eq!(first["help"], "did you mean `shop`?");
}

#[test]
fn an_alias_stands_for_its_value() {
    let text = MINIMAL.replace("{endpoints", "&u {endpoints").replace("}}\nroutes", "}, spare: *u}\nroutes");
    let text =
        text.replace("routes: [", "routes: [{match: {path: {prefix: /s}}, forward: {upstream: spare}}, ");
    assert_eq!(read(&text).policy.upstreams[1].endpoints[0].port, 9000);
}

#[test]
fn ten_thousand_routes_are_read() {
    let mut text = MINIMAL.replace("routes: [{forward: {upstream: shop}}]", "routes:");
    for i in 0..10_000 {
        let _ = write!(text, "\n  - match: {{host: h{}.example.com, path: {{prefix: /p{i}}}}}", i % 100);
        text.push_str("\n    forward: {upstream: shop}");
    }
    assert_eq!(read(&text).policy.routes.len(), 10_000);
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Broken in any place, a policy is still answered.
        #[test]
        fn never_panics(at in 0..FILTERED.len(), cut in 0usize..40, junk in "[ -~\n\t{}\\[\\]:&*!|>'\"]{0,12}") {
            let end = (at + cut).min(FILTERED.len());
            let broken = format!("{}{junk}{}", &FILTERED[..at], &FILTERED[end..]);
            if let Err(findings) = parse(&broken, Path::new("test.yaml"), Path::new(".")) {
                prop_assert!(findings.has_errors());
                let _ = findings.to_string();
            }
        }
    }
}
