//! The admin API of a gateway that has served requests of every kind.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Client, Gateway, Options, Origin, get, guest, refusing_address, response, wait_for};

const PROBE: &str = include_str!("fixtures/modules/probe.wat");

#[test]
fn health_and_readiness() {
    let gateway = Gateway::start("routes: [{ respond: { status: 200 } }]");
    for (path, text) in [("/livez", "alive\n"), ("/readyz", "ready\n")] {
        let answer = gateway.admin_get(path);
        assert_eq!((answer.status(), answer.text()), (200, text));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(gateway.admin_get("/nothing").status(), 404);
    assert_eq!(gateway.admin_get("/policy/reload").status(), 405);
}

/// A policy with everything that is counted.
fn everything(origin: &Origin, refusing: &str) -> String {
    format!(
        "upstreams:\n\
         \x20 good: {{ endpoints: ['{}'] }}\n\
         \x20 bad: {{ endpoints: ['{refusing}'], refused_pause: 5m }}\n\
         filters:\n\
         \x20 probe: {{ wasm: {{ module: {}, config: v1 }} }}\n\
         \x20 few: {{ rate_limit: {{ rate: 1/hour, burst: 2, key: route }} }}\n\
         \x20 stamp: {{ headers: {{ response: {{ set: {{ x-stamp: s }} }} }} }}\n\
         routes:\n\
         - {{ name: bad, match: {{ path: {{ prefix: /bad }} }}, forward: {{ upstream: bad }} }}\n\
         - {{ name: few, match: {{ path: {{ prefix: /few }} }}, filters: [few], respond: {{ status: 204 }} }}\n\
         - {{ name: good, match: {{ path: {{ prefix: /good }} }}, filters: [probe, stamp], forward: {{ upstream: good }} }}\n",
        origin.address(),
        guest::wat(PROBE).display()
    )
}

/// Three good requests on one connection, one that the probe fails, three against a limit of two, one
/// to an upstream that refuses, and one that no route takes.
fn traffic(gateway: &Gateway) {
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/good", &[])).status(), 200);
    }
    assert_eq!(client.ask(get("/good", &[("x-do", "trap")])).status(), 503);
    let few: Vec<u16> = (0..3).map(|_| client.ask(get("/few", &[])).status()).collect();
    assert_eq!(few, [204, 204, 429]);
    assert_eq!(client.ask(get("/bad", &[])).status(), 502);
    assert_eq!(client.ask(get("/none", &[])).status(), 404);
}

