//! Postgres, 15 or newer: the tables live in the schema `sekali`, and the function `sekali.append` writes them.

mod error;
mod lease;
mod reads;
mod session;
mod writer;

use std::{str::FromStr, time::Duration};

use async_trait::async_trait;
use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tracing::info;

use self::{
    error::{migration_error, open_error, store_error},
    session::connect,
    writer::PostgresWriter,
};
use super::{
    EventStore, Head, LedgerMark, OpenError, OpenOptions, Page, PageQuery, StoreError, StoreWriter,
    StoredEvent, StoredId, Totals,
    open::{Applied, check_scope, check_version, version_of},
};
use crate::event::DedupScope;

/// How long a reader waits for a connection of the pool.
const READ_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the server may take for each step of opening, but for a migration.
const OPEN_STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// One for the watch and one for the probes.
const HEAD_CONNECTIONS: u32 = 2;

/// The readers' pool, and what the writer needs to open its own connection.
pub(super) struct PostgresStore {
    scope: DedupScope,
    options: PgConnectOptions,
    pool: PgPool,
    /// For the ledger's head alone: whether the database answers must not depend on how long others read.
    head_pool: PgPool,
}

impl PostgresStore {
    pub(super) async fn open(url: &str, options: &OpenOptions) -> Result<Self, OpenError> {
        let connect_options = parse(url)?;
        let mut connection = connect(&connect_options).await.map_err(open_error)?;
        answered(session::check_server(&mut connection)).await?;
        bring_schema_up_to_date(&mut connection, options.migrate).await?;
        let scope = answered(keep_scope(&mut connection, options.scope)).await?;
        connection.close().await.map_err(open_error)?;

        let pool = |connections| {
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(READ_ACQUIRE_TIMEOUT)
                .after_connect(|connection, _| Box::pin(session::set_up_reader(connection)))
                .connect_lazy_with(connect_options.clone())
        };
        let (pool, head_pool) = (pool(options.read_connections), pool(HEAD_CONNECTIONS));
        Ok(Self { scope, options: connect_options, pool, head_pool })
    }
}

/// A step of opening, within its time: a server that falls silent is one that is away.
async fn answered<T>(step: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    let silent = || Err(OpenError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
    tokio::time::timeout(OPEN_STEP_TIMEOUT, step).await.unwrap_or_else(|_| silent())
}

/// Brings the schema up to date; answers its version.
pub(super) async fn migrate(url: &str, scope: Option<DedupScope>) -> Result<i64, OpenError> {
    let mut connection = connect(&parse(url)?).await.map_err(open_error)?;
    answered(session::check_server(&mut connection)).await?;
    bring_schema_up_to_date(&mut connection, true).await?;
    if scope.is_some() {
        keep_scope(&mut connection, scope).await?;
    }
    Ok(version_of(&applied(&mut connection).await?))
}

#[async_trait]
impl EventStore for PostgresStore {
    fn scope(&self) -> DedupScope {
        self.scope
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let writer = PostgresWriter::open(&self.options).await.map_err(store_error)?;
        Ok(Box::new(writer))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        reads::page(&self.pool, query).await.map_err(store_error)
    }

    async fn event(&self, event_id: &str, topic: Option<&str>) -> Result<Option<StoredEvent>, StoreError> {
        reads::event(&self.pool, self.scope, event_id, topic).await.map_err(store_error)
    }

    async fn head(&self) -> Result<Head, StoreError> {
        reads::head(&self.head_pool).await.map_err(store_error)
    }

    async fn holds(&self, seen: &LedgerMark) -> Result<bool, StoreError> {
        reads::holds(&self.head_pool, seen).await.map_err(store_error)
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        reads::totals(&self.pool).await.map_err(store_error)
    }

    async fn newest_ids(&self, before: u64, limit: usize) -> Result<Vec<StoredId>, StoreError> {
        reads::newest_ids(&self.pool, before, limit).await.map_err(store_error)
    }

    async fn close(&self) {
        tokio::join!(self.pool.close(), self.head_pool.close());
    }
}

fn parse(url: &str) -> Result<PgConnectOptions, OpenError> {
    PgConnectOptions::from_str(&without_foreign_passwords(url))
        .map(|options| options.application_name("sekali"))
        .map_err(|error| OpenError::Url(error.to_string()))
}

/// The URL without parameters such as libpq's `sslpassword`: sqlx does not know them, and would say so in the log,
/// value and all.
fn without_foreign_passwords(url: &str) -> String {
    let Some((place, query)) = url.split_once('?') else { return url.to_owned() };
    let is_known = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        name == "password" || !name.to_ascii_lowercase().ends_with("password")
    };
    let known: Vec<&str> = query.split('&').filter(is_known).collect();
    format!("{place}?{}", known.join("&"))
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.create_schema("sekali");
    migrator.dangerous_set_table_name("sekali.schema_versions");
    migrator
}

/// The migrations that the database has had, oldest first.
async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>, OpenError> {
    let (exists,): (bool,) = sqlx::query_as("SELECT to_regclass('sekali.schema_versions') IS NOT NULL")
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

async fn bring_schema_up_to_date(connection: &mut PgConnection, migrate: bool) -> Result<(), OpenError> {
    let migrator = migrator();
    let found = answered(applied(connection)).await?;
    if !check_version(&found, &migrator, migrate)? {
        migrator.run_direct(None, connection, false).await.map_err(migration_error)?;
        info!(version = version_of(&applied(connection).await?), "migrated the schema `sekali`");
    }
    Ok(())
}

/// Creates the ledger with the scope asked for, where there is none; else checks that it is the ledger's.
async fn keep_scope(
    connection: &mut PgConnection,
    asked: Option<DedupScope>,
) -> Result<DedupScope, OpenError> {
    sqlx::query("INSERT INTO sekali.ledger (dedup_scope) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(asked.unwrap_or(DedupScope::EventId).name())
        .execute(&mut *connection)
        .await
        .map_err(open_error)?;
    let (kept,): (String,) = sqlx::query_as("SELECT dedup_scope FROM sekali.ledger")
        .fetch_one(connection)
        .await
        .map_err(open_error)?;
    check_scope(&kept, asked)
}
