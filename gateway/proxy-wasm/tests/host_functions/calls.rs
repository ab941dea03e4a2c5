//! Calls to Redis and gRPC servers, and the endpoints of upstreams.

use super::*;

#[test]
fn redis_calls() {
    fn refused(_: &Outcome, _: &Exchange, env: &Env) {
        assert!(env.asked.take().is_empty());
    }
    let init = |upstream: &str| [t(upstream), t("user"), t("secret"), I(250)];
    let (redis_init, redis_call) = ("proxy_redis_init", "proxy_redis_call");
    run(&[
        case(redis_init, &init("known?db=3&max_buffer_size_before_flush=0"), OK, |_, _, env| {
            assert_eq!(env.asked.take(), ["3 user secret Some(250ms)"]);
        }),
        case(redis_init, &init("other"), BAD_ARGUMENT, refused),
        case(redis_init, &init("known?db=x"), BAD_ARGUMENT, refused),
        case(redis_init, &init(&"x".repeat(5000)), BAD_ARGUMENT, refused),
        case(redis_init, &[t("known"), I(WILD), I(9), t(""), I(0)], INVALID_MEMORY, refused),
        case(redis_call, &[t("known"), t("GET"), NUM], OK, |o, _, env| {
            assert_eq!(env.asked.take(), ["GET"]);
            assert_eq!(o.number, u64::from(env.opened.take()[0].0.get()));
        }),
        case(redis_call, &[t("other"), t("GET"), NUM], BAD_ARGUMENT, refused),
        case(redis_call, &[t("known"), t("GET"), I(WILD)], INVALID_MEMORY, refused),
    ]);
}

#[test]
fn grpc_calls() {
    fn refused(_: &Outcome, _: &Exchange, env: &Env) {
        assert!(env.asked.take().is_empty());
    }
    fn told(outcome: &Outcome, env: &Env, expected: &str) {
        assert_eq!(env.asked.take(), [expected]);
        assert_eq!(outcome.number, u64::from(env.opened.take()[0].0.get()));
    }
    let pair = || Arg::Bytes(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0k\0v\0".to_vec());
    let cut = Arg::Bytes(b"\x01\0\0\0\x01".to_vec());
    let long = t(&"x".repeat(5000));
    let to = |upstream: Arg, more: &[Arg]| [&[upstream, t("s.S"), t("M"), pair()], more].concat();
    let inside = Arg::Bytes(b"\x0a\x07\x0a\x05known".to_vec());
    let stream = "proxy_grpc_stream";
    run(&[
        case(stream, &to(t("other"), &[NUM]), PARSE_FAILURE, refused),
        case(stream, &to(long.clone(), &[NUM]), PARSE_FAILURE, refused),
        case(stream, &[t("known"), t(""), t("M"), t(""), NUM], PARSE_FAILURE, refused),
        case(stream, &[t("known"), t("s.S"), long, t(""), NUM], PARSE_FAILURE, refused),
        case(stream, &[t("known"), t("s.S"), t("M"), cut, NUM], PARSE_FAILURE, refused),
        case(stream, &to(t("known"), &[I(WILD)]), INVALID_MEMORY, refused),
        case(stream, &[t("known"), t("s.S"), t("M"), I(WILD), I(9), NUM], INVALID_MEMORY, refused),
        case("proxy_grpc_call", &to(t("other"), &[t("m"), I(250), NUM]), PARSE_FAILURE, refused),
        case("proxy_grpc_call", &to(t("known"), &[I(WILD), I(9), I(250), NUM]), INVALID_MEMORY, refused),
        case("proxy_grpc_call", &to(t("known"), &[t("m"), I(250), NUM]), OK, |o, _, env| {
            told(o, env, "s.S/M k=v m Some(250ms)");
        }),
        case("proxy_grpc_call", &to(t("known"), &[t(""), I(0), NUM]), OK, |o, _, env| {
            told(o, env, "s.S/M k=v  None");
        }),
        case(stream, &to(t("known"), &[NUM]), OK, |o, _, env| told(o, env, "s.S/M k=v stream")),
        case(stream, &to(inside, &[NUM]), OK, |o, _, env| told(o, env, "s.S/M k=v stream")),
        case(stream, &to(t("known"), &[NUM]), INTERNAL_FAILURE, refused),
        case("proxy_grpc_send", &[I(99), t("x"), I(0)], NOT_FOUND, refused),
        case("proxy_grpc_send", &[I(1), I(WILD), I(9), I(0)], INVALID_MEMORY, refused),
        case("proxy_grpc_cancel", &[I(99)], NOT_FOUND, refused),
        case("proxy_grpc_close", &[I(0)], NOT_FOUND, refused),
        case("proxy_get_status", &[NUM, PTR, LEN], OK, |o, _, _| {
            assert_eq!((o.number, o.bytes.len()), (0, 0))
        }),
    ]);
}

#[test]
fn endpoints_of_the_upstream() {
    const GET: &str = "proxy_get_upstream_hosts";
    const SET: &str = "proxy_set_upstream_override_host";
    run(&[
        case(GET, &[PTR, LEN], OK, |o, _, _| {
            let healthy = r#"{"health_status":"Healthy"}"#;
            let unhealthy = r#"{"health_status":"Unhealthy"}"#;
            assert_eq!(o.bytes, blob(&[("10.0.0.1:80", healthy), ("10.0.0.2:80", unhealthy)]));
        }),
        case(GET, &[I(WILD), LEN], INVALID_MEMORY, nothing),
        case(SET, &[t("10.0.0.2:80")], OK, |_, e, _| {
            assert_eq!(*e.first_upstream_host.borrow(), b"10.0.0.2:80");
        }),
        case(SET, &[t("10.0.0.3:80")], BAD_ARGUMENT, nothing),
        case(SET, &[t("")], BAD_ARGUMENT, nothing),
        case(SET, &[I(WILD), I(9)], INVALID_MEMORY, nothing),
    ]);
}
