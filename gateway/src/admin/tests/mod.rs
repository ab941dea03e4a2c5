//! The API over real sockets; only the gateway behind [`Control`] is the test's own.

mod policy;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::explain::{Comparison, Inquiry, QuestionError, Report};
use crate::filter::record::{Recorder, Wanted};
use crate::history::{Overview, Record, Summary};
use crate::policy::KeptFile;
use crate::policy::diagnostics::Diagnostics;
use crate::telemetry::Timestamp;
use crate::telemetry::metrics::Metrics;

/// A gateway that answers as it is told.
struct Gateway {
    readiness: Readiness,
    reload: Reload,
    recorder: Arc<Recorder>,
}

enum Reload {
    Ends(ReloadOutcome),
    Waits { begun: Notify, go_on: Notify },
    Panics,
}

impl Control for Gateway {
    async fn reload(&self) -> ReloadOutcome {
        match &self.reload {
            Reload::Ends(outcome) => outcome.clone(),
            Reload::Waits { begun, go_on } => {
                begun.notify_one();
                go_on.notified().await;
                ReloadOutcome::Unchanged { generation: 9 }
            }
            Reload::Panics => panic!("on purpose"),
        }
    }

    async fn roll_back(&self, to: Option<u64>) -> ReloadOutcome {
        match to {
            Some(3) => ReloadOutcome::Applied { generation: 5, phases: Phases::default() },
            _ => ReloadOutcome::Refused(refusal(RefusalKind::NotKept)),
        }
    }

    fn history(&self) -> Overview {
        Overview {
            generation: Some(4),
            pinned: None,
            folder: None,
            problem: None,
            kept: Vec::new(),
            events: Vec::new(),
        }
    }

    async fn explain(&self, _: Inquiry, _: usize) -> Option<Result<Report, QuestionError>> {
        None
    }

    async fn compare(&self, _: PathBuf, _: Vec<KeptFile>) -> Option<Result<Comparison, Diagnostics>> {
        None
    }

    fn kept(&self, _: u64) -> Option<Arc<Record>> {
        None
    }

    fn status(&self) -> Status {
        Status {
            version: "0.1.0",
            started: Timestamp(std::time::UNIX_EPOCH),
            workers: 2,
            generation: Some(GenerationStatus {
                number: 4,
                committed: Timestamp(std::time::UNIX_EPOCH),
                source: "demo.yaml".into(),
                digest: "ab12".into(),
                trigger: Trigger::File,
                phases: Phases { commit: Some(Duration::from_micros(1500)), ..Phases::default() },
            }),
            generations_retiring: 1,
            degraded: None,
            pinned: None,
            history: Summary::default(),
            rollout: None,
            last_error: Some(RejectedStatus {
                at: Timestamp(std::time::UNIX_EPOCH),
                trigger: Trigger::Signal,
                refusal: refusal(RefusalKind::Immutable),
            }),
            filters: vec![FilterStatus {
                name: Arc::from("rules"),
                kind: "wasm",
                state: FilterState::CircuitOpen,
                routes: 3,
                failures: 7,
                restarts: 6,
                circuits_open: 1,
                retry_at: Some(Timestamp(std::time::UNIX_EPOCH)),
                last_failure: None,
            }],
            upstreams: vec![UpstreamStatus {
                name: Arc::from("backend"),
                endpoints: vec![EndpointStatus { address: Arc::from("127.0.0.1:9000"), skipped: true }],
            }],
        }
    }

    fn readiness(&self) -> Readiness {
        self.readiness
    }

    fn shadow(&self) -> ShadowReport {
        ShadowReport::default()
    }

    async fn set_shadow(&self, order: ShadowOrder) -> Result<ShadowReport, NotShadowed> {
        match order {
            ShadowOrder::Start { policy, .. } if policy.ends_with("wrong.yaml") => {
                Err(NotShadowed::Policy { errors: 2 })
            }
            ShadowOrder::Start { .. } => Ok(self.shadow()),
            ShadowOrder::Stop => Err(NotShadowed::None),
        }
    }

    fn rollout(&self) -> RolloutReport {
        RolloutReport::default()
    }

    async fn steer_rollout(&self, order: RolloutOrder) -> Result<RolloutReport, NotSteered> {
        match order {
            RolloutOrder::Promote => Ok(self.rollout()),
            RolloutOrder::Abort => Err(NotSteered::NoRollout),
        }
    }

