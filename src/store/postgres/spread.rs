//! Spreads the tables over the nodes of a Citus cluster: what belongs to a ledger by its `namespace_no`, all alike, so
//! that a ledger lies on one node; the rest whole on every node. `sekali.append` goes as a whole to the ledger's node.
//!
//! Done after every migration, for what is new. Rows that are there already are moved.

use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection};
use tracing::info;

use super::{answered, error::open_error};
use crate::store::OpenError;

/// The tables, in the order in which others lock them. Of those by ledger, the first is what the others lie with.
const TABLES: [(&str, Place); 11] = [
    ("schema_versions", Place::Everywhere),
    ("counters", Place::Everywhere),
    ("namespaces", Place::Everywhere),
    ("ledgers", Place::ByLedger),
    ("identities", Place::ByLedger),
    ("topics", Place::ByLedger),
    ("stored_events", Place::ByLedger),
    ("commits", Place::ByLedger),
    ("subscriptions", Place::ByLedger),
    ("leases", Place::ByLedger),
    ("parked", Place::ByLedger),
];

/// Where the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
enum Place {
    /// On the coordinator alone, as in any Postgres.
    Here,
    Everywhere,
    ByLedger,
    /// Somebody distributed it in another way.
    Elsewhere,
}

/// A table of the schema as it is. Tables alike share a `colocationid`.
#[derive(FromRow)]
struct Table {
    name: String,
    place: Place,
    colocationid: i32,
}

const LAYOUT: &str = "
    SELECT asked.name, coalesce(p.colocationid, 0) AS colocationid,
        CASE WHEN p.logicalrelid IS NULL OR p.partmethod = 'n' AND p.repmodel <> 't' THEN 'here'
             WHEN p.partmethod = 'n' THEN 'everywhere'
             WHEN p.partmethod = 'h' AND column_to_column_name(p.logicalrelid, p.partkey) = 'namespace_no' THEN 'by_ledger'
             ELSE 'elsewhere' END AS place
    FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, place_no)
    LEFT JOIN pg_catalog.pg_dist_partition p ON p.logicalrelid = to_regclass('sekali.' || asked.name)
    ORDER BY asked.place_no";

/// Whether a call of `append` goes to the node of its ledger.
const IS_APPEND_SENT_ON: &str = "
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_dist_object o
        JOIN pg_catalog.pg_dist_partition p ON p.colocationid = o.colocationid
        WHERE o.classid = 'pg_catalog.pg_proc'::regclass AND o.objid = to_regproc('sekali.append')
            AND o.distribution_argument_index = 0 AND p.logicalrelid = to_regclass('sekali.ledgers'))";

const COPIES: &str = "
    SELECT name FROM unnest($1::text[]) AS asked (name) WHERE pg_relation_size(to_regclass('sekali.' || name)) > 0";

/// The nodes that cannot be reached from this one.
const AWAY: &str = "
    SELECT string_agg(nodename || ':' || nodeport, ', ') FROM pg_catalog.pg_dist_node
    WHERE noderole = 'primary' AND isactive AND NOT citus_check_connection_to_node(nodename, nodeport)";

/// One node of a service distributes at a time; the others wait, and find it done.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('sekali: distribute the tables', 0))";

/// Citus can plan no function that asks for generic plans, which the first migration sets where there is no Citus.
/// The limit of a writer's session on waiting for a ledger does not reach the ledger's node; a function's own does.
const PREPARE_APPEND: &str = "ALTER FUNCTION sekali.append RESET plan_cache_mode; ALTER FUNCTION sekali.append SET lock_timeout = '500ms'";

const SEND_APPEND_ON: &str = "
    SELECT create_distributed_function('sekali.append'::regproc::oid::regprocedure, 'p_namespace_no',
        colocate_with => 'sekali.ledgers')";
const FIND_EVERYWHERE: &str = "SELECT create_distributed_function('sekali.find'::regproc::oid::regprocedure)";

/// Whether there is nothing to do. Refuses tables that were distributed in another way.
pub(super) async fn is_done(connection: &mut PgConnection) -> Result<bool, OpenError> {
    Ok(is_distributed(connection).await? && copies(connection).await?.is_empty())
}

/// To be done before the schema is changed. Citus gives advice about each statement, which is followed anyway.
pub(super) async fn prepare(connection: &mut PgConnection) -> Result<(), OpenError> {
    answered(check_nodes(connection)).await?;
    answered(run(connection, "SET client_min_messages = error")).await
}

/// Distributes what is not distributed yet. `connection` is one to the coordinator.
pub(super) async fn distribute(connection: &mut PgConnection) -> Result<(), OpenError> {
    let begun = Instant::now();
    let mut transaction = connection.begin().await.map_err(open_error)?;
    run(&mut transaction, LOCK).await?;
    // Another node may have done it meanwhile.
    if is_distributed(&mut transaction).await? {
        transaction.rollback().await.map_err(open_error)?;
    } else {
        distribute_missing(&mut transaction).await?;
        transaction.commit().await.map_err(open_error)?;
        info!(seconds = begun.elapsed().as_secs(), "the tables are distributed");
    }
    remove_copies(connection).await
}

