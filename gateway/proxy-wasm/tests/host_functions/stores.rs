//! What filters keep and tell beside exchanges: shared data, queues, metrics, log and time.

use super::*;

#[test]
fn shared_data() {
    const GET: &str = "proxy_get_shared_data";
    const SET: &str = "proxy_set_shared_data";
    run(&[
        case(GET, &[t("k"), PTR, LEN, NUM], NOT_FOUND, nothing),
        case(SET, &[t("k"), t("one"), I(0)], OK, nothing),
        case(GET, &[t("k"), PTR, LEN, NUM], OK, |o, _, _| {
            assert_eq!((&o.bytes[..], o.number), (&b"one"[..], 1))
        }),
        case(SET, &[t("k"), t("two"), I(1)], OK, nothing),
        case(SET, &[t("k"), t("three"), I(1)], CAS_MISMATCH, nothing),
        case(GET, &[t("k"), PTR, LEN, NUM], OK, |o, _, _| {
            assert_eq!((&o.bytes[..], o.number), (&b"two"[..], 2))
        }),
        case(SET, &[I(0), I(5000), t("v"), I(0)], OK, |_, e, _| refused(e, SET, RefusalReason::TooLarge)),
        case(SET, &[t("k"), I(0), I(-1), I(0)], INVALID_MEMORY, nothing),
        case(GET, &[t("k"), PTR, LEN, I(WILD)], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn queues() {
    const REGISTER: &str = "proxy_register_shared_queue";
    const RESOLVE: &str = "proxy_resolve_shared_queue";
    const ENQUEUE: &str = "proxy_enqueue_shared_queue";
    const DEQUEUE: &str = "proxy_dequeue_shared_queue";
    fn is_one(o: &Outcome, _: &Exchange, _: &Env) {
        assert_eq!(o.number, 1);
    }
    run(&[
        case(RESOLVE, &[t(""), t("q"), NUM], NOT_FOUND, nothing),
        case(REGISTER, &[t("q"), NUM], OK, is_one),
        case(REGISTER, &[t("q"), NUM], OK, is_one),
        case(RESOLVE, &[t(""), t("q"), NUM], OK, is_one),
        case(RESOLVE, &[t("vm"), t("q"), NUM], OK, is_one),
        case(RESOLVE, &[t("other"), t("q"), NUM], NOT_FOUND, nothing),
        case(RESOLVE, &[Arg::Bytes(vec![0xff]), t("q"), NUM], NOT_FOUND, nothing),
        case(DEQUEUE, &[I(1), PTR, LEN], EMPTY, nothing),
        case(ENQUEUE, &[I(1), t("one")], OK, nothing),
        case(ENQUEUE, &[I(1), t("")], OK, |_, _, env| assert_eq!(env.queues.bytes(), 3)),
        case(DEQUEUE, &[I(1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"one")),
        case(DEQUEUE, &[I(1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(DEQUEUE, &[I(1), PTR, LEN], EMPTY, nothing),
        case(ENQUEUE, &[I(0), t("x")], NOT_FOUND, nothing),
        case(ENQUEUE, &[I(2), t("x")], NOT_FOUND, nothing),
        case(DEQUEUE, &[I(0), PTR, LEN], NOT_FOUND, nothing),
        case(DEQUEUE, &[I(2), PTR, LEN], NOT_FOUND, nothing),
        case(REGISTER, &[I(0), I(5000), NUM], OK, |o, _, env| {
            assert_eq!(o.number, 0, "the name is too long");
            assert!(env.take_messages()[0].starts_with("a queue was not registered"));
        }),
        case(ENQUEUE, &[I(1), I(WILD), I(9)], INVALID_MEMORY, nothing),
        case(REGISTER, &[I(WILD), I(9), NUM], INVALID_MEMORY, nothing),
        case(REGISTER, &[t("q"), I(WILD)], INVALID_MEMORY, nothing),
        case(RESOLVE, &[t(""), I(WILD), I(9), NUM], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn metrics() {
    const DEFINE: &str = "proxy_define_metric";
    run(&[
        case(DEFINE, &[I(0), t("hits"), NUM], OK, |o, _, _| assert_eq!(o.number, 0)),
        case(DEFINE, &[I(1), t("level"), NUM], OK, |o, _, _| assert_eq!(o.number, 5)),
        case(DEFINE, &[I(2), t("sizes"), NUM], OK, |o, _, _| assert_eq!(o.number, 10)),
        case(DEFINE, &[I(3), t("x"), NUM], BAD_ARGUMENT, nothing),
        case(DEFINE, &[I(1), t("hits"), NUM], OK, |o, _, env| {
            assert_eq!(o.number, u64::from(u32::MAX));
            assert!(env.take_messages()[0].starts_with("the host discards a metric"));
        }),
        case("proxy_record_metric", &[I(0), L(5)], OK, nothing),
        case("proxy_increment_metric", &[I(0), L(2)], OK, nothing),
        case("proxy_increment_metric", &[I(0), L(-2)], BAD_ARGUMENT, nothing),
        case("proxy_get_metric", &[I(0), NUM], OK, |o, _, _| assert_eq!(o.number, 7)),
        case("proxy_record_metric", &[I(5), L(9)], OK, nothing),
        case("proxy_increment_metric", &[I(5), L(-4)], OK, nothing),
        case("proxy_get_metric", &[I(5), NUM], OK, |o, _, _| assert_eq!(o.number, 5)),
        case("proxy_record_metric", &[I(10), L(9)], OK, nothing),
        case("proxy_increment_metric", &[I(10), L(1)], BAD_ARGUMENT, nothing),
        case("proxy_get_metric", &[I(10), NUM], BAD_ARGUMENT, nothing),
        case("proxy_record_metric", &[I(77), L(9)], NOT_FOUND, nothing),
        case("proxy_record_metric", &[I(-1), L(9)], OK, nothing),
        case("proxy_get_metric", &[I(77), NUM], NOT_FOUND, nothing),
        case("proxy_get_metric", &[I(0), I(WILD)], INVALID_MEMORY, |_, _, env| {
            let mut values = Vec::new();
            env.metrics.visit(|name, value| values.push((name.to_owned(), value)));
            assert_eq!(values[0], ("hits".into(), MetricValue::Counter(7)));
            assert_eq!(values.len(), 3);
        }),
    ]);
}

#[test]
fn log_and_time() {
    run(&[
        case("proxy_log", &[I(4), t("hello")], OK, |_, _, env| {
            let line = env.lines.borrow().last().cloned().unwrap();
            assert_eq!((line.level, &line.message[..]), (LogLevel::Error, &b"hello"[..]));
            assert_eq!((line.plugin.as_deref(), line.in_stream), (Some("filter"), true));
        }),
        case("proxy_log", &[I(2), I(0), I(9000)], OK, |_, _, env| {
            assert_eq!(env.lines.borrow().last().unwrap().message.len(), 8192);
        }),
        case("proxy_log", &[I(6), t("hello")], BAD_ARGUMENT, nothing),
        case("proxy_log", &[I(2), I(WILD), I(9)], INVALID_MEMORY, nothing),
        case("proxy_get_log_level", &[NUM], OK, |o, _, _| assert_eq!(o.number, 0)),
        case("proxy_get_log_level", &[I(WILD)], INVALID_MEMORY, nothing),
        case("proxy_get_current_time_nanoseconds", &[NUM], OK, |o, _, _| {
            assert!(o.number > 1_700_000_000_000_000_000, "after November 2023");
        }),
    ]);
}
