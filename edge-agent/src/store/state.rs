//! The agent's small working state: a few named values, each durable when [`StateStore::put`] returns.
//!
//! A damaged value reads as absent and is reported; whoever needs it more safely keeps a mirror file.
//! sled may also forget its last writes without a word. So every write carries a number, the highest
//! stands in a file of its own ([`super::mark`]), and the difference is reported.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use edge_core::outbox::{Stream, Wear};
use millwright_proto::ids::Lineage;

use super::database::{Database, Layout, Purpose};
use super::mark::{Confirmed, Mark, Reached};
use super::recovery::{self, DirectoryLock, aside};
use super::schema::{Kind, Row};
use super::{RecoveryNote, StoreError};

/// Longest key: a word or two.
pub const STATE_KEY_BYTES_MAX: usize = 128;

/// Longest value: working state is small by definition.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Nothing here belongs to a lineage.
const NO_LINEAGE: Lineage = Lineage::from_bytes([0; 16]);

/// Key of the number of the last write; no caller's key starts like this.
const WRITES_KEY: &str = "\0writes";

/// Same room as the outbox leaves; see [`super::OutboxLimits`].
const FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Handle; clones share the store.
#[derive(Clone)]
pub struct StateStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    /// Owned by whoever writes, from the commit to the mark of it.
    writes: Mutex<Writes>,
    /// Last, so that the store is closed before another process may have it.
    _lock: DirectoryLock,
}

/// How often the store was written, and where that stands a second time.
struct Writes {
    count: u64,
    mark: Mark,
}

impl Inner {
    /// Makes `batch` durable, and that there was one more.
    fn commit(&self, mut batch: sled::Batch) -> Result<(), StoreError> {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let count = writes.count + 1;
        batch.insert(
            WRITES_KEY,
            encode(WRITES_KEY.as_bytes(), &count.to_be_bytes()),
        );
        self.database.commit(batch, Purpose::Store)?;
        writes.count = count;
        let reached = Reached {
            next: count,
            offered_up_to: 0,
        };
        let confirmed = Confirmed::from([(Stream::Events, reached)]);
        let noted = writes
            .mark
            .write(NO_LINEAGE, &confirmed, Wear::default())
            .and_then(|()| writes.mark.sync());
        if let Err(error) = noted {
            // It only helps to notice damage, and the commit before it is durable.
            tracing::warn!(%error, "cannot note how far the working state is");
        }
        Ok(())
    }
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
            if let Some(RecoveryNote::Quarantined { moved_to, .. }) = &opened.note {
                aside::declared(moved_to);
            }
            let mut notes: Vec<_> = opened.note.into_iter().collect();
            let (mark, confirmed, _) = Mark::open(&directory, NO_LINEAGE)?;
            let found = count(&opened.database)?;
            let marked = confirmed
                .get(&Stream::Events)
                .map_or(0, |reached| reached.next);
            let inner = Arc::new(Inner {
                database: opened.database,
                writes: Mutex::new(Writes {
                    count: found.max(marked),
                    mark,
                }),
                _lock: lock,
            });
            let damaged = opened.contents.len() as u64;
            let forgotten = marked.saturating_sub(found);
            if damaged > 0 || forgotten > 0 {
                let mut batch = sled::Batch::default();
                opened
                    .contents
                    .iter()
                    .for_each(|key| batch.remove(&key[..]));
                inner.commit(batch)?;
                notes.push(RecoveryNote::Lost {
                    // A damaged counter shows as both.
                    numbers: damaged.max(forgotten),
                    directory,
                });
            }
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
            inner.commit(batch)
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
            inner.commit(batch)
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

/// The number of the last write that the store still has.
fn count(database: &Database) -> Result<u64, StoreError> {
    let row = database.get(WRITES_KEY.as_bytes())?;
    let value = row
        .as_deref()
        .and_then(|bytes| decode(WRITES_KEY.as_bytes(), bytes))
        .and_then(|value| value.try_into().ok());
    Ok(value.map_or(0, u64::from_be_bytes))
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
