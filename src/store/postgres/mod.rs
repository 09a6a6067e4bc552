//! Postgres, 15 or newer: the tables live in the schema `sekali`, and the function `sekali.append` writes them.

mod clock;
mod error;
mod lease;
mod reads;
mod schema;
mod session;
mod url;
mod writer;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Connection, PgPool, postgres::PgPoolOptions};

use self::{
    clock::ClockCheck,
    error::{open_error, store_error},
    session::{Session, check_server},
    writer::PostgresWriter,
};
use super::{
    EventStore, Head, LedgerMark, OpenError, OpenOptions, Page, PageQuery, StoreError, StoreWriter,
    StoredEvent, StoredId, Totals,
};
use crate::event::DedupScope;

/// How long a reader waits for a connection of the pool.
const READ_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the server may take for each step of opening, but for a migration.
const OPEN_STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// One for the watch and one for the probes.
const HEAD_CONNECTIONS: u32 = 2;

/// The readers' pools, and what the writer needs to open its own connection.
pub(super) struct PostgresStore {
    scope: DedupScope,
    writer_session: Session,
    pool: PgPool,
    /// For the ledger's head alone: whether the database answers must not depend on how long others read.
    head_pool: PgPool,
    clock_check: ClockCheck,
}

impl PostgresStore {
    pub(super) async fn open(url: &str, options: &OpenOptions) -> Result<Self, OpenError> {
        let connect_options = url::connect_options(url)?;
        let mut connection = Session::opening(&connect_options).connect().await.map_err(open_error)?;
        let server = answered(check_server(&mut connection)).await?;
        schema::bring_up_to_date(&mut connection, options.migrate).await?;
        answered(schema::check_rights(&mut connection)).await?;
        let scope = answered(schema::keep_scope(&mut connection, options.scope)).await?;
        connection.close().await.map_err(open_error)?;

        let reader_session = Session::reader(&connect_options);
        let writer_session = Session::writer(&connect_options, server);
        for session in [&reader_session, &writer_session] {
            let connection = session.connect().await.map_err(open_error)?;
            connection.close().await.map_err(open_error)?;
        }
        let pool = reader_pool(&reader_session, options.read_connections);
        let head_pool = reader_pool(&reader_session, HEAD_CONNECTIONS);
        Ok(Self { scope, writer_session, pool, head_pool, clock_check: ClockCheck::default() })
    }
}

fn reader_pool(session: &Session, connections: u32) -> PgPool {
    let checked = session.clone();
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(READ_ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| {
            let session = checked.clone();
            Box::pin(async move { session.check(connection).await })
        })
        .connect_lazy_with(session.options())
}

/// A step of opening, within its time: a server that falls silent is one that is unavailable.
async fn answered<T>(step: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    let silent = || Err(OpenError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
    tokio::time::timeout(OPEN_STEP_TIMEOUT, step).await.unwrap_or_else(|_| silent())
}

/// Brings the schema up to date; returns its version.
pub(super) async fn migrate(url: &str, scope: Option<DedupScope>) -> Result<i64, OpenError> {
    let session = Session::opening(&url::connect_options(url)?);
    let mut connection = session.connect().await.map_err(open_error)?;
    answered(check_server(&mut connection)).await?;
    let version = schema::bring_up_to_date(&mut connection, true).await?;
    if scope.is_some() {
        answered(schema::keep_scope(&mut connection, scope)).await?;
    }
    connection.close().await.map_err(open_error)?;
    Ok(version)
}

#[async_trait]
impl EventStore for PostgresStore {
    fn scope(&self) -> DedupScope {
        self.scope
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let writer = PostgresWriter::open(&self.writer_session).await.map_err(store_error)?;
        Ok(Box::new(writer))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        reads::page(&self.pool, query).await.map_err(store_error)
    }

    async fn event(&self, event_id: &str, topic: Option<&str>) -> Result<Option<StoredEvent>, StoreError> {
        reads::event(&self.pool, self.scope, event_id, topic).await.map_err(store_error)
    }

    async fn head(&self) -> Result<Head, StoreError> {
        reads::head(&self.head_pool, &self.clock_check).await.map_err(store_error)
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
