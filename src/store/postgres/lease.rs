//! A reader's hold on a connection of the pool.

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

/// A connection that goes back to the pool only when its question was answered.
///
/// Whoever stops waiting drops the question in the middle. Such a connection may be of a server that hangs, and
/// the pool would hang with it, one place after the other; so its socket is closed instead.
pub(super) struct Lease(Option<PoolConnection<Postgres>>);

impl Lease {
    pub(super) async fn take(pool: &PgPool) -> sqlx::Result<Self> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect("a lease holds its connection until it is given back")
    }

    pub(super) fn give_back(mut self) {
        self.0 = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
