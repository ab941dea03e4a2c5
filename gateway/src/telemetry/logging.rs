//! The program log: tracing's events to standard error.
//!
//! Text for people when standard error is a terminal, JSON lines for machines otherwise. Standard
//! output stays free for the access log and for what commands print. Workers log only what is rare,
//! since a line is written where it arises.
//!
//! A line that standard error does not take, be it a file on a full disk or a pipe that nobody reads any
//! more, is lost and counted ([`lost_lines`]); whoever logged it goes on.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why the log was not set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter is not in tracing's syntax.
    #[error(
        "log filter `{filter}` is not valid, expected for example `info` or `info,tollgate::reload=debug`"
    )]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// It was set up before.
    #[error("the log is set up already")]
    SetUp(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets the process's log up. `filter` is in the syntax of tracing's `EnvFilter`: `info`, or
/// `info,tollgate::reload=debug`. To be called once, before threads start.
///
/// # Errors
/// If the filter is not valid, or the log was set up before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    let terminal = std::io::stderr().is_terminal();
    let style = match format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto if !terminal => Style::Json,
        // https://no-color.org
        _ if terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) => Style::Coloured,
        _ => Style::Plain,
    };
    Ok(subscriber(style, filter, std::io::stderr)?.try_init()?)
}

/// Lines of this process's log that were lost.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

static LOST: AtomicU64 = AtomicU64::new(0);

/// Takes everything, and counts what the writer behind it does not.
struct Lossy<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Lossy<W> {
    type Writer = Lossy<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Lossy(self.0.make_writer())
    }
}

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                // A line is written in one piece, so that this is the rest of one.
                LOST.fetch_add(1, Ordering::Relaxed);
                Ok(bytes.len())
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Style {
    Coloured,
    Plain,
    Json,
}

fn subscriber<W>(
    style: Style,
    filter: &str,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| LoggingError::Filter { filter: filter.to_owned(), source })?;
    // What tracing itself would tell of a writer that fails, it tells by a macro that panics then.
    let builder = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter);
    let builder = builder.with_writer(Lossy(writer));
    Ok(match style {
        Style::Json => Box::new(builder.json().flatten_event(true).finish()),
        Style::Coloured => Box::new(builder.with_ansi(true).finish()),
        Style::Plain => Box::new(builder.with_ansi(false).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style, filter: &str) -> String {
        let out = Shared::default();
        let writer = out.clone();
        let subscriber = subscriber(style, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(generation = 7, source = "a\nb", "policy applied");
            tracing::debug!("too small to say");
        });
        String::from_utf8(out.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(Style::Json, "info");
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "policy applied");
        assert_eq!((&line["generation"], &line["source"]), (&7.into(), &"a\nb".into()));
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn text_is_plain_without_a_terminal() {
        let text = logged(Style::Plain, "debug");
        assert!(text.contains("policy applied") && text.contains("too small to say"));
        assert!(!text.contains('\u{1b}'));
        assert!(logged(Style::Coloured, "info").contains('\u{1b}'));
    }

    /// Takes four bytes, and then nothing more.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(4 - self.0);
            self.0 += taken;
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_line_that_nobody_takes_is_counted() {
        let before = lost_lines();
        let subscriber = subscriber(Style::Json, "info", || Full(0)).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("first");
            tracing::info!("second");
        });
        assert_eq!(lost_lines() - before, 2);
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let error = subscriber(Style::Plain, "tollgate=loud", io::sink).err().unwrap();
        assert!(error.to_string().contains("`tollgate=loud`"), "{error}");
    }
}
