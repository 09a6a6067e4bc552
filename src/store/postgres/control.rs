//! Namespaces and their ledgers: finding and creating them.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::{
    event::DedupScope,
    store::{
        LedgerRecord,
        rows::{self, LEDGER_COLUMNS},
    },
};

/// The ledger of the namespace of this name.
pub(super) async fn find(
    connection: &mut PgConnection,
    namespace: &str,
) -> sqlx::Result<Option<LedgerRecord>> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {LEDGER_COLUMNS} FROM sekali.ledgers
         WHERE namespace_no = (SELECT namespace_no FROM sekali.namespaces WHERE name = $1)"
    )))
    .bind(namespace)
    .fetch_optional(connection)
    .await?;
    row.map(|row| rows::ledger(namespace, &row)).transpose()
}

/// Creates a namespace with its ledger; the one that is there where another node was faster, whatever its scope.
pub(super) async fn create(
    connection: &mut PgConnection,
    namespace: &str,
    scope: DedupScope,
) -> sqlx::Result<LedgerRecord> {
    let mut transaction = connection.begin().await?;
    // Whoever holds this row creates alone.
    let namespace_no: i32 = sqlx::query_scalar(
        "UPDATE sekali.counters SET last_no = last_no + 1 WHERE name = 'namespace' RETURNING last_no",
    )
    .fetch_one(&mut *transaction)
    .await?;
    if let Some(there) = find(&mut transaction, namespace).await? {
        return Ok(there);
    }
    sqlx::query("INSERT INTO sekali.namespaces (namespace_no, name, dedup_scope) VALUES ($1, $2, $3)")
        .bind(namespace_no)
        .bind(namespace)
        .bind(scope.name())
        .execute(&mut *transaction)
        .await?;
    let created = sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO sekali.ledgers ({LEDGER_COLUMNS}) VALUES ($1, $2, $3, $4) RETURNING {LEDGER_COLUMNS}"
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
