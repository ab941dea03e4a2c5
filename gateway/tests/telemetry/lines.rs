//! What guests log.

use serde_json::Value;

use crate::guests::{always, with};
use crate::support::{Origin, get, wait_for};
use crate::{policy, start};

#[test]
fn a_line_tells_its_filter_and_its_request() {
    let module = always(
        "request_headers",
        "(drop (call $log (i32.const 3) (i32.const 32) (i32.const 6))) (i32.const 0)",
    );
    let gateway = start(&policy(&module, &Origin::echo(), ""));
    let answer = gateway.ask(get("/", &[("x-request-id", "my-request-1")]));
    assert_eq!(answer.status(), 200);
    let log = gateway.stop();
    let lines = log.log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.into_iter().find(|line| line["text"] == "denied").unwrap();
    assert_eq!((&line["filter"], &line["level"]), (&"seen".into(), &"WARN".into()));
    assert_eq!(line["request_id"], log.access_log[0]["request_id"]);
}

/// One filter that logs without end: lines are left out and counted, and another's are not.
#[test]
fn too_many_lines_are_left_out_and_counted() {
    const LINES: f64 = 5000.0;
    let noisy = with(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (local $n i32)
    (loop
      (drop (call $log (i32.const 2) (i32.const 32) (i32.const 6)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get $n) (i32.const 5000))))
    (i32.const 0))"#,
    );
    let quiet = always(
        "response_headers",
        "(drop (call $log (i32.const 2) (i32.const 48) (i32.const 8))) (i32.const 0)",
    );
    let origin = Origin::echo();
    let gateway = start(&format!(
        "{}filters:\n  seen: {{ wasm: {{ module: '{}', budget: 1s }} }}\n  quiet: {{ wasm: {{ module: '{}' }} }}\n\
         routes: [{{ name: all, filters: [seen, quiet], forward: {{ upstream: u }} }}]\n",
        crate::support::upstream(&origin),
        noisy.display(),
        quiet.display()
    ));
    assert_eq!(gateway.get("/").status(), 200);
    let count = |filter, outcome| {
        let series = format!("tollgate_filter_log_lines_total{{filter=\"{filter}\",outcome=\"{outcome}\"}}");
        gateway.metric(&series).unwrap()
    };
    let (written, left_out) = (count("seen", "written"), count("seen", "left_out"));
    assert!(left_out > 0.0 && written > 0.0, "{written} {left_out}");
    assert_eq!(written + left_out, LINES);
    assert_eq!((count("quiet", "written"), count("quiet", "left_out")), (1.0, 0.0));
    let lines = |text: &str| gateway.log().iter().filter(|line| line.contains(text)).count();
    wait_for("the lines", || (lines("\"text\":\"denied\"") as f64 == written).then_some(()));
    assert!(lines("a filter logs too much") > 0);
}
