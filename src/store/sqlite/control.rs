//! Namespaces and their ledgers: finding and creating them.

use sqlx::{AssertSqlSafe, Connection, Executor, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::clock::unix_micros;
use crate::{
    event::DedupScope,
    store::{
        LedgerRecord,
        rows::{self, LEDGER_COLUMNS},
    },
};

/// The ledger of the namespace of this name.
pub(super) async fn find(
    executor: impl Executor<'_, Database = Sqlite>,
    namespace: &str,
) -> sqlx::Result<Option<LedgerRecord>> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {LEDGER_COLUMNS} FROM ledgers
         WHERE namespace_no = (SELECT namespace_no FROM namespaces WHERE name = $1)"
    )))
    .bind(namespace)
    .fetch_optional(executor)
    .await?;
    row.map(|row| rows::ledger(namespace, &row)).transpose()
}

/// Creates a namespace with its ledger; the one that is there, whatever its scope, where it was created meanwhile.
pub(super) async fn create(
    connection: &mut SqliteConnection,
    namespace: &str,
    scope: DedupScope,
) -> sqlx::Result<LedgerRecord> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if let Some(there) = find(&mut *transaction, namespace).await? {
        return Ok(there);
    }
    let namespace_no: i32 = sqlx::query_scalar(
        "UPDATE counters SET last_no = last_no + 1 WHERE name = 'namespace' RETURNING last_no",
    )
    .fetch_one(&mut *transaction)
    .await?;
    sqlx::query(
        "INSERT INTO namespaces (namespace_no, name, dedup_scope, created_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(namespace_no)
    .bind(namespace)
    .bind(scope.name())
    .bind(unix_micros())
    .execute(&mut *transaction)
    .await?;
    let created = sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO ledgers ({LEDGER_COLUMNS}) VALUES ($1, $2, $3, $4) RETURNING {LEDGER_COLUMNS}"
    )))
    .bind(namespace_no)
    .bind(Uuid::new_v4())
    .bind(scope.name())
    .bind(&rows::new_identity_key()?[..])
    .fetch_one(&mut *transaction)
    .await?;
    let created = rows::ledger(namespace, &created)?;
    transaction.commit().await?;
    Ok(created)
}
