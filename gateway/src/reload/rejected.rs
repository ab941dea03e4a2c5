//! Why an attempt did not swap.

use std::sync::Arc;

use tokio::task::JoinError;

use super::immutable::Immutable;
use crate::admin::{Refusal, RefusalKind};
use crate::generation::BuildError;
use crate::generation::canary::CanaryError;
use crate::generation::modules::FilterFaults;
use crate::history::DiskError;
use crate::policy::Diagnostics;
use crate::policy::diagnostics::Severity;
use crate::worker::PrepareError;

/// Why an attempt did not swap.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejected {
    #[error("{}", summary(.0))]
    Policy(Arc<Diagnostics>),
    #[error(transparent)]
    Immutable(#[from] Immutable),
    #[error(transparent)]
    Modules(#[from] FilterFaults),
    #[error(transparent)]
    Canary(#[from] CanaryError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error("{}", not_kept(*.to, .kept))]
    NotKept { to: Option<u64>, kept: Vec<u64> },
    #[error("the kept policy cannot be read: {0}")]
    Kept(#[from] DiskError),
    #[error("a task of the reload failed: {0}")]
    Task(#[from] JoinError),
}

impl Rejected {
    /// As the admin API tells it; `generation` is the one that goes on.
    pub(super) fn into_refusal(self, generation: Option<u64>) -> Refusal {
        let (kind, message) = (self.kind(), self.to_string());
        let diagnostics = if let Self::Policy(diagnostics) = self { Some(diagnostics) } else { None };
        Refusal { kind, generation, message, diagnostics }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::Policy(_) => RefusalKind::Invalid,
            Self::Immutable(_) => RefusalKind::Immutable,
            Self::NotKept { .. } => RefusalKind::NotKept,
            Self::Modules(faults) | Self::Canary(CanaryError::Faults(faults)) if faults.are_of_policy() => {
                RefusalKind::Invalid
            }
            Self::Prepare(PrepareError::Build(BuildError::Filter { .. })) => RefusalKind::Invalid,
            Self::Modules(_) | Self::Canary(_) | Self::Prepare(_) | Self::Kept(_) | Self::Task(_) => {
                RefusalKind::Internal
            }
        }
    }
}

fn not_kept(to: Option<u64>, kept: &[u64]) -> String {
    let which = match to {
        Some(to) => format!("the policy of generation {to} is not kept"),
        None => "there is no policy before the one in force".to_owned(),
    };
    match kept {
        [] => format!("{which}; none is kept"),
        kept => {
            let numbers: Vec<String> = kept.iter().map(u64::to_string).collect();
            format!("{which}; kept are {}", numbers.join(", "))
        }
    }
}

/// The first error, and how many more there are.
pub fn summary(diagnostics: &Diagnostics) -> String {
    let mut errors = diagnostics.list.iter().filter(|finding| finding.severity == Severity::Error);
    let Some(first) = errors.next() else { return "the policy is wrong".to_owned() };
    let place = match first.position {
        Some(position) => format!("{}:{}:{}", first.file, position.line, position.column),
        None => first.file.clone(),
    };
    let path = if first.path.is_empty() { String::new() } else { format!("{}: ", first.path) };
    let more = match errors.count() + diagnostics.omitted {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("{place}: {path}{}{more}", first.message)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_first_error_stands_for_all() {
        let text = "version: 1\nlisteners: []\nroutes: 7\n";
        let diagnostics = crate::policy::parse(text, Path::new("p.yaml"), Path::new("")).unwrap_err();
        let errors = diagnostics.list.iter().filter(|finding| finding.severity == Severity::Error).count();
        assert!(errors > 1);
        let refusal = Rejected::Policy(Arc::new(diagnostics)).into_refusal(Some(3));
        assert!(refusal.message.starts_with("p.yaml:2:"), "{}", refusal.message);
        assert!(refusal.message.ends_with(&format!("(and {} more)", errors - 1)), "{}", refusal.message);
        assert_eq!((refusal.kind, refusal.generation), (RefusalKind::Invalid, Some(3)));
        assert!(refusal.diagnostics.is_some());
    }
}
