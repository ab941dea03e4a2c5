//! What the policy of a filter refuses it.

use super::*;

/// A write that was refused by the policy, which the log tells.
fn forbidden(_: &Outcome, exchange: &Exchange, env: &Env) {
    let refusals = exchange.refusals.take();
    let reasons: Vec<_> = refusals.iter().map(|refusal| refusal.reason).collect();
    assert_eq!(reasons, [RefusalReason::Forbidden]);
    let told = env.take_messages();
    assert!(told[0].contains(refusals[0].function), "{told:?}");
}

fn empty(outcome: &Outcome, exchange: &Exchange, _: &Env) {
    assert_eq!((outcome.number, &*outcome.bytes), (0, &b""[..]));
    assert!(exchange.refusals.take().is_empty());
}

/// The types are those of the functions that they stand in for: the guest would not link otherwise.
#[test]
fn what_the_policy_refuses_of_an_exchange() {
    let zeros = |n: usize| vec![I(0); n];
    let name = [I(0), t("x-id"), PTR, LEN];
    let write = [I(0), t("x-id"), t("forged")];
    run_allowed(
        Capabilities::NONE,
        &[
            case("proxy_get_header_map_value", &name, NOT_FOUND, |_, _, env| {
                let told = env.take_messages();
                assert_eq!(told, ["the policy does not allow this filter proxy_get_header_map_value"]);
            }),
            case("proxy_get_header_map_value", &name, NOT_FOUND, |_, _, env| {
                assert!(env.take_messages().is_empty(), "it is told once");
            }),
            case("proxy_get_header_map_size", &[I(0), NUM], OK, empty),
            case("proxy_get_header_map_pairs", &[I(0), PTR, LEN], OK, empty),
            case("proxy_set_header_map_pairs", &zeros(3), OK, forbidden),
            case("proxy_add_header_map_value", &write, OK, forbidden),
            case("proxy_replace_header_map_value", &write, OK, |o, e, env| {
                forbidden(o, e, env);
                assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["one", "two"]);
            }),
            case("proxy_remove_header_map_value", &[I(0), t("x-id")], OK, forbidden),
            case("proxy_set_buffer_bytes", &zeros(5), OK, forbidden),
            case("proxy_send_local_response", &zeros(8), OK, forbidden),
            case("proxy_close_stream", &zeros(1), OK, forbidden),
            case("proxy_get_property", &[t("plugin_name"), PTR, LEN], NOT_FOUND, nothing),
            case("proxy_set_property", &zeros(4), OK, forbidden),
            case("proxy_clear_route_cache", &[], OK, forbidden),
            case("proxy_get_upstream_hosts", &[PTR, LEN], NOT_FOUND, nothing),
            case("proxy_set_upstream_override_host", &[t("10.0.0.1:80")], OK, forbidden),
            case("proxy_get_buffer_bytes", &[I(0), I(0), I(9), PTR, LEN], OK, |o, _, _| {
                assert_eq!(o.bytes, b"012345678", "reading a body is always there");
            }),
        ],
    );
}

#[test]
fn what_the_policy_refuses_beside_it() {
    let zeros = |n: usize| vec![I(0); n];
    let foreign = |name: &str| vec![t(name), t(""), PTR, LEN];
    run_allowed(
        Capabilities::NONE,
        &[
            case("proxy_set_shared_data", &zeros(5), OK, forbidden),
            case("proxy_get_shared_data", &[t("key"), PTR, LEN, NUM], NOT_FOUND, nothing),
            case("proxy_register_shared_queue", &[t("queue"), NUM], OK, empty),
            case("proxy_resolve_shared_queue", &[t("vm"), t("queue"), NUM], NOT_FOUND, nothing),
            case("proxy_enqueue_shared_queue", &[I(1), t("item")], NOT_FOUND, nothing),
            case("proxy_dequeue_shared_queue", &[I(1), PTR, LEN], NOT_FOUND, nothing),
            case("proxy_define_metric", &[I(0), t("metric"), NUM], OK, empty),
            case("proxy_record_metric", &[I(1), L(1)], OK, nothing),
            case("proxy_increment_metric", &[I(1), L(1)], OK, nothing),
            case("proxy_get_metric", &[I(1), NUM], OK, empty),
            case("proxy_set_tick_period_milliseconds", &[I(5)], OK, |_, _, env| {
                assert!(env.ticks.take().is_empty());
            }),
            case("proxy_http_call", &zeros(10), INTERNAL_FAILURE, |_, _, env| {
                assert!(env.sent.take().is_empty())
            }),
            case("proxy_grpc_call", &zeros(12), INTERNAL_FAILURE, nothing),
            case("proxy_grpc_stream", &zeros(9), INTERNAL_FAILURE, nothing),
            case("proxy_grpc_send", &zeros(4), NOT_FOUND, nothing),
            case("proxy_grpc_cancel", &zeros(1), NOT_FOUND, nothing),
            case("proxy_grpc_close", &zeros(1), NOT_FOUND, nothing),
            case("proxy_call_foreign_function", &foreign("compress"), NOT_FOUND, nothing),
            case("proxy_call_foreign_function", &foreign("declare_property"), NOT_FOUND, nothing),
            case("proxy_call_foreign_function", &foreign("get_log_level"), OK, nothing),
        ],
    );
}

#[test]
fn what_the_policy_allows_in_part() {
    let name = [I(0), t("x-id"), PTR, LEN];
    let foreign = |name: &str| vec![t(name), t(""), PTR, LEN];
    let some = Capabilities::named("headers").unwrap().union(Capabilities::named("compress").unwrap());
    run_allowed(
        some,
        &[
            case("proxy_get_header_map_value", &name, OK, |o, _, _| assert_eq!(o.bytes, b"one")),
            case("proxy_call_foreign_function", &foreign("compress"), OK, nothing),
            case("proxy_call_foreign_function", &foreign("uncompress"), NOT_FOUND, nothing),
            case("proxy_send_local_response", &vec![I(0); 8], OK, forbidden),
        ],
    );
}
