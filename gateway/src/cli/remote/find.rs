//! Which gateway is meant.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::super::folders;
use crate::history::{self, GatewayNote};

/// Where an admin API is if nothing says otherwise.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

/// Which gateway is asked.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Admin {
    /// The gateway's admin API: ADDRESS:PORT or unix:PATH. Default: that of the gateway of this user that
    /// runs, else 127.0.0.1:9901.
    #[arg(long, env = "TOLLGATE_ADMIN", value_name = "ADDRESS")]
    admin: Option<Address>,
    /// Where the gateway keeps its history, if it was told so.
    #[arg(long, env = "TOLLGATE_STATE_DIR", value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
}

/// Where an admin API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Address {
    /// `127.0.0.1:9901`
    Tcp(SocketAddr),
    /// `unix:/run/tollgate/admin.sock`
    Unix(PathBuf),
}

/// Why it is not clear which gateway is meant.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum FindError {
    /// There are several.
    #[error("several gateways run; say which with --admin:{}", list(.0))]
    Several(Vec<(PathBuf, Address)>),
    /// There is one, and it cannot be asked.
    #[error("the gateway that runs {} has no admin API: add `admin` to its policy and restart it", .0.display())]
    NoAdmin(PathBuf),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some("") => Err("expected a path after `unix:`"),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| "expected an address and a port, or unix:PATH"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The admin API that is meant.
pub(super) fn find(admin: &Admin) -> Result<Address, FindError> {
    if let Some(address) = &admin.admin {
        return Ok(address.clone());
    }
    let running = folders::state(admin.state_dir.as_deref()).map(|root| history::running(&root));
    among(running.unwrap_or_default())
}

fn among(running: Vec<GatewayNote>) -> Result<Address, FindError> {
    let without = running.iter().find(|note| address(note).is_none()).map(|note| note.policy.clone());
    let mut found: Vec<_> =
        running.into_iter().filter_map(|note| Some((note.policy.clone(), address(&note)?))).collect();
    match (found.len(), without) {
        (0, Some(policy)) => Err(FindError::NoAdmin(policy)),
        (0, None) => Ok(Address::Tcp(USUAL)),
        (1, _) => Ok(found.remove(0).1),
        _ => Err(FindError::Several(found)),
    }
}

/// The Unix socket first: it is for this user alone.
fn address(note: &GatewayNote) -> Option<Address> {
    note.unix.clone().map(Address::Unix).or(note.address.map(Address::Tcp))
}

fn list(found: &[(PathBuf, Address)]) -> String {
    found.iter().map(|(policy, address)| format!("\n  {address}  {}", policy.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(policy: &str, address: Option<&str>, unix: Option<&str>) -> GatewayNote {
        GatewayNote {
            pid: 7,
            policy: policy.into(),
            address: address.map(|address| address.parse().unwrap()),
            unix: unix.map(PathBuf::from),
        }
    }

    #[test]
    fn the_only_gateway_is_meant() {
        let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
        assert_eq!(among(Vec::new()).unwrap(), tcp("127.0.0.1:9901"));
        assert_eq!(among(vec![note("/p", Some("[::1]:7"), None)]).unwrap(), tcp("[::1]:7"));
        let both = vec![note("/p", Some("[::1]:7"), Some("/s")), note("/q", None, None)];
        assert_eq!(among(both).unwrap(), Address::Unix("/s".into()));
        let error = among(vec![note("/p", Some("[::1]:7"), None), note("/q", None, Some("/s"))]);
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with("--admin:\n  [::1]:7  /p\n  unix:/s  /q"), "{text}");
        assert!(matches!(among(vec![note("/q", None, None)]), Err(FindError::NoAdmin(_))));
    }

    #[test]
    fn addresses() {
        assert_eq!("unix:/run/a".parse(), Ok(Address::Unix("/run/a".into())));
        assert!("unix:".parse::<Address>().is_err() && "localhost".parse::<Address>().is_err());
    }
}
