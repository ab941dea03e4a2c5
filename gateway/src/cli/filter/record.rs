//! `tollgate filter record`: asks a gateway's admin API for a recording.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderName, Method};
use http_body_util::{BodyExt, Limited};

use super::super::remote::{self, Address, Admin, Format};
use super::{Exit, cannot};

/// The longest reason of a refusal.
const REASON_MAX: usize = 64 * 1024;
/// What the last line begins with.
const END: &[u8] = b"{\"end\"";

/// Record what a filter of a running gateway is given, and what it makes of it.
///
/// Writes JSON, one exchange a line: request and response as the filter saw them, its verdict, and how
/// it left them, for `tollgate filter replay`. Asks the gateway's admin API, which gives recordings on
/// a Unix socket or a loopback address only, one at a time. It ends when --count exchanges are there, when the time is
/// over, or by Ctrl-C. Values of fields and query parameters that are secrets by their names
/// (authorization, cookie, anything with token, secret, session and the like) are never written, nor are
/// bodies unless --bodies asks for them. Exit code 0: recorded; 2: it could not be, or was cut off.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tollgate filter record guard -o guard.jsonl
  tollgate filter record guard --count 1000 --seconds 300 --bodies 4096 --admin 127.0.0.1:9901 -o guard.jsonl
  tollgate filter record guard --count 1 | jq .exchange.verdict")]
pub(in crate::cli) struct Args {
    /// The filter's name in the policy.
    filter: String,
    /// A new file to write to; standard output if left out.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    admin: Admin,
    /// Exchanges at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    count: u64,
    /// How long at most.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Bytes to keep of each body; the rest is counted only.
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1 << 20))]
    bodies: u64,
    /// A field whose values are to be kept although it looks like a secret; may be given several times.
    #[arg(long, value_name = "HEADER")]
    keep: Vec<HeaderName>,
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Ask(#[from] remote::Failure),
    #[error("the recording of the gateway at {0} broke off: {1}")]
    BrokenOff(Address, hyper::Error),
    #[error("the gateway does not record: {0}")]
    Refused(String),
    #[error("{0}")]
    Output(io::Error),
    #[error("the gateway cut the recording off after {0} exchanges")]
    CutOff(u64),
    #[error("{0}")]
    Runtime(io::Error),
}

pub(super) fn record(args: &Args) -> Exit {
    match try_record(args) {
        Ok(()) => Exit::Done,
        Err(failure) => cannot(&failure),
    }
}

fn try_record(args: &Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::Runtime)?.block_on(async {
        let target = target(args);
        tokio::select! {
            recorded = exchange(args, &target) => recorded,
            // What was written is whole lines, and can be replayed.
            signal = tokio::signal::ctrl_c() => signal.map_err(Failure::Runtime),
        }
    })
}

/// Names that could not be in a path as they are, are in no policy either.
fn target(args: &Args) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let filter: String = args.filter.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let keep: Vec<&str> =
        args.keep.iter().map(HeaderName::as_str).filter(|name| name.chars().all(plain)).collect();
    let Args { count, seconds, bodies, .. } = args;
    format!(
        "/filters/{filter}/record?count={count}&seconds={seconds}&body_bytes={bodies}&keep={}",
        keep.join(",")
    )
}

async fn exchange(args: &Args, target: &str) -> Result<(), Failure> {
    let sent = remote::send(&args.admin, Method::POST, target, Format::Json, Bytes::new());
    let (address, response) = sent.await?;
    if !response.status().is_success() {
        let reason = Limited::new(response.into_body(), REASON_MAX).collect().await;
        let reason = reason.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(Failure::Refused(String::from_utf8_lossy(&reason).trim_end().to_owned()));
    }
    // Only now, so that a refusal leaves no empty file.
    let mut writer = Writer::open(args).map_err(Failure::Output)?;
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::BrokenOff(address.clone(), error))?;
        if let Ok(data) = frame.into_data() {
            writer.write(&data).map_err(Failure::Output)?;
        }
    }
    writer.end()
}

/// Writes lines, and says on a terminal how many there are.
struct Writer {
    output: Box<dyn Write>,
    path: Option<PathBuf>,
    is_shown: bool,
    /// The line that is being written.
    line: Vec<u8>,
    lines: u64,
    has_ended: bool,
}

impl Writer {
    /// A file that is there already is not written over. What is in it is nobody else's to read.
    fn open(args: &Args) -> io::Result<Self> {
        let output: Box<dyn Write> = match &args.output {
            None => Box::new(io::stdout()),
            Some(path) => {
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                let told =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                Box::new(file.map_err(told)?)
            }
        };
        let is_shown = args.output.is_some() && io::stderr().is_terminal();
        let path = args.output.clone();
        Ok(Self { output, path, is_shown, line: Vec::new(), lines: 0, has_ended: false })
    }

    /// Writes the whole lines of what has come so far.
    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.line.extend_from_slice(data);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            self.has_ended |= line.starts_with(END);
            self.lines += 1;
            self.output.write_all(&line)?;
        }
        self.output.flush()?;
        if self.is_shown {
            eprint!("\rrecorded {} exchanges ", self.exchanges());
        }
        Ok(())
    }

    /// All lines but the first and the last.
    fn exchanges(&self) -> u64 {
        self.lines.saturating_sub(1 + u64::from(self.has_ended))
    }

    fn end(self) -> Result<(), Failure> {
        if self.is_shown {
            eprintln!();
        }
        if !self.has_ended {
            return Err(Failure::CutOff(self.exchanges()));
        }
        if let Some(path) = &self.path {
            eprintln!("{} exchanges in {}", self.exchanges(), path.display());
        }
        Ok(())
    }
}
