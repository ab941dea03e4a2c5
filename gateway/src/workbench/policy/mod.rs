//! A whole policy at work on test cases: what `tollgate test` runs.
//!
//! Each case has a gateway of its own in this process: a worker thread with the policy's generation, its VMs,
//! buckets and pools ([`gateway`]). A client sends each request over a socket ([`client`]); what it gets, what
//! the upstream got and what the access log says are compared with what must be. So everything between the
//! two sockets is what serves traffic. Three things are not the policy's own:
//!
//! * Upstreams, and servers that filters may call, are origins on loopback that play the case ([`played`]).
//! * Clients have the addresses that the case gives them; listeners are not opened.
//! * The clock of rate limits stands still but for `wait`, so that a case gives the same result each time.
//!
//! Redis is not played: its calls fail. Limits: one exchange at a time; those of the policy.

mod client;
mod gateway;
mod played;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cases::compare::{Comparison, Course, Traces};
use super::cases::{Mismatch, Verdict, mismatch};
use super::exchange::{End, Received};
use super::log::{Line, Lines};
use super::stage::metric;
use crate::filter::wasm::Guests;
use crate::generation::Modules;
use crate::policy::Loaded;
use crate::policy::cases::{PolicyCase, PolicyExchange, Suite};
use crate::telemetry::access_log::Record;
use client::Heard;
use gateway::Gateway;
use played::Origins;

/// How long the access log may take to tell of an exchange that is over.
const RECORD_MAX: Duration = Duration::from_secs(5);
/// How often is looked for it.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Cases run on a policy.
pub struct Runner {
    loaded: Loaded,
    modules: Modules,
    log: Lines,
}

impl Runner {
    /// For a policy whose modules are compiled. Takes down what this process logs from now on.
    ///
    /// # Errors
    /// If the process logs somewhere else already.
    pub fn new(loaded: Loaded, modules: Modules) -> io::Result<Self> {
        let log = Lines::new(tracing::Level::TRACE);
        tracing::subscriber::set_global_default(log.clone().subscriber()).map_err(io::Error::other)?;
        Ok(Self { loaded, modules, log })
    }

    /// Runs the cases one after the other; `each` hears of every one as it ends. Blocks.
    ///
    /// # Errors
    /// If sockets or threads for it cannot be made.
    pub fn run(&self, suite: &Suite, mut each: impl FnMut(&Verdict)) -> io::Result<Vec<Verdict>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())?;
        runtime.block_on(async {
            let origins = Origins::start(&self.loaded.policy).await?;
            let played = Loaded { policy: origins.policy(&self.loaded.policy), ..self.loaded.clone() };
            let mut verdicts = Vec::with_capacity(suite.cases.len());
            for case in &suite.cases {
                let verdict = self.case(case, &played, &origins).await?;
                each(&verdict);
                verdicts.push(verdict);
            }
            Ok(verdicts)
        })
    }

    async fn case(&self, case: &PolicyCase, played: &Loaded, origins: &Origins) -> io::Result<Verdict> {
        let begun = Instant::now();
        self.log.take();
        if let Some(script) = origins.unknown(&case.calls) {
            let got = format!("`calls` for `{}`, which is none", script.upstream);
            let mismatches = vec![mismatch(case.position, "answers of upstreams of the policy", got)];
            let (name, position, duration) = (Arc::clone(&case.name), case.position, begun.elapsed());
            return Ok(Verdict { name, position, duration, mismatches, log: Vec::new() });
        }
        origins.begin(&case.calls);
        let mut lines = Vec::new();
        let mismatches = match Gateway::start(played.clone(), self.modules.clone()).await? {
            Ok(gateway) => {
                let mismatches = self.exchanges(case, &gateway, origins, &mut lines).await;
                lines.extend(self.log.take());
                gateway.end().await;
                // That what was left was cut is no news.
                self.log.take();
                mismatches?
            }
            Err(error) => {
                lines.extend(self.log.take());
                vec![mismatch(case.position, "the policy starts", error.to_string())]
            }
        };
        let (name, position) = (Arc::clone(&case.name), case.position);
        Ok(Verdict { name, position, duration: begun.elapsed(), mismatches, log: lines })
    }

    /// The exchanges in their order, up to the first that is not as it must be.
    async fn exchanges(
        &self,
        case: &PolicyCase,
        gateway: &Gateway,
        origins: &Origins,
        lines: &mut Vec<Line>,
    ) -> io::Result<Vec<Mismatch>> {
        for entry in &case.exchanges {
            gateway.clock().advance(entry.wait);
            for time in 0..entry.repeat {
                lines.extend(self.log.take());
                let mut mismatches = self.exchange(case, entry, gateway, origins).await?;
                if let Some(first) = mismatches.first_mut() {
                    if entry.repeat > 1 {
                        first.got = format!("{} (time {} of {})", first.got, time + 1, entry.repeat);
                    }
                    return Ok(mismatches);
                }
            }
        }
        Ok(Vec::new())
    }

    async fn exchange(
        &self,
        case: &PolicyCase,
        entry: &PolicyExchange,
        gateway: &Gateway,
        origins: &Origins,
    ) -> io::Result<Vec<Mismatch>> {
        let exchange = &entry.exchange;
        origins.answer(&exchange.response, &case.calls);
        let heard = client::ask(gateway, &exchange.request, case.timeout).await?;
        let Some(record) = record(gateway).await else {
            let got = "the gateway's access log does not tell of it".to_owned();
            return Ok(vec![mismatch(exchange.position, "an exchange that ends", got)]);
        };
        let sent = record.upstream.as_ref().and_then(|upstream| origins.take_last(&upstream.name));
        let mut course = course(&record);
        let end = end(heard, record, &mut course);
        let traces = Left { guests: gateway.guests(), origins };
        let comparison = Comparison {
            expect: &exchange.expect,
            end: &end,
            sent: sent.as_ref(),
            course: Some(&course),
            traces: &traces,
            log: &self.log,
        };
        Ok(comparison.settled((!case.calls.is_empty()).then_some(case.timeout)).await)
    }
}

