//! The log as a whole: real threads, files and pipes.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use http::{Method, StatusCode};
use serde_json::Value;

use super::*;
use crate::telemetry::{Phase, Timestamp};

fn record(path: &str) -> Record {
    Record {
        time: Timestamp(std::time::UNIX_EPOCH),
        request_id: Text::from("id-1"),
        client: [192, 0, 2, 1].into(),
        method: Some(Method::GET),
        host: Some(Text::from("example.com")),
        path: Some(Text::clip(path, Text::PATH_MAX)),
        route: Some(Arc::from("api")),
        status: Some(StatusCode::OK),
        bytes_in: 1,
        bytes_out: 2,
        duration: Duration::from_micros(1234),
        upstream: None,
        user_agent: None,
        ended_by: None,
        shadow: Vec::new(),
        error: None,
        generation: 3,
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn paths(file: &Path) -> Vec<String> {
    let lines = lines(&std::fs::read_to_string(file).unwrap());
    lines.iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_request_is_one_line_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let (log, guard) = AccessLog::start(Sink::File(file.clone()), 8).unwrap();
    assert!(log.is_on());
    log.push(Record {
        upstream: Some(UpstreamRecord {
            name: Arc::from("backend"),
            endpoint: Arc::from("127.0.0.1:9000"),
            attempts: 2,
            duration: Some(Duration::from_millis(1)),
        }),
        user_agent: Some(Text::clip("tab\there \"quoted\"\nline \u{1b}[31m", 64)),
        ended_by: Some(EndedBy {
            filter: Arc::from("rules"),
            phase: Phase::RequestHeaders,
            reason: Text::from("denied"),
        }),
        error: Some("upstream refused"),
        ..record("/a/b")
    });
    log.push(Record { status: None, route: None, host: None, ..record("/c") });
    drop(guard);

    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..0x7f).contains(&byte)), "{text}");
    let [first, second] = lines(&text).try_into().unwrap();
    let expected = serde_json::json!({
        "time": "1970-01-01T00:00:00.000Z", "request_id": "id-1", "client": "192.0.2.1", "method": "GET",
        "host": "example.com", "path": "/a/b", "route": "api", "status": 200, "bytes_in": 1, "bytes_out": 2,
        "duration_ms": 1.234, "generation": 3, "error": "upstream refused",
        "upstream": {"name": "backend", "endpoint": "127.0.0.1:9000", "attempts": 2, "duration_ms": 1.0},
        "user_agent": "tab\there \"quoted\"\nline \u{1b}[31m",
        "ended_by": {"filter": "rules", "phase": "request_headers", "reason": "denied"},
    });
    assert_eq!(first, expected);
    for absent in ["status", "route", "host", "upstream", "user_agent", "ended_by", "error"] {
        assert!(second.get(absent).is_none(), "{absent}");
    }
    assert_eq!(log.stats().written.get(), 2);
}

#[test]
fn a_rotated_file_keeps_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let (file, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
    let (log, guard) = AccessLog::start(Sink::File(file.clone()), 64).unwrap();
    log.push(record("/before"));
    std::fs::rename(&file, &rotated).unwrap();
    log.reopen();
    log.push(record("/after"));
    drop(guard);
    assert_eq!(paths(&rotated), ["/before"]);
    assert_eq!(paths(&file), ["/after"]);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_and_later_keeps_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    assert!(AccessLog::start(Sink::File(folder.path().join("no/such/log")), 8).is_err());

    let (below, kept) = (folder.path().join("below"), folder.path().join("kept"));
    std::fs::create_dir(&below).unwrap();
    let (log, guard) = AccessLog::start(Sink::File(below.join("log")), 8).unwrap();
    std::fs::rename(&below, &kept).unwrap();
    log.reopen();
    log.push(record("/a"));
    drop(guard);
    assert_eq!(paths(&kept.join("log")), ["/a"]);
}

#[test]
fn a_stalled_sink_makes_records_drop_and_never_waits() {
    let (mut reader, pipe) = std::io::pipe().unwrap();
    let output = Output::unnamed(OwnedFd::from(pipe).into());
    let (log, guard) = AccessLog::start_on(output, 16).unwrap();
    // Nobody reads: the pipe takes some kilobytes, the queue 16 records, and then pushing drops.
    let mut pushed = 0_u64;
    while log.stats().dropped.get() < 100 {
        log.push(record("/a"));
        pushed += 1;
        // Lets the writer reach the stall on one core too; correctness does not depend on it.
        std::thread::yield_now();
    }
    let text = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    drop(guard);
    let dropped = log.stats().dropped.get();
    drop(log);
    let written = lines(&text.join().unwrap().unwrap()).len() as u64;
    assert_eq!(written + dropped, pushed);
}

#[test]
fn all_threads_are_heard() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log");
    let (log, guard) = AccessLog::start(Sink::File(file.clone()), 10_000).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = log.clone();
            scope.spawn(move || (0..500).for_each(|n| log.push(record(&format!("/{thread}/{n}")))));
        }
    });
    drop(guard);
    let mut seen = HashMap::<String, Vec<u32>>::new();
    for path in paths(&file) {
        let (thread, n) = path[1..].split_once('/').unwrap();
        seen.entry(thread.to_owned()).or_default().push(n.parse().unwrap());
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.values().all(|numbers| numbers.iter().copied().eq(0..500)), "in the order pushed");
}

#[test]
fn an_absent_log_takes_records_and_does_nothing() {
    let (log, guard) = AccessLog::start(Sink::Off, 8).unwrap();
    assert!(!log.is_on());
    log.push(record("/a"));
    log.reopen();
    drop(guard);
    assert_eq!(log.stats().dropped.get(), 0);
}
