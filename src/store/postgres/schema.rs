//! The schema `sekali`: its version, and the rights that serving needs.

use sqlx::{Connection, PgConnection, migrate::Migrator};
use tracing::{info, warn};

use super::{
    answered,
    cluster::Cluster,
    error::{migration_error, open_error},
    spread,
};
use crate::store::{
    OpenError,
    open::{Applied, check_version, version_of},
};

/// What serving needs, by the function that asks whether the role has it.
const RIGHTS: &str = "
    SELECT format('%s on sekali.%s', needed.action, needed.name) FROM (VALUES
        ('SELECT', 'schema_versions'),
        ('SELECT', 'counters'), ('UPDATE', 'counters'),
        ('SELECT', 'namespaces'), ('INSERT', 'namespaces'), ('UPDATE', 'namespaces'), ('DELETE', 'namespaces'),
        ('SELECT', 'ledgers'), ('INSERT', 'ledgers'), ('UPDATE', 'ledgers'), ('DELETE', 'ledgers'),
        ('SELECT', 'identities'), ('INSERT', 'identities'), ('DELETE', 'identities'),
        ('SELECT', 'topics'), ('INSERT', 'topics'), ('UPDATE', 'topics'), ('DELETE', 'topics'),
        ('SELECT', 'stored_events'), ('INSERT', 'stored_events'), ('DELETE', 'stored_events'),
        ('SELECT', 'commits'), ('INSERT', 'commits'), ('DELETE', 'commits'),
        ('SELECT', 'subscriptions'), ('INSERT', 'subscriptions'), ('UPDATE', 'subscriptions'),
        ('DELETE', 'subscriptions'),
        ('SELECT', 'leases'), ('INSERT', 'leases'), ('UPDATE', 'leases'), ('DELETE', 'leases'),
        ('SELECT', 'parked'), ('INSERT', 'parked'), ('DELETE', 'parked')
    ) AS needed (action, name) WHERE NOT has_table_privilege('sekali.' || needed.name, needed.action)
    UNION ALL
    SELECT 'EXECUTE on sekali.append' WHERE NOT has_function_privilege('sekali.append'::regproc, 'EXECUTE')";

/// Migrates the schema where it is not up to date, and distributes what is not distributed over a cluster; refuses to
/// migrate where `migrate` is false. Returns the version of the schema.
///
/// `url` is that of `connection`. On a cluster both are done on the coordinator.
pub(super) async fn bring_up_to_date(
    connection: &mut PgConnection,
    url: &str,
    cluster: Option<&Cluster>,
    migrate: bool,
) -> Result<i64, OpenError> {
    answered(find_schema(connection)).await?;
    let found = answered(applied(connection)).await?;
    let is_current = check_version(&found, &migrator(), migrate)?;
    let is_spread = !is_current || cluster.is_none() || answered(spread::is_done(connection)).await?;
    if is_current && (is_spread || !migrate) {
        if !is_spread {
            warn!("the tables are not distributed over the Citus cluster: run `sekali migrate`");
        }
        return Ok(version_of(&found));
    }
    let Some(cluster) = cluster else { return run_migrations(connection).await };
    let mut coordinator = cluster.connect_coordinator(url).await?;
    let connection = coordinator.as_mut().unwrap_or(connection);
    spread::prepare(connection).await?;
    let version = run_migrations(connection).await?;
    spread::distribute(connection).await?;
    if let Some(coordinator) = coordinator {
        coordinator.close().await.map_err(open_error)?;
    }
    Ok(version)
}

/// Returns the version of the schema.
async fn run_migrations(connection: &mut PgConnection) -> Result<i64, OpenError> {
    let has_schema = answered(find_schema(connection)).await?;
    let mut migrator = migrator();
    let found = answered(applied(connection)).await?;
    if check_version(&found, &migrator, true)? {
        return Ok(version_of(&found));
    }
    // Even where the schema is there, creating it would need the right to create one.
    if !has_schema {
        migrator.create_schema("sekali");
    }
    migrator.run_direct(None, &mut *connection, false).await.map_err(migration_error)?;
    let version = version_of(&applied(connection).await?);
    info!(version, "migrated the schema `sekali`");
    Ok(version)
}

/// Refuses a role that lacks a right that serving needs, and names it.
pub(super) async fn check_rights(connection: &mut PgConnection) -> Result<(), OpenError> {
    let missing: Vec<String> = sqlx::query_scalar(RIGHTS).fetch_all(connection).await.map_err(open_error)?;
    if missing.is_empty() { Ok(()) } else { Err(lacks(&missing.join(", "))) }
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
