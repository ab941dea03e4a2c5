//! `listeners`, `admin` and `trusted_proxies`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::super::listener::AdminListener;
use super::super::raw::{self, Field};
use super::super::report::{Problem, quoted};
use super::place::Place;

pub(super) const LISTENERS_MAX: usize = 64;
const PROXIES_MAX: usize = 1_000;
/// Bytes of a socket's path: what the system takes, less room for another name while it is made.
const SOCKET_PATH_MAX: usize = 90;

/// An address of a listener, and the index of the listener in the list.
pub(super) type Address = (usize, SocketAddr);

/// Client and admin addresses. None is given twice, but for port 0.
pub(super) fn resolve(root: Place<'_>, raw: &raw::Policy) -> (Vec<Address>, Option<AdminListener>) {
    let section = root.key("listeners");
    root.required(&raw.listeners, "listeners", "a list such as `[{address: \"127.0.0.1:8080\"}]`");
    if raw.listeners.given().is_some_and(Vec::is_empty) {
        section.error(Problem::new("no listener").expected("at least one"));
    }
    let mut listeners = Vec::new();
    let mut taken: HashMap<SocketAddr, usize> = HashMap::new();
    for (index, listener) in section.list(&raw.listeners, LISTENERS_MAX) {
        let entry = section.index(index);
        let Some(address) = address(entry, &listener.address) else { continue };
        let first = if address.port() == 0 { None } else { taken.insert(address, index) };
        if let Some(first) = first {
            let first = entry.report.place(&section.index(first).key("address").at, "the first one");
            entry.key("address").error(Problem::new(format!("`{address}` is listed twice")).see(first));
        }
        listeners.push((index, address));
    }
    let admin = raw.admin.given().and_then(|admin| resolve_admin(root.key("admin"), admin));
    if let Some(AdminListener { address: Some(address), .. }) = admin
        && taken.contains_key(&address)
    {
        let problem = Problem::new(format!("`{address}` is a listener's address too"));
        root.key("admin").key("address").error(problem.help("give the admin API a port of its own"));
    }
    (listeners, admin)
}

fn resolve_admin(place: Place<'_>, admin: &raw::Admin) -> Option<AdminListener> {
    let unix = admin.unix.given().map(|path| socket_path(place.key("unix"), path));
    if admin.address.is_absent() && unix.is_some() {
        return Some(AdminListener { address: None, unix: unix.flatten() });
    }
    let address = address(place, &admin.address)?;
    let allowed = admin.allow_remote.given().copied().unwrap_or(false);
    if !address.ip().is_loopback() && !allowed {
        place.key("address").error(
            Problem::new("the admin API would be open to other machines")
                .expected("a loopback address such as `127.0.0.1:9901`")
                .found(quoted(&address.to_string()))
                .help("it has no authentication; if that is what you want, add `allow_remote: true`"),
        );
    }
    Some(AdminListener { address: Some(address), unix: unix.flatten() })
}

/// A relative path would depend on where the gateway is started.
fn socket_path(place: Place<'_>, path: &str) -> Option<PathBuf> {
    if Path::new(path).is_absolute() && path.len() <= SOCKET_PATH_MAX && !path.contains('\0') {
        return Some(path.into());
    }
    let expected = format!("an absolute path of at most {SOCKET_PATH_MAX} bytes");
    place.error(Problem::new("not a path for a socket").expected(expected).found(quoted(path)));
    None
}

fn address(parent: Place<'_>, field: &Field<raw::Address>) -> Option<SocketAddr> {
    let raw::Address(text) =
        parent.required(field, "address", "an address and a port, such as `127.0.0.1:8080`")?;
    let parsed = text.parse();
    if parsed.is_err() {
        let problem = Problem::new("not a socket address")
            .expected("an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`")
            .found(quoted(text));
        let port = text.rsplit_once(':').map_or(text.as_str(), |(_, port)| port);
        let host = text.strip_suffix(port).unwrap_or_default();
        let near = match (host, port.parse::<u16>().is_ok()) {
            ("" | ":" | "*:", true) => Some(format!("0.0.0.0:{port}")),
            ("localhost:", true) => Some(format!("127.0.0.1:{port}")),
            _ => None,
        };
        parent.key("address").error(problem.did_you_mean(near.as_deref()));
    }
    parsed.ok()
}

/// Networks, or single addresses.
pub(super) fn resolve_proxies(section: Place<'_>, field: &Field<Vec<Field<String>>>) -> Vec<IpNet> {
    let texts = section.list(field, PROXIES_MAX);
    texts.into_iter().filter_map(|(index, text)| network(section.index(index), text)).collect()
}

fn network(place: Place<'_>, text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let Some(network) = network else {
        let expected = "a network such as `10.0.0.0/8`, or an IP address";
        place.error(Problem::new("not a network").expected(expected).found(quoted(text)));
        return None;
    };
    if network.addr() != network.network() {
        let near = network.trunc().to_string();
        let problem = Problem::new("bits are set behind the prefix length").found(quoted(text));
        place.error(problem.did_you_mean(Some(&near)));
    }
    Some(network)
}
