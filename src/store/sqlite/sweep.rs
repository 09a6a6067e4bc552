//! Removes the rows of deleted namespaces, in small jobs.

use sqlx::{AssertSqlSafe, Connection, Executor, Sqlite, SqliteConnection};

use super::{control::delete_ledger, ledger::place};
use crate::store::Swept;

/// Removes up to `rows_max` rows of one namespace, and the namespace itself where these were the last ones.
pub(super) async fn sweep(connection: &mut SqliteConnection, rows_max: usize) -> sqlx::Result<Swept> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // Any, so that one whose jobs fail does not keep the others waiting.
    let namespace_no: Option<i32> = sqlx::query_scalar(
        "SELECT namespace_no FROM namespaces WHERE name IS NULL ORDER BY random() LIMIT 1",
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(namespace_no) = namespace_no else {
        transaction.rollback().await?;
        return Ok(Swept::default());
    };
    // Where the deletion ended before its second step.
    delete_ledger(&mut transaction, namespace_no).await?;
    let rows = remove_rows(&mut transaction, namespace_no, rows_max as u64).await?;
    let is_empty = rows < rows_max as u64;
    if is_empty {
        sqlx::query("DELETE FROM namespaces WHERE namespace_no = $1")
            .bind(namespace_no)
            .execute(&mut *transaction)
            .await?;
    }
    let more = !is_empty || is_any_deleted(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Swept { rows, more })
}

/// Whether a namespace is being deleted. It has no name, by which the index finds it.
pub(super) async fn is_any_deleted(executor: impl Executor<'_, Database = Sqlite>) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM namespaces WHERE name IS NULL)")
        .fetch_one(executor)
        .await
}

/// Removes up to `rows_max` rows, table by table; fewer where there are no more.
async fn remove_rows(
    connection: &mut SqliteConnection,
    namespace_no: i32,
    rows_max: u64,
) -> sqlx::Result<u64> {
    let mut rows =
        sqlx::query(
            "DELETE FROM stored_events WHERE place >= $1 AND place <= (
                 SELECT max(place) FROM (
                     SELECT place FROM stored_events WHERE place >= $1 AND place < $2 ORDER BY place LIMIT $3))",
        )
        .bind(place(namespace_no, 0))
        .bind(place(namespace_no + 1, 0))
        .bind(rows_max as i64)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    let tables = [
        ("identities", "digest"),
        ("topics", "topic_no"),
        ("subscriptions", "subscription_no"),
        ("leases", "subscription_no"),
        ("parked", "subscription_no"),
    ];
    for (table, key) in tables {
        rows += sqlx::query(AssertSqlSafe(format!(
            "DELETE FROM {table} WHERE namespace_no = $1 AND {key} <= (
                 SELECT max({key}) FROM (
                     SELECT {key} FROM {table} WHERE namespace_no = $1 ORDER BY {key} LIMIT $2))"
        )))
        .bind(namespace_no)
        .bind(rows_max.saturating_sub(rows) as i64)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    }
    Ok(rows)
}
