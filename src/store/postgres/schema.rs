//! The schema `sekali`: its version, the ledger's row, and the rights that serving needs.

use sqlx::{PgConnection, migrate::Migrator};
use tracing::info;

use super::{
    answered,
    error::{migration_error, open_error},
};
use crate::{
    event::DedupScope,
    store::{
        OpenError,
        open::{Applied, check_scope, check_version, version_of},
    },
};

/// What serving needs, by the function that asks whether the role has it.
const RIGHTS: &str = "
    SELECT right_name FROM (VALUES
        ('SELECT on sekali.schema_versions', has_table_privilege('sekali.schema_versions', 'SELECT')),
        ('SELECT on sekali.ledger', has_table_privilege('sekali.ledger', 'SELECT')),
        ('UPDATE on sekali.ledger', has_table_privilege('sekali.ledger', 'UPDATE')),
        ('SELECT on sekali.events', has_table_privilege('sekali.events', 'SELECT')),
        ('INSERT on sekali.events', has_table_privilege('sekali.events', 'INSERT')),
        ('SELECT on sekali.topics', has_table_privilege('sekali.topics', 'SELECT')),
        ('INSERT on sekali.topics', has_table_privilege('sekali.topics', 'INSERT')),
        ('UPDATE on sekali.topics', has_table_privilege('sekali.topics', 'UPDATE')),
        ('SELECT on sekali.commits', has_table_privilege('sekali.commits', 'SELECT')),
        ('INSERT on sekali.commits', has_table_privilege('sekali.commits', 'INSERT')),
        ('DELETE on sekali.commits', has_table_privilege('sekali.commits', 'DELETE')),
        ('EXECUTE on sekali.append', has_function_privilege('sekali.append'::regproc, 'EXECUTE'))
    ) AS rights (right_name, is_had) WHERE NOT is_had";

/// Migrates the schema where it is not up to date; refuses instead where `migrate` is false. Returns its version.
pub(super) async fn bring_up_to_date(connection: &mut PgConnection, migrate: bool) -> Result<i64, OpenError> {
    let has_schema = answered(find_schema(connection)).await?;
    let mut migrator = migrator();
    let found = answered(applied(connection)).await?;
    if check_version(&found, &migrator, migrate)? {
        return Ok(version_of(&found));
    }
    // Even where the schema is there, creating it would need the right to create one.
    if !has_schema {
        migrator.create_schema("sekali");
    }
    migrator.run_direct(None, connection, false).await.map_err(migration_error)?;
    let version = version_of(&applied(connection).await?);
    info!(version, "migrated the schema `sekali`");
    Ok(version)
}

/// Refuses a role that lacks a right that serving needs, and names it.
pub(super) async fn check_rights(connection: &mut PgConnection) -> Result<(), OpenError> {
    let missing: Vec<String> = sqlx::query_scalar(RIGHTS).fetch_all(connection).await.map_err(open_error)?;
    if missing.is_empty() { Ok(()) } else { Err(lacks(&missing.join(", "))) }
}

/// Creates the ledger with the scope asked for, where there is none; else checks that it is the ledger's.
pub(super) async fn keep_scope(
    connection: &mut PgConnection,
    asked: Option<DedupScope>,
) -> Result<DedupScope, OpenError> {
    let kept = match kept_scope(connection).await? {
        Some(kept) => Some(kept),
        None => {
            sqlx::query("INSERT INTO sekali.ledger (dedup_scope) VALUES ($1) ON CONFLICT DO NOTHING")
                .bind(asked.unwrap_or(DedupScope::EventId).name())
                .execute(&mut *connection)
                .await
                .map_err(open_error)?;
            kept_scope(connection).await?
        }
    };
    check_scope(&kept.unwrap_or_default(), asked)
}

async fn kept_scope(connection: &mut PgConnection) -> Result<Option<String>, OpenError> {
    sqlx::query_scalar("SELECT dedup_scope FROM sekali.ledger")
        .fetch_optional(connection)
        .await
        .map_err(open_error)
}

/// Whether the schema is there; it must be open to the role then.
async fn find_schema(connection: &mut PgConnection) -> Result<bool, OpenError> {
    let is_usable: Option<bool> = sqlx::query_scalar(
        "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'sekali'",
    )
    .fetch_optional(connection)
    .await
    .map_err(open_error)?;
    if is_usable == Some(false) { Err(lacks("USAGE on the schema sekali")) } else { Ok(is_usable.is_some()) }
}

fn lacks(rights: &str) -> OpenError {
    OpenError::Unsuitable(format!("the role lacks rights: {rights}; grant them, or give another role"))
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.dangerous_set_table_name("sekali.schema_versions");
    migrator
}

/// The migrations that the database has had, oldest first.
async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>, OpenError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('sekali.schema_versions') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(open_error)?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT version, checksum FROM sekali.schema_versions ORDER BY version")
        .fetch_all(connection)
        .await
        .map_err(open_error)
}
