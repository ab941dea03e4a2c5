//! Makes connections.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::{EndpointName, SendError};
use super::resolve::Resolver;

/// A TCP connection to one of the endpoint's addresses, in the resolver's order, without Nagle's
/// delay, within `limit` for everything: the look-up and all addresses.
///
/// # Errors
/// [`SendError::Dns`], [`SendError::Connect`] (of the last address) or
/// [`SendError::ConnectTimeout`].
pub(super) async fn connect(
    endpoint: &EndpointName,
    resolver: &Resolver,
    limit: Duration,
) -> Result<TcpStream, SendError> {
    let attempt = async {
        let addresses = resolver
            .addresses()
            .await
            .map_err(|source| SendError::Dns { endpoint: endpoint.clone(), source })?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
        for address in addresses.iter() {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // A stream that is gone already says so when it is used.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(SendError::Connect { endpoint: endpoint.clone(), source: last })
    };
    timeout(limit, attempt)
        .await
        .unwrap_or_else(|_| Err(SendError::ConnectTimeout { endpoint: endpoint.clone(), after: limit }))
}

/// Whether a failure says that the endpoint is not there, and not that this machine is short of
/// sockets, so that skipping the endpoint for a while is right.
pub(super) fn is_endpoint_down(error: &SendError) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable};
    use io::ErrorKind::{NetworkUnreachable, TimedOut};
    match error {
        SendError::ConnectTimeout { .. } | SendError::Dns { .. } => true,
        SendError::Connect { source, .. } => matches!(
            source.kind(),
            ConnectionRefused
                | ConnectionReset
                | ConnectionAborted
                | HostUnreachable
                | NetworkUnreachable
                | TimedOut
        ),
        SendError::ResponseTimeout { .. }
        | SendError::Closed { .. }
        | SendError::Reset { .. }
        | SendError::Protocol { .. }
        | SendError::RequestBody { .. } => false,
    }
}
