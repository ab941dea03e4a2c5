//! What a filter and its host log while they are at work, kept instead of written.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Lines kept; more are left out.
const LINES_MAX: usize = 10_000;
/// The target of what guests log.
const GUEST: &str = "filter";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How important it is.
    pub level: Level,
    /// Whether the guest wrote it; if not, the host did.
    pub is_guest: bool,
    /// What it says.
    pub text: String,
}

/// Lines, shared with the subscriber that collects them.
#[derive(Debug, Clone)]
pub struct Lines {
    kept: Arc<Mutex<Vec<Line>>>,
    /// The least important that a guest's lines may be.
    level: Level,
}

impl Lines {
    /// Keeps what guests log at `level` and above, and the host's warnings.
    pub fn new(level: Level) -> Self {
        Self { kept: Arc::default(), level }
    }

    /// The lines so far, which are forgotten.
    pub fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.lock())
    }

    /// Whether any line of a guest is as `test` says.
    pub fn any(&self, test: impl Fn(&str) -> bool) -> bool {
        self.lock().iter().any(|line| line.is_guest && test(&line.text))
    }

    /// A copy of the lines so far.
    pub fn all(&self) -> Vec<Line> {
        self.lock().clone()
    }

    pub(super) fn subscriber(self) -> impl Subscriber + Send + Sync {
        tracing_subscriber::registry().with(self)
    }

    /// A line is pushed whole, so that a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = if metadata.target() == GUEST { self.level } else { Level::WARN };
        *metadata.level() <= level
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let is_guest = event.metadata().target() == GUEST;
        let mut text = Text { is_guest, said: String::new() };
        event.record(&mut text);
        let mut lines = self.lock();
        if lines.len() < LINES_MAX {
            lines.push(Line { level: *event.metadata().level(), is_guest, text: text.said });
        }
    }
}

/// A guest's line is the field `text`; of the host's, all fields are kept.
struct Text {
    is_guest: bool,
    said: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.is_guest {
            if field.name() == "text" {
                value.clone_into(&mut self.said);
            }
            return;
        }
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.is_guest {
            return;
        }
        let space = if self.said.is_empty() { "" } else { " " };
        match field.name() {
            "message" => self.said.insert_str(0, &format!("{value:?}{space}")),
            name => self.said.push_str(&format!("{space}{name}={value:?}")),
        }
    }
}
