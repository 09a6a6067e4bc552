//! News between nodes by LISTEN and NOTIFY, on connections of their own: a NOTIFY within an append would have all
//! commits of the database wait for each other.

use async_trait::async_trait;
use sqlx::{PgPool, postgres::PgListener};

use super::{error::store_error, lease::Lease, pool, session::Session};
use crate::store::{NewsListener, NewsStore, NodeNews, StoreError};

/// What the nodes listen to, each within its own database.
const CHANNEL: &str = "sekali_news";

/// For one node.
pub(super) struct PostgresNews {
    node: u64,
    session: Session,
    pool: PgPool,
}

impl PostgresNews {
    /// Tells on connections of `pool`, and listens on one of its own.
    pub(super) fn new(session: Session, pool: PgPool) -> Self {
        Self { node: fastrand::u64(..), session, pool }
    }
}

#[async_trait]
impl NewsStore for PostgresNews {
    /// Nothing is lost where the server crashes with it, so its log need not be on disk.
    async fn tell(&self, news: &NodeNews) -> Result<(), StoreError> {
        let told = async {
            let mut lease = Lease::take(&self.pool).await?;
            sqlx::query("SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(news.to_text(self.node))
                .execute(lease.connection())
                .await?;
            lease.give_back();
            Ok(())
        };
        told.await.map_err(store_error)
    }

    async fn listen(&self) -> Result<Box<dyn NewsListener>, StoreError> {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool(&self.session, 1)).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let listener = listening.await.map_err(store_error)?;
        Ok(Box::new(Listener { listener, node: self.node }))
    }
}

struct Listener {
    listener: PgListener,
    node: u64,
}

#[async_trait]
impl NewsListener for Listener {
    async fn next(&mut self) -> Result<NodeNews, StoreError> {
        loop {
            match self.listener.try_recv().await.map_err(store_error)? {
                Some(message) => {
                    if let Some(news) = NodeNews::from_text(message.payload(), self.node) {
                        return Ok(news);
                    }
                }
                // The connection was lost and is made again: nobody knows what was told meanwhile.
                None => return Ok(NodeNews::Anything),
            }
        }
    }
}
