//! Which versions of each model were active last and which were given up, kept between runs in the
//! working state.
//!
//! A node that starts without an uplink serves what stands here. When the working state was lost,
//! the packages on disk, each verified before it got there, are taken instead, oldest first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use edge_core::models::{Failure, FailureClass, GivenUp, Observed, PackageId};
use millwright_proto::Digest;
use millwright_proto::ids::{Generation, ModelName, ModelVersion, Version};
use serde::{Deserialize, Serialize};

use super::chain;
use crate::fetch::Shelf;
use crate::journal::{Journal, Severity};
use crate::storage::{Part, StorageHealth};
use crate::store::{StateStore, StoreError};

const ORDER_KEY: &str = "activations";
const GIVEN_UP_KEY: &str = "given-up";

/// Longest wait for the working state at start. It is a few kilobytes; when it needs repair the node
/// serves from what is on the shelf meanwhile.
const OPEN_LIMIT: Duration = Duration::from_secs(2);

/// One package in the stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    version: Version,
    digest: Digest,
}

/// One verdict in the stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    model: ModelName,
    version: Version,
    digest: Digest,
    reason: String,
    message: String,
    generation: u64,
    was_active: bool,
}

/// Per model, newest last.
type Order = BTreeMap<ModelName, Vec<PackageId>>;

/// The working state: open, or not yet.
enum Keeper {
    /// Keeps nothing between runs.
    Nobody,
    /// The store.
    Open(StateStore),
    /// Where the store will be once the disk lets it be opened.
    Closed(PathBuf),
}

/// The order of activations and the verdicts, and where they are kept.
pub(super) struct Activations {
    keeper: Keeper,
    stored: Order,
    given_up: Vec<GivenUp>,
}

impl Activations {
    /// Keeps nothing between runs.
    pub(super) fn forgetful() -> Self {
        Self {
            keeper: Keeper::Nobody,
            stored: Order::new(),
            given_up: Vec::new(),
        }
    }

    /// Reads what the last run stored in `directory`. When the store cannot be opened now, the
    /// packages on the shelf are taken instead, and it is tried again with the next change.
    pub(super) async fn load(
        directory: PathBuf,
        shelf: &Shelf,
        storage: &StorageHealth,
        journal: &Journal,
    ) -> Self {
        let opened = tokio::time::timeout(OPEN_LIMIT, StateStore::open(directory.clone())).await;
        let opened = opened.unwrap_or_else(|_elapsed| {
            Err(StoreError::Stuck {
                operation: "open",
                directory: directory.clone(),
                how: "takes long",
            })
        });
        storage.note(Part::WorkingState, &told(&opened));
        let (keeper, order, given_up) = match opened {
            Ok((state, notes)) => {
                for note in notes {
                    let note = note.to_string();
                    journal.record(Severity::Warning, "StoreRecovered", None, &note);
                }
                let order = read(&state, ORDER_KEY).await;
                let given_up = read(&state, GIVEN_UP_KEY).await;
                (
                    Keeper::Open(state),
                    order.as_deref().and_then(decode),
                    given_up
                        .as_deref()
                        .and_then(decode_given_up)
                        .unwrap_or_default(),
                )
            }
            Err(_told) => (Keeper::Closed(directory), None, Vec::new()),
        };
        let stored = order.unwrap_or_else(|| {
            shelf.survey().unwrap_or_else(|error| {
                tracing::warn!("looking through the packages on disk failed: {error}");
                Order::new()
            })
        });
        Self {
            keeper,
            stored,
            given_up,
        }
    }

    pub(super) fn restored(&self) -> &Order {
        &self.stored
    }

    pub(super) fn given_up(&self) -> &[GivenUp] {
        &self.given_up
    }

    /// Stores what changed. What failed is tried again with the next call.
    pub(super) async fn keep(&mut self, observed: &Observed) -> Result<(), String> {
        let order: Order = observed
            .slots
            .iter()
            .filter(|(_, slot)| !slot.activated.is_empty())
            .map(|(model, slot)| (model.clone(), slot.activated.clone()))
            .collect();
        let given_up = observed.given_up();
        if order == self.stored && given_up == self.given_up {
            return Ok(());
        }
        let state = match &self.keeper {
            Keeper::Nobody => return Ok(()),
            Keeper::Open(state) => state.clone(),
            Keeper::Closed(directory) => {
                let opened = StateStore::open(directory.clone()).await;
                let (state, _notes) = opened.map_err(|error| chain(&error))?;
                self.keeper = Keeper::Open(state.clone());
                state
            }
        };
        let put = async |key, value| {
            let put = state.put(key, value).await;
            put.map_err(|error| chain(&error))
        };
        put(GIVEN_UP_KEY, encode_given_up(&given_up)).await?;
        self.given_up = given_up;
        put(ORDER_KEY, encode(&order)).await?;
        self.stored = order;
        Ok(())
    }
}

fn told<T>(opened: &Result<T, StoreError>) -> Result<(), String> {
    match opened {
        Ok(_) => Ok(()),
        Err(error) => Err(chain(error)),
    }
}

async fn read(state: &StateStore, key: &str) -> Option<Bytes> {
    state.get(key).await.unwrap_or_else(|error| {
        tracing::warn!("`{key}` cannot be read from the working state: {error}");
        None
    })
}

fn encode_given_up(given_up: &[GivenUp]) -> Bytes {
    let verdicts: Vec<Verdict> = given_up
        .iter()
        .map(|verdict| Verdict {
            model: verdict.package.version.model.clone(),
            version: verdict.package.version.version.clone(),
            digest: verdict.package.digest,
            reason: verdict.failure.class.reason().to_owned(),
            message: verdict.failure.message.clone(),
            generation: verdict.generation.get(),
            was_active: verdict.was_active,
        })
        .collect();
    serde_json::to_vec(&verdicts)
        .expect("names, numbers and texts are JSON")
        .into()
}

fn decode_given_up(bytes: &[u8]) -> Option<Vec<GivenUp>> {
    let verdicts: Vec<Verdict> = serde_json::from_slice(bytes).ok()?;
    let known = verdicts.into_iter().filter_map(|verdict| {
        Some(GivenUp {
            package: PackageId {
                version: ModelVersion {
                    model: verdict.model,
                    version: verdict.version,
                },
                digest: verdict.digest,
            },
            failure: Failure {
                // A class of a later agent is judged anew.
                class: FailureClass::remembered(&verdict.reason)?,
                message: verdict.message,
            },
            generation: Generation::new(verdict.generation),
            was_active: verdict.was_active,
        })
    });
    Some(known.collect())
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
            version: ModelVersion {
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