async fn is_distributed(connection: &mut PgConnection) -> Result<bool, OpenError> {
    let is_sent_on: bool =
        sqlx::query_scalar(IS_APPEND_SENT_ON).fetch_one(&mut *connection).await.map_err(open_error)?;
    Ok(missing(connection).await?.is_empty() && is_sent_on)
}

/// All in one transaction, so that no append ever finds one table distributed and the next one not.
async fn distribute_missing(transaction: &mut PgConnection) -> Result<(), OpenError> {
    let tables = missing(transaction).await?;
    info!(tables = tables.join(", "), "distributing the tables over the nodes of the Citus cluster");
    run(transaction, "SET LOCAL citus.multi_shard_modify_mode = 'sequential'").await?;
    run(transaction, PREPARE_APPEND).await?;
    // All before the first is moved: an append that is under way ends first, and those that come wait for their ledger.
    for table in &tables {
        run(transaction, &format!("LOCK TABLE sekali.{table} IN EXCLUSIVE MODE")).await?;
    }
    for (table, place) in TABLES.iter().filter(|(table, _)| tables.contains(table)) {
        place_table(transaction, table, *place).await?;
    }
    run(transaction, SEND_APPEND_ON).await?;
    run(transaction, FIND_EVERYWHERE).await
}

/// The tables that are not distributed yet. Refuses those that were distributed in another way.
async fn missing(connection: &mut PgConnection) -> Result<Vec<&'static str>, OpenError> {
    let names: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
    let layout: Vec<Table> =
        sqlx::query_as(LAYOUT).bind(names).fetch_all(connection).await.map_err(open_error)?;
    let with = layout.iter().find(|table| table.place == Place::ByLedger).map(|table| table.colocationid);
    let mut missing = Vec::new();
    for ((name, wanted), found) in TABLES.iter().zip(&layout) {
        let lies_with_others = found.place != Place::ByLedger || Some(found.colocationid) == with;
        if found.place == Place::Here {
            missing.push(*name);
        } else if found.place != *wanted || !lies_with_others {
            return Err(OpenError::Unsuitable(format!(
                "the table sekali.{} is distributed over the Citus cluster in another way than sekali needs: run SELECT undistribute_table('sekali.{}') on the coordinator, and start again",
                found.name, found.name
            )));
        }
    }
    Ok(missing)
}

/// Every node takes part.
async fn check_nodes(connection: &mut PgConnection) -> Result<(), OpenError> {
    let away: Option<String> = sqlx::query_scalar(AWAY).fetch_one(connection).await.map_err(open_error)?;
    match away {
        None => Ok(()),
        Some(nodes) => Err(OpenError::NodeAway(format!(
            "the schema must be changed on every node of the Citus cluster, and these do not answer: {nodes}; start them, or take them out of the cluster (citus_remove_node)"
        ))),
    }
}

async fn place_table(connection: &mut PgConnection, table: &str, place: Place) -> Result<(), OpenError> {
    let count = format!("SELECT count(*) FROM sekali.{table}");
    let rows: i64 =
        sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await.map_err(open_error)?;
    if rows > 0 {
        info!(table, rows, "moving rows to their nodes; publishes wait meanwhile");
    }
    let begun = Instant::now();
    let with = if table == "ledgers" { "none" } else { "sekali.ledgers" };
    let statement = match place {
        Place::ByLedger => {
            format!(
                "SELECT create_distributed_table('sekali.{table}', 'namespace_no', colocate_with => '{with}')"
            )
        }
        _ => format!("SELECT create_reference_table('sekali.{table}')"),
    };
    run(connection, &statement).await?;
    if rows > 0 {
        info!(table, rows, seconds = begun.elapsed().as_secs(), "the rows are on their nodes");
    }
    Ok(())
}

/// The tables of which moving left rows behind on the coordinator, which nobody sees any more.
async fn copies(connection: &mut PgConnection) -> Result<Vec<String>, OpenError> {
    let names: Vec<&str> = TABLES.iter().map(|(name, _)| *name).collect();
    sqlx::query_scalar(COPIES).bind(names).fetch_all(connection).await.map_err(open_error)
}

async fn remove_copies(connection: &mut PgConnection) -> Result<(), OpenError> {
    for table in copies(connection).await? {
        run(connection, &format!("SELECT truncate_local_data_after_distributing_table('sekali.{table}')"))
            .await?;
    }
    Ok(())
}

async fn run(connection: &mut PgConnection, statements: &str) -> Result<(), OpenError> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map_err(open_error)?;
    Ok(())
}
