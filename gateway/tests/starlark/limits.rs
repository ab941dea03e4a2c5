//! One step that goes far beyond a limit: the interpreter asks between steps only, so the instance's ceilings end
//! such a step, and the instance with it. The next request finds another, and the neighbours' scripts with it.

use crate::support::{Gateway, Origin, response};
use crate::{inline, start, try_policy};

const NEIGHBOUR: &str = "def on_request(req):\n    req.headers[\"x-seen\"] = \"yes\"\n";

/// A gateway with a script that takes this step with a number `n` from the query, and a neighbour. What needs no
/// number would be worked out while the script loads.
fn stepping(origin: &Origin, step: &str) -> Gateway {
    let script =
        format!("def on_request(req):\n    n = int(req.params.get(\"n\", 0))\n    if n:\n        {step}\n");
    let more = ", memory: 4MiB, circuit: { failures: 1000 }";
    start(origin, &[("step", inline(&script, more)), ("neighbour", inline(NEIGHBOUR, ""))])
}

fn assert_ends(step: &str, n: u32) {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let gateway = stepping(&origin, step);
    for round in 1..=3 {
        assert_eq!(gateway.get(&format!("/?n={n}")).status(), 503, "{step}");
        assert_eq!(gateway.get("/").status(), 200, "{step}: {:#?}", gateway.log());
        assert_eq!(origin.requests().len(), round, "{step} was let through");
    }
    assert!(origin.requests().iter().all(|request| request.header("x-seen") == Some("yes")), "{step}");
}

/// More memory than any instance has.
#[test]
fn text_and_lists_repeated_beyond_the_ceiling_end() {
    assert_ends("\"x\" * n", 1_000_000_000);
    assert_ends("[0] * n", 1_000_000_000);
    assert_ends("(\"x\" * 1000) * n", 2_000_000_000);
}

/// More time than the budget, in one call of the interpreter's own code.
#[test]
fn steps_that_do_not_come_back_end() {
    assert_ends("\"x\" * n", 150_000_000);
    assert_ends("(\"x\" * n).replace(\"x\", \"yyyyyyyy\")", 10_000_000);
    assert_ends("str((1 << n) * (1 << n))", 4_000_000);
}

/// The interpreter works constants out while the script loads: such a script is refused.
#[test]
fn a_step_that_needs_no_request_refuses_the_script() {
    let origin = Origin::answering(response(200, &[], b"ok"));
    let cases = [
        ("\"x\" * 1000000000", "memory allocation of"),
        ("\"x\" * 150000000", "used up its CPU budget in proxy_on_configure"),
    ];
    for (step, expected) in cases {
        let script = format!("def on_request(req):\n    return {step}\n");
        let said = try_policy(&origin, &[("guard", inline(&script, ""))]);
        assert!(said.contains(expected), "{step}\nsaid: {said}");
    }
}
