//! Which versions of each model were active last, kept between runs in the working state.
//!
//! A node that starts without an uplink serves what stands here. When the working state was lost,
//! the packages on disk, each verified before it got there, are taken instead, oldest first.

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_core::models::{Observed, PackageId};
use millwright_proto::ids::ModelName;
use serde::{Deserialize, Serialize};

use crate::fetch::Shelf;
use crate::store::{StateStore, StoreError};

const KEY: &str = "activations";

/// One package in the stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    version: millwright_proto::ids::Version,
    digest: millwright_proto::Digest,
}

/// Per model, newest last.
type Order = BTreeMap<ModelName, Vec<PackageId>>;

/// The order of activations and where it is kept.
pub(super) struct Activations {
    state: Option<StateStore>,
    stored: Order,
}

impl Activations {
    /// Keeps nothing between runs.
    pub(super) fn forgetful() -> Self {
        Self {
            state: None,
            stored: Order::new(),
        }
    }

    /// Reads what the last run stored.
    pub(super) async fn load(state: StateStore, shelf: &Shelf) -> Self {
        let stored = match state.get(KEY).await {
            Ok(Some(bytes)) => decode(&bytes),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!("the order of activations cannot be read: {error}");
                None
            }
        };
        let stored = stored.unwrap_or_else(|| {
            shelf.survey().unwrap_or_else(|error| {
                tracing::warn!("looking through the packages on disk failed: {error}");
                Order::new()
            })
        });
        Self {
            state: Some(state),
            stored,
        }
    }

    pub(super) fn restored(&self) -> &Order {
        &self.stored
    }

    /// Stores the order when it changed.
    pub(super) async fn keep(&mut self, observed: &Observed) -> Result<(), StoreError> {
        let order: Order = observed
            .slots
            .iter()
            .filter(|(_, slot)| !slot.activated.is_empty())
            .map(|(model, slot)| (model.clone(), slot.activated.clone()))
            .collect();
        if order == self.stored {
            return Ok(());
        }
        if let Some(state) = &self.state {
            state.put(KEY, encode(&order)).await?;
        }
        self.stored = order;
        Ok(())
    }
}

fn encode(order: &Order) -> Bytes {
    let entries: BTreeMap<&ModelName, Vec<Entry>> = order
        .iter()
        .map(|(model, packages)| {
            let entries = packages.iter().map(|package| Entry {
                version: package.version.version.clone(),
                digest: package.digest,
            });
            (model, entries.collect())
        })
        .collect();
    serde_json::to_vec(&entries)
        .expect("names and digests are JSON")
        .into()
}

fn decode(bytes: &[u8]) -> Option<Order> {
    let entries: BTreeMap<ModelName, Vec<Entry>> = serde_json::from_slice(bytes).ok()?;
    let order = entries.into_iter().map(|(model, entries)| {
        let packages = entries.into_iter().map(|entry| PackageId {
            version: millwright_proto::ids::ModelVersion {
                model: model.clone(),
                version: entry.version,
            },
            digest: entry.digest,
        });
        (model.clone(), packages.collect())
    });
    Some(order.collect())
}

#[cfg(test)]
mod tests {
    use millwright_proto::Digest;

    use super::*;

    #[test]
    fn the_order_survives_its_stored_form() {
        let package = |version: &str| PackageId {
            version: format!("detector@{version}").parse().unwrap(),
            digest: Digest::of(version.as_bytes()),
        };
        let model = "detector".parse().unwrap();
        let order = Order::from([(model, vec![package("1.0.0"), package("2.0.0")])]);
        assert_eq!(decode(&encode(&order)), Some(order));
        assert_eq!(decode(b"{"), None);
    }
}
