//! The gateway under load: swaps of policy, a filter that traps, a filter that never returns.
//!
//! Bounded work on kept connections. What is asserted is every single answer; never how long it took.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use support::{DEADLINE, Gateway, guest, wait_for};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

const PROBE: &str = include_str!("fixtures/modules/probe.wat");

/// What each connection sends, and what must come back. `(connection, number)` names a request.
trait Plan: 'static {
    /// The next request; none at the end.
    fn next(&self, connection: usize, number: usize) -> Option<Request<Empty<Bytes>>>;
    /// Looks at the answer.
    fn check(&self, connection: usize, number: usize, answer: Response<Bytes>);
}

/// Runs a plan over so many connections at once, and gives the number of requests.
fn run(address: SocketAddr, connections: usize, plan: impl Plan) -> usize {
    let plan = Rc::new(plan);
    on_this_thread(async {
        let all = (0..connections)
            .map(|number| tokio::task::spawn_local(connect(address, number, Rc::clone(&plan))));
        let mut sum = 0;
        for connection in all.collect::<Vec<_>>() {
            sum += connection.await.unwrap();
        }
        sum
    })
}

async fn connect(address: SocketAddr, connection: usize, plan: Rc<impl Plan>) -> usize {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, driver) = client::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(driver);
    let mut number = 0;
    while let Some(request) = plan.next(connection, number) {
        let exchange = async {
            sender.ready().await?;
            let (parts, body) = sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>(Response::from_parts(parts, body.collect().await?.to_bytes()))
        };
        let answer = tokio::time::timeout(DEADLINE, exchange).await;
        let answer = answer.unwrap_or_else(|_| panic!("request {number} of connection {connection} hangs"));
        let answer =
            answer.unwrap_or_else(|error| panic!("request {number} of connection {connection}: {error}"));
        plan.check(connection, number, answer);
        number += 1;
    }
    number
}

fn on_this_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work)
}

fn get(path: &str, fields: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let mut request = Request::get(path).header("host", "load.example");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Empty::new()).unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// An upstream that answers with the request's `x-policy`; it lives as long as the process. It counts
/// what it is asked.
fn start_origin() -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        on_this_thread(async {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let count = Arc::clone(&count);
                let answer = service_fn(move |request: Request<Incoming>| {
                    count.fetch_add(1, Ordering::Relaxed);
                    let policy = header(request.headers(), "x-policy").to_owned();
                    async move { Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::from(policy))) }
                });
                tokio::task::spawn_local(
                    server::Builder::new().serve_connection(TokioIo::new(stream), answer),
                );
            }
        });
    });
    (address, asked)
}

/// A policy that marks an exchange with `version` in three places: a native filter on its way in, a
/// native one and a Wasm one on its way out.
fn marking(origin: SocketAddr, version: &str) -> String {
    format!(
        "upstreams: {{ u: {{ endpoints: ['{origin}'] }} }}\n\
         filters:\n\
         \x20 marks: {{ headers: {{ request: {{ set: {{ x-policy: {version} }} }}, response: {{ set: {{ x-mark: {version} }} }} }} }}\n\
         \x20 probe: {{ wasm: {{ module: {}, config: {version} }} }}\n\
         routes: [{{ filters: [marks, probe], forward: {{ upstream: u }} }}]\n",
        guest::wat(PROBE).display()
    )
}

/// What the filter does with some requests while policies are swapped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mischief {
    None,
    /// It traps on a tenth of them.
    Traps,
}

/// Until it is told to stop; every answer is of one policy altogether.
struct OnePolicy {
    stop: Arc<AtomicBool>,
    mischief: Mischief,
}

impl OnePolicy {
    fn traps(&self, connection: usize, number: usize) -> bool {
        self.mischief == Mischief::Traps && is_tenth(connection, number)
    }
}

impl Plan for OnePolicy {
    fn next(&self, connection: usize, number: usize) -> Option<Request<Empty<Bytes>>> {
        let fields: &[_] = if self.traps(connection, number) { &[("x-do", "trap")] } else { &[] };
        (!self.stop.load(Ordering::Relaxed)).then(|| get("/", fields))
    }

