//! The agent's small working state: a few named values, each durable when [`StateStore::put`] returns.
//!
//! A damaged value reads as absent and is reported; whoever needs it more safely keeps a mirror file.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use millwright_proto::ids::Lineage;

use super::database::{Database, Layout, Purpose};
use super::recovery::{self, DirectoryLock};
use super::schema::{Kind, Row};
use super::{RecoveryNote, StoreError};

/// Longest key: a word or two.
pub const STATE_KEY_BYTES_MAX: usize = 128;

/// Longest value: working state is small by definition.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Nothing here belongs to a lineage.
const NO_LINEAGE: Lineage = Lineage::from_bytes([0; 16]);

/// Same room as the outbox leaves; see [`super::OutboxLimits`].
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Handle; clones share the store.
#[derive(Clone)]
pub struct StateStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    /// Last, so that the store is closed before another process may have it.
    _lock: DirectoryLock,
}

impl StateStore {
    /// Opens or makes the store in `directory`.
    ///
    /// # Errors
    /// When the directory cannot be used or another process uses it. Damage is in the notes.
    pub async fn open(directory: PathBuf) -> Result<(Self, Vec<RecoveryNote>), StoreError> {
        blocking(move || {
            let lock = DirectoryLock::acquire(&directory)?;
            let opened = recovery::open(&directory, Layout::Plain, FREE_BYTES_MIN, damaged_keys)?;
            let mut notes: Vec<_> = opened.note.into_iter().collect();
            if !opened.contents.is_empty() {
                notes.push(RecoveryNote::Lost {
                    numbers: opened.contents.len() as u64,
                    directory: directory.clone(),
                });
                let mut batch = sled::Batch::default();
                opened
                    .contents
                    .iter()
                    .for_each(|key| batch.remove(&key[..]));
                opened.database.commit(batch, Purpose::Store)?;
            }
            let inner = Arc::new(Inner {
                database: opened.database,
                _lock: lock,
            });
            Ok((Self { inner }, notes))
        })
        .await
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        blocking(move || {
            let value = inner.database.get(key.as_bytes())?;
            let value = value
                .as_deref()
                .and_then(|bytes| decode(key.as_bytes(), bytes));
            Ok(value.map(Bytes::copy_from_slice))
        })
        .await
    }

    /// Stores `value` under `key`.
    ///
    /// # Errors
    /// When either is too long or the disk refuses.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<(), StoreError> {
        for (length, limit) in [
            (key.len(), STATE_KEY_BYTES_MAX),
            (value.len(), VALUE_BYTES_MAX),
        ] {
            if length > limit {
                return Err(StoreError::TooLarge { length, limit });
            }
        }
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        blocking(move || {
            let mut batch = sled::Batch::default();
            batch.insert(key.as_bytes(), encode(key.as_bytes(), &value));
            inner.database.commit(batch, Purpose::Store)
        })
        .await
    }

    /// Forgets `key`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        blocking(move || {
            let mut batch = sled::Batch::default();
            batch.remove(key.as_bytes());
            inner.database.commit(batch, Purpose::Store)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let joined = tokio::task::spawn_blocking(run).await;
    joined.map_err(|_panicked_or_shut_down| StoreError::Closed)?
}

fn damaged_keys(database: &Database) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut damaged = Vec::new();
    database.scan(|key, value| {
        if decode(key, value).is_none() {
            damaged.push(key.to_vec());
        }
    })?;
    Ok(damaged)
}

/// The key is part of what the CRC covers: `first` is its length, and it stands before the value.
fn encode(key: &[u8], value: &[u8]) -> Vec<u8> {
    Row {
        kind: Kind::State,
        stream: 0,
        lineage: NO_LINEAGE,
        first: key.len() as u64,
        last: value.len() as u64,
        payload: &[key, value].concat(),
    }
    .encode()
}

fn decode<'a>(key: &[u8], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let row = Row::decode(bytes)?;
    let sound = row.kind == Kind::State && row.first == key.len() as u64;
    row.payload.strip_prefix(key).filter(|_| sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn values_survive_reopening_and_damage_reads_as_absent() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        let (store, notes) = StateStore::open(directory.clone()).await.unwrap();
        assert_eq!(notes, []);
        store.put("slot", Bytes::from_static(b"v1")).await.unwrap();
        store.put("other", Bytes::from_static(b"x")).await.unwrap();
        store.remove("other").await.unwrap();
        // Under the key `evil` stands the row of another key.
        let mut batch = sled::Batch::default();
        batch.insert("evil", encode(b"slot", b"v1"));
        store.inner.database.commit(batch, Purpose::Store).unwrap();
        drop(store);
        let (store, notes) = StateStore::open(directory.clone()).await.unwrap();
        let numbers = 1;
        assert_eq!(notes, [RecoveryNote::Lost { numbers, directory }]);
        assert_eq!(
            store.get("slot").await.unwrap().as_deref(),
            Some(&b"v1"[..])
        );
        assert_eq!(store.get("other").await.unwrap(), None);
        assert_eq!(store.get("evil").await.unwrap(), None);
    }
}
