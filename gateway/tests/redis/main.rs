//! Redis calls of filters in Higress's dialect, to a real redis-server.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use support::guest::wat;
use support::{Gateway, Options, Origin, Redis, deaf_address, get, refusing_address};

/// The host's statuses, as the guest turns them into one of HTTP.
const BAD_ARGUMENT: u16 = 502;
const INTERNAL_FAILURE: u16 = 510;

/// What a guest asks.
struct Ask<'a> {
    /// How it names the server when it sets it up, and the password.
    init: Option<(&'a str, &'a str)>,
    upstream: &'a str,
    timeout_ms: u32,
    command: &'a [&'a str],
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self { init: Some(("cache", "")), upstream: "cache", timeout_ms: 0, command: &["INCR", "hits"] }
    }
}

/// A command as Redis takes it.
fn encoded(command: &[&str]) -> String {
    let arguments = command.iter().map(|argument| format!("${}\r\n{argument}\r\n", argument.len()));
    format!("*{}\r\n{}", command.len(), arguments.collect::<String>())
}

/// A guest that sets the server up when it is configured, and holds each request until its command is
/// answered: the reply goes into a field `x-answer`, without its last two bytes. A call that fails denies
/// with 400 and its status, one that is not made with 500 and the host's.
fn asking(ask: &Ask<'_>) -> PathBuf {
    let query = encoded(ask.command);
    guest(ask, query.as_bytes())
}

