//! Opens the database, or brings its schema up to date.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::AppError;
use crate::{
    config::Config,
    event::DedupScope,
    redact::redacted,
    store::{self, OpenOptions, Store},
};

const STORE_RETRY_MIN: Duration = Duration::from_millis(250);
const STORE_RETRY_MAX: Duration = Duration::from_secs(5);

/// Opens the database; waits for one that is unavailable, and logs that. `None` once `stopping` is set: the attempt
/// under way is finished, and no other begins.
pub(super) async fn open_store(
    config: &Config,
    stopping: &CancellationToken,
) -> Result<Option<Store>, AppError> {
    let options = OpenOptions {
        migrate: config.migrate,
        scope: config.dedup_scope,
        read_connections: config.read_connections as u32,
    };
    let url = redacted(&config.database_url);
    let mut pause = STORE_RETRY_MIN;
    loop {
        match store::open(&config.database_url, &options).await {
            Ok(store) => return Ok(Some(store)),
            Err(error) if error.is_transient() => {
                warn!(url, error = &error as &dyn std::error::Error, "waiting for the database");
            }
            Err(source) => return Err(AppError::Database { url, source }),
        }
        if stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return Ok(None);
        }
        pause = (pause * 2).min(STORE_RETRY_MAX);
    }
}

/// Brings the schema up to date.
pub(super) async fn migrate(database_url: &str, scope: Option<DedupScope>) -> Result<(), AppError> {
    let version = store::migrate(database_url, scope)
        .await
        .map_err(|source| AppError::Database { url: redacted(database_url), source })?;
    info!(version, "the schema is up to date");
    Ok(())
}
