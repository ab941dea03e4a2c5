//! What a reload from one policy to another would change, with what a running gateway would say to it.

use std::fmt;

use serde::Serialize;

use crate::generation::difference::{Change, ChangeKind, Difference, Kept, Setting};
use crate::policy::Policy;

/// What would change.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Why a running gateway would refuse the new policy; `null` if it would not.
    pub refused: Option<String>,
    /// What would change if it did not.
    #[serde(flatten)]
    pub difference: Difference,
}

impl Comparison {
    /// Of `old`, which serves, with `new`, which would be refused for the reason `refused`.
    #[must_use]
    pub fn between(old: &Policy, new: &Policy, refused: Option<String>) -> Self {
        Self { refused, difference: Difference::between(old, new) }
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.refused.is_none() && self.difference.is_empty()
    }
}

/// For people: `+` comes, `-` goes, `~` is set otherwise, `.` uses something that is.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refused, difference } = self;
        if let Some(why) = refused {
            writeln!(f, "a running gateway would refuse it: {why}")?;
        }
        if difference.is_empty() {
            writeln!(f, "nothing changes")?;
        }
        for setting in &difference.settings {
            writeln!(f, "~ {}", told(setting))?;
        }
        section(f, "upstream", &difference.upstreams)?;
        section(f, "filter", &difference.filters)?;
        section(f, "route", &difference.routes)?;
        section(f, "TCP service", &difference.tcp)?;
        if difference.is_reordered {
            writeln!(f, "~ routes stand in another order, which decides between equals")?;
        }
        let Kept { upstreams, vms, plugins, limiters } = difference.kept;
        writeln!(
            f,
            "goes on with its state: {upstreams} upstreams, {vms} VMs, {plugins} Wasm filters, \
             {limiters} rate limits"
        )
    }
}

fn section(f: &mut fmt::Formatter<'_>, what: &str, changes: &[Change]) -> fmt::Result {
    for Change { name, kind, settings, effects } in changes {
        let mark = match kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Changed => '~',
            ChangeKind::Affected => '.',
        };
        let effects = if effects.is_empty() { String::new() } else { format!(": {}", effects.join(", ")) };
        writeln!(f, "{mark} {what} {name}{effects}")?;
        for setting in settings {
            writeln!(f, "    {}", told(setting))?;
        }
    }
    Ok(())
}

fn told(setting: &Setting) -> String {
    let text = |side: &Option<String>| match side.as_deref() {
        None => "nothing".to_owned(),
        Some("") => "\"\"".to_owned(),
        Some(text) => text.to_owned(),
    };
    format!("{}: {} -> {}", setting.name, text(&setting.old), text(&setting.new))
}
