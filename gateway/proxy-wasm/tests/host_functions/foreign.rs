//! `proxy_call_foreign_function`.

use super::*;

#[test]
fn foreign_functions() {
    const CALL: &str = "proxy_call_foreign_function";
    let call = |name: &str, arguments: Vec<u8>| vec![t(name), Arg::Bytes(arguments), PTR, LEN];
    let zeros = compressed(&vec![0; 9 << 20]);
    assert!(zeros.len() < 16 << 10, "a small stream of much");
    // Messages in the wire form of protocol buffers: a tag, a length, the bytes.
    let filter_state = [&b"\x0a\x03key\x12\x05value"[..]].concat();
    let declare = [&b"\x0a\x04mine\x10\x01"[..]].concat();
    run(&[
        case(CALL, &call("unknown", vec![]), NOT_FOUND, nothing),
        case(CALL, &call("compress", b"text".to_vec()), OK, |o, _, _| {
            assert_eq!(uncompressed(&o.bytes), b"text");
        }),
        case(CALL, &call("uncompress", compressed(b"other text")), OK, |o, _, _| {
            assert_eq!(o.bytes, b"other text");
        }),
        case(CALL, &call("uncompress", b"no stream".to_vec()), SERIALIZATION_FAILURE, nothing),
        case(CALL, &call("uncompress", compressed(b"cut off")[..8].to_vec()), SERIALIZATION_FAILURE, nothing),
        case(CALL, &call("uncompress", zeros), SERIALIZATION_FAILURE, nothing),
        case(CALL, &call("verify_signature", b"\x0a".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("verify_signature", b"".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("verify_signature", signature_of(b"the text")), OK, |o, _, _| {
            assert_eq!(o.bytes, [0x08, 1], "true, and no error");
        }),
        case(CALL, &call("verify_signature", signature_of(b"a forged text")), OK, |o, _, _| {
            assert_eq!(o.bytes[..2], [0x12, o.bytes.len() as u8 - 2], "an error, and not true");
        }),
        case(CALL, &call("sign", b"\x0a\x06sha256".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("set_envoy_filter_state", filter_state), OK, |_, e, _| {
            assert_eq!(e.properties.borrow().get(&b"filter_state\0key"[..]).unwrap(), b"value");
        }),
        case(CALL, &call("set_envoy_filter_state", b"\x0a\x09".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("declare_property", declare.clone()), OK, nothing),
        case(CALL, &call("declare_property", declare), BAD_ARGUMENT, nothing),
        case("proxy_set_property", &[t("mine"), t("1")], OK, |_, e, _| assert!(e.refusals.take().is_empty())),
        case(CALL, &call("clear_route_cache", vec![]), OK, |_, e, _| assert_eq!(e.route_clearings.get(), 1)),
        case(CALL, &[t("clear_route_cache"), t(""), I(0), I(0)], OK, nothing),
        case("proxy_clear_route_cache", &[], OK, |_, e, _| assert_eq!(e.route_clearings.get(), 1)),
        case(CALL, &call("get_log_level", vec![]), OK, |o, _, _| assert_eq!(o.bytes, [0; 4])),
        case(CALL, &call("tollgate_fail", b"\x00line 7: boom".to_vec()), OK, |_, _, v| {
            let fault = GuestFault { kind: FaultKind::Error, reason: "line 7: boom".into() };
            assert_eq!(v.faults.take(), [(true, fault)]);
        }),
        case(CALL, &call("tollgate_fail", [&b"\x01"[..], &[b'x'; 300]].concat()), OK, |_, _, v| {
            let faults = v.faults.take();
            assert_eq!((faults[0].1.kind, faults[0].1.reason.len()), (FaultKind::Budget, 256));
        }),
        case(CALL, &call("tollgate_fail", b"\x02".to_vec()), BAD_ARGUMENT, nothing),
        case(CALL, &call("tollgate_fail", vec![]), BAD_ARGUMENT, nothing),
        case(CALL, &[t("compress"), I(WILD), I(9), PTR, LEN], INVALID_MEMORY, nothing),
        case(CALL, &[I(WILD), I(9), t(""), PTR, LEN], INVALID_MEMORY, nothing),
        case(CALL, &[t("compress"), t("text"), I(WILD), LEN], INVALID_MEMORY, nothing),
    ]);
}

#[test]
fn foreign_functions_of_shared_data() {
    const CALL: &str = "proxy_call_foreign_function";
    const DELETE: &str = "tollgate_shared_data_delete";
    const SET_TTL: &str = "tollgate_shared_data_set_ttl";
    const INCREMENT: &str = "tollgate_shared_data_increment";
    let call = |name: &str, parts: &[&[u8]]| vec![t(name), Arg::Bytes(parts.concat()), PTR, LEN];
    let (hour, never) = (3_600_000_u64.to_le_bytes(), 0_u64.to_le_bytes());
    let add = |delta: i64| delta.to_le_bytes();
    fn is(expected: i64, o: &Outcome) {
        assert_eq!(o.bytes, expected.to_le_bytes());
    }
    run(&[
        case(CALL, &call(DELETE, &[b"k"]), NOT_FOUND, nothing),
        case("proxy_set_shared_data", &[t("k"), t("v"), I(0)], OK, nothing),
        case(CALL, &call(SET_TTL, &[&hour, b"k"]), OK, nothing),
        case(CALL, &call(SET_TTL, &[&never, b"k"]), OK, nothing),
        case(CALL, &call(SET_TTL, &[&hour, b"absent"]), NOT_FOUND, nothing),
        case(CALL, &call(SET_TTL, &[b"short"]), BAD_ARGUMENT, nothing),
        case(CALL, &call(DELETE, &[b"k"]), OK, nothing),
        case("proxy_get_shared_data", &[t("k"), PTR, LEN, NUM], NOT_FOUND, nothing),
        case(CALL, &call(INCREMENT, &[&add(2), &hour, b"n"]), OK, |o, _, _| is(2, o)),
        case(CALL, &call(INCREMENT, &[&add(-5), &hour, b"n"]), OK, |o, _, _| is(-3, o)),
        case(CALL, &call(INCREMENT, &[&add(1), b"short"]), BAD_ARGUMENT, nothing),
        case("proxy_set_shared_data", &[t("t"), t("text"), I(0)], OK, nothing),
        case(CALL, &call(INCREMENT, &[&add(1), &never, b"t"]), BAD_ARGUMENT, nothing),
        case(CALL, &call(INCREMENT, &[&add(1), &never, &[b'k'; 5000]]), INTERNAL_FAILURE, nothing),
    ]);
}

/// Envoy's message for a signature that OpenSSL made of `the text`.
fn signature_of(text: &[u8]) -> Vec<u8> {
    const PEM: &[u8] = include_bytes!("../../src/host/foreign/signature/fixtures/p256.pem");
    let signatures = include_str!("../../src/host/foreign/signature/fixtures/signatures.txt");
    let signature = signatures.lines().find_map(|line| line.strip_prefix("p256 sha256 ")).unwrap();
    let byte = |at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap();
    let signature: Vec<u8> = (0..signature.len()).step_by(2).map(byte).collect();
    let mut message = Vec::new();
    let fields = [(1_u8, &b"sha256"[..]), (3, &signature), (4, text), (5, PEM)];
    for (number, bytes) in fields {
        message.push(number << 3 | 2);
        // A length takes seven bits a byte.
        let len = bytes.len();
        message.extend(if len < 128 { vec![len as u8] } else { vec![len as u8 | 0x80, (len >> 7) as u8] });
        message.extend(bytes);
    }
    message
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn uncompressed(stream: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(stream).read_to_end(&mut bytes).unwrap();
    bytes
}
