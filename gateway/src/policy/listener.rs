//! Sockets: where clients and operators connect.

use std::net::SocketAddr;

/// A TCP address that serves HTTP to clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Listener {
    /// Address and port; port 0 lets the system choose (tests).
    pub address: SocketAddr,
}

/// The admin API's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdminListener {
    /// Address and port. Other than loopback only with `admin.allow_remote: true`.
    pub address: SocketAddr,
}
