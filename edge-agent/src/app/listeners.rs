//! The sockets on which requests are taken: HTTP, gRPC, and the Unix socket.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use super::AppError;
use super::stop::Stop;
use crate::config::{Listen, RunConfig};
use crate::serving;

/// Longest time requests in flight get when the agent ends.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// All of them, serving.
pub(super) struct Listeners {
    pub(super) http: SocketAddr,
    pub(super) grpc: Option<SocketAddr>,
    pub(super) socket: Option<PathBuf>,
    tasks: Vec<JoinHandle<()>>,
}

impl Listeners {
    /// Listens where `config` says; `usual_socket` is where the Unix socket is when it says nothing.
    pub(super) async fn start(
        config: &RunConfig,
        usual_socket: Option<PathBuf>,
        router: Router,
        stop: &Stop,
    ) -> Result<Self, AppError> {
        let (listener, http) = bind("http", config.http).await?;
        let mut tasks = vec![serve(listener, router.clone(), stop)];
        tracing::info!(address = %http, "serving HTTP");
        let mut grpc = None;
        if let Some(address) = config.endpoints.grpc {
            let (listener, address) = bind("grpc", address).await?;
            tasks.push(serve(listener, router.clone(), stop));
            tracing::info!(%address, "serving gRPC");
            grpc = Some(address);
        }
        let mode = config.endpoints.socket_mode;
        let opened = match (&config.endpoints.socket, usual_socket) {
            (Listen::Off, _) | (Listen::Usual, None) => None,
            (Listen::At(path), _) => Some((bind_unix(path, mode), path.clone())),
            (Listen::Usual, Some(path)) => match bind_unix(&path, mode) {
                Ok(listener) => Some((Ok(listener), path)),
                Err(error) => {
                    // A data directory that can only be read, or with a long path, is no reason not to serve.
                    tracing::warn!("no requests are taken at {}: {error}", path.display());
                    None
                }
            },
        };
        let mut socket = None;
        if let Some((listener, path)) = opened {
            let listener = listener.map_err(|source| AppError::Socket {
                path: path.clone(),
                source,
            })?;
            tasks.push(serve_unix(listener, router, stop));
            tracing::info!(socket = %path.display(), "serving HTTP and gRPC");
            socket = Some(path);
        }
        Ok(Self {
            http,
            grpc,
            socket,
            tasks,
        })
    }

    /// Waits for the requests in flight.
    pub(super) async fn end(self) {
        let all = async {
            for task in self.tasks {
                // An error means that it panicked, which the log has.
                let _ = task.await;
            }
        };
        if tokio::time::timeout(DRAIN_LIMIT, all).await.is_err() {
            tracing::warn!("requests are in flight after {DRAIN_LIMIT:?}; they are cut off");
        }
        if let Some(path) = &self.socket {
            // A file that stays is replaced at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn bind(
    key: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), AppError> {
    let refused = |source| AppError::Listen {
        key,
        address,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

/// Replaces the socket of an agent that was killed; whatever else is at `path` stays.
fn bind_unix(path: &Path, mode: u32) -> std::io::Result<UnixListener> {
    let left = std::fs::symlink_metadata(path).ok();
    if left.is_some_and(|left| left.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(std::io::Error::other("another agent listens there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn serve(listener: TcpListener, router: Router, stop: &Stop) -> JoinHandle<()> {
    let serving = serving::serve(listener, router, stop.wait());
    tokio::spawn(async move { told(serving.await) })
}

fn serve_unix(listener: UnixListener, router: Router, stop: &Stop) -> JoinHandle<()> {
    let serving = serving::serve_unix(listener, router, stop.wait());
    tokio::spawn(async move { told(serving.await) })
}

fn told(ended: std::io::Result<()>) {
    if let Err(error) = ended {
        tracing::error!("an endpoint ended: {error}");
    }
}
