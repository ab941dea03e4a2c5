//! Adding up what a request is scored.

use std::net::IpAddr;

use crate::config::Config;

/// Seconds over which a rate is the mean.
pub const WINDOW: u32 = 10;

/// What a score is made of; texts that are not UTF-8 are taken with their bytes replaced.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'r> {
    /// The header `User-Agent`.
    pub agent: Option<&'r str>,
    /// The method.
    pub method: &'r str,
    /// The path without its query.
    pub path: &'r str,
    /// The value of the country's header.
    pub country: Option<&'r str>,
    /// Whether there is a `Content-Type`.
    pub has_content_type: bool,
    /// The client.
    pub address: Option<IpAddr>,
    /// How many requests the client has made in this window, this one among them.
    pub count: i64,
}

/// A client that names no agent.
const NO_AGENT: i64 = 25;
/// A request with a method that may carry a body, and no word about it.
const NO_TYPE: i64 = 10;

impl Config {
    /// The score of a request; at least 0.
    pub fn score(&self, request: &Request<'_>) -> i64 {
        let sum = self.of_agent(request.agent.unwrap_or_default())
            + self.of_path(request.path)
            + self.of_country(request.country)
            + self.of_network(request.address)
            + self.of_rate(request.count)
            + of_method(request);
        sum.max(0)
    }

    fn of_agent(&self, agent: &str) -> i64 {
        if agent.is_empty() {
            return NO_AGENT;
        }
        let agent = agent.to_lowercase();
        sum(self.agents.iter().filter(|(text, _)| agent.contains(text)).map(|(_, score)| score))
    }

    fn of_path(&self, path: &str) -> i64 {
        sum(self.paths.iter().filter(|(pattern, _)| pattern.is_match(path)).map(|(_, score)| score))
    }

    fn of_country(&self, country: Option<&str>) -> i64 {
        let Some(country) = country else { return 0 };
        let score = self.countries.get(country).or_else(|| self.countries.get("other"));
        score.copied().unwrap_or(0)
    }

    fn of_network(&self, address: Option<IpAddr>) -> i64 {
        let Some(address) = address.map(|address| address.to_canonical()) else { return 0 };
        sum(self.networks.iter().filter(|(net, _)| net.contains(&address)).map(|(_, score)| score))
    }

    fn of_rate(&self, count: i64) -> i64 {
        let Some(rate) = self.rate else { return 0 };
        if count > i64::from(rate.per_second) * i64::from(WINDOW) { rate.score } else { 0 }
    }
}

fn of_method(request: &Request<'_>) -> i64 {
    if matches!(request.method, "GET" | "HEAD") || request.has_content_type { 0 } else { NO_TYPE }
}

fn sum<'s>(scores: impl Iterator<Item = &'s i64>) -> i64 {
    scores.fold(0, |sum, score| sum.saturating_add(*score))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::parse(
            br#"{"deny_above": 60, "agents": {"SQLmap": 60, "curl": 5},
                 "paths": {"^/admin": 40, "\\.php$": 30}, "countries": {"DE": 1, "other": 5},
                 "networks": {"192.0.2.0/24": 30, "10.0.0.0/8": -10}, "rate": {"per_second": 50, "score": 30}}"#,
        )
        .unwrap()
    }

    #[test]
    fn parts_add_up() {
        let config = config();
        let plain = Request { agent: Some("Mozilla/5.0"), method: "GET", path: "/", ..Request::default() };
        let cases = [
            (plain, 0),
            (Request { agent: None, ..plain }, 25),
            (Request { agent: Some("sqlmap/1.7 curl"), ..plain }, 65),
            (Request { path: "/admin/x.php", ..plain }, 70),
            (Request { country: Some("DE"), ..plain }, 1),
            (Request { country: Some("FR"), ..plain }, 5),
            (Request { address: "::ffff:192.0.2.7".parse().ok(), ..plain }, 30),
            (Request { address: "10.0.0.1".parse().ok(), ..plain }, 0),
            (Request { method: "POST", ..plain }, 10),
            (Request { method: "POST", has_content_type: true, ..plain }, 0),
            (Request { count: 500, ..plain }, 0),
            (Request { count: 501, ..plain }, 30),
        ];
        for (request, score) in cases {
            assert_eq!(config.score(&request), score, "{request:?}");
        }
    }
}
