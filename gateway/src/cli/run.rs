//! `tollgate run`: the gateway itself.
//!
//! Order: log, policy text, sockets and worker threads, admin API, first generation, then the loop
//! over signals until the drain. Control's runtime is this thread; workers have their own.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Instant;

use clap::ValueEnum;
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;
use tollgate_wasmedge::CacheError;

use super::admin_sockets::{AdminSockets, BindError, bind_admin};
use super::first::{First, StandIns, choose};
use super::signals::{Received, Signals};
use super::{Exit, fetcher, folders, lifetime};
use crate::admin::{self, Refusal, RefusalKind};
use crate::filter::wasm::Guests;
use crate::generation::modules::ModuleStore;
use crate::history::{GatewayNote, History, KEEP_DEFAULT};
use crate::policy::Diagnostics;
use crate::policy::remote::Fetch;
use crate::reload::{Handle, Lost, Reloader, Workshop};
use crate::telemetry::access_log::{AccessLog, CAPACITY_DEFAULT, Sink};
use crate::telemetry::logging::{self, LogFormat, LoggingError};
use crate::telemetry::metrics::Metrics;
use crate::worker::{Shared, StartError, Workers};

/// Run the gateway with a policy.
///
/// The policy, and the modules that it names, are watched: a change takes effect between two
/// requests once it compiled and started, and is refused with a diagnosis if it does not, while the
/// old policy goes on. Policies that served are kept, for `tollgate history` and `tollgate rollback`,
/// and for a start with files that cannot be served: then the last good policy is, loudly. SIGHUP
/// reloads too, and opens the access log anew. SIGTERM and SIGINT let running requests finish
/// (`limits.drain_timeout`); a second one ends at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate run policies/demo.yaml
  tollgate run /etc/tollgate/policy.yaml --workers 4 --access-log /var/log/tollgate/access.log
  tollgate run policy.yaml --access-log off --log info,tollgate::reload=debug")]
pub(super) struct Args {
    /// The policy: a file, or a folder of them.
    policy: PathBuf,
    /// Worker threads; one for each CPU that this process may use if not given.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Folder for modules, fetched and compiled; made with mode 0700. Default: `tollgate` in the user's cache
    /// folder ($XDG_CACHE_HOME, ~/.cache), else a folder under /var/tmp.
    #[arg(long, env = "TOLLGATE_CACHE_DIR", value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
    /// Folder for the last policies, to go back to them and to start without the policy's files; made with
    /// mode 0700. `off`: none. Default: `tollgate` in the user's state folder ($XDG_STATE_HOME,
    /// ~/.local/state), else a folder under /var/tmp.
    #[arg(long, env = "TOLLGATE_STATE_DIR", value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// How many policies are kept there.
    #[arg(long, value_name = "N", default_value_t = KEEP_DEFAULT, value_parser = clap::value_parser!(u8).range(1..=100))]
    keep: u8,
    /// Refuse to start with a kept policy when the policy's files cannot be served.
    #[arg(long)]
    require_current: bool,
    /// Where one JSON line for each request goes: `stdout`, `off` or a file.
    #[arg(long, default_value = "stdout", value_name = "SINK", value_parser = parse_sink)]
    access_log: Sink,
    /// How the program's own log on standard error looks.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    log_format: Format,
    /// What is logged, in the syntax of tracing's EnvFilter.
    #[arg(long, env = "TOLLGATE_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// End when the process that started this one ends.
    #[arg(long, hide = true)]
    end_with_parent: bool,
}

