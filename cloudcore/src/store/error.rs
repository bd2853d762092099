//! Why the store could not do something.

use std::path::PathBuf;

use thiserror::Error;

/// An operation of the store that failed.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// The file cannot be opened.
    #[error(
        "cannot open the store {path}: is the data directory there and writable, and the disk not full?"
    )]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The tables cannot be brought up to date.
    #[error(
        "cannot bring the tables of {path} up to date: was it written by a newer cloudcore? Then start that one"
    )]
    Migrate {
        /// The database file.
        path: PathBuf,
        /// What the migrator said.
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("a statement of the store failed")]
    Statement(#[from] sqlx::Error),
    /// A row holds what no cloudcore wrote.
    #[error("the store holds a damaged {what} for `{object}`: restore a backup")]
    Damaged {
        /// The kind of value.
        what: &'static str,
        /// Whose value it is.
        object: String,
    },
}
