//! The filter's configuration: JSON text into what a guard needs, with every mistake refused.
//!
//! Limits: [`MAX_NETWORKS`] entries in each list of networks, [`MAX_PROTOCOLS`] protocols,
//! [`MAX_PREFIX`] bytes of a prefix.

use crate::protocol::{MAX_PREFIX, Protocol};
use ipnet::IpNet;
use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;

/// The most entries in a list of networks.
pub const MAX_NETWORKS: usize = 1000;
/// The most protocols.
pub const MAX_PROTOCOLS: usize = 16;

/// Everything the filter decides by.
#[derive(Debug, Default)]
pub struct Config {
    /// Clients that may connect; `None`: all that `deny` does not hold.
    pub allow: Option<Vec<IpNet>>,
    /// Clients that may not, whatever `allow` says.
    pub deny: Vec<IpNet>,
    /// What the client may speak; empty: anything.
    pub protocols: Vec<Protocol>,
    /// The most bytes that the client may send.
    pub client_bytes_max: Option<u64>,
    /// The most bytes that the upstream may send.
    pub upstream_bytes_max: Option<u64>,
    /// Whether each connection that is closed leaves a line in the log.
    pub log_denied: bool,
}

/// Why a configuration was refused.
#[derive(Debug)]
pub enum ConfigError {
    /// Not JSON, an unknown key, a wrong type.
    Json(serde_json::Error),
    /// Nothing in it would ever refuse a connection.
    Empty,
    /// A list that is too long: its key, its length and what it may be.
    TooMany(&'static str, usize, usize),
    /// A list that is there and empty.
    EmptyList(&'static str),
    /// Not an address or a network.
    Network(String),
    /// A network with bits set beyond its prefix, and what was likely meant.
    HostBits(String, IpNet),
    /// Not exactly one of `text` and `hex`.
    PrefixForm,
    /// Not pairs of hexadecimal digits.
    Hex(String),
    /// A prefix that is empty or too long.
    PrefixLength(usize),
    /// A limit of no byte.
    NoBytes(&'static str),
}

impl Config {
    /// Parses the JSON text of a configuration.
    ///
    /// # Errors
    /// When the text is not such a configuration: see [`ConfigError`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let raw: RawConfig = serde_json::from_slice(json).map_err(ConfigError::Json)?;
        if raw.is_empty() {
            return Err(ConfigError::Empty);
        }
        let clients = raw.clients.unwrap_or_default();
        Ok(Self {
            allow: clients.allow.map(|list| networks("allow", list)).transpose()?,
            deny: clients.deny.map(|list| networks("deny", list)).transpose()?.unwrap_or_default(),
            protocols: raw.protocols.map(protocols).transpose()?.unwrap_or_default(),
            client_bytes_max: limit("client_bytes", raw.client_bytes)?,
            upstream_bytes_max: limit("upstream_bytes", raw.upstream_bytes)?,
            log_denied: raw.log_denied,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    clients: Option<RawClients>,
    protocols: Option<Vec<RawProtocol>>,
    client_bytes: Option<u64>,
    upstream_bytes: Option<u64>,
    #[serde(default)]
    log_denied: bool,
}

impl RawConfig {
    fn is_empty(&self) -> bool {
        let clients =
            self.clients.as_ref().is_some_and(|clients| clients.allow.is_some() || clients.deny.is_some());
        !clients && self.protocols.is_none() && self.client_bytes.is_none() && self.upstream_bytes.is_none()
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawClients {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawProtocol {
    Tls,
    Http,
    Ssh,
    Postgres,
    Redis,
    Prefix(RawPrefix),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrefix {
    text: Option<String>,
    hex: Option<String>,
}

fn networks(key: &'static str, list: Vec<String>) -> Result<Vec<IpNet>, ConfigError> {
    match list.len() {
        0 => Err(ConfigError::EmptyList(key)),
        1..=MAX_NETWORKS => list.into_iter().map(network).collect(),
        length => Err(ConfigError::TooMany(key, length, MAX_NETWORKS)),
    }
}

fn network(text: String) -> Result<IpNet, ConfigError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let net: IpNet = text.parse().map_err(|_| ConfigError::Network(text.clone()))?;
    if net.trunc() == net { Ok(net) } else { Err(ConfigError::HostBits(text, net.trunc())) }
}

fn protocols(list: Vec<RawProtocol>) -> Result<Vec<Protocol>, ConfigError> {
    match list.len() {
        0 => Err(ConfigError::EmptyList("protocols")),
        1..=MAX_PROTOCOLS => list.into_iter().map(protocol).collect(),
        length => Err(ConfigError::TooMany("protocols", length, MAX_PROTOCOLS)),
    }
}

fn protocol(raw: RawProtocol) -> Result<Protocol, ConfigError> {
    Ok(match raw {
        RawProtocol::Tls => Protocol::Tls,
        RawProtocol::Http => Protocol::Http,
        RawProtocol::Ssh => Protocol::Ssh,
        RawProtocol::Postgres => Protocol::Postgres,
        RawProtocol::Redis => Protocol::Redis,
        RawProtocol::Prefix(raw) => {
            let bytes = match (raw.text, raw.hex) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(digits)) => hex(&digits).ok_or(ConfigError::Hex(digits))?,
                _ => return Err(ConfigError::PrefixForm),
            };
            if !(1..=MAX_PREFIX).contains(&bytes.len()) {
                return Err(ConfigError::PrefixLength(bytes.len()));
            }
            Protocol::Prefix(bytes.into())
        }
    })
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(pair).collect()
}

fn limit(key: &'static str, bytes: Option<u64>) -> Result<Option<u64>, ConfigError> {
    if bytes == Some(0) { Err(ConfigError::NoBytes(key)) } else { Ok(bytes) }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "{error}"),
            Self::Empty => write!(
                f,
                "it would let everything pass: give `clients`, `protocols`, `client_bytes` or `upstream_bytes`"
            ),
            Self::TooMany(key, count, max) => {
                write!(f, "`{key}` has {count} entries, at most {max} are allowed")
            }
            Self::EmptyList(key) => write!(f, "`{key}` is empty: leave it out, or list what it is for"),
            Self::Network(text) => write!(f, "{text:?} is not an address or a network such as 10.0.0.0/8"),
            Self::HostBits(text, net) => {
                write!(f, "{text:?} has bits set beyond its prefix: did you mean {net}?")
            }
            Self::PrefixForm => write!(f, "a prefix needs exactly one of `text` and `hex`"),
            Self::Hex(digits) => write!(f, "{digits:?} is not pairs of hexadecimal digits"),
            Self::PrefixLength(length) => {
                write!(f, "a prefix has {length} bytes, it must have 1 to {MAX_PREFIX}")
            }
            Self::NoBytes(key) => write!(f, "`{key}` is 0, which no connection could keep"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        Config::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn all_keys_are_read() {
        let config = Config::parse(
            br#"{"clients": {"allow": ["10.0.0.0/8", "::ffff:192.0.2.1"], "deny": ["10.9.0.0/16"]},
                "protocols": ["tls", "postgres", {"prefix": {"text": "HELO"}}, {"prefix": {"hex": "00fF"}}],
                "client_bytes": 5, "upstream_bytes": 6, "log_denied": true}"#,
        )
        .unwrap();
        let allow = config.allow.unwrap();
        assert_eq!(allow, ["10.0.0.0/8".parse().unwrap(), "192.0.2.1/32".parse::<IpNet>().unwrap()]);
        assert_eq!(config.deny.len(), 1);
        assert_eq!(
            config.protocols[2..],
            [Protocol::Prefix((*b"HELO").into()), Protocol::Prefix([0, 255].into())]
        );
        assert_eq!((config.client_bytes_max, config.upstream_bytes_max), (Some(5), Some(6)));
        assert!(config.log_denied);
    }

    #[test]
    fn mistakes_are_named() {
        for (json, part) in [
            ("", "EOF"),
            ("{}", "let everything pass"),
            (r#"{"clients": {}}"#, "let everything pass"),
            (r#"{"log_denied": true}"#, "let everything pass"),
            (r#"{"client": {}}"#, "unknown field `client`"),
            (r#"{"clients": {"allow": []}}"#, "`allow` is empty"),
            (r#"{"clients": {"deny": ["10.0.0.0/33"]}}"#, "not an address or a network"),
            (r#"{"clients": {"deny": ["10.1.0.0/8"]}}"#, "did you mean 10.0.0.0/8?"),
            (r#"{"protocols": []}"#, "`protocols` is empty"),
            (r#"{"protocols": ["gopher"]}"#, "unknown variant `gopher`"),
            (r#"{"protocols": [{"prefix": {}}]}"#, "exactly one of `text` and `hex`"),
            (r#"{"protocols": [{"prefix": {"text": "a", "hex": "00"}}]}"#, "exactly one of `text` and `hex`"),
            (r#"{"protocols": [{"prefix": {"hex": "0"}}]}"#, "pairs of hexadecimal digits"),
            (r#"{"protocols": [{"prefix": {"hex": "+1"}}]}"#, "pairs of hexadecimal digits"),
            (r#"{"protocols": [{"prefix": {"text": ""}}]}"#, "has 0 bytes"),
            (r#"{"client_bytes": 0}"#, "`client_bytes` is 0"),
            (r#"{"client_bytes": -1}"#, "invalid value"),
        ] {
            let refusal = refusal(json);
            assert!(refusal.contains(part), "{json}: {refusal}");
        }
        let many =
            format!(r#"{{"clients": {{"deny": [{}"10.0.0.1"]}}}}"#, r#""10.0.0.1","#.repeat(MAX_NETWORKS));
        assert!(refusal(&many).contains("1001 entries, at most 1000"));
    }
}
