//! What a filter costs: one workload over and over, on the host code that serves requests.
//!
//! The method, for one contender or for two that are to be compared:
//! 1. Each is started [`STARTS`] times, in turn: how long VM and filter take to start.
//! 2. Each takes the workload through a stage whose host functions count: calls per exchange. That
//!    stage is not timed.
//! 3. Each takes it through the stage that will be timed, to warm up: a tenth of the time.
//! 4. Rounds: [`BATCH`] exchanges of each, in turn, so that whatever else the machine does meets all
//!    alike, until the time is over. A phase is timed from before the chain is called to after it has
//!    returned, so that the host's own part is in it, and whatever the filter waits for. Fuel is read
//!    outside.
//!
//! Limits: two contenders, a minute, [`EXCHANGES_MAX`] exchanges each.

mod figures;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_proxy_wasm::HostFunctions;

use super::exchange::{End, drive};
use super::log::Lines;
use super::measure::Meter;
use super::on_worker;
use super::origin::{AfterScript, Origin};
use super::stage::{Stage, StageError};
use crate::filter::wasm::Environment;
use crate::generation::Compiled;
use crate::policy::cases::Case;
use crate::telemetry::Phase;
use figures::Samples;
pub use figures::{Figures, HostCall, PhaseFigures, Quantiles};

/// Starts that are timed.
pub const STARTS: usize = 20;
/// Exchanges of one contender before it is the other's turn.
pub const BATCH: usize = 50;
/// Exchanges of one contender at most: their samples are kept.
pub const EXCHANGES_MAX: usize = 200_000;
/// Exchanges of which host calls are counted.
const COUNTED: usize = 100;
/// Readings of the clock whose cost is told.
const CLOCK_READINGS: usize = 1_000;

/// What is measured: a filter and its workload.
pub struct Contender<'a> {
    /// What it is called in the report.
    pub label: String,
    /// The filter, and the exchanges that pass through it one after the other, over and over. What they
    /// expect is not looked at.
    pub case: &'a Case,
    /// Its code.
    pub compiled: &'a Compiled,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A filter does not start.
    #[error("{label} does not start: {source}")]
    Start {
        /// Which contender.
        label: String,
        /// Why.
        source: Box<StageError>,
    },
    /// The case has nothing to send.
    #[error("the case `{0}` has no exchange")]
    NoExchange(Arc<str>),
    /// A property that the case sets is the gateway's own.
    #[error("the case sets the property {0}, which the gateway owns")]
    Property(String),
    /// The thread for it, or a server for side calls, cannot be made.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Measures the contenders for `time`; `progress` hears how much of it is over, from 0 to 1. Blocks.
