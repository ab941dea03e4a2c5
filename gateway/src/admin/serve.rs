//! Connections of the admin API: few, bounded, and ended in good order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::control::Control;
use super::guard::Hosts;
use super::routes::router;
use super::socket::{Listener, Stream};
use crate::telemetry::metrics::Metrics;

const CONNECTIONS_MAX: usize = 64;
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long requests may take to end once the API is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// A pause when the system has no descriptors left, instead of a busy loop.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves the admin API until `shutdown`, then lets running requests end for up to five seconds.
///
/// # Errors
/// If the listener has no local address. A connection that fails concerns only itself.
pub async fn serve<C: Control>(
    listener: impl Into<Listener>,
    control: Arc<C>,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = listener.into();
    let hosts = listener.address()?.map_or(Hosts::Socket, Hosts::for_listener);
    let router = router(control, metrics, hosts);
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(listener, router, stopped, &mut connections) => {}
        () = shutdown => {}
    }
    drop(stop);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_MAX, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "admin connections cut at shutdown");
    }
    // What is left in the set is aborted as it is dropped.
    Ok(())
}

/// Takes connections for ever, at most [`CONNECTIONS_MAX`] at once; more wait in the backlog.
async fn accept(
    listener: Listener,
    router: Router,
    stopped: watch::Receiver<()>,
    connections: &mut JoinSet<()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // The semaphore is never closed, so there is always a place in the end.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok(stream) => {
                let (router, stopped) = (router.clone(), stopped.clone());
                connections.spawn(async move {
                    serve_connection(stream, router, stopped).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin connection not accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve_connection(stream: Box<dyn Stream>, router: Router, mut stopped: watch::Receiver<()>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        // Only ever ends because the sender is gone.
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "admin connection failed");
    }
}