/// The exchange's record: it is made when both sides have let go.
async fn record(gateway: &Gateway) -> Option<Record> {
    let end = Instant::now() + RECORD_MAX;
    loop {
        match gateway.record() {
            Some(record) => return Some(record),
            None if Instant::now() > end => return None,
            None => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// The way that the exchange took.
fn course(record: &Record) -> Course {
    Course {
        route: record.route.clone(),
        upstream: record.upstream.as_ref().map(|upstream| Arc::clone(&upstream.name)),
        filter: record.ended_by.as_ref().map(|ended| Arc::clone(&ended.filter)),
        in_failure: None,
        shadow: record
            .shadow
            .iter()
            .map(|shadow| (Arc::clone(&shadow.filter), shadow.verdict.as_str()))
            .collect(),
    }
}

/// How the exchange ended, by what the client got and what the access log says.
fn end(heard: Heard, record: Record, course: &mut Course) -> End {
    let received: Option<Received> = match heard {
        Heard::Nothing => return End::Waiting,
        Heard::Response(received) => Some(*received),
        Heard::Cut => None,
    };
    let reason = record.ended_by.map(|ended| ended.reason.as_ref().to_owned());
    match (record.error, reason, received) {
        (Some("filter_failed"), Some(reason), received) => {
            course.in_failure = received;
            End::Failed(reason)
        }
        (Some("filter_closed"), ..) => End::Closed,
        (Some(word), _, received) => End::Errored(word, received),
        (None, Some(_), Some(received)) => End::Replied(received),
        (None, None, Some(received)) => End::Passed(received),
        // A filter let the head go and then failed or closed.
        (None, Some(reason), None) => End::Failed(reason),
        (None, None, None) => End::Errored("cut", None),
    }
}

/// What an exchange left in its gateway.
struct Left<'a> {
    guests: &'a Guests,
    origins: &'a Origins,
}

impl Traces for Left<'_> {
    fn property(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn failures(&self) -> u64 {
        0
    }

    fn metric(&self, name: &str) -> Option<u64> {
        metric(&self.guests.metrics, name)
    }

    fn shared_data(&self, _: &[u8]) -> Option<Arc<[u8]>> {
        None
    }

    fn calls(&self, upstream: &str) -> Option<u64> {
        self.origins.calls(upstream)
    }
}