    fn record(&self, wanted: Wanted) -> Result<Begun, NotRecorded> {
        let live = self.recorder.start(wanted).map_err(|_| NotRecorded::Busy)?;
        Ok(Begun { live, generation: 4 })
    }
}

fn refusal(kind: RefusalKind) -> Refusal {
    let help = "check the path";
    let diagnostics = Diagnostics::about_file("demo.yaml".as_ref(), "cannot be read".into(), help);
    let diagnostics = (kind == RefusalKind::Invalid).then(|| Arc::new(diagnostics));
    Refusal { kind, generation: Some(4), message: "1 error".into(), diagnostics }
}

struct Api {
    place: Place,
    gateway: Arc<Gateway>,
    stop: Arc<Notify>,
    served: JoinHandle<std::io::Result<()>>,
}

enum Place {
    Tcp(SocketAddr),
    Unix(tempfile::TempDir),
}

impl Api {
    async fn start(readiness: Readiness, reload: Reload) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place::Tcp(listener.local_addr().unwrap());
        Self::serve(listener.into(), place, readiness, reload)
    }

    async fn on_socket() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixSocket::bind(&folder.path().join("s")).unwrap();
        Self::serve(socket.into(), Place::Unix(folder), Readiness::Ready, unchanged())
    }

    fn serve(listener: Listener, place: Place, readiness: Readiness, reload: Reload) -> Self {
        let stop = Arc::new(Notify::new());
        let gateway = Arc::new(Gateway { readiness, reload, recorder: Arc::default() });
        let metrics = Arc::new(Metrics::new(2));
        let shutdown = Arc::clone(&stop).notified_owned();
        let served = tokio::spawn(serve(listener, Arc::clone(&gateway), metrics, shutdown));
        Self { place, gateway, stop, served }
    }

    async fn ready(reload: Reload) -> Self {
        Self::start(Readiness::Ready, reload).await
    }

    async fn with_outcome(outcome: ReloadOutcome) -> Self {
        Self::ready(Reload::Ends(outcome)).await
    }

    fn tcp(&self) -> SocketAddr {
        match self.place {
            Place::Tcp(address) => address,
            Place::Unix(_) => panic!("it is on a Unix socket"),
        }
    }

    /// Sends one request and returns status, head and body.
    async fn send(&self, request: &str, fields: &str, body: &str) -> (u16, String, String) {
        let host = if fields.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
        let message = format!("{request} HTTP/1.1\r\n{host}{fields}Connection: close\r\n\r\n{body}");
        let answer = match &self.place {
            Place::Tcp(address) => exchange(TcpStream::connect(address).await.unwrap(), &message).await,
            Place::Unix(folder) => {
                exchange(UnixStream::connect(folder.path().join("s")).await.unwrap(), &message).await
            }
        };
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        self.send(&format!("GET {path}"), "", "").await
    }

    async fn post_reload(&self, fields: &str) -> (u16, String, String) {
        self.send("POST /policy/reload", fields, "").await
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, message: &str) -> String {
    stream.write_all(message.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn unchanged() -> Reload {
    Reload::Ends(ReloadOutcome::Unchanged { generation: 4 })
}

#[tokio::test]
async fn probes_tell_life_and_readiness() {
    for (readiness, status, text) in [
        (Readiness::Ready, 200, "ready\n"),
        (Readiness::Starting, 503, "starting\n"),
        (Readiness::Draining, 503, "draining\n"),
    ] {
        let api = Api::start(readiness, unchanged()).await;
        assert_eq!(api.get("/livez").await.0, 200);
        let (got, _, body) = api.get("/readyz").await;
        assert_eq!((got, body.as_str()), (status, text));
    }
}

#[tokio::test]
async fn status_is_json() {
    let api = Api::ready(unchanged()).await;
    let (status, head, body) = api.get("/status").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/json") && head.contains("cache-control: no-store"),
        "{head}"
    );
    let phases = json!({
        "parse_ms": null, "compile_ms": null, "prepare_ms": null, "commit_ms": 1.5, "retire_ms": null
    });
    let expected = json!({
        "version": "0.1.0", "started": "1970-01-01T00:00:00.000Z", "workers": 2, "generations_retiring": 1, "rollout": null,
            "degraded": null,
            "pinned": null,
            "history": { "folder": null, "kept": 0, "problem": null },
        "generation": {
            "number": 4, "committed": "1970-01-01T00:00:00.000Z", "source": "demo.yaml", "digest": "ab12",
            "trigger": "file", "phases": phases,
        },
        "last_error": {
            "at": "1970-01-01T00:00:00.000Z", "trigger": "signal", "kind": "immutable", "generation": 4,
            "message": "1 error",
        },
        "filters": [{
            "name": "rules", "kind": "wasm", "state": "circuit_open", "routes": 3, "failures": 7, "restarts": 6,
            "circuits_open": 1, "retry_at": "1970-01-01T00:00:00.000Z",
        }],
        "upstreams": [{"name": "backend", "endpoints": [{"address": "127.0.0.1:9000", "skipped": true}]}],
    });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let api = Api::ready(unchanged()).await;
    let (status, head, body) = api.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.contains("\ntollgate_workers 2\n") && body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn web_pages_are_kept_out() {
    let api = Api::ready(unchanged()).await;
    assert_eq!(api.send("GET /status", "Host: rebind.example\r\n", "").await.0, 403);
    assert_eq!(api.send("GET /status", "Host: localhost:9901\r\n", "").await.0, 200);
    assert_eq!(api.post_reload("Origin: http://127.0.0.1\r\n").await.0, 403);
    assert_eq!(api.post_reload("").await.0, 200);
}

#[tokio::test]
async fn what_is_not_there_is_refused() {
    let api = Api::ready(unchanged()).await;
    assert_eq!(api.get("/nothing").await.0, 404);
    assert_eq!(api.get("/policy/reload").await.0, 405);
    assert_eq!(api.send("POST /status", "", "").await.0, 405);
    assert_eq!(api.send("HEAD /livez", "", "").await.0, 200);
    assert_eq!(api.post_reload("Content-Length: 20000\r\n").await.0, 413);
    let fields: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    assert_eq!(api.send("GET /livez", &fields, "").await.0, 431);
}

#[tokio::test]
async fn a_panic_ends_one_request() {
    let api = Api::ready(Reload::Panics).await;
    assert_eq!(api.post_reload("").await.0, 500);
    assert_eq!(api.get("/livez").await.0, 200);
}

#[tokio::test]
async fn shutdown_lets_a_running_request_end() {
    let api = Arc::new(Api::ready(Reload::Waits { begun: Notify::new(), go_on: Notify::new() }).await);
    let Reload::Waits { begun, go_on } = &api.gateway.reload else { unreachable!() };
    let asking = tokio::spawn({
        let api = Arc::clone(&api);
        async move { api.post_reload("").await }
    });
    begun.notified().await;
    // One connection that never asked and one that may ask again must not hold the shutdown up.
    let _silent = TcpStream::connect(api.tcp()).await.unwrap();
    let mut kept = TcpStream::connect(api.tcp()).await.unwrap();
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 12];
    kept.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");

    api.stop.notify_one();
    // The listener is gone first of all.
    let gone = async {
        while TcpStream::connect(api.tcp()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the listener closes");
    assert!(!asking.is_finished());
    go_on.notify_one();
    assert_eq!(asking.await.unwrap().0, 200);
    Arc::into_inner(api).unwrap().served.await.unwrap().unwrap();
}

#[tokio::test]
async fn recordings_are_bounded_and_not_for_web_pages() {
    let api = Api::ready(Reload::Ends(ReloadOutcome::Unchanged { generation: 4 })).await;
    let ask = async |query: &str, fields: &str| {
        let (status, _, body) = api.send(&format!("POST /filters/guard/record{query}"), fields, "").await;
        (status, body)
    };
    for (query, wanted) in [
        ("?count=0", "`count` is 0: expected 1 to 100000"),
        ("?seconds=601", "`seconds` is 601"),
        ("?bytes=9999999999", "`bytes`"),
        ("?body_bytes=2000000", "`body_bytes`"),
        ("?keep=a%20b", "is no header name"),
        ("?cuont=7", "cuont"),
    ] {
        let (status, body) = ask(query, "").await;
        assert!(status == 400 && body.contains(wanted), "{query}: {status} {body}");
    }
    assert_eq!(ask("", "Origin: http://127.0.0.1\r\n").await.0, 403);
    let (status, _, _) = api.send("GET /filters/guard/record", "", "").await;
    assert_eq!(status, 405);
    let wanted = Wanted { filter: "guard".into(), exchanges: 1, bytes: 1, body_bytes: 0 };
    let _live = api.gateway.recorder.start(wanted).unwrap();
    assert_eq!(ask("", "").await.0, 409);
}
