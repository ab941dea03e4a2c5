//! The sockets of the admin API, as the policy wants them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;

use crate::admin;
use crate::policy::Policy;
use crate::policy::listener::AdminListener;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[error("the admin API cannot listen on {place}: {source}")]
pub(super) struct BindError {
    place: String,
    source: io::Error,
}

/// What the admin API listens on.
#[derive(Default)]
pub(super) struct AdminSockets {
    pub(super) listeners: Vec<admin::Listener>,
    pub(super) address: Option<SocketAddr>,
    pub(super) unix: Option<PathBuf>,
}

/// Makes them.
pub(super) async fn bind_admin(policy: &Policy) -> Result<AdminSockets, BindError> {
    let mut sockets = AdminSockets::default();
    let Some(AdminListener { address, unix }) = &policy.admin else { return Ok(sockets) };
    if let Some(address) = address {
        let failed = |source| BindError { place: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        sockets.address = listener.local_addr().ok();
        sockets.listeners.push(listener.into());
    }
    if let Some(path) = unix {
        let failed = |source| BindError { place: format!("unix:{}", path.display()), source };
        sockets.listeners.push(admin::UnixSocket::bind(path).map_err(failed)?.into());
        sockets.unix = Some(path.clone());
    }
    Ok(sockets)
}
