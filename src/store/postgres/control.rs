//! Namespaces and their ledgers: finding, creating and deleting them.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::{
    event::DedupScope,
    store::{
        CreateOutcome, Damage, LedgerRecord, NamespaceInfo, NamespaceQuery,
        rows::{self, LEDGER_COLUMNS},
    },
};

/// Every namespace as it is shown. The newest commit is found by the primary key. It is joined to the ledger, and not to
/// the namespace: Citus joins what is distributed alike on each node.
const NAMESPACES: &str = "
    SELECT name, (extract(epoch FROM created_at) * 1000000)::bigint AS created_at,
        namespace_no, ledger_id, dedup_scope, identity_key,
        commit_no, writer_id, group_no, last_seq, received, topics_total::bigint AS topics_total
    FROM (SELECT namespace_no, name, created_at FROM sekali.namespaces) n
    JOIN sekali.ledgers l USING (namespace_no)
    LEFT JOIN LATERAL (
        SELECT commit_no, writer_id, group_no, last_seq, received, topics_total
        FROM sekali.commits c WHERE c.namespace_no = l.namespace_no ORDER BY commit_no DESC LIMIT 1
    ) newest ON true";

/// The scope of the namespace of this name. Needs no ledger, which another node of a cluster may hold.
pub(super) async fn scope(
    connection: &mut PgConnection,
    namespace: &str,
) -> sqlx::Result<Option<DedupScope>> {
    let scope: Option<String> =
        sqlx::query_scalar("SELECT dedup_scope FROM sekali.namespaces WHERE name = $1")
            .bind(namespace)
            .fetch_optional(connection)
            .await?;
    Ok(scope.map(|scope| scope.parse().map_err(Damage::new)).transpose()?)
}

/// The number of the namespace of this name. Asked for by itself: a statement that is given the number goes to the node
/// of a cluster that has the ledger, and one that has to look it up goes to all of them.
async fn number_of(connection: &mut PgConnection, namespace: &str) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar("SELECT namespace_no FROM sekali.namespaces WHERE name = $1")
        .bind(namespace)
        .fetch_optional(connection)
        .await
}

/// The ledger of the namespace of this name.
pub(super) async fn find(
    connection: &mut PgConnection,
    namespace: &str,
) -> sqlx::Result<Option<LedgerRecord>> {
    let Some(namespace_no) = number_of(connection, namespace).await? else { return Ok(None) };
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {LEDGER_COLUMNS} FROM sekali.ledgers WHERE namespace_no = $1"
    )))
    .bind(namespace_no)
    .fetch_optional(connection)
    .await?;
    row.map(|row| rows::ledger(namespace, &row)).transpose()
}

/// The namespace of this name.
pub(super) async fn show(
    connection: &mut PgConnection,
    namespace: &str,
) -> sqlx::Result<Option<NamespaceInfo>> {
    let Some(namespace_no) = number_of(connection, namespace).await? else { return Ok(None) };
    // The name may have been taken from it meanwhile.
    sqlx::query_as(AssertSqlSafe(format!("{NAMESPACES} WHERE l.namespace_no = $1 AND name = $2")))
        .bind(namespace_no)
        .bind(namespace)
        .fetch_optional(connection)
        .await
}

/// One page of namespaces, by name.
pub(super) async fn list(
    connection: &mut PgConnection,
    query: &NamespaceQuery,
) -> sqlx::Result<Vec<NamespaceInfo>> {
    sqlx::query_as(AssertSqlSafe(format!(
        "{NAMESPACES} WHERE name > $1 AND name >= $2 AND starts_with(name, $2) ORDER BY name LIMIT $3"
    )))
    .bind(&query.after)
    .bind(&query.prefix)
    .bind(query.limit as i64)
    .fetch_all(connection)
    .await
}

/// Creates a namespace with its ledger, where there is none of that name and room for it.
pub(super) async fn create(
    connection: &mut PgConnection,
    namespace: &str,
    scope: DedupScope,
    namespaces_max: usize,
) -> sqlx::Result<CreateOutcome> {
    let mut transaction = connection.begin().await?;
    // Whoever holds this row creates alone, and the statements below see what was created before.
    let namespace_no: i32 = sqlx::query_scalar(
        "UPDATE sekali.counters SET last_no = last_no + 1 WHERE name = 'namespace' RETURNING last_no",
    )
    .fetch_one(&mut *transaction)
    .await?;
    if let Some(there) = show(&mut transaction, namespace).await? {
        transaction.rollback().await?;
        return Ok(CreateOutcome::There(there));
    }
    let namespaces: i64 =
        sqlx::query_scalar("SELECT count(name) FROM sekali.namespaces").fetch_one(&mut *transaction).await?;
    if namespaces as usize >= namespaces_max {
        transaction.rollback().await?;
        return Ok(CreateOutcome::Full);
    }
    sqlx::query("INSERT INTO sekali.namespaces (namespace_no, name, dedup_scope) VALUES ($1, $2, $3)")
        .bind(namespace_no)
        .bind(namespace)
        .bind(scope.name())
        .execute(&mut *transaction)
        .await?;
    sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO sekali.ledgers ({LEDGER_COLUMNS}) VALUES ($1, $2, $3, $4)"
    )))
    .bind(namespace_no)
    .bind(Uuid::new_v4())
    .bind(scope.name())
    .bind(&rows::new_identity_key()?[..])
    .execute(&mut *transaction)
    .await?;
    let created = show(&mut transaction, namespace).await?.ok_or(sqlx::Error::RowNotFound)?;
    transaction.commit().await?;
    Ok(CreateOutcome::Created(created))
}

/// Takes name and ledger from a namespace, both or none. False if there is none of that name.
///
/// The ledger comes first, as it may be waited for: on a cluster, whoever changes a namespace keeps others from changing
/// any until the end of the transaction.
pub(super) async fn delete(connection: &mut PgConnection, namespace: &str) -> sqlx::Result<bool> {
    let mut transaction = connection.begin().await?;
    let Some(namespace_no) = number_of(&mut transaction, namespace).await? else {
        transaction.rollback().await?;
        return Ok(false);
    };
    delete_ledger(&mut transaction, namespace_no).await?;
    let unnamed = sqlx::query(
        "UPDATE sekali.namespaces SET name = NULL, state = 'deleting' WHERE name = $1 AND namespace_no = $2",
    )
    .bind(namespace)
    .bind(namespace_no)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    // Another node may have deleted it meanwhile.
    Ok(unnamed.rows_affected() > 0)
}

/// Waits for the append that holds the ledger. Whoever waits behind this finds that it is gone.
pub(super) async fn delete_ledger(connection: &mut PgConnection, namespace_no: i32) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM sekali.ledgers WHERE namespace_no = $1")
        .bind(namespace_no)
        .execute(connection)
        .await?;
    Ok(())
}

/// Asks for a row that every database of this schema has.
pub(super) async fn ping(connection: &mut PgConnection) -> sqlx::Result<()> {
    let _: i32 = sqlx::query_scalar("SELECT last_no FROM sekali.counters WHERE name = 'namespace'")
        .fetch_one(connection)
        .await?;
    Ok(())
}
