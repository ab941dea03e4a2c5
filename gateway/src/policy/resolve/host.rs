//! Host names and the patterns of `match.host`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::super::report::{Problem, quoted};
use super::super::route::HostPattern;
use super::place::Place;

/// Whether `name` is a host name as DNS has them, or an IPv4 address: labels of letters, digits,
/// `-` and `_`, at most 63 each and 253 together. A name that ends in a number is an address, or
/// a misspelt one.
pub(super) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit());
    name.len() <= 253 && name.split('.').all(label) && (!numeric || name.parse::<Ipv4Addr>().is_ok())
}

/// `api.example.com` or `*.example.com`.
pub(super) fn resolve(place: Place<'_>, text: &str) -> Option<HostPattern> {
    let pattern = parse(text);
    if pattern.is_none() {
        let problem = Problem::new("not a host pattern")
            .expected("`api.example.com`, or `*.example.com` for all names below it")
            .found(quoted(text));
        place.error(match text.rsplit_once(':') {
            _ if text == "*" => problem.help("leave `host` out to take every host"),
            Some((host, port)) if parse(host).is_some() && port.parse::<u16>().is_ok() => {
                problem.did_you_mean(Some(host))
            }
            _ => problem,
        });
    }
    pattern
}

fn parse(text: &str) -> Option<HostPattern> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    if !is_dns_name(name) {
        return None;
    }
    let lower: Arc<str> = text.trim_start_matches('*').to_ascii_lowercase().into();
    Some(if lower.starts_with('.') { HostPattern::Suffix(lower) } else { HostPattern::Exact(lower) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exact_and_wildcard_patterns() {
        assert_eq!(parse("API.example.com"), Some(HostPattern::Exact("api.example.com".into())));
        assert_eq!(parse("*.Example.com"), Some(HostPattern::Suffix(".example.com".into())));
        for wrong in [
            "",
            "*",
            "*.",
            "a.*.com",
            "*x.com",
            ".x.com",
            "x.com.",
            "x.com:80",
            "a b",
            "-a.com",
            "10.0.0.256",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
