//! The tables, version by version. A released file never changes.

use std::path::Path;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{SqlSafeStr, SqlitePool};

use super::StoreError;

const FILES: [(i64, &str, &str); 3] = [
    (1, "init", include_str!("migrations/0001_init.sql")),
    (
        4,
        "quic_peer",
        include_str!("migrations/0004_quic_peer.sql"),
    ),
    (5, "unheard", include_str!("migrations/0005_unheard.sql")),
];

pub(super) async fn run(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let migrations = FILES
        .into_iter()
        .map(|(version, name, sql)| {
            let kind = MigrationType::Simple;
            Migration::new(version, name.into(), kind, sql.into_sql_str(), false)
        })
        .collect();
    Migrator::with_migrations(migrations)
        .run(pool)
        .await
        .map_err(|source| StoreError::Migrate {
            path: path.to_owned(),
            source,
        })
}
