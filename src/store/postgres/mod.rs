//! Postgres, 15 or newer: the tables live in the schema `sekali`, and the function `sekali.append` writes them.
//!
//! Every statement on them names `namespace_no`: on a Citus cluster it then goes to one node.

mod url;
mod session;
mod cluster;
mod connections;
mod owners;
mod schema;
mod spread;
mod control;
mod sweep;
mod writer;
mod cluster_writer;
mod reads;
mod news;
mod pages;
mod listing;
mod search;
mod progress;
mod lease;
mod clock;
mod error;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::join_all;
use sqlx::{Connection, PgConnection, PgPool};
use tracing::warn;

use self::{
    clock::ClockCheck,
    cluster::Cluster,
    cluster_writer::ClusterWriter,
    connections::{Connections, Role, pool},
    error::{open_error, store_error},
    lease::Lease,
    news::PostgresNews,
    owners::Owners,
    session::{Session, check_server},
    sweep::Sweeper,
    writer::PostgresWriter,
};
use super::{
    AppendStore, ControlStore, CreateOutcome, DEFAULT_NAMESPACE, Head, LedgerKey, LedgerMark, LedgerRecord,
    NamespaceInfo, NamespaceQuery, NewsStore, OpenError, OpenOptions, Page, PageQuery, ReadStore, StoreError,
    StoreWriter, StoredEvent, StoredId, Swept, TopicInfo, TopicQuery, Totals,
    open::{check_scope, default_of},
    rows::or_gone,
};
use crate::event::DedupScope;

/// How long ending the connections may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the server may take for each step of opening, but for a migration.
const OPEN_STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// One creates at a time; the other is for a deletion, which may wait for an append.
const CONTROL_CONNECTIONS: u32 = 2;

/// The connections with the database, which may be a cluster of servers.
pub(super) struct PostgresStore {
    /// The server that was given: for all that is not about one ledger.
    given: Arc<Connections>,
    /// For what is about one ledger.
    owners: Arc<Owners>,
    is_on_cluster: bool,
    writer_session: Session,
    reader_session: Session,
    /// For creating and deleting namespaces.
    control_pool: PgPool,
    sweeper: Sweeper,
    clock_check: ClockCheck,
}

impl PostgresStore {
    /// What this node tells others by, and hears them.
    pub(super) fn news(&self) -> Arc<dyn NewsStore> {
        Arc::new(PostgresNews::new(self.reader_session.clone(), self.given.head_pool.clone()))
    }

    pub(super) async fn open(url: &str, options: &OpenOptions) -> Result<Self, OpenError> {
        let connect_options = url::connect_options(url)?;
        let mut connection = Session::opening(&connect_options).connect().await.map_err(open_error)?;
        let server = answered(check_server(&mut connection)).await?;
        let cluster = answered(Cluster::find(&mut connection)).await?;
        schema::bring_up_to_date(&mut connection, url, cluster.as_ref(), options.migrate).await?;
        answered(schema::check_rights(&mut connection)).await?;
        answered(keep_default(&mut connection, options.scope)).await?;
        if cluster.is_some() {
            cluster::check_settings(&mut connection).await?;
        }
        connection.close().await.map_err(open_error)?;

        let reader_session = Session::reader(&connect_options);
        let writer_session = Session::writer(&connect_options, server);
        for session in [&reader_session, &writer_session] {
            let connection = session.connect().await.map_err(open_error)?;
            connection.close().await.map_err(open_error)?;
        }
        let control_session = Session::control(&connect_options, server);
        let role = if cluster.is_some() { Role::Way } else { Role::Whole };
        let given = Arc::new(Connections::new(&connect_options, server, options.read_connections, role));
        let owners = match &cluster {
            Some(cluster) => {
                Owners::of_cluster(Arc::clone(&given), cluster.here(), url, options.read_connections).await
            }
            None => Owners::one(Arc::clone(&given)),
        };
        Ok(Self {
            given,
            owners: Arc::new(owners),
            is_on_cluster: cluster.is_some(),
            writer_session,
            reader_session,
            control_pool: pool(&control_session, CONTROL_CONNECTIONS),
            sweeper: Sweeper::new(control_session),
            clock_check: ClockCheck::default(),
        })
    }
}

/// Creates the namespace `default` with the scope asked for, where there is none; else checks that it has it.
async fn keep_default(connection: &mut PgConnection, asked: Option<DedupScope>) -> Result<(), OpenError> {
    if let Some(kept) = control::scope(connection, DEFAULT_NAMESPACE).await.map_err(open_error)? {
        return check_scope(kept, asked);
    }
    let scope = asked.unwrap_or(DedupScope::EventId);
    let created = control::create(connection, DEFAULT_NAMESPACE, scope, usize::MAX).await;
    check_scope(default_of(created.map_err(open_error)?).scope, asked)
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
    let cluster = answered(Cluster::find(&mut connection)).await?;
    let version = schema::bring_up_to_date(&mut connection, url, cluster.as_ref(), true).await?;
    if scope.is_some() {
        answered(keep_default(&mut connection, scope)).await?;
    }
    connection.close().await.map_err(open_error)?;
    Ok(version)
}

#[async_trait]
impl AppendStore for PostgresStore {
    /// Locks of several ledgers in one transaction could wait for each other in a circle.
    fn groups_max(&self) -> usize {
        1
    }

    fn connections_max(&self) -> Option<usize> {
        None
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        if self.is_on_cluster {
            return Ok(Box::new(ClusterWriter { owners: Arc::clone(&self.owners) }));
        }
        let writer = PostgresWriter::open(&self.writer_session).await.map_err(store_error)?;
        Ok(Box::new(writer))
    }
}