fn guest(ask: &Ask<'_>, query: &[u8]) -> PathBuf {
    let (init, password) = ask.init.unwrap_or_default();
    let escaped = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    wat(&format!(
        r#"(module
  (import "env" "proxy_redis_init" (func $init (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_redis_call" (func $redis (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_status" (func $status (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_100"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get $size))))
  (func (export "proxy_on_context_create") (param i32 i32) (global.set $heap (i32.const 65536)))
  (data (i32.const 80) "x-answer")
  (data (i32.const 256) "{upstream}") (data (i32.const 512) "{init}") (data (i32.const 768) "{password}")
  (data (i32.const 16384) "{query}")
  (func $slot (param $call i32) (result i32)
    (i32.add (i32.const 8192) (i32.mul (i32.const 4) (i32.and (local.get $call) (i32.const 1023)))))
  (func $deny (param $code i32)
    (drop (call $status (i32.const 12) (i32.const 0) (i32.const 4)))
    (drop (call $respond (local.get $code) (i32.load (i32.const 0)) (i32.load (i32.const 4))
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1))))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (if (i32.const {init_len}) (then
      (i32.store (i32.const 16) (call $init (i32.const 512) (i32.const {init_len}) (i32.const 0) (i32.const 0)
        (i32.const 768) (i32.const {password_len}) (i32.const {timeout})))))
    (i32.const 1))
  (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32) (local $status i32)
    (local.set $status (i32.load (i32.const 16)))
    (if (i32.eqz (local.get $status)) (then
      (local.set $status (call $redis (i32.const 256) (i32.const {upstream_len})
        (i32.const 16384) (i32.const {query_len}) (i32.const 8)))))
    (i32.store (call $slot (i32.load (i32.const 8))) (local.get $id))
    (if (local.get $status) (then (call $deny (i32.add (i32.const 500) (local.get $status)))))
    (i32.const 1))
  (func (export "proxy_on_redis_call_response") (param $plugin i32) (param $call i32) (param $status i32)
    (param $size i32)
    (if (call $effective (i32.load (call $slot (local.get $call)))) (then (return)))
    (if (local.get $status) (then (call $deny (i32.add (i32.const 400) (local.get $status))) (return)))
    (drop (call $read (i32.const 9) (i32.const 0) (local.get $size) (i32.const 0) (i32.const 4)))
    (drop (call $add (i32.const 0) (i32.const 80) (i32.const 8) (i32.load (i32.const 0))
      (i32.sub (i32.load (i32.const 4)) (i32.const 2))))
    (drop (call $continue (i32.const 0)))))"#,
        upstream = escaped(ask.upstream.as_bytes()),
        upstream_len = ask.upstream.len(),
        init = escaped(init.as_bytes()),
        init_len = init.len(),
        password = escaped(password.as_bytes()),
        password_len = password.len(),
        timeout = ask.timeout_ms,
        query = escaped(query),
        query_len = query.len(),
    ))
}

/// A policy whose filter `ask` may call `cache`, the Redis at `server`, and `web`, the origin. `more` are
/// further keys of the filter, each with a comma in front.
fn start(module: &Path, origin: &Origin, server: SocketAddr, more: &str) -> Gateway {
    let policy = format!(
        "upstreams: {{ web: {{ endpoints: ['{origin}'] }}, other: {{ protocol: redis, endpoints: ['{server}'] }},\n\
         \x20 cache: {{ protocol: redis, endpoints: ['{server}'] }} }}\n\
         filters: {{ ask: {{ wasm: {{ module: '{}', allow: {{ upstreams: [cache, web] }}{more} }} }} }}\n\
         routes: [{{ name: all, filters: [ask], forward: {{ upstream: web }} }}]\n",
        module.display(),
        origin = origin.address(),
    );
    // One worker, so that there is one VM and one connection.
    Gateway::start_with(&policy, &Options { workers: 1, ..Options::default() })
}

/// What the command of a request brings.
fn answer(ask: &Ask<'_>, redis: &Redis) -> String {
    let origin = Origin::echo();
    let gateway = start(&asking(ask), &origin, redis.address, "");
    assert_eq!(gateway.get("/").status(), 200);
    let answer = origin.requests()[0].header("x-answer").unwrap().to_owned();
    gateway.stop();
    answer
}

#[test]
fn a_request_waits_for_the_reply() {
    let redis = Redis::start(&[]);
    assert_eq!(answer(&Ask { command: &["SET", "greeting", "hello"], ..Ask::default() }, &redis), "+OK");
    let ask = Ask { command: &["EVAL", "return redis.call('STRLEN', 'greeting')", "0"], ..Ask::default() };
    assert_eq!(answer(&ask, &redis), ":5");
    // An error of Redis is a reply, which the filter reads.
    let wrong = answer(&Ask { command: &["INCR", "greeting"], ..Ask::default() }, &redis);
    assert!(wrong.starts_with("-ERR"), "{wrong}");
    // Without having been set up: as the default user, in the first database.
    assert_eq!(answer(&Ask { init: None, command: &["EXISTS", "greeting"], ..Ask::default() }, &redis), ":1");
    let elsewhere =
        Ask { init: Some(("cache?db=3", "")), command: &["EXISTS", "greeting"], ..Ask::default() };
    assert_eq!(answer(&elsewhere, &redis), ":0", "another database");
}

#[test]
fn many_requests_share_a_connection() {
    const REQUESTS: usize = 32;
    let redis = Redis::start(&[]);
    let origin = Origin::echo();
    let gateway = start(&asking(&Ask::default()), &origin, redis.address, "");
    let mut clients: Vec<_> = (0..REQUESTS).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| client.send(get("/", &[])));
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    let answers: HashSet<_> =
        origin.requests().iter().map(|request| request.header("x-answer").unwrap().to_owned()).collect();
    assert_eq!(answers, (1..=REQUESTS).map(|count| format!(":{count}")).collect());
    let series = r#"tollgate_filter_side_calls_total{filter="ask",kind="redis",outcome="answered"}"#;
    assert_eq!(gateway.metric(series), Some(32.0));
    gateway.wait_for_metric(r#"tollgate_upstream_connections_opened_total{upstream="cache"}"#, 1.0);
    gateway.stop();
}

#[test]
fn a_filter_logs_in() {
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    let login = |password| Ask { init: Some(("cache", password)), ..Ask::default() };
    assert_eq!(answer(&login("open sesame"), &redis), ":1");
    assert!(answer(&login(""), &redis).starts_with("-NOAUTH"));
    let reason = denied(&asking(&login("wrong")), redis.address, "", 401);
    assert_eq!(reason, "login");
}

/// However a filter writes the name of a server, it is the same server, set up once.
#[test]
fn a_server_has_one_login_whatever_its_name_is_written_like() {
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    let ask = Ask { init: Some(("Cache", "open sesame")), upstream: "cACHE", ..Ask::default() };
    assert_eq!(answer(&ask, &redis), ":1");
}

#[test]
fn a_password_has_a_limit() {
    let redis = Redis::start(&[]);
    let long = "wrong".repeat(820);
    denied(
        &asking(&Ask { init: Some(("cache", &long)), ..Ask::default() }),
        redis.address,
        "",
        INTERNAL_FAILURE,
    );
}

/// What the access log says about the one request, which a guest denied with `status`. Nowhere in the
/// logs is a password.
fn denied(module: &Path, server: SocketAddr, more: &str, status: u16) -> String {
    let origin = Origin::echo();
    let gateway = start(module, &origin, server, more);
    assert_eq!(gateway.get("/").status(), status);
    assert_eq!(origin.requests().len(), 0);
    let stopped = gateway.stop();
    assert!(!stopped.log.iter().any(|line| line.contains("open sesame") || line.contains("wrong")));
    stopped.access_log[0]["ended_by"]["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn replies_that_do_not_come() {
    let (address, _held) = refusing_address();
    assert_eq!(denied(&asking(&Ask::default()), address, "", 401), "connect");
    let (address, _held) = deaf_address();
    let hasty = Ask { timeout_ms: 50, ..Ask::default() };
    assert_eq!(denied(&asking(&hasty), address, "", 401), "timeout", "by the guest's limit");
    let limit = ", calls: { timeout: 50ms }";
    assert_eq!(denied(&asking(&Ask::default()), address, limit, 401), "timeout", "by the policy's");
    let redis = Redis::start(&[]);
    let large = Ask { command: &["EVAL", "return string.rep('x', 100)", "0"], ..Ask::default() };
    let limit = ", calls: { response_bytes: 64B }";
    assert_eq!(denied(&asking(&large), redis.address, limit, 401), "bad_reply");
    let limit = ", calls: { request_bytes: 16B }";
    denied(&asking(&large), redis.address, limit, INTERNAL_FAILURE);
}

#[test]
fn only_servers_and_commands_that_are_allowed() {
    let redis = Redis::start(&[]);
    for upstream in ["web", "other", "nobody", ""] {
        let ask = Ask { init: None, upstream, ..Ask::default() };
        denied(&asking(&ask), redis.address, "", BAD_ARGUMENT);
        if !upstream.is_empty() {
            let ask = Ask { init: Some((upstream, "")), ..Ask::default() };
            denied(&asking(&ask), redis.address, "", BAD_ARGUMENT);
        }
    }
    for command in [&["SUBSCRIBE", "news"][..], &["SELECT", "1"], &["BLPOP", "list", "0"], &[]] {
        denied(&asking(&Ask { command, ..Ask::default() }), redis.address, "", BAD_ARGUMENT);
    }
    for query in [&b"PING\r\n"[..], b"*1\r\n$4\r\nPING", b""] {
        denied(&guest(&Ask::default(), query), redis.address, "", BAD_ARGUMENT);
    }
}
