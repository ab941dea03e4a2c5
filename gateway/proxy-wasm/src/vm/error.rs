//! Why a VM did not start, and why a callback failed.

use std::collections::VecDeque;
use std::fmt;

use tollgate_wasmedge::{InstantiateError, Trap};

use crate::abi::LogLevel;
use crate::limits::{LOG_LINE_BYTES_MAX, START_LOG_LINES_MAX};

/// Why a callback of a running VM gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The guest trapped. The VM is failed from now on.
    #[error("the filter trapped in {callback}: {trap}")]
    Trap {
        /// The callback, by its name in the ABI.
        callback: &'static str,
        /// What happened.
        trap: Trap,
    },
    /// The guest used up the CPU time of the callback. The VM is failed from now on.
    #[error("the filter used up its CPU budget in {callback}")]
    Budget {
        /// The callback, by its name in the ABI.
        callback: &'static str,
    },
    /// The VM failed earlier, or never started: no guest call was made.
    #[error("the filter's VM failed earlier")]
    Broken,
    /// There is no such context, or its end has begun: no guest call was made.
    #[error("no such context")]
    UnknownContext,
    /// The VM was called from inside one of its own callbacks: no guest call was made.
    #[error("a callback was entered from inside another")]
    Reentered,
}

impl Failure {
    /// Whether the guest failed in this callback.
    pub(crate) fn is_of(&self, name: &str) -> bool {
        matches!(self, Self::Trap { callback, .. } | Self::Budget { callback } if *callback == name)
    }

    pub(crate) fn from_trap(callback: &'static str, trap: Trap) -> Self {
        match trap {
            Trap::Budget { .. } => Self::Budget { callback },
            trap => Self::Trap { callback, trap },
        }
    }
}

/// Why a VM or a plugin did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The module does not say which ABI it was built for.
    #[error("not a Proxy-Wasm module: it exports no proxy_abi_version_*")]
    NoAbiMarker,
    /// The module was built for an ABI that this host does not speak.
    #[error("the module wants ABI {found}; this gateway speaks 0.2.1, 0.2.0, 0.1.0 and 0.2.100")]
    UnsupportedAbi {
        /// Versions in the module's markers, such as `0_1_0`.
        found: String,
    },
    /// The module exports neither `proxy_on_memory_allocate` nor `malloc`.
    #[error("the module exports no allocator (proxy_on_memory_allocate or malloc)")]
    NoAllocator,
    /// An export of the ABI has another type than the ABI says.
    #[error("the export {name} has the type {found}, which is not the ABI's")]
    Signature {
        /// The export.
        name: &'static str,
        /// The type it has.
        found: String,
    },
    /// The engine could not make an instance: imports, memory, start function.
    #[error(transparent)]
    Instantiate(Box<InstantiateError>),
    /// The guest trapped or used up its budget. The VM is failed.
    #[error("{failure}{log}")]
    Failed {
        /// What happened.
        failure: Failure,
        /// The guest's last lines.
        log: GuestLog,
    },
    /// `proxy_on_vm_start` answered false. The VM goes on without the plugin.
    #[error("the filter refused its VM configuration{log}")]
    VmRefused {
        /// The guest's last lines.
        log: GuestLog,
    },
    /// `proxy_on_configure` answered false. The VM goes on without the plugin.
    #[error("the filter refused its configuration{log}")]
    ConfigurationRefused {
        /// The guest's last lines.
        log: GuestLog,
    },
}

/// The last lines a guest wrote while it started, whatever the log level; at most 8 of 8 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestLog(VecDeque<(LogLevel, String)>);

impl GuestLog {
    /// The lines, oldest first. Bytes that are not text were replaced.
    pub fn lines(&self) -> impl Iterator<Item = (LogLevel, &str)> {
        self.0.iter().map(|(level, line)| (*level, line.as_str()))
    }

    pub(crate) fn push(&mut self, level: LogLevel, message: &[u8]) {
        if self.0.len() == START_LOG_LINES_MAX {
            self.0.pop_front();
        }
        let message = &message[..message.len().min(LOG_LINE_BYTES_MAX)];
        self.0.push_back((level, String::from_utf8_lossy(message).into_owned()));
    }
}

/// `; it said: "first" "second"`, or nothing.
impl fmt::Display for GuestLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() {
            f.write_str("; it said:")?;
        }
        self.lines().try_for_each(|(_, line)| write!(f, " {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_explain_a_failed_start() {
        let mut log = GuestLog::default();
        assert_eq!(
            StartError::VmRefused { log: log.clone() }.to_string(),
            "the filter refused its VM configuration"
        );
        (0..10).for_each(|n| log.push(LogLevel::Info, format!("line {n}").as_bytes()));
        assert_eq!(log.lines().count(), START_LOG_LINES_MAX);
        let text = StartError::ConfigurationRefused { log }.to_string();
        assert!(text.starts_with("the filter refused its configuration; it said: \"line 2\""), "{text}");
        assert!(text.ends_with("\"line 9\""), "{text}");
    }
}
