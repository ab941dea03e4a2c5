//! What a filter reads and changes of its exchange: headers, buffers, properties, its course.

use super::*;

#[test]
fn header_reads() {
    const GET: &str = "proxy_get_header_map_value";
    const PAIRS: &str = "proxy_get_header_map_pairs";
    const SIZE: &str = "proxy_get_header_map_size";
    run(&[
        case(GET, &[I(0), t("x-id"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"one")),
        case(GET, &[I(0), t("X-ID"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"one")),
        case(GET, &[I(0), t(":method"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"GET")),
        case(GET, &[I(0), t("x-empty"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(GET, &[I(0), t("x-absent"), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(0), Arg::Bytes(vec![b'n'; 100]), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(1), t("x-sum"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"7")),
        // Maps that are not there: the response has not begun; side calls do not exist.
        case(GET, &[I(2), t(":status"), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(6), t(":status"), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(8), t("x-id"), PTR, LEN], BAD_ARGUMENT, nothing),
        case(GET, &[I(0), I(WILD), I(16), PTR, LEN], INVALID_MEMORY, nothing),
        case(GET, &[I(0), I(0), I(-1), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(0), t("x-id"), I(WILD), I(WILD)], INVALID_MEMORY, nothing),
        case(PAIRS, &[I(0), PTR, LEN], OK, |o, _, _| {
            let expected =
                [(":method", "GET"), (":path", "/a"), ("x-id", "one"), ("x-id", "two"), ("x-empty", "")];
            assert_eq!(o.bytes, blob(&expected));
        }),
        case(PAIRS, &[I(2), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(PAIRS, &[I(7), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(PAIRS, &[I(99), PTR, LEN], BAD_ARGUMENT, nothing),
        case(SIZE, &[I(1), NUM], OK, |o, _, _| assert_eq!(o.number, blob(&[("x-sum", "7")]).len() as u64)),
        case(SIZE, &[I(3), NUM], OK, |o, _, _| assert_eq!(o.number, 0)),
        case(SIZE, &[I(1), I(WILD)], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn header_writes() {
    const ADD: &str = "proxy_add_header_map_value";
    const REPLACE: &str = "proxy_replace_header_map_value";
    const REMOVE: &str = "proxy_remove_header_map_value";
    const SET: &str = "proxy_set_header_map_pairs";
    run(&[
        case(ADD, &[I(0), t("X-Id"), t("three")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["one", "two", "three"]);
        }),
        case(REPLACE, &[I(0), t("x-id"), t("three")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["three"]);
        }),
        case(REPLACE, &[I(1), t("x-new"), t("")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestTrailers, "x-new"), [""]);
        }),
        case(REMOVE, &[I(0), t("x-id")], OK, |_, e, _| {
            assert!(e.header(MapType::RequestHeaders, "x-id").is_empty());
        }),
        case(REMOVE, &[I(0), t("x-absent")], OK, |_, e, _| assert!(e.refusals.borrow().is_empty())),
        case(SET, &[I(0), Arg::Bytes(blob(&[(":path", "/b"), ("x-a", "1")]))], OK, |_, e, _| {
            assert_eq!(*e.request_headers.borrow(), pairs(&[(":path", "/b"), ("x-a", "1")]));
        }),
        case(SET, &[I(1), I(0), I(0)], OK, |_, e, _| assert!(e.request_trailers.borrow().is_empty())),
        // What cannot be done is refused, and leaves the map as it was.
        case(ADD, &[I(0), t("x-id"), t("a\r\nb: c")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["one", "two"]);
            refused(e, ADD, RefusalReason::BadValue);
        }),
        case(REPLACE, &[I(0), t("a b"), t("v")], OK, |_, e, _| refused(e, REPLACE, RefusalReason::BadName)),
        case(ADD, &[I(2), t("x-id"), t("v")], OK, |_, e, _| refused(e, ADD, RefusalReason::Unavailable)),
        case(ADD, &[I(4), t("x-id"), t("v")], OK, |_, e, _| refused(e, ADD, RefusalReason::Unavailable)),
        case(ADD, &[I(0), t("x"), I(0), I(65537)], OK, |_, e, _| refused(e, ADD, RefusalReason::TooLarge)),
        case(SET, &[I(0), t("nonsense")], OK, |_, e, _| {
            assert_eq!(e.header(MapType::RequestHeaders, "x-id"), ["one", "two"]);
            refused(e, SET, RefusalReason::TooLarge);
        }),
        case(SET, &[I(0), Arg::Bytes(vec![1, 0, 0, 0, 9])], OK, |_, e, _| {
            refused(e, SET, RefusalReason::Malformed);
        }),
        case(ADD, &[I(9), t("x-id"), t("v")], BAD_ARGUMENT, nothing),
        case(ADD, &[I(0), t("x-id"), I(WILD), I(99)], INVALID_MEMORY, nothing),
        case(SET, &[I(0), I(4), I(-1)], INVALID_MEMORY, nothing),
        case(REMOVE, &[I(0), I(-1), I(2)], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn buffers() {
    const GET: &str = "proxy_get_buffer_bytes";
    const SET: &str = "proxy_set_buffer_bytes";
    const STATUS: &str = "proxy_get_buffer_status";
    const CONFIGURATION: &str = "proxy_get_configuration";
    run(&[
        case(GET, &[I(0), I(0), I(-1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"0123456789")),
        case(GET, &[I(0), I(2), I(3), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"234")),
        case(GET, &[I(0), I(8), I(-1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"89")),
        case(GET, &[I(0), I(99), I(1), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"")),
        case(GET, &[I(1), I(0), I(9), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(4), I(0), I(9), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(10), I(0), I(9), PTR, LEN], BAD_ARGUMENT, nothing),
        case(GET, &[I(6), I(0), I(99), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"vm configuration")),
        case(GET, &[I(7), I(7), I(99), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"configuration")),
        case(GET, &[I(0), I(0), I(9), I(WILD), LEN], INVALID_MEMORY, nothing),
        case(SET, &[I(0), I(0), I(0), t("ab")], OK, |_, e, _| {
            assert_eq!(*e.request_body.borrow(), b"ab0123456789")
        }),
        case(SET, &[I(0), I(2), I(7), t("-")], OK, |_, e, _| assert_eq!(*e.request_body.borrow(), b"01-9")),
        case(SET, &[I(0), I(0), I(-1), t("new")], OK, |_, e, _| assert_eq!(*e.request_body.borrow(), b"new")),
        case(SET, &[I(0), I(-1), I(0), t("!")], OK, |_, e, _| {
            assert_eq!(*e.request_body.borrow(), b"0123456789!")
        }),
        case(SET, &[I(1), I(0), I(0), t("x")], OK, |_, e, _| refused(e, SET, RefusalReason::Unavailable)),
        case(SET, &[I(5), I(0), I(0), t("x")], OK, |_, e, _| refused(e, SET, RefusalReason::Unavailable)),
        case(SET, &[I(7), I(0), I(0), t("x")], OK, |_, e, _| refused(e, SET, RefusalReason::ReadOnly)),
        case(SET, &[I(10), I(0), I(0), t("x")], BAD_ARGUMENT, nothing),
        case(SET, &[I(0), I(0), I(0), I(0), I(-1)], INVALID_MEMORY, nothing),
        case(STATUS, &[I(0), NUM, I(24)], OK, |o, _, _| assert_eq!(o.number, 10)),
        case(STATUS, &[I(7), NUM, I(24)], OK, |o, _, _| assert_eq!(o.number, 20)),
        case(STATUS, &[I(8), NUM, I(24)], NOT_FOUND, nothing),
        case(STATUS, &[I(0), NUM, I(WILD)], INVALID_MEMORY, nothing),
        case(CONFIGURATION, &[PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"plugin configuration")),
    ]);
}

#[test]
fn course_of_an_exchange() {
    const RESPOND: &str = "proxy_send_local_response";
    const CONTINUE: &str = "proxy_continue_stream";
    const CLOSE: &str = "proxy_close_stream";
    let headers = || Arg::Bytes(blob(&[("x-why", "rules")]));
    run(&[
        case(RESPOND, &[I(403), t("denied"), t("no"), headers(), I(-1)], OK, |_, e, _| {
            let answer = e.answer.borrow().clone().unwrap();
            assert_eq!((answer.status, answer.grpc_status), (403, None));
            assert_eq!((&answer.details[..], &answer.body[..]), (&b"denied"[..], &b"no"[..]));
            assert_eq!(answer.headers, pairs(&[("x-why", "rules")]));
        }),
        case(RESPOND, &[I(200), I(0), I(0), I(0), I(0), I(0), I(0), I(7)], OK, |_, e, _| {
            assert_eq!(e.answer.borrow().clone().unwrap().grpc_status, Some(7));
        }),
        // A denial stands, whatever is wrong with its form.
        case(RESPOND, &[I(99999), t(""), t(""), t("malformed"), I(-1)], OK, |_, e, env| {
            let answer = e.answer.borrow().clone().unwrap();
            assert_eq!((answer.status, answer.headers.len()), (500, 0));
            let line = env.lines.borrow().last().cloned().unwrap();
            assert!(line.message.starts_with(b"local response without its headers"), "{line:?}");
        }),
        case(RESPOND, &[I(403), I(WILD), I(9), t(""), t(""), I(-1)], INVALID_MEMORY, nothing),
        case(CONTINUE, &[I(0)], OK, |_, e, _| assert_eq!(*e.resumed.borrow(), [StreamSide::Request])),
        case(CONTINUE, &[I(1)], OK, |_, e, _| assert_eq!(*e.resumed.borrow(), [StreamSide::Response])),
        case(CONTINUE, &[I(3)], OK, |_, e, _| assert!(e.resumed.borrow().is_empty())),
        case(CONTINUE, &[I(4)], BAD_ARGUMENT, nothing),
        case("proxy_continue_request", &[], OK, |_, e, _| {
            assert_eq!(*e.resumed.borrow(), [StreamSide::Request])
        }),
        case("proxy_continue_response", &[], OK, |_, e, _| {
            assert_eq!(*e.resumed.borrow(), [StreamSide::Response])
        }),
        case(CLOSE, &[I(0)], OK, |_, e, _| assert_eq!(*e.closed.borrow(), [StreamSide::Request])),
        case(CLOSE, &[I(1)], OK, |_, e, _| assert_eq!(*e.closed.borrow(), [StreamSide::Response])),
        case(CLOSE, &[I(9)], BAD_ARGUMENT, nothing),
        case("proxy_done", &[], OK, nothing),
        case("proxy_set_effective_context", &[I(1)], OK, nothing),
        case("proxy_set_effective_context", &[I(0)], BAD_ARGUMENT, nothing),
        case("proxy_set_effective_context", &[I(4242)], BAD_ARGUMENT, nothing),
        case("proxy_set_tick_period_milliseconds", &[I(250)], OK, |_, _, env| {
            let ticks: Vec<_> = env.ticks.take().into_iter().map(|(id, period)| (id.get(), period)).collect();
            assert_eq!(ticks, [(1, Some(std::time::Duration::from_millis(250)))]);
        }),
        case("proxy_set_tick_period_milliseconds", &[I(0)], OK, |_, _, env| {
            assert_eq!(env.ticks.take()[0].1, None);
        }),
    ]);
}

#[test]
fn properties() {
    const GET: &str = "proxy_get_property";
    const SET: &str = "proxy_set_property";
    run(&[
        case(GET, &[t("request\0path"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"/a")),
        case(GET, &[t("request\0path\0"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"/a")),
        case(GET, &[t("plugin_name"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"filter")),
        case(GET, &[t("plugin_root_id"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"root")),
        case(GET, &[t("plugin_vm_id"), PTR, LEN], OK, |o, _, _| assert_eq!(o.bytes, b"vm")),
        case(GET, &[t("nothing\0here"), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(0), I(5000), PTR, LEN], NOT_FOUND, nothing),
        case(GET, &[I(WILD), I(9), PTR, LEN], INVALID_MEMORY, nothing),
        case(SET, &[t("mine"), t("v")], OK, |_, e, _| {
            assert_eq!(e.properties.borrow().get(&b"mine"[..]).unwrap(), b"v");
        }),
        case(SET, &[t("mine"), I(0), I(0)], OK, |_, e, _| {
            assert_eq!(e.properties.borrow().get(&b"mine"[..]).unwrap(), b"");
        }),
        case(SET, &[t("request\0path"), t("/")], OK, |_, e, _| refused(e, SET, RefusalReason::ReadOnly)),
        case(SET, &[I(0), I(5000), t("v")], OK, |_, e, _| refused(e, SET, RefusalReason::TooLarge)),
        case(SET, &[t("p"), I(0), I(-1)], INVALID_MEMORY, nothing),
    ]);
}
