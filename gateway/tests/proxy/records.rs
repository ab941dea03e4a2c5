//! What is told of requests: the access log, metrics, status.

use serde_json::{Value, json};

use crate::support::{Gateway, Origin, get, post, response};

fn policy(origin: &Origin) -> String {
    format!(
        "upstreams: {{ shop: {{ endpoints: ['{}'] }} }}\nroutes:\n\
         - {{ name: api, match: {{ path: {{ prefix: /api }} }}, forward: {{ upstream: shop }} }}\n\
         - {{ name: direct, match: {{ path: {{ exact: /direct }} }}, respond: {{ status: 200, body: hello }} }}\n",
        origin.address()
    )
}

/// Takes out what differs from run to run, after a look at it.
fn steady(mut line: Value) -> Value {
    let object = line.as_object_mut().unwrap();
    let time = object.remove("time").unwrap();
    assert!(time.as_str().unwrap().ends_with('Z') && time.as_str().unwrap().starts_with("20"), "{time}");
    assert_eq!(object.remove("request_id").unwrap().as_str().unwrap().len(), 32);
    assert!(object.remove("duration_ms").unwrap().as_f64().unwrap() >= 0.0);
    if let Some(upstream) = object.get_mut("upstream") {
        assert!(upstream.as_object_mut().unwrap().remove("duration_ms").unwrap().as_f64().unwrap() > 0.0);
    }
    line
}

#[test]
fn each_request_is_one_line_with_its_facts() {
    let origin = Origin::answering(response(201, &[], b"made"));
    let gateway = Gateway::start(&policy(&origin));
    let mut client = gateway.client();
    client.ask(post("/api/x%20y?secret=1", &[("user-agent", "ua/1"), ("host", "a.example:80")], b"12345"));
    client.ask(get("/direct", &[]));
    client.ask(get("/nothing?secret=1", &[]));
    let endpoint = origin.address().to_string();
    let lines: Vec<_> = gateway.stop().access_log.into_iter().map(steady).collect();
    let expected = [
        json!({
            "client": "127.0.0.1", "method": "POST", "host": "a.example:80", "path": "/api/x%20y", "route": "api",
            "status": 201, "bytes_in": 5, "bytes_out": 4, "user_agent": "ua/1", "generation": 1,
            "upstream": { "name": "shop", "endpoint": endpoint, "attempts": 1 },
        }),
        json!({
            "client": "127.0.0.1", "method": "GET", "host": "test.example", "path": "/direct", "route": "direct",
            "status": 200, "bytes_in": 0, "bytes_out": 5, "generation": 1,
        }),
        json!({
            "client": "127.0.0.1", "method": "GET", "host": "test.example", "path": "/nothing", "status": 404,
            "bytes_in": 0, "bytes_out": 11, "error": "no_route", "generation": 1,
        }),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn requests_are_counted() {
    let origin = Origin::answering(response(201, &[], b"made"));
    let gateway = Gateway::start(&policy(&origin));
    let mut client = gateway.client();
    for _ in 0..3 {
        client.ask(get("/api", &[]));
    }
    client.ask(get("/direct", &[]));
    client.ask(get("/nothing", &[]));
    let table = [
        (r#"tollgate_requests_total{route="api",class="2xx"}"#, 3.0),
        (r#"tollgate_requests_total{route="direct",class="2xx"}"#, 1.0),
        (r#"tollgate_requests_total{route="-",class="4xx"}"#, 1.0),
        (r#"tollgate_request_duration_seconds_count{route="api"}"#, 3.0),
        (r#"tollgate_upstream_requests_total{upstream="shop"}"#, 3.0),
        (r#"tollgate_upstream_connections_opened_total{upstream="shop"}"#, 1.0),
        (r#"tollgate_upstream_connections_reused_total{upstream="shop"}"#, 2.0),
        (r#"tollgate_upstream_connections{upstream="shop",state="idle"}"#, 1.0),
        (r#"tollgate_upstream_response_seconds_count{upstream="shop"}"#, 3.0),
        (r#"tollgate_client_connections_total{outcome="accepted"}"#, 1.0),
        ("tollgate_client_connections_active", 1.0),
        ("tollgate_access_log_records_total{outcome=\"written\"}", 5.0),
        ("tollgate_generation", 1.0),
        ("tollgate_workers", 2.0),
    ];
    for (series, value) in table {
        gateway.wait_for_metric(series, value);
    }
    drop(client);
    gateway.wait_for_metric("tollgate_client_connections_active", 0.0);
}

#[test]
fn the_gateway_tells_how_it_is() {
    let origin = Origin::echo();
    let gateway = Gateway::start(&policy(&origin));
    assert_eq!(gateway.admin_get("/livez").status(), 200);
    assert_eq!(gateway.admin_get("/readyz").status(), 200);
    let status = gateway.status();
    assert_eq!((&status["workers"], &status["last_error"]), (&json!(2), &Value::Null));
    let generation = &status["generation"];
    assert_eq!((&generation["number"], &generation["trigger"]), (&json!(1), &json!("start")));
    assert_eq!(generation["source"], gateway.policy_path().to_str().unwrap());
    assert_eq!(generation["digest"].as_str().unwrap().len(), 64);
    assert_eq!(status["upstreams"][0]["name"], "shop");
    assert_eq!(status["upstreams"][0]["endpoints"][0]["address"], origin.address().to_string());
    assert_eq!(status["upstreams"][0]["endpoints"][0]["skipped"], false);
}
