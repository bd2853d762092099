//! Connections of the API and metrics ports: accept, TLS, HTTP/1.1, drain.
//!
//! Every connection holds a permit, has to finish its handshake and each request head in time, and on
//! shutdown finishes the request it is in. A failed connection is the peer's affair and ends alone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use millwright_identity::ServerCredentials;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::signals::draining;

/// Connections at the same time on one port. A dashboard holds six; each costs about 40 KiB.
const CONNECTIONS_MAX: usize = 1024;

/// A TLS handshake takes three round trips; a satellite link has 0.7 s each.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// From the end of one answer to the whole head of the next request: also ends idle connections.
const HEAD_WITHIN: Duration = Duration::from_secs(60);

/// Requests in flight may take this long to finish once the server drains.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait after `accept` failed, which happens when the process is out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a port speaks below HTTP.
#[derive(Clone)]
pub(crate) enum Security {
    /// Nothing; for loopback.
    Plain,
    /// TLS.
    Tls(TlsAcceptor),
}

impl Security {
    /// TLS as this server, for HTTP/1.1.
    pub(crate) fn tls(own: &Arc<ServerCredentials>) -> Self {
        let mut config = millwright_identity::renewed_server_config(own);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self::Tls(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Serves `router` until `shutdown`, then drains.
pub(crate) async fn serve(
    listener: TcpListener,
    security: Security,
    router: Router,
    mut shutdown: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // Both are closed only with this function.
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((listener.accept().await, permit))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = draining(&mut shutdown) => break,
        };
        match accepted {
            Some((Ok((stream, _)), permit)) => {
                let work = connection(stream, security.clone(), router.clone(), shutdown.clone());
                connections.spawn(async move {
                    work.await;
                    drop(permit);
                });
            }
            Some((Err(fault), _)) => {
                tracing::warn!(error = %fault, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => break,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_WITHIN, drained).await.is_err() {
        tracing::warn!("connections that did not end in time were cut");
    }
}

async fn connection(
    stream: TcpStream,
    security: Security,
    router: Router,
    shutdown: watch::Receiver<bool>,
) {
    // Answers are small; waiting to fill packets only delays them.
    let _ = stream.set_nodelay(true);
    match security {
        Security::Plain => exchange(stream, router, shutdown).await,
        Security::Tls(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream));
            match handshake.await {
                Ok(Ok(stream)) => exchange(stream, router, shutdown).await,
                Ok(Err(fault)) => tracing::debug!(error = %fault, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

async fn exchange<S>(stream: S, router: Router, mut shutdown: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(|request: Request<Incoming>| request.map(Body::new));
    let service = TowerToHyperService::new(service.map_err(|never: Infallible| match never {}));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(error = %fault, "a connection ended early");
    }
}

#[cfg(test)]
mod tests;
