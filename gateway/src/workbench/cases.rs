//! Running test cases and comparing what comes out with what must.
//!
//! Each case has a stage of its own: a new VM, empty shared data, no metrics. Side calls may be
//! answered after the exchange is over, so a case that scripts any is given time for what is seen
//! only from outside (log, metrics, shared data, the number of calls) to come true.

pub(super) mod compare;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_proxy_wasm::HostFunctions;

use super::exchange::{Outcome, drive};
use super::log::{Line, Lines};
use super::measure::Meter;
use super::on_worker;
use super::origin::{AfterScript, Origin};
use super::stage::Stage;
use crate::filter::wasm::Environment;
use crate::generation::Compiled;
use crate::policy::cases::{Case, Cases, Wanted};
use crate::policy::diagnostics::Position;
use compare::{Comparison, Traces};

/// What came of one case.
#[derive(Debug)]
pub struct Verdict {
    /// The case's name.
    pub name: Arc<str>,
    /// Where it stands in the file.
    pub position: Position,
    /// How long it took.
    pub duration: Duration,
    /// What is not as it must be; empty if it passed.
    pub mismatches: Vec<Mismatch>,
    /// What was logged, for whoever looks into a failure.
    pub log: Vec<Line>,
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Where the expectation stands.
    pub position: Position,
    /// Where in the document.
    pub path: String,
    /// What must be.
    pub expected: String,
    /// What is.
    pub got: String,
}

impl Verdict {
    /// Whether all was as it must be.
    pub fn passed(&self) -> bool {
        self.mismatches.is_empty()
    }
}

/// Runs the cases one after the other; `each` hears of every one as it ends. Blocks.
///
/// # Errors
/// If the thread for it, or an origin for side calls, cannot be made.
pub fn run(
    cases: &Cases,
    compiled: &Compiled,
    mut each: impl FnMut(&Verdict) + Send,
) -> io::Result<Vec<Verdict>> {
    let log = Lines::new(tracing::Level::TRACE);
    on_worker(log.clone(), async || {
        let functions = Rc::new(HostFunctions::new());
        let mut verdicts = Vec::with_capacity(cases.cases.len());
        for case in &cases.cases {
            let verdict = run_case(case, compiled, &functions, &log).await?;
            each(&verdict);
            verdicts.push(verdict);
        }
        Ok(verdicts)
    })?
}

async fn run_case(
    case: &Case,
    compiled: &Compiled,
    functions: &Rc<HostFunctions<Environment>>,
    log: &Lines,
) -> io::Result<Verdict> {
    let begun = Instant::now();
    let mut origins = Vec::with_capacity(case.calls.len());
    for script in &case.calls {
        origins.push((Arc::clone(&script.upstream), Origin::start(script, AfterScript::Fail).await?));
    }
    let upstreams: Vec<_> =
        origins.iter().map(|(name, origin)| (Arc::clone(name), origin.address())).collect();
    let mut lines = Vec::new();
    let mismatches = match (Stage::start(&case.filter, compiled, &upstreams, functions), &case.refused) {
        (Err(error), Some(refused)) => refusal(refused, &error.to_string()),
        (Err(error), None) => vec![mismatch(case.position, "the filter starts", error.to_string())],
        (Ok(_), Some(refused)) => vec![compare::unmet(refused, "it started".to_owned())],
        (Ok(stage), None) => exchanges(case, &stage, &origins, log, &mut lines).await,
    };
    lines.extend(log.take());
    let duration = begun.elapsed();
    Ok(Verdict { name: Arc::clone(&case.name), position: case.position, duration, mismatches, log: lines })
}

/// The exchanges in their order, up to the first that is not as it must be: what follows would only
/// repeat it.
async fn exchanges(
    case: &Case,
    stage: &Stage,
    origins: &[(Arc<str>, Origin)],
    log: &Lines,
    lines: &mut Vec<Line>,
) -> Vec<Mismatch> {
    for exchange in &case.exchanges {
        lines.extend(log.take());
        (0..exchange.ticks).for_each(|_| stage.tick());
        let (request, response) = (&exchange.request, &exchange.response);
        let driven = drive(stage, request, response, case.timeout, &mut Meter::off()).await;
        let mismatches = match driven {
            Err(path) => {
                vec![mismatch(exchange.position, "a property of its own", format!("the gateway owns {path}"))]
            }
            Ok(outcome) => {
                let traces = Left { outcome: &outcome, stage, origins };
                let comparison = Comparison {
                    expect: &exchange.expect,
                    end: &outcome.end,
                    sent: outcome.sent.as_ref(),
                    course: None,
                    traces: &traces,
                    log,
                };
                comparison.settled((!case.calls.is_empty()).then_some(case.timeout)).await
            }
        };
        if !mismatches.is_empty() {
            return mismatches;
        }
    }
    Vec::new()
}

/// What an exchange left in its stage.
struct Left<'a> {
    outcome: &'a Outcome,
    stage: &'a Stage,
    origins: &'a [(Arc<str>, Origin)],
}

impl Traces for Left<'_> {
    fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.outcome.property(path)
    }

    fn failures(&self) -> u64 {
        self.outcome.failures
    }

    fn metric(&self, name: &str) -> Option<u64> {
        self.stage.metric(name)
    }

    fn shared_data(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.stage.shared_data(key)
    }

    fn calls(&self, upstream: &str) -> Option<u64> {
        let origin = self.origins.iter().find(|(name, _)| **name == *upstream);
        origin.map(|(_, origin)| origin.calls())
    }
}

fn refusal(wanted: &Wanted, reason: &str) -> Vec<Mismatch> {
    match wanted.matcher.holds(&[reason.as_bytes()]) {
        true => Vec::new(),
        false => vec![compare::unmet(wanted, reason.to_owned())],
    }
}

pub(super) fn mismatch(position: Position, expected: &str, got: String) -> Mismatch {
    Mismatch { position, path: String::new(), expected: expected.to_owned(), got }
}

impl Outcome {
    /// The values of a field; none if it is absent.
    pub(super) fn values<'a>(map: &'a http::HeaderMap, name: &http::HeaderName) -> Vec<&'a [u8]> {
        map.get_all(name).iter().map(http::HeaderValue::as_bytes).collect()
    }
}
