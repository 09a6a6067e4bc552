//! Namespaces and their ledgers: finding, creating and deleting them.

use sqlx::{AssertSqlSafe, Connection, Executor, Sqlite, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::clock::unix_micros;
use crate::{
    event::DedupScope,
    store::{
        CreateOutcome, LedgerRecord, NamespaceInfo, NamespaceQuery,
        rows::{self, LEDGER_COLUMNS},
    },
};

/// Every namespace as it is shown.
const NAMESPACES: &str = "
    SELECT namespaces.name, namespaces.created_at, ledgers.* FROM namespaces
    CROSS JOIN ledgers ON ledgers.namespace_no = namespaces.namespace_no";

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

/// The namespace of this name.
pub(super) async fn show(
    executor: impl Executor<'_, Database = Sqlite>,
    namespace: &str,
) -> sqlx::Result<Option<NamespaceInfo>> {
    sqlx::query_as(AssertSqlSafe(format!("{NAMESPACES} WHERE name = $1")))
        .bind(namespace)
        .fetch_optional(executor)
        .await
}

/// One page of namespaces, by name.
pub(super) async fn list(pool: &SqlitePool, query: &NamespaceQuery) -> sqlx::Result<Vec<NamespaceInfo>> {
    sqlx::query_as(AssertSqlSafe(format!(
        "{NAMESPACES} WHERE name > $1 AND name >= $2 AND substr(name, 1, length($2)) = $2 ORDER BY name LIMIT $3"
    )))
    .bind(&query.after)
    .bind(&query.prefix)
    .bind(query.limit as i64)
    .fetch_all(pool)
    .await
}

/// Creates a namespace with its ledger, where there is none of that name and room for it.
pub(super) async fn create(
    connection: &mut SqliteConnection,
    namespace: &str,
    scope: DedupScope,
    namespaces_max: usize,
) -> sqlx::Result<CreateOutcome> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if let Some(there) = show(&mut *transaction, namespace).await? {
        transaction.rollback().await?;
        return Ok(CreateOutcome::There(there));
    }
    let namespaces: i64 =
        sqlx::query_scalar("SELECT count(name) FROM namespaces").fetch_one(&mut *transaction).await?;
    if namespaces as usize >= namespaces_max {
        transaction.rollback().await?;
        return Ok(CreateOutcome::Full);
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
    sqlx::query(AssertSqlSafe(format!("INSERT INTO ledgers ({LEDGER_COLUMNS}) VALUES ($1, $2, $3, $4)")))
        .bind(namespace_no)
        .bind(Uuid::new_v4())
        .bind(scope.name())
        .bind(&rows::new_identity_key()?[..])
        .execute(&mut *transaction)
        .await?;
    let created = show(&mut *transaction, namespace).await?.ok_or(sqlx::Error::RowNotFound)?;
    transaction.commit().await?;
    Ok(CreateOutcome::Created(created))
}

/// Takes name and ledger from a namespace, both or none. False if there is none of that name.
pub(super) async fn delete(connection: &mut SqliteConnection, namespace: &str) -> sqlx::Result<bool> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let namespace_no: Option<i32> = sqlx::query_scalar(
        "UPDATE namespaces SET name = NULL, state = 'deleting' WHERE name = $1 RETURNING namespace_no",
    )
    .bind(namespace)
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(namespace_no) = namespace_no {
        delete_ledger(&mut transaction, namespace_no).await?;
    }
    transaction.commit().await?;
    Ok(namespace_no.is_some())
}

/// Whoever appends or reads after this finds that the ledger is gone.
pub(super) async fn delete_ledger(connection: &mut SqliteConnection, namespace_no: i32) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM ledgers WHERE namespace_no = $1").bind(namespace_no).execute(connection).await?;
    Ok(())
}

/// Asks for a row that every database of this schema has.
pub(super) async fn ping(pool: &SqlitePool) -> sqlx::Result<()> {
    let _: i32 =
        sqlx::query_scalar("SELECT last_no FROM counters WHERE name = 'namespace'").fetch_one(pool).await?;
    Ok(())
}
