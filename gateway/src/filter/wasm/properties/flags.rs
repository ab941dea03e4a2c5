//! `response.flags`: what went wrong, as a bit of Envoy's `CoreResponseFlag`.

const UPSTREAM_REQUEST_TIMEOUT: i64 = 1 << 2;
const UPSTREAM_REMOTE_RESET: i64 = 1 << 4;
const UPSTREAM_CONNECTION_FAILURE: i64 = 1 << 5;
const UPSTREAM_CONNECTION_TERMINATION: i64 = 1 << 6;
const NO_ROUTE_FOUND: i64 = 1 << 8;
const DOWNSTREAM_PROTOCOL_ERROR: i64 = 1 << 18;
const DURATION_TIMEOUT: i64 = 1 << 22;
const UPSTREAM_PROTOCOL_ERROR: i64 = 1 << 23;
const DNS_RESOLUTION_FAILED: i64 = 1 << 26;

/// The bits for an error in the words of the access log; what Envoy has no bit for is 0.
pub(super) fn of(error: Option<&str>) -> i64 {
    match error {
        Some("no_route") => NO_ROUTE_FOUND,
        Some("upstream_dns") => DNS_RESOLUTION_FAILED,
        Some("upstream_connect" | "upstream_connect_timeout") => UPSTREAM_CONNECTION_FAILURE,
        Some("upstream_timeout") => UPSTREAM_REQUEST_TIMEOUT,
        Some("upstream_closed" | "upstream_body") => UPSTREAM_CONNECTION_TERMINATION,
        Some("upstream_reset") => UPSTREAM_REMOTE_RESET,
        Some("upstream_protocol" | "bad_response") => UPSTREAM_PROTOCOL_ERROR,
        Some("total_timeout") => DURATION_TIMEOUT,
        Some("client_body" | "bad_host" | "bad_path" | "transfer_coding" | "bad_connection_options") => {
            DOWNSTREAM_PROTOCOL_ERROR
        }
        _ => 0,
    }
}
