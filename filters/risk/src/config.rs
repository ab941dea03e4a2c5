//! The filter's configuration: JSON text into rules, with every mistake refused.
//!
//! Limits: [`ENTRIES_MAX`] entries in each of the maps.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use regex_lite::Regex;
use serde::Deserialize;

/// The most entries in one map.
pub const ENTRIES_MAX: usize = 1000;

/// What a request is scored by. A score may be negative.
#[derive(Debug)]
pub struct Config {
    /// A request beyond this score is refused.
    pub deny_above: i64,
    /// Texts in `User-Agent`, in lower case.
    pub agents: Vec<(String, i64)>,
    /// Patterns of the path.
    pub paths: Vec<(Regex, i64)>,
    /// By the value of the header `country_header`; `other` stands for the rest.
    pub countries: BTreeMap<String, i64>,
    /// The header that tells the country, which whoever stands before this gateway must set.
    pub country_header: String,
    /// Where a client's address may lie.
    pub networks: Vec<(IpNet, i64)>,
    /// A client that comes too often.
    pub rate: Option<Rate>,
}

/// How often a client may come, as the mean of ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests.
    pub per_second: u32,
    /// What a client beyond that is scored.
    pub score: i64,
}

/// Why a configuration was refused.
#[derive(Debug)]
pub enum ConfigError {
    /// Not JSON, an unknown key, a wrong type.
    Json(serde_json::Error),
    /// More than [`ENTRIES_MAX`] in this map.
    TooMany(&'static str, usize),
    /// Not a regular expression, and why.
    Pattern(String, regex_lite::Error),
    /// Not an address or a network.
    Network(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "{error}"),
            Self::TooMany(map, count) => {
                write!(f, "`{map}` has {count} entries, at most {ENTRIES_MAX} are allowed")
            }
            Self::Pattern(text, error) => write!(f, "`{text}` is not a regular expression: {error}"),
            Self::Network(text) => write!(f, "`{text}` is not an address or a network such as 10.0.0.0/8"),
        }
    }
}

impl std::error::Error for ConfigError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    deny_above: i64,
    agents: BTreeMap<String, i64>,
    paths: BTreeMap<String, i64>,
    countries: BTreeMap<String, i64>,
    country_header: String,
    networks: BTreeMap<String, i64>,
    rate: Option<Rate>,
}

impl Default for Raw {
    fn default() -> Self {
        let scores =
            |list: &[(&str, i64)]| list.iter().map(|(text, score)| ((*text).to_owned(), *score)).collect();
        Self {
            deny_above: 60,
            agents: scores(&[("sqlmap", 60), ("nikto", 60), ("masscan", 60)]),
            paths: scores(&[(r"\.php$", 30), (r"/\.git/", 50), (r"/\.env$", 50)]),
            countries: BTreeMap::new(),
            country_header: "x-country".to_owned(),
            networks: BTreeMap::new(),
            rate: None,
        }
    }
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let text = if bytes.is_empty() { b"{}" } else { bytes };
        let raw: Raw = serde_json::from_slice(text).map_err(ConfigError::Json)?;
        let maps = [
            ("agents", &raw.agents),
            ("paths", &raw.paths),
            ("countries", &raw.countries),
            ("networks", &raw.networks),
        ];
        for (name, map) in maps {
            if map.len() > ENTRIES_MAX {
                return Err(ConfigError::TooMany(name, map.len()));
            }
        }
        let pattern = |(text, score): (String, i64)| match Regex::new(&text) {
            Ok(regex) => Ok((regex, score)),
            Err(error) => Err(ConfigError::Pattern(text, error)),
        };
        Ok(Self {
            deny_above: raw.deny_above,
            agents: raw.agents.into_iter().map(|(text, score)| (text.to_lowercase(), score)).collect(),
            paths: raw.paths.into_iter().map(pattern).collect::<Result<_, _>>()?,
            countries: raw.countries,
            country_header: raw.country_header.to_ascii_lowercase(),
            networks: raw.networks.into_iter().map(network).collect::<Result<_, _>>()?,
            rate: raw.rate,
        })
    }
}

fn network((text, score): (String, i64)) -> Result<(IpNet, i64), ConfigError> {
    let alone = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    match text.parse().or_else(|_| alone()) {
        Ok(net) => Ok((net, score)),
        Err(_) => Err(ConfigError::Network(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_refused_with_their_place() {
        let said = |text: &str| Config::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(said("{").contains("EOF"));
        assert!(said(r#"{"deny": 1}"#).contains("unknown field `deny`"));
        assert!(said(r#"{"paths": {"(": 1}}"#).starts_with("`(` is not a regular expression"));
        assert_eq!(
            said(r#"{"networks": {"10.0.0.0/40": 1}}"#),
            "`10.0.0.0/40` is not an address or a network such as 10.0.0.0/8"
        );
        let many: String = (0..=ENTRIES_MAX).map(|n| format!(r#","{n}":1"#)).collect();
        assert!(said(&format!(r#"{{"agents":{{{}}}}}"#, &many[1..])).contains("at most 1000"));
        let config = Config::parse(b"").unwrap();
        assert_eq!((config.deny_above, config.agents.len(), config.rate), (60, 3, None));
    }
}