/// How the log looks.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Text on a terminal, else JSON.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the gateway did not run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Log(#[from] LoggingError),
    #[error("{0}")]
    Policy(Diagnostics),
    #[error("the policy cannot be put in force: {}", .0.message)]
    Refused(Refusal),
    #[error("the cache of compiled modules cannot be used: {0}")]
    Cache(#[from] CacheError),
    #[error("the access log cannot be opened: {0}")]
    AccessLog(io::Error),
    #[error(transparent)]
    Workers(#[from] StartError),
    #[error(transparent)]
    Admin(#[from] BindError),
    #[error("the control runtime failed: {0}")]
    Runtime(io::Error),
    #[error("the task that swaps policies ended")]
    Reloader,
    #[error(transparent)]
    Lost(#[from] Lost),
}

/// How the gateway ended.
enum Ended {
    /// After a drain, or before it served anything.
    InOrder,
    /// By a second signal.
    AtOnce(SignalKind),
}

pub(super) fn run(args: &Args, begun: Instant) -> ExitCode {
    match try_run(args, begun) {
        Ok(Ended::InOrder) => Exit::Done.into(),
        Ok(Ended::AtOnce(kind)) => ExitCode::from(128 + kind.as_raw_value() as u8),
        Err(failure) => {
            // Standard error may be a file on a full disk, which must not change the exit code.
            let _ = writeln!(io::stderr(), "tollgate: {failure}");
            failure.exit().into()
        }
    }
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Log(LoggingError::Filter { .. }) => Exit::Usage,
            Self::Policy(_) => Exit::BadPolicy,
            Self::Refused(refusal) if refusal.kind == RefusalKind::Invalid => Exit::BadPolicy,
            _ => Exit::Internal,
        }
    }
}

fn try_run(args: &Args, begun: Instant) -> Result<Ended, Failure> {
    if args.end_with_parent {
        lifetime::end_with_parent();
    }
    logging::init(args.log_format.into(), &args.log)?;
    lifetime::raise_open_files();
    let count = args.workers.unwrap_or_else(cpus);
    let metrics = Arc::new(Metrics::new(count.get()));
    let root = folders::state(args.state_dir.as_deref());
    let keep = NonZeroUsize::new(args.keep.into()).unwrap_or(NonZeroUsize::MIN);
    let history = Arc::new(History::open(root.as_deref(), &args.policy, keep, Arc::clone(&metrics)));
    let fetch = fetcher(args.cache_dir.as_deref());
    let workshop = Arc::new(Workshop::new());
    let (source, past, is_strict) = (args.policy.clone(), Arc::clone(&history), args.require_current);
    let fetched = Arc::clone(&fetch);
    let first =
        workshop.wait(move || choose(&source, &fetched, &past, is_strict)).map_err(Failure::Policy)?;
    let store = Arc::new(ModuleStore::open(&folders::cache(args.cache_dir.as_deref()))?);
    let (log, log_guard) =
        AccessLog::start(args.access_log.clone(), CAPACITY_DEFAULT).map_err(Failure::AccessLog)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::Runtime)?;
    metrics.access_log(log.stats());
    let guests = Arc::<Guests>::default();
    metrics.guests(Arc::clone(&guests) as _);
    let gateway = Gateway { args, begun, count, metrics, guests, history, fetch, store, workshop, log };
    let ended = runtime.block_on(gateway.run(first));
    // A compilation may be running on a blocking thread; its child ends with this process.
    runtime.shutdown_background();
    if !matches!(ended, Ok(Ended::AtOnce(_))) {
        gateway.history.close();
        drop(log_guard);
    } else {
        std::mem::forget(log_guard);
    }
    ended
}

/// What is there before the first thread.
struct Gateway<'a> {
    args: &'a Args,
    begun: Instant,
    count: NonZeroUsize,
    metrics: Arc<Metrics>,
    guests: Arc<Guests>,
    history: Arc<History>,
    fetch: Arc<dyn Fetch>,
    store: Arc<ModuleStore>,
    workshop: Arc<Workshop>,
    log: AccessLog,
}

