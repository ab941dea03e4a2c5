//! What a filter makes today of exchanges that a gateway recorded (`filter/record`).
//!
//! 1. [`Recorded::read`] reads the file, whole, and turns each exchange into a request and an answer.
//! 2. [`run`] takes them through one stage in their order, as one worker would have.
//! 3. `compare` says what differs: the verdict first, then what went on to the upstream and to the
//!    client. Fields whose values were redacted are not compared, nor are those that frame a message,
//!    which the gateway writes after the filter.
//!
//! Side calls are not recorded; the filter may make none here.

mod compare;
mod read;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tollgate_proxy_wasm::HostFunctions;

use super::exchange::drive;
use super::log::{Line, Lines};
use super::measure::Meter;
use super::on_worker;
use super::stage::{Stage, StageError};
use crate::filter::record::format::Entry;
use crate::filter::wasm::Environment;
use crate::generation::Compiled;
use crate::policy::cases::{Answer, Request};
use crate::policy::filter::Filter;
pub use read::{ReadError, Recorded};

/// How long an exchange may be held back; then it counts as never let go.
const TIMEOUT: Duration = Duration::from_secs(2);

/// One recorded exchange, ready to be played.
#[derive(Debug)]
pub struct Exchange {
    /// Where it stands in the file.
    pub line: usize,
    /// What was recorded.
    pub entry: Entry,
    /// What the client sent, as it came to the filter.
    request: Request,
    /// What the upstream answered, as it came to the filter.
    answer: Answer,
}

/// What came of one exchange.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// Where it stands in the file.
    pub line: usize,
    /// When it was recorded.
    pub at: String,
    /// The client's end of its connection.
    pub client: SocketAddr,
    /// Method and path.
    pub request: String,
    /// What differs; empty if all is as it was.
    pub differences: Vec<Difference>,
    /// Whether part of what the filter saw is not in the file: redacted values, bodies that were cut.
    pub is_partial: bool,
    /// What the filter logged.
    #[serde(skip)]
    pub log: Vec<Line>,
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What, such as `request header x-user`.
    pub what: String,
    /// As it was recorded.
    pub recorded: String,
    /// As it is now.
    pub now: String,
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The filter does not start.
    #[error(transparent)]
    Start(#[from] StageError),
    /// The thread for it cannot be made.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Plays what was recorded; `each` hears of every exchange as it ends. Blocks.
///
/// # Errors
/// See [`ReplayError`].
pub fn run(
    recorded: &Recorded,
    filter: &Arc<Filter>,
    compiled: &Compiled,
    mut each: impl FnMut(&Replayed) + Send,
) -> Result<Vec<Replayed>, ReplayError> {
    let log = Lines::new(tracing::Level::TRACE);
    on_worker(log.clone(), async || {
        let functions = Rc::new(HostFunctions::<Environment>::new());
        let stage = Stage::start(filter, compiled, &[], &functions)?;
        let mut replayed = Vec::with_capacity(recorded.exchanges.len());
        for exchange in &recorded.exchanges {
            drop(log.take());
            let one = replay(exchange, &stage, &log).await;
            each(&one);
            replayed.push(one);
        }
        Ok(replayed)
    })?
}

async fn replay(exchange: &Exchange, stage: &Stage, log: &Lines) -> Replayed {
    let entry = &exchange.entry;
    let driven = drive(stage, &exchange.request, &exchange.answer, TIMEOUT, &mut Meter::off()).await;
    let differences = match driven {
        Ok(outcome) => compare::compare(entry, &outcome),
        // Requests that are replayed set no properties.
        Err(_) => Vec::new(),
    };
    let bodies = [Some(&entry.request), entry.response.as_ref()];
    let is_cut = bodies
        .into_iter()
        .flatten()
        .any(|message| message.has_more && message.body.as_ref().is_some_and(|body| !body.is_whole()));
    let (method, path) = (entry.request.method.as_deref(), entry.request.path.as_deref());
    Replayed {
        line: exchange.line,
        at: entry.at.clone(),
        client: entry.client,
        request: format!("{} {}", method.unwrap_or_default(), path.unwrap_or_default()),
        differences,
        is_partial: is_cut || !entry.redacted.is_empty(),
        log: log.take(),
    }
}
