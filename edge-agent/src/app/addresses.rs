//! `addresses.json`: where this agent listens, for people and tests that gave port 0.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::data_dir::{DataDirError, Layout, READABLE, replace_file};

#[derive(Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// The local HTTP endpoint.
    pub(crate) http: SocketAddr,
}

/// Writes the file; every listener is bound when it appears.
pub(super) fn write(layout: &Layout, http: SocketAddr) -> Result<(), DataDirError> {
    let text = serde_json::to_vec(&Addresses { http }).expect("addresses are JSON");
    replace_file(&layout.addresses(), &text, READABLE)
}