    fn check(&self, connection: usize, number: usize, answer: Response<Bytes>) {
        if self.traps(connection, number) {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            return;
        }
        assert_eq!(answer.status(), StatusCode::OK, "{number} of {connection}: {answer:?}");
        let (mark, filter) = (header(answer.headers(), "x-mark"), header(answer.headers(), "x-filter"));
        assert!(matches!(mark, "v1" | "v2"), "{answer:?}");
        assert_eq!((filter, answer.body().as_ref()), (mark, mark.as_bytes()), "two policies in one exchange");
    }
}

/// The load ends also when the test fails.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn swap_under_load(swaps: usize, mischief: Mischief) {
    let (origin, _) = start_origin();
    let policies = ["v1", "v2"].map(|version| marking(origin, version));
    let gateway = Gateway::start(&policies[0]);
    let address = gateway.address();
    let stop = Stop(Arc::default());
    let plan = OnePolicy { stop: Arc::clone(&stop.0), mischief };
    let load = thread::spawn(move || run(address, 16, plan));
    for swap in 1..=swaps {
        gateway.write_policy(&policies[swap % 2]);
        let outcome = gateway.reload();
        assert_eq!(outcome.status(), 200, "{}", outcome.text());
        assert!(!load.is_finished(), "the load failed");
    }
    drop(stop);
    let requests = load.join().unwrap();
    assert!(requests > swaps, "{requests} requests are no load");
    assert_eq!(gateway.metric("tollgate_generation"), Some(swaps as f64 + 1.0));
    assert_eq!(gateway.metric(r#"tollgate_policy_swaps_total{outcome="refused"}"#), Some(0.0));
    wait_for("every old generation to be freed", || {
        (gateway.status()["generations_retiring"] == 0).then_some(())
    });
    gateway.stop();
}

#[test]
fn a_thousand_swaps_fail_no_request_and_mix_no_policies() {
    swap_under_load(1000, Mischief::None);
}

#[test]
fn swaps_while_a_filter_traps_mix_no_policies() {
    swap_under_load(200, Mischief::Traps);
}

/// Whether this is a connection's tenth request; connections have theirs at different times.
fn is_tenth(connection: usize, number: usize) -> bool {
    (connection + number).is_multiple_of(10)
}

/// Every tenth request of a connection makes the filter trap.
struct EveryTenthTraps;

impl EveryTenthTraps {
    const REQUESTS: usize = 200;
}

impl Plan for EveryTenthTraps {
    fn next(&self, connection: usize, number: usize) -> Option<Request<Empty<Bytes>>> {
        let fields: &[_] = if is_tenth(connection, number) { &[("x-do", "trap")] } else { &[] };
        (number < Self::REQUESTS).then(|| get("/", fields))
    }

    fn check(&self, connection: usize, number: usize, answer: Response<Bytes>) {
        if is_tenth(connection, number) {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        } else {
            assert_eq!(answer.status(), StatusCode::OK, "{number} of {connection}: {answer:?}");
            assert_eq!(answer.body().as_ref(), b"v1");
        }
    }
}

#[test]
fn a_filter_that_traps_on_a_tenth_fails_only_that_tenth() {
    const CONNECTIONS: usize = 60;
    let gateway = Gateway::start(&marking(start_origin().0, "v1"));
    let requests = run(gateway.address(), CONNECTIONS, EveryTenthTraps);
    assert_eq!(requests, CONNECTIONS * EveryTenthTraps::REQUESTS);
    let traps = r#"tollgate_filter_failures_total{filter="probe",kind="trap"}"#;
    gateway.wait_for_metric(traps, requests as f64 / 10.0);
    gateway.stop();
}

/// Four connections ask for a filter that never returns, the others for a route with a filter of its
/// own VM and one without.
struct SomeLoop;

impl SomeLoop {
    const LOOPING: usize = 4;

    fn loops(connection: usize) -> bool {
        connection < Self::LOOPING
    }
}

impl Plan for SomeLoop {
    fn next(&self, connection: usize, number: usize) -> Option<Request<Empty<Bytes>>> {
        if Self::loops(connection) {
            (number < 50).then(|| get("/loop", &[("x-do", "loop")]))
        } else {
            (number < 300).then(|| get(if number.is_multiple_of(2) { "/filtered" } else { "/plain" }, &[]))
        }
    }

    fn check(&self, connection: usize, number: usize, answer: Response<Bytes>) {
        if Self::loops(connection) {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        } else {
            assert_eq!(answer.status(), StatusCode::OK, "{number} of {connection}: {answer:?}");
            let filter = if number.is_multiple_of(2) { "v2" } else { "" };
            assert_eq!(header(answer.headers(), "x-filter"), filter);
        }
    }
}

#[test]
fn a_filter_that_loops_for_ever_stops_no_other_route() {
    let probe = guest::wat(PROBE);
    let probe = probe.display();
    let gateway = Gateway::start(&format!(
        "upstreams: {{ u: {{ endpoints: ['{}'] }} }}\n\
         filters:\n\
         \x20 looping: {{ wasm: {{ module: {probe}, config: v1 }} }}\n\
         \x20 well: {{ wasm: {{ module: {probe}, config: v2, vm_id: other }} }}\n\
         routes:\n\
         - {{ match: {{ path: {{ prefix: /loop }} }}, filters: [looping], forward: {{ upstream: u }} }}\n\
         - {{ match: {{ path: {{ prefix: /filtered }} }}, filters: [well], forward: {{ upstream: u }} }}\n\
         - {{ match: {{ path: {{ prefix: /plain }} }}, forward: {{ upstream: u }} }}\n",
        start_origin().0
    ));
    let requests = run(gateway.address(), 16, SomeLoop);
    assert_eq!(requests, SomeLoop::LOOPING * 50 + (16 - SomeLoop::LOOPING) * 300);
    let failures = |filter: &str, kind: &str| {
        gateway
            .metric(&format!(r#"tollgate_filter_failures_total{{filter="{filter}",kind="{kind}"}}"#))
            .unwrap()
    };
    // Each request either spent its budget or was kept from running by the open circuit.
    let (budget, circuit) = (failures("looping", "budget"), failures("looping", "circuit_open"));
    assert_eq!(budget + circuit, (SomeLoop::LOOPING * 50) as f64);
    assert!(budget >= 1.0 && circuit >= 1.0, "{budget} budgets spent, {circuit} not run");
    assert_eq!(failures("well", "budget") + failures("well", "trap"), 0.0);
    gateway.stop();
}

#[test]
fn an_end_under_load_answers_every_request_that_it_took() {
    let (origin, asked) = start_origin();
    let gateway = Gateway::start(&marking(origin, "v1"));
    let address = gateway.address();
    let load = thread::spawn(move || {
        on_this_thread(async {
            let all = (0..16).map(|_| tokio::task::spawn_local(ask_until_closed(address)));
            let mut answers = 0;
            for connection in all.collect::<Vec<_>>() {
                answers += connection.await.unwrap();
            }
            answers
        })
    });
    wait_for("load", || (asked.load(Ordering::Relaxed) > 1000).then_some(()));
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait().status.code(), Some(0));
    assert_eq!(load.join().unwrap(), asked.load(Ordering::Relaxed));
}

/// Asks again and again until the gateway closes between two answers, and gives the number of answers.
async fn ask_until_closed(address: SocketAddr) -> usize {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, driver) = client::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(driver);
    let mut answers = 0;
    while sender.ready().await.is_ok() {
        let exchange = tokio::time::timeout(DEADLINE, sender.send_request(get("/", &[])));
        let Ok(answer) = exchange.await.expect("an answer or the end") else { break };
        assert_eq!(answer.status(), StatusCode::OK);
        let body = answer.into_body().collect().await.expect("an answer is never cut");
        assert_eq!(body.to_bytes(), "v1");
        answers += 1;
    }
    answers
}
