//! The schema of the file.

use sqlx::{SqliteConnection, migrate::Migrator};
use tracing::info;

use super::error::open_error;
use crate::store::{
    OpenError,
    open::{Applied, check_version, version_of},
};

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/sqlite");
    migrator.dangerous_set_table_name("schema_versions");
    migrator
}

/// The version of the schema; 0 in an empty file.
pub(super) async fn version(connection: &mut SqliteConnection) -> Result<i64, OpenError> {
    Ok(version_of(&applied(connection).await?))
}

/// The migrations that the database has had, oldest first.
async fn applied(connection: &mut SqliteConnection) -> Result<Vec<Applied>, OpenError> {
    let exists: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_versions'")
            .fetch_optional(&mut *connection)
            .await
            .map_err(open_error)?;
    if exists.is_none() {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT version, checksum FROM schema_versions ORDER BY version")
        .fetch_all(connection)
        .await
        .map_err(open_error)
}

/// Refuses a file that has tables and none of ours: another program keeps its data there.
async fn check_nobody_elses(connection: &mut SqliteConnection) -> Result<(), OpenError> {
    let table: Option<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('schema_versions', 'sqlite_sequence')",
    )
    .fetch_optional(connection)
    .await
    .map_err(open_error)?;
    match table {
        None => Ok(()),
        Some(table) => Err(OpenError::Unsuitable(format!(
            "the file is the database of another program (it has the table {table}): give another file"
        ))),
    }
}

/// Brings the schema up to date, or refuses one that is not, where `migrate` is false.
pub(super) async fn bring_up_to_date(
    connection: &mut SqliteConnection,
    migrate: bool,
) -> Result<(), OpenError> {
    let migrator = migrator();
    let found = applied(connection).await?;
    if found.is_empty() {
        check_nobody_elses(connection).await?;
    }
    if !check_version(&found, &migrator, migrate)? {
        migrator.run_direct(None, connection, false).await.map_err(OpenError::Migration)?;
        info!(version = version(connection).await?, "migrated the schema");
    }
    Ok(())
}
