//! A connection for a TCP service: the same endpoints, no pool.

use tokio::net::TcpStream;

use super::RequestStream;
use super::error::{EndpointName, SendError};
use super::pool::UpstreamPool;
use super::send::no_endpoint;

impl<B: RequestStream> UpstreamPool<B> {
    /// A new connection to the endpoint whose turn it is, or, if that takes none, to another.
    ///
    /// # Errors
    /// What the last endpoint tried said: [`SendError::Dns`], [`SendError::Connect`] or
    /// [`SendError::ConnectTimeout`].
    pub async fn tunnel(&self) -> Result<(TcpStream, EndpointName), SendError> {
        let mut candidates = self.turn.take(self.endpoints.len(), None);
        let mut last = None;
        while let Some((index, endpoint)) = self.candidate(&mut candidates) {
            match self.dial(endpoint).await {
                Ok(stream) => return Ok((stream, endpoint.name.clone())),
                Err(error) => last = Some(error),
            }
            candidates.failed(index);
        }
        // A policy has at least one endpoint, so there was an attempt.
        Err(last.unwrap_or_else(|| no_endpoint(&self.definition.name)))
    }
}