#[async_trait]
impl ReadStore for PostgresStore {
    async fn page(&self, ledger: &LedgerRecord, query: &PageQuery) -> Result<Page, StoreError> {
        let owner = self.owners.of(ledger.key);
        or_gone(pages::page(&owner.pool, ledger, query).await.map_err(|error| owner.sort(error)))
    }

    async fn event(
        &self,
        ledger: &LedgerRecord,
        event_id: &str,
        topic: Option<&str>,
    ) -> Result<Option<StoredEvent>, StoreError> {
        let owner = self.owners.of(ledger.key);
        or_gone(reads::event(&owner.pool, ledger, event_id, topic).await.map_err(|error| owner.sort(error)))
    }

    async fn topics(&self, ledger: &LedgerRecord, query: &TopicQuery) -> Result<Vec<TopicInfo>, StoreError> {
        let owner = self.owners.of(ledger.key);
        or_gone(listing::topics(&owner.pool, ledger, query).await.map_err(|error| owner.sort(error)))
    }

    async fn head(&self, ledger: &LedgerRecord) -> Result<Head, StoreError> {
        let owner = self.owners.of(ledger.key);
        or_gone(
            reads::head(&owner.head_pool, ledger, &self.clock_check).await.map_err(|error| owner.sort(error)),
        )
    }

    async fn holds(&self, ledger: &LedgerRecord, seen: &LedgerMark) -> Result<bool, StoreError> {
        let owner = self.owners.of(ledger.key);
        or_gone(reads::holds(&owner.head_pool, ledger, seen).await.map_err(|error| owner.sort(error)))
    }

    /// Each server is asked for its own. One that is away leaves out the others only where there are none.
    async fn last_seqs(&self, ledgers: &[LedgerKey]) -> Result<HashMap<LedgerKey, Option<u64>>, StoreError> {
        let asked = self.owners.of_each(ledgers).into_iter().map(async |(owner, ledgers)| {
            let found = reads::last_seqs(&owner.head_pool, &ledgers).await;
            (found.map_err(|error| owner.sort(error)), ledgers)
        });
        let (mut last_seqs, mut failure) = (HashMap::new(), None);
        for (found, ledgers) in join_all(asked).await {
            match found {
                Ok(found) => last_seqs.extend(found),
                Err(error) => {
                    last_seqs.extend(ledgers.into_iter().map(|ledger| (ledger, None)));
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if last_seqs.values().all(Option::is_none) => Err(error),
            _ => Ok(last_seqs),
        }
    }

    async fn totals(&self, ledger: &LedgerRecord) -> Result<Totals, StoreError> {
        let owner = self.owners.of(ledger.key);
        or_gone(reads::totals(&owner.pool, ledger).await.map_err(|error| owner.sort(error)))
    }

    async fn newest_ids(
        &self,
        ledger: &LedgerRecord,
        before: u64,
        limit: usize,
    ) -> Result<Vec<StoredId>, StoreError> {
        let owner = self.owners.of(ledger.key);
        let ids = reads::newest_ids(&owner.pool, ledger, before, limit).await;
        ids.map_err(|error| owner.sort(error))
    }
}

#[async_trait]
impl ControlStore for PostgresStore {
    async fn ledger(&self, namespace: &str) -> Result<Option<LedgerRecord>, StoreError> {
        let mut lease = Lease::take(&self.given.pool).await.map_err(store_error)?;
        let ledger = control::find(lease.connection(), namespace).await.map_err(store_error)?;
        lease.give_back();
        Ok(ledger)
    }

    async fn namespace(&self, namespace: &str) -> Result<Option<NamespaceInfo>, StoreError> {
        let mut lease = Lease::take(&self.given.pool).await.map_err(store_error)?;
        let found = control::show(lease.connection(), namespace).await.map_err(store_error)?;
        lease.give_back();
        Ok(found)
    }

    async fn namespaces(&self, query: &NamespaceQuery) -> Result<Vec<NamespaceInfo>, StoreError> {
        let mut lease = Lease::take(&self.given.pool).await.map_err(store_error)?;
        let found = control::list(lease.connection(), query).await.map_err(store_error)?;
        lease.give_back();
        Ok(found)
    }

    async fn create(
        &self,
        namespace: &str,
        scope: DedupScope,
        namespaces_max: usize,
    ) -> Result<CreateOutcome, StoreError> {
        // Looking first spares the lock for what is there already.
        if let Some(there) = self.namespace(namespace).await? {
            return Ok(CreateOutcome::There(there));
        }
        let mut lease = Lease::take(&self.control_pool).await.map_err(store_error)?;
        let created = control::create(lease.connection(), namespace, scope, namespaces_max).await;
        let created = created.map_err(store_error)?;
        lease.give_back();
        Ok(created)
    }

    async fn delete(&self, namespace: &str) -> Result<bool, StoreError> {
        if namespace == DEFAULT_NAMESPACE {
            return Ok(false);
        }
        let mut lease = Lease::take(&self.control_pool).await.map_err(store_error)?;
        let deleted = control::delete(lease.connection(), namespace).await.map_err(store_error)?;
        lease.give_back();
        Ok(deleted)
    }

    async fn sweep(&self, rows_max: usize) -> Result<Swept, StoreError> {
        self.sweeper.sweep(&self.given.pool, rows_max).await.map_err(store_error)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut lease = Lease::take(&self.given.head_pool).await.map_err(store_error)?;
        control::ping(lease.connection()).await.map_err(store_error)?;
        lease.give_back();
        Ok(())
    }

    /// A server that does not answer cannot be told that a connection ends; its sockets go with the process.
    async fn close(&self) -> bool {
        let closing =
            async { tokio::join!(self.sweeper.close(), self.control_pool.close(), self.owners.close()) };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            warn!("some connections to the database could not be ended in time");
        }
        true
    }
}