impl Gateway<'_> {
    /// Serves the first policy or, if it does not start, the best of those that were kept.
    async fn run(&self, mut first: First) -> Result<Ended, Failure> {
        let mut signals = Signals::new().map_err(Failure::Runtime)?;
        let mut stand_ins = None;
        loop {
            let refusal = match self.attempt(first, &mut signals).await {
                Err(Failure::Refused(refusal)) if !self.args.require_current => refusal,
                ended => return ended,
            };
            let left = stand_ins.get_or_insert_with(|| StandIns::new(&self.history, &refusal.message));
            match left.next() {
                Some(other) => first = other,
                None => return Err(Failure::Refused(refusal)),
            }
        }
    }

    /// One start, with sockets and workers of its own.
    async fn attempt(&self, first: First, signals: &mut Signals) -> Result<Ended, Failure> {
        let metrics = Arc::clone(&self.metrics);
        let shared = Arc::new(Shared {
            metrics: Arc::clone(&metrics),
            access_log: self.log.clone(),
            guests: Arc::clone(&self.guests),
            connections: AtomicU32::new(0),
            connection_numbers: AtomicU64::new(1),
        });
        let workers = Workers::start(self.count, &first.loaded.policy.listeners, &shared)?;
        let addresses = workers.addresses().to_vec();
        let admin = bind_admin(&first.loaded.policy).await?;
        let source = self.args.policy.clone();
        let (store, history) = (Arc::clone(&self.store), Arc::clone(&self.history));
        let fetch = Arc::clone(&self.fetch);
        let workshop = Arc::clone(&self.workshop);
        let (mut reloader, handle) = Reloader::new(source, fetch, workers, store, shared, history, workshop);
        let (end_admin, admin_ends) = watch::channel(());
        let AdminSockets { listeners, address, unix } = admin;
        let serving: Vec<_> = listeners
            .into_iter()
            .map(|listener| {
                let (metrics, ends) = (Arc::clone(&metrics), closed(admin_ends.clone()));
                tokio::spawn(admin::serve(listener, Arc::clone(&handle), metrics, ends))
            })
            .collect();
        let started = tokio::select! {
            started = reloader.start(first) => started,
            _ = signals.end() => return Ok(Ended::InOrder),
        };
        let ended = match started {
            Ok(()) => {
                log_start(&addresses, address, unix.as_deref(), self.count, &handle, self.begun);
                self.leave_note(address, unix);
                self.serve(reloader, &handle, signals).await
            }
            Err(refusal) => {
                reloader.abandon().await;
                Err(Failure::Refused(refusal))
            }
        };
        drop(end_admin);
        if matches!(ended, Ok(Ended::InOrder) | Err(Failure::Refused(_))) {
            // It has a time limit of its own, and logs what fails.
            for admin in serving {
                let _ = admin.await;
            }
        }
        ended
    }

    fn leave_note(&self, address: Option<SocketAddr>, unix: Option<PathBuf>) {
        let policy = std::path::absolute(&self.args.policy).unwrap_or_else(|_| self.args.policy.clone());
        self.history.leave_note(GatewayNote { pid: std::process::id(), policy, address, unix });
    }

    /// Answers signals until the gateway has drained.
    async fn serve(
        &self,
        reloader: Reloader,
        handle: &Handle,
        signals: &mut Signals,
    ) -> Result<Ended, Failure> {
        let (stop, stops) = watch::channel(());
        let mut reloading = tokio::spawn(reloader.run(closed(stops)));
        loop {
            tokio::select! {
                received = signals.next() => match received {
                    Received::HangUp => {
                        self.log.reopen();
                        handle.reload_on_signal();
                    }
                    Received::End(kind) => {
                        tracing::info!(signal = kind.as_raw_value(), "draining");
                        break;
                    }
                },
                // It ends before it is told to only if workers are lost, or by a panic.
                ended = &mut reloading => return Err(match ended {
                    Ok(Err(lost)) => lost.into(),
                    Ok(Ok(_)) | Err(_) => Failure::Reloader,
                }),
            }
        }
        handle.drain();
        let limit = handle.drain_timeout();
        drop(stop);
        let drained = async {
            let workers = reloading.await.map_err(|_| Failure::Reloader)??;
            // Whoever comes in this process's place keeps the history from here on.
            let history = Arc::clone(&self.history);
            let _ = tokio::task::spawn_blocking(move || history.close()).await;
            let drained = workers.drain(limit).await;
            tracing::info!(?drained, "drained");
            Ok(Ended::InOrder)
        };
        tokio::select! {
            ended = drained => ended,
            kind = signals.end() => {
                tracing::warn!(signal = kind.as_raw_value(), "ended at once by a second signal");
                Ok(Ended::AtOnce(kind))
            }
        }
    }
}

fn log_start(
    listeners: &[SocketAddr],
    admin: Option<SocketAddr>,
    admin_unix: Option<&Path>,
    workers: NonZeroUsize,
    handle: &Handle,
    begun: Instant,
) {
    let listeners: Vec<String> = listeners.iter().map(SocketAddr::to_string).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listeners = listeners.join(" "),
        admin = admin.map(|address| address.to_string()),
        admin_unix = admin_unix.map(|path| tracing::field::display(path.display())),
        workers,
        generation = handle.generation(),
        policy = %handle.source().display(),
        pid = std::process::id(),
        started_ms = begun.elapsed().as_millis() as u64,
        "serving"
    );
}

/// Ends when the sender is dropped.
async fn closed(mut receiver: watch::Receiver<()>) {
    while receiver.changed().await.is_ok() {}
}

/// The CPUs that this process may use.
fn cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Auto => Self::Auto,
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// `stdout`, `off`, or else a file.
fn parse_sink(text: &str) -> Result<Sink, String> {
    match text {
        "" => Err("expected `stdout`, `off` or a file".to_owned()),
        "stdout" | "-" => Ok(Sink::Stdout),
        "off" => Ok(Sink::Off),
        file => Ok(Sink::File(file.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks() {
        assert_eq!(parse_sink("stdout"), Ok(Sink::Stdout));
        assert_eq!(parse_sink("off"), Ok(Sink::Off));
        assert_eq!(parse_sink("./off"), Ok(Sink::File("./off".into())));
        assert!(parse_sink("").is_err());
    }

    #[test]
    fn exit_codes_tell_the_policy_from_the_machine() {
        let refused = |kind| {
            Failure::Refused(Refusal { kind, generation: None, message: String::new(), diagnostics: None })
        };
        assert_eq!(refused(RefusalKind::Invalid).exit(), Exit::BadPolicy);
        assert_eq!(refused(RefusalKind::Internal).exit(), Exit::Internal);
        assert_eq!(Failure::Policy(Diagnostics::default()).exit(), Exit::BadPolicy);
        assert_eq!(Failure::Reloader.exit(), Exit::Internal);
    }
}
