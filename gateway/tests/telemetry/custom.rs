//! Metrics that guests define.

use std::path::PathBuf;

use crate::guests::with;
use crate::support::{Gateway, Origin};
use crate::{policy, start};

const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
const HISTOGRAM: u32 = 2;

/// Defines metrics at its start, and records a value of each in every request.
fn recorder(metrics: &[(u32, &str, u64)]) -> PathBuf {
    let (mut fields, mut define, mut record) = (String::new(), String::new(), String::new());
    for (index, (kind, name, value)) in metrics.iter().enumerate() {
        let (address, id) = (1024 + index * 256, 512 + index * 4);
        let text: String = name.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        let length = name.len();
        fields += &format!("(data (i32.const {address}) \"{text}\")");
        define += &format!(
            "(if (call $define (i32.const {kind}) (i32.const {address}) (i32.const {length}) (i32.const {id}))
               (then unreachable))"
        );
        record += &format!("(drop (call $record (i32.load (i32.const {id})) (i64.const {value})))");
    }
    with(&format!(
        r#"{fields}
  (func (export "proxy_on_configure") (param i32 i32) (result i32) {define} (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {record} (i32.const 0))"#
    ))
}

fn serve(metrics: &[(u32, &str, u64)]) -> Gateway {
    let gateway = start(&policy(&recorder(metrics), &Origin::echo(), ""));
    assert_eq!(gateway.get("/").status(), 200);
    assert_eq!(gateway.get("/").status(), 200);
    gateway
}

#[test]
fn they_are_families_with_sane_names() {
    let gateway = serve(&[
        (COUNTER, "wasmcustom.auth-svc.hits_total", 3),
        (GAUGE, "queue depth", 7),
        (HISTOGRAM, "latency.µs", 40),
    ]);
    let values = [
        ("tollgate_guest_auth_svc_hits_total", 6.0),
        ("tollgate_guest_queue_depth", 7.0),
        ("tollgate_guest_latency__s_count", 2.0),
        ("tollgate_guest_latency__s_sum", 80.0),
        ("tollgate_guest_latency__s_bucket{le=\"20.0\"}", 0.0),
        ("tollgate_guest_latency__s_bucket{le=\"50.0\"}", 2.0),
        ("tollgate_guest_latency__s_bucket{le=\"+Inf\"}", 2.0),
        ("tollgate_custom_metrics", 3.0),
        ("tollgate_custom_metrics_discarded_total", 0.0),
    ];
    for (series, value) in values {
        assert_eq!(gateway.metric(series), Some(value), "{series}");
    }
}

#[test]
fn names_that_become_one_are_told_apart() {
    let gateway = serve(&[
        (COUNTER, "a.b", 1),
        (COUNTER, "a\"b\n", 2),
        (COUNTER, "a_b_", 3),
        (GAUGE, "a.b", 4),
        (GAUGE, "a/b", 5),
        (GAUGE, "a_b_total", 6),
    ]);
    let values = [
        ("tollgate_guest_a_b_total", 2.0),
        (r#"tollgate_guest_a_b__total{metric="a\"b\n"}"#, 4.0),
        (r#"tollgate_guest_a_b__total{metric="a_b_"}"#, 6.0),
        ("tollgate_guest_a_b_gauge", 5.0),
        ("tollgate_guest_a_b_total_gauge", 6.0),
        // A name is of one type: the counter `a.b` was first.
        ("tollgate_custom_metrics", 5.0),
    ];
    for (series, value) in values {
        assert_eq!(gateway.metric(series), Some(value), "{series}");
    }
    assert!(gateway.metric("tollgate_custom_metrics_discarded_total").unwrap() >= 1.0);
}
