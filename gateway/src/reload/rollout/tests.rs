//! A worker that is lost while a policy is on trial; what needs no such thing is in `tests/rollout`.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::admin::{Control, ReloadOutcome};
use crate::generation::modules::ModuleStore;
use crate::history::History;
use crate::policy;
use crate::policy::remote::NoFetch;
use crate::reload::{First, Origin, Reloader};
use crate::telemetry::access_log::{AccessLog, Sink};
use crate::telemetry::metrics::Metrics;
use crate::worker::{Shared, Workers};

const LISTENER: &str = "version: 1\nlisteners: [{ address: '127.0.0.1:0' }]\n";
const OLD: &str = "routes: [{ respond: { status: 200, body: old } }]\n";
const NEW: &str = "routes: [{ respond: { status: 200, body: new } }]\n\
                   rollout: { key: { header: x-user }, steps: [{ share: 50%, time: 1h }] }\n";

async fn ask(workers: &Workers, user: u32) -> String {
    let mut stream = TcpStream::connect(workers.addresses()[0]).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: h\r\nx-user: {user}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.rsplit("\r\n").next().unwrap().to_owned()
}

async fn ask_all(workers: &Workers) -> Vec<String> {
    let mut answers = Vec::new();
    for user in 0..32 {
        answers.push(ask(workers, user).await);
    }
    answers
}

/// There is one worker, so whoever is answered afterwards is answered by the one that took its place.
#[tokio::test]
async fn the_worker_in_the_place_of_a_lost_one_has_both_policies() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("policy.yaml");
    std::fs::write(&source, format!("{LISTENER}{OLD}")).unwrap();
    let (access_log, _guard) = AccessLog::start(Sink::Off, 8).unwrap();
    let shared = Arc::new(Shared {
        metrics: Arc::new(Metrics::new(1)),
        access_log,
        guests: Arc::default(),
        connections: AtomicU32::new(0),
        connection_numbers: AtomicU64::new(1),
    });
    let loaded = policy::load(&source, &NoFetch::shared()).unwrap();
    let workers = Workers::start(NonZeroUsize::MIN, &loaded.policy.listeners, &shared).unwrap();
    let store = Arc::new(ModuleStore::open(&folder.path().join("cache")).unwrap());
    let metrics = Arc::clone(&shared.metrics);
    let history = History::open(None, &source, NonZeroUsize::MIN, Arc::clone(&metrics));
    let (mut reloader, handle) = Reloader::new(
        source.clone(),
        NoFetch::shared(),
        workers,
        store,
        shared,
        Arc::new(history),
        Arc::default(),
    );
    let first = First { loaded, parse: Duration::ZERO, origin: Origin::Files };
    reloader.start(first).await.unwrap();
    let workers = Arc::clone(&reloader.workers);
    let running = tokio::spawn(reloader.run(std::future::pending()));

    std::fs::write(&source, format!("{LISTENER}{NEW}")).unwrap();
    let outcome = handle.reload().await;
    // The watch may have been quicker.
    assert!(!matches!(outcome, ReloadOutcome::Refused(_)), "{outcome:?}");
    let before = ask_all(&workers).await;
    assert_eq!(before.iter().cloned().collect::<HashSet<_>>().len(), 2, "{before:?}");
    workers.break_one(0).await;
    while metrics.control().worker_restarts.get() < 1 {
        assert!(!running.is_finished());
        tokio::task::yield_now().await;
    }
    assert_eq!(ask_all(&workers).await, before);
    assert_eq!(handle.rollout().running.unwrap().generation, 2);
}
