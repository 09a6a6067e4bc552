//! The connections with one server: pools for readers and for subscriptions, and those that append.

use std::{
    io::ErrorKind,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::future::join_all;
use parking_lot::Mutex;
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::Semaphore;

use super::{
    error::{node_error, owner_error, store_error},
    session::{Server, Session},
};
use crate::store::StoreError;

/// How long a reader, or who changes namespaces, waits for a connection of a pool.
const READ_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an append to a node of a cluster may take, connecting included. It ends before its caller's own deadline,
/// so that a node that hangs is told from a database that does.
const NODE_APPEND_TIMEOUT: Duration = Duration::from_millis(6_500);

/// One for the watch and one for the probes.
const HEAD_CONNECTIONS: u32 = 2;
/// Transactions on subscriptions are short, and those on one subscription wait for each other.
const PROGRESS_CONNECTIONS: u32 = 4;

/// What a server is to the ledgers that are asked for on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is the whole database.
    Whole,
    /// It holds them, as a node of a cluster.
    Owner,
    /// It sends on what is for other nodes of its cluster.
    Way,
}

/// Connections with one server, made when they are needed.
pub(super) struct Connections {
    role: Role,
    /// For readers.
    pub(super) pool: PgPool,
    /// For the ledger's head alone: whether the database answers must not depend on how long others read.
    pub(super) head_pool: PgPool,
    /// For subscriptions.
    pub(super) progress_pool: PgPool,
    writer_session: Session,
    /// Connections that append to ledgers of a cluster's node, while they do not.
    idle_writers: Mutex<Vec<PgConnection>>,
    /// Whether the last append met a node that is away. Then one at a time tries: an append to a node that hangs takes
    /// long, and those to the others need its place.
    is_away: AtomicBool,
    trial: Semaphore,
}

impl Connections {
    pub(super) fn new(options: &PgConnectOptions, server: Server, read_connections: u32, role: Role) -> Self {
        let reader_session = Session::reader(options);
        Self {
            role,
            pool: pool(&reader_session, read_connections),
            head_pool: pool(&reader_session, HEAD_CONNECTIONS),
            progress_pool: pool(&Session::progress(options, server), PROGRESS_CONNECTIONS),
            writer_session: Session::writer(options, server),
            idle_writers: Mutex::default(),
            is_away: AtomicBool::new(false),
            trial: Semaphore::new(1),
        }
    }

    /// Sorts an error of a call about a ledger.
    pub(super) fn sort(&self, error: sqlx::Error) -> StoreError {
        match self.role {
            Role::Whole => store_error(error),
            Role::Owner => owner_error(error),
            Role::Way => node_error(error),
        }
    }

    /// Does `append` on a connection that appends. One that has met an error is dropped.
    pub(super) async fn append<T>(
        &self,
        append: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StoreError> {
        // Of a way, each ledger may lead to another node.
        let is_trial = self.role == Role::Owner && self.is_away.load(Ordering::Relaxed);
        let _trial = match self.trial.try_acquire() {
            _ if !is_trial => None,
            Ok(trial) => Some(trial),
            Err(_) => return Err(self.sort(io_error(ErrorKind::HostUnreachable))),
        };
        let attempt = async {
            let idle = self.idle_writers.lock().pop();
            let mut connection = match idle {
                Some(idle) => idle,
                None => self.writer_session.connect().await?,
            };
            let appended = append(&mut connection).await?;
            self.idle_writers.lock().push(connection);
            Ok(appended)
        };
        let silent = Err(io_error(ErrorKind::TimedOut));
        let appended = tokio::time::timeout(NODE_APPEND_TIMEOUT, attempt).await.unwrap_or(silent);
        let appended = appended.map_err(|error| self.sort(error));
        self.is_away.store(matches!(appended, Err(StoreError::NodeAway(_))), Ordering::Relaxed);
        appended
    }

    /// Ends the connections that are not in use, and those of the pools when they are given back.
    pub(super) async fn close(&self) {
        let pools = join_all([&self.pool, &self.head_pool, &self.progress_pool].map(PgPool::close));
        let idle = std::mem::take(&mut *self.idle_writers.lock());
        let writers = join_all(idle.into_iter().map(Connection::close));
        tokio::join!(pools, writers);
    }
}

/// Connections with these settings, made when they are needed.
pub(super) fn pool(session: &Session, connections: u32) -> PgPool {
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

fn io_error(kind: ErrorKind) -> sqlx::Error {
    sqlx::Error::Io(kind.into())
}
