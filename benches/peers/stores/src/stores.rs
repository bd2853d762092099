//! The peers, each as durable as it can be told to be: a record is on disk when `append` returns.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use rusqlite::Connection;

/// One store.
pub trait Store: Send + Sync {
    /// Appends records in one commit.
    fn append(&self, records: &[Vec<u8>]) -> Result<()>;

    /// Reads how many records there are.
    fn count(&self) -> Result<u64>;
}

/// SQLite in WAL mode with `synchronous=FULL`: every commit is synced.
pub struct Sqlite(Mutex<Connection>);

impl Sqlite {
    pub fn open(directory: &Path) -> Result<Self> {
        let connection = Connection::open(directory.join("outbox.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute(
            "CREATE TABLE IF NOT EXISTS record (sequence INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL)",
            (),
        )?;
        Ok(Self(Mutex::new(connection)))
    }
}

impl Store for Sqlite {
    fn append(&self, records: &[Vec<u8>]) -> Result<()> {
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        for record in records {
            transaction
                .prepare_cached("INSERT INTO record (payload) VALUES (?1)")?
                .execute([record])?;
        }
        Ok(transaction.commit()?)
    }

    fn count(&self) -> Result<u64> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count: i64 =
            connection.query_row("SELECT count(*) FROM record", (), |row| row.get(0))?;
        Ok(u64::try_from(count)?)
    }
}

const RECORDS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("records");

/// redb with its default durability: every commit is synced.
pub struct Redb {
    database: Database,
    next: Mutex<u64>,
}

impl Redb {
    pub fn open(directory: &Path) -> Result<Self> {
        let database = Database::create(directory.join("outbox.redb"))?;
        let transaction = database.begin_write()?;
        let next = transaction.open_table(RECORDS)?.len()?;
        transaction.commit()?;
        let next = Mutex::new(next);
        Ok(Self { database, next })
    }
}

impl Store for Redb {
    fn append(&self, records: &[Vec<u8>]) -> Result<()> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for record in records {
                table.insert(*next, record.as_slice())?;
                *next += 1;
            }
        }
        Ok(transaction.commit()?)
    }

    fn count(&self) -> Result<u64> {
        Ok(self.database.begin_read()?.open_table(RECORDS)?.len()?)
    }
}

/// sled as its documentation shows it: a flush after each insert (which is not an fsync).
pub struct Sled(sled::Db);

impl Sled {
    pub fn open(directory: &Path) -> Result<Self> {
        Ok(Self(sled::open(directory.join("outbox.sled"))?))
    }
}

impl Store for Sled {
    fn append(&self, records: &[Vec<u8>]) -> Result<()> {
        for record in records {
            self.0
                .insert(self.0.generate_id()?.to_be_bytes(), record.as_slice())?;
        }
        self.0.flush()?;
        Ok(())
    }

    fn count(&self) -> Result<u64> {
        Ok(self.0.len() as u64)
    }
}
