//! Telling the gateway that a script has failed.

use crate::abi;

/// Tells this gateway that a script has failed, and why.
const FAIL: &str = "tollgate_fail";
/// Bytes of the reason.
const REASON_MAX: usize = 200;

/// Ends the exchange as the filter's `on_failure` says, with the first line of `reason` for the access log.
/// Another host, which does not know the word, gets an answer of ours. The callback then returns "pause".
pub fn fail(reason: &str, is_budget: bool) {
    let reason = reason.lines().next().unwrap_or_default();
    let reason = reason.get(..reason.floor_char_boundary(REASON_MAX)).unwrap_or_default();
    if abi::foreign(FAIL, &[&[u8::from(is_budget)], reason.as_bytes()].concat(), |_| ()).is_err() {
        // Nothing is left to be done if this fails as well.
        let _ = abi::respond(503, reason.as_bytes(), &[], b"policy unavailable\n");
    }
}