///
/// # Errors
/// See [`BenchError`].
pub fn run(
    contenders: &[Contender<'_>],
    time: Duration,
    mut progress: impl FnMut(f64) + Send,
) -> Result<Vec<Figures>, BenchError> {
    if let Some(empty) = contenders.iter().find(|contender| contender.case.exchanges.is_empty()) {
        return Err(BenchError::NoExchange(Arc::clone(&empty.case.name)));
    }
    let log = Lines::new(tracing::Level::INFO);
    on_worker(log.clone(), async || {
        let functions = Rc::new(HostFunctions::new());
        let mut benches = Vec::with_capacity(contenders.len());
        for contender in contenders {
            benches.push(Bench::prepare(contender, &functions).await?);
        }
        for _ in 0..STARTS {
            for bench in &mut benches {
                let started = bench.start(&functions)?.started_in();
                bench.starts.push(started);
            }
        }
        rounds(&mut benches, time / 10, &log, |_| ()).await?;
        benches.iter_mut().for_each(|bench| bench.samples = Samples::default());
        rounds(&mut benches, time, &log, &mut progress).await?;
        Ok(benches.into_iter().map(Bench::figures).collect())
    })?
}

/// Batches of each in turn until the time is over.
async fn rounds(
    benches: &mut [Bench<'_>],
    time: Duration,
    log: &Lines,
    mut progress: impl FnMut(f64),
) -> Result<(), BenchError> {
    let begun = Instant::now();
    loop {
        for bench in &mut *benches {
            for _ in 0..BATCH {
                bench.exchange().await?;
            }
            // Kept lines would be one more thing that grows.
            drop(log.take());
        }
        let over = begun.elapsed().as_secs_f64() / time.as_secs_f64().max(f64::EPSILON);
        progress(over.min(1.0));
        if over >= 1.0 || benches.iter().any(|bench| bench.samples.exchanges() >= EXCHANGES_MAX) {
            return Ok(());
        }
    }
}

/// A contender at work.
struct Bench<'a> {
    contender: &'a Contender<'a>,
    origins: Vec<(Arc<str>, Origin)>,
    stage: Stage,
    meter: Meter,
    /// The next exchange of the case.
    next: usize,
    samples: Samples,
    starts: Vec<Duration>,
    host_calls: Vec<HostCall>,
}

impl<'a> Bench<'a> {
    async fn prepare(
        contender: &'a Contender<'a>,
        functions: &Rc<HostFunctions<Environment>>,
    ) -> Result<Self, BenchError> {
        let mut origins = Vec::with_capacity(contender.case.calls.len());
        for script in &contender.case.calls {
            let origin = Origin::start(script, AfterScript::Again).await?;
            origins.push((Arc::clone(&script.upstream), origin));
        }
        let counting = Rc::new(HostFunctions::counting());
        let mut bench = Self {
            stage: start(contender, &origins, &counting)?,
            contender,
            origins,
            meter: Meter::on(),
            next: 0,
            samples: Samples::default(),
            starts: Vec::with_capacity(STARTS),
            host_calls: Vec::new(),
        };
        bench.count(&counting).await?;
        bench.stage = bench.start(functions)?;
        Ok(bench)
    }

    fn start(&self, functions: &Rc<HostFunctions<Environment>>) -> Result<Stage, BenchError> {
        start(self.contender, &self.origins, functions)
    }

    /// Takes some exchanges through, and counts what the guest calls in them.
    async fn count(&mut self, functions: &HostFunctions<Environment>) -> Result<(), BenchError> {
        let before = functions.calls();
        for _ in 0..COUNTED {
            self.exchange().await?;
        }
        let made = functions.calls().into_iter().map(|(key, calls)| {
            let calls = calls.saturating_sub(before.get(&key).copied().unwrap_or_default());
            let (module, name) = key;
            HostCall { module, name, per_exchange: calls as f64 / COUNTED as f64 }
        });
        self.host_calls = made.filter(|call| call.per_exchange > 0.0).collect();
        self.host_calls.sort_by(|one, other| other.per_exchange.total_cmp(&one.per_exchange));
        Ok(())
    }

    async fn exchange(&mut self) -> Result<(), BenchError> {
        let case = self.contender.case;
        let exchange = &case.exchanges[self.next];
        self.next = (self.next + 1) % case.exchanges.len();
        (0..exchange.ticks).for_each(|_| self.stage.tick());
        let driven =
            drive(&self.stage, &exchange.request, &exchange.response, case.timeout, &mut self.meter).await;
        let outcome = driven.map_err(BenchError::Property)?;
        self.samples.add(&self.meter.take(), word(&outcome.end));
        Ok(())
    }

    fn figures(mut self) -> Figures {
        for _ in 0..CLOCK_READINGS {
            self.meter.time(&self.stage, Phase::Done, || ());
        }
        let clock = self.meter.take().iter().map(|sample| sample.time).collect();
        Figures {
            label: self.contender.label.clone(),
            exchanges: self.samples.exchanges(),
            ends: self.samples.ends(),
            whole: self.samples.whole(),
            phases: self.samples.phases(),
            host_calls: self.host_calls,
            memory_bytes: self.stage.memory_bytes(),
            start: Quantiles::of(self.starts),
            clock: Quantiles::of(clock).median,
        }
    }
}

fn start(
    contender: &Contender<'_>,
    origins: &[(Arc<str>, Origin)],
    functions: &Rc<HostFunctions<Environment>>,
) -> Result<Stage, BenchError> {
    let upstreams: Vec<_> =
        origins.iter().map(|(name, origin)| (Arc::clone(name), origin.address())).collect();
    Stage::start(&contender.case.filter, contender.compiled, &upstreams, functions)
        .map_err(|source| BenchError::Start { label: contender.label.clone(), source: Box::new(source) })
}

/// How an exchange ended.
fn word(end: &End) -> String {
    match end {
        End::Passed(_) => "passed".to_owned(),
        End::Replied(reply) => format!("answered {}", reply.status.as_u16()),
        End::Failed(reason) => format!("failed: {reason}"),
        End::Closed => "closed".to_owned(),
        End::TooLarge(max) => format!("too large: more than {max} bytes held back"),
        End::Waiting => "never let go".to_owned(),
        End::Errored(word, _) => format!("errored: {word}"),
    }
}
