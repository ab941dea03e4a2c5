//! What came of it, as text.

use std::fmt;

use super::report::{Other, Report};
use crate::policy::facts;
use crate::policy::route::Match;
use crate::route::explain::Mismatch;

/// A report for people.
pub struct Text<'r>(pub &'r Report);

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

/// The part of a route's conditions that a mismatch names.
pub(super) fn part(matches: &Match, which: Mismatch) -> String {
    match which {
        Mismatch::Host => facts::of_hosts(&matches.hosts),
        Mismatch::Path => facts::of_path(&matches.path),
        Mismatch::Method => matches.methods.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
        Mismatch::Header(index) => matches
            .headers
            .get(index)
            .map(|header| format!("header {}{}", header.name, facts::of_value(&header.value)))
            .unwrap_or_default(),
        Mismatch::Query(index) => matches
            .query
            .get(index)
            .map(|query| format!("query {}{}", query.name, facts::of_value(&query.value)))
            .unwrap_or_default(),
    }
}
