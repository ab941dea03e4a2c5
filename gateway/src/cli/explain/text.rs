//! What came of it, as text.

use std::fmt;

use super::report::{Other, Report};
use crate::policy::fault::OnFailure;
use crate::policy::filter::{FilterKind, HeaderEdit, Period};
use crate::policy::route::{HostPattern, Match, PathPattern, ValueMatch};
use crate::route::explain::Mismatch;

/// A report for people.
pub(super) struct Text<'r>(pub(super) &'r Report);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { request, route, behind, passed_over, omitted } = self.0;
        let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        writeln!(f, "request   {} {}{}{query}", request.method, request.host, request.path)?;
        if let Some(written) = &request.path_as_written {
            writeln!(f, "          its path was written {written}")?;
        }
        match request.client == request.peer {
            true => writeln!(f, "          from {}", request.client)?,
            false => writeln!(f, "          from {}, through the trusted {}", request.client, request.peer)?,
        }
        match route {
            None => writeln!(f, "route     none: 404")?,
            Some(route) => {
                writeln!(f, "route     {} (number {}): {}", route.name, route.number, route.matches)?;
                for (position, step) in route.chain.iter().enumerate() {
                    let head = if position == 0 { "filters" } else { "" };
                    writeln!(
                        f,
                        "{head:<10}{}. {} ({}): {}",
                        position + 1,
                        step.name,
                        step.kind,
                        step.settings
                    )?;
                    if let Some(bucket) = &step.bucket {
                        writeln!(f, "             shares a bucket with {bucket}")?;
                    }
                }
                writeln!(f, "then      {}", route.action)?;
            }
        }
        section(f, "behind", "matches too:", behind)?;
        section(f, "not", "", passed_over)?;
        if *omitted > 0 {
            writeln!(f, "          and {omitted} more: --all names them")?;
        }
        Ok(())
    }
}

fn section(f: &mut fmt::Formatter<'_>, head: &str, word: &str, others: &[Other]) -> fmt::Result {
    for (position, Other { name, number, why }) in others.iter().enumerate() {
        let head = if position == 0 { head } else { "" };
        let space = if word.is_empty() { "" } else { " " };
        writeln!(f, "{head:<10}{name} (number {number}) {word}{space}{why}")?;
    }
    Ok(())
}

/// What a route asks of a request, in one line.
pub(super) fn conditions(matches: &Match) -> String {
    let mut parts = vec![path(&matches.path)];
    if !matches.hosts.is_empty() {
        parts.push(format!("host {}", hosts(&matches.hosts)));
    }
    if !matches.methods.is_empty() {
        parts.push(part(matches, Mismatch::Method));
    }
    parts.extend((0..matches.headers.len()).map(|index| part(matches, Mismatch::Header(index))));
    parts.extend((0..matches.query.len()).map(|index| part(matches, Mismatch::Query(index))));
    parts.join(", ")
}

/// The part of a route's conditions that a mismatch names.
pub(super) fn part(matches: &Match, which: Mismatch) -> String {
    match which {
        Mismatch::Host => hosts(&matches.hosts),
        Mismatch::Path => path(&matches.path),
        Mismatch::Method => matches.methods.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
        Mismatch::Header(index) => matches
            .headers
            .get(index)
            .map(|header| format!("header {}{}", header.name, value(&header.value)))
            .unwrap_or_default(),
        Mismatch::Query(index) => matches
            .query
            .get(index)
            .map(|query| format!("query {}{}", query.name, value(&query.value)))
            .unwrap_or_default(),
    }
}

fn hosts(hosts: &[HostPattern]) -> String {
    let text = |host: &HostPattern| match host {
        HostPattern::Exact(name) => name.to_string(),
        HostPattern::Suffix(suffix) => format!("*{suffix}"),
    };
    hosts.iter().map(text).collect::<Vec<_>>().join(" or ")
}

fn path(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Exact(path) => format!("path {path}"),
        PathPattern::Prefix(prefix) if &**prefix == "/" => "every path".to_owned(),
        PathPattern::Prefix(prefix) => format!("paths under {prefix}"),
        PathPattern::Regex(regex) => {
            // The policy's own text, without the anchors that resolving put around it.
            let text = regex.as_str();
            let own = text.strip_prefix(r"\A(?:").and_then(|text| text.strip_suffix(r")\z"));
            format!("paths like {}", own.unwrap_or(text))
        }
    }
}

fn value(condition: &ValueMatch) -> String {
    match condition {
        ValueMatch::Present => " present".to_owned(),
        ValueMatch::Absent => " absent".to_owned(),
        ValueMatch::Exact(text) => format!(" = {text}"),
        ValueMatch::Regex(regex) => format!(" like {}", regex.as_str()),
    }
}

/// A filter's kind and what is set for it.
pub(super) fn described(kind: &FilterKind) -> (&'static str, String) {
    match kind {
        FilterKind::Wasm(wasm) => {
            let failure = match wasm.on_failure {
                OnFailure::Closed => "503",
                OnFailure::Open => "go on",
            };
            let memory = u64::from(wasm.memory_pages_max.get()) * 64;
            let settings = format!(
                "{}, {:?} CPU a callback, {memory} KiB memory, on failure {failure}",
                wasm.path.display(),
                wasm.budget
            );
            ("wasm", settings)
        }
        FilterKind::RateLimit(limit) => {
            let period = match limit.period {
                Period::Second => "second",
                Period::Minute => "minute",
                Period::Hour => "hour",
            };
            ("rate_limit", format!("{}/{period}, burst {}", limit.rate, limit.burst))
        }
        FilterKind::Headers(edits) => {
            ("headers", format!("request {}; response {}", edit(&edits.request), edit(&edits.response)))
        }
    }
}

fn edit(edit: &HeaderEdit) -> String {
    let mut parts = Vec::new();
    let mut tell = |verb: &str, names: Vec<&str>| {
        if !names.is_empty() {
            parts.push(format!("{verb} {}", names.join(" ")));
        }
    };
    tell("removes", edit.remove.iter().map(|name| name.as_str()).collect());
    tell("sets", edit.set.iter().map(|(name, _)| name.as_str()).collect());
    tell("adds", edit.add.iter().map(|(name, _)| name.as_str()).collect());
    if parts.is_empty() { "as it is".to_owned() } else { parts.join(", ") }
}