#[test]
fn metrics_count_what_happened() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let (refusing, _held) = refusing_address();
    let gateway = Gateway::start_with(
        &everything(&origin, &refusing.to_string()),
        &Options { workers: 1, ..Options::default() },
    );
    traffic(&gateway);
    let expected = [
        (r#"tollgate_requests_total{route="good",class="2xx"}"#, 3.0),
        (r#"tollgate_requests_total{route="good",class="5xx"}"#, 1.0),
        (r#"tollgate_requests_total{route="few",class="2xx"}"#, 2.0),
        (r#"tollgate_requests_total{route="few",class="4xx"}"#, 1.0),
        (r#"tollgate_requests_total{route="bad",class="5xx"}"#, 1.0),
        (r#"tollgate_request_duration_seconds_count{route="good"}"#, 4.0),
        (r#"tollgate_filter_calls_total{filter="probe",phase="request_headers",outcome="continue"}"#, 3.0),
        (r#"tollgate_filter_calls_total{filter="probe",phase="request_headers",outcome="fail"}"#, 1.0),
        (r#"tollgate_filter_calls_total{filter="probe",phase="response_headers",outcome="continue"}"#, 3.0),
        (r#"tollgate_filter_calls_total{filter="few",phase="request_headers",outcome="deny"}"#, 1.0),
        (r#"tollgate_filter_failures_total{filter="probe",kind="trap"}"#, 1.0),
        (r#"tollgate_filter_failures_total{filter="probe",kind="budget"}"#, 0.0),
        (r#"tollgate_rate_limit_requests_total{filter="few",decision="allowed"}"#, 2.0),
        (r#"tollgate_rate_limit_requests_total{filter="few",decision="denied"}"#, 1.0),
        (r#"tollgate_rate_limit_keys{filter="few"}"#, 1.0),
        (r#"tollgate_filter_restarts_total{filter="probe"}"#, 0.0),
        (r#"tollgate_upstream_connections_opened_total{upstream="good"}"#, 1.0),
        (r#"tollgate_upstream_response_seconds_count{upstream="good"}"#, 3.0),
        (r#"tollgate_client_connections_total{outcome="accepted"}"#, 1.0),
        (r#"tollgate_policy_swaps_total{outcome="applied"}"#, 1.0),
        ("tollgate_generation", 1.0),
        ("tollgate_workers", 1.0),
    ];
    // A request is counted when its last byte is sent, which the client may see first; connections are
    // counted by and by.
    for (series, value) in expected {
        gateway.wait_for_metric(series, value);
    }
    for (series, value) in expected {
        assert_eq!(gateway.metric(series), Some(value), "{series}");
    }
    let page = gateway.admin_get("/metrics");
    assert!(page.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(page.text().ends_with("# EOF\n"));
}

#[test]
fn status_shows_the_policy_and_its_parts() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let (refusing, _held) = refusing_address();
    let gateway = Gateway::start(&everything(&origin, &refusing.to_string()));
    traffic(&gateway);
    let status = wait_for("the endpoint that refuses to show", || {
        let status = gateway.status();
        (status["upstreams"][1]["endpoints"][0]["skipped"] == true).then_some(status)
    });
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["workers"], 2);
    let generation = &status["generation"];
    assert_eq!(generation["number"], 1);
    assert_eq!(generation["trigger"], "start");
    assert_eq!(generation["source"], gateway.policy_path().to_str().unwrap());
    assert_eq!(generation["digest"].as_str().unwrap().len(), 64);
    for phase in ["parse_ms", "compile_ms", "prepare_ms", "commit_ms"] {
        assert!(generation["phases"][phase].as_f64().is_some(), "{phase}: {generation}");
    }
    assert!(status["last_error"].is_null());
    let filters = status["filters"].as_array().unwrap();
    let shown: Vec<_> =
        filters.iter().map(|filter| (&filter["name"], &filter["kind"], &filter["routes"])).collect();
    let expected = [("probe", "wasm", 1), ("few", "rate_limit", 1), ("stamp", "headers", 1)];
    let expected = expected.map(|(name, kind, routes)| (name.into(), kind.into(), routes.into()));
    assert_eq!(shown, expected.each_ref().map(|(name, kind, routes)| (name, kind, routes)));
    assert_eq!((&filters[0]["failures"], &filters[0]["state"]), (&1.into(), &"ok".into()));
    let upstreams = status["upstreams"].as_array().unwrap();
    let skipped = |index: usize| &upstreams[index]["endpoints"][0]["skipped"];
    assert_eq!((&upstreams[0]["name"], skipped(0)), (&"good".into(), &false.into()));
    assert_eq!((&upstreams[1]["name"], skipped(1)), (&"bad".into(), &true.into()));
}

/// A filter that fails again and again rests, and the status and the metrics say so.
#[test]
fn an_open_circuit_shows() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let (refusing, _held) = refusing_address();
    let gateway = Gateway::start_with(
        &everything(&origin, &refusing.to_string()),
        &Options { workers: 1, ..Options::default() },
    );
    let mut client = gateway.client();
    // Each probe of the circuit fails too, so the rests grow until there is time to look.
    wait_for("an open circuit", || {
        for _ in 0..8 {
            assert_eq!(client.ask(get("/good", &[("x-do", "trap")])).status(), 503);
        }
        let state = gateway.status()["filters"][0]["state"].clone();
        (state == "circuit_open").then_some(())
    });
    assert!(
        gateway.metric(r#"tollgate_filter_failures_total{filter="probe",kind="circuit_open"}"#) >= Some(1.0)
    );
    assert_eq!(client.ask(get("/few", &[])).status(), 204, "other routes go on");
}

/// What a web page could make an operator's browser send is refused.
#[test]
fn web_pages_are_kept_away() {
    let gateway = Gateway::start("routes: [{ respond: { status: 200 } }]");
    let admin = gateway.admin();
    let ask = |request: Vec<u8>| Client::connect(admin).ask(request).status();
    assert_eq!(ask(get("/status", &[("host", "rebind.example")])), 403);
    assert_eq!(ask(get("/status", &[("host", "localhost")])), 200);
    let reload = |fields: &str| {
        let request =
            format!("POST /policy/reload HTTP/1.1\r\nhost: {admin}\r\n{fields}content-length: 0\r\n\r\n");
        ask(request.into_bytes())
    };
    assert_eq!(reload("origin: http://127.0.0.1\r\n"), 403);
    assert_eq!(reload(""), 200);
}
