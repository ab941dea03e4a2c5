//! What would change, as text.

use std::fmt;

use super::Report;
use crate::generation::difference::{Change, ChangeKind, Kept, Setting};

/// A report for people: `+` comes, `-` goes, `~` is set otherwise, `.` uses something that is.
pub(super) struct Text<'r>(pub(super) &'r Report<'r>);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { refused, difference } = self.0;
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
