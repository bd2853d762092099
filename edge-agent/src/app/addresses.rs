//! `addresses.json`: where this agent listens, for people and tests that gave port 0.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::listeners::Listeners;
use crate::control::chain;
use crate::data_dir::{DataDirError, Layout, READABLE, replace_file};
use crate::storage::{Part, StorageHealth};

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// The local HTTP endpoint.
    pub(crate) http: SocketAddr,
    /// The gRPC endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) grpc: Option<SocketAddr>,
    /// The Unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<PathBuf>,
}

impl Addresses {
    pub(super) fn of(listeners: &Listeners) -> Self {
        Self {
            http: listeners.http,
            grpc: listeners.grpc,
            socket: listeners.socket.clone(),
        }
    }
}

/// How soon it is tried again: a person frees space and looks.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Writes the file; every listener is bound when it appears.
pub(super) fn write(layout: &Layout, addresses: &Addresses) -> Result<(), DataDirError> {
    let text = serde_json::to_vec(addresses).expect("addresses are JSON");
    replace_file(&layout.addresses(), &text, READABLE)
}

/// Writes the file as soon as the disk lets it; that is also the proof that the data directory as a
/// whole can be written.
pub(super) async fn write_when_possible(
    layout: Layout,
    addresses: Addresses,
    storage: StorageHealth,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    loop {
        let written = tokio::task::block_in_place(|| write(&layout, &addresses));
        let told = written.map_err(|error| chain(&error));
        storage.note(Part::DataDirectory, &told);
        if told.is_ok() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(WRITE_AGAIN_AFTER) => {}
            () = &mut stop => return,
        }
    }
}
