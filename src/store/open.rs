//! Opening a database of either engine, and what both check.

use std::sync::Arc;

use super::{EventStore, OpenError, postgres, sqlite};
use crate::event::DedupScope;

/// How to open a database.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bring the schema up to date first; else refuse one that is not.
    pub migrate: bool,
    /// The scope to create a new database with, and to insist on; `None` takes the database's own,
    /// `event-id` for a new one.
    pub scope: Option<DedupScope>,
    /// Connections for reading; the writer's own comes on top.
    pub read_connections: u32,
}

/// Opens the database that `url` names, with its schema brought up to date or checked.
pub async fn open(url: &str, options: &OpenOptions) -> Result<Arc<dyn EventStore>, OpenError> {
    match Engine::of(url)? {
        Engine::Postgres => Ok(Arc::new(postgres::PostgresStore::open(url, options).await?)),
        Engine::Sqlite => Ok(Arc::new(sqlite::SqliteStore::open(url, options).await?)),
    }
}

/// Brings the schema of the database that `url` names up to date, and fixes its scope where one is given.
/// Returns the schema's version.
pub async fn migrate(url: &str, scope: Option<DedupScope>) -> Result<i64, OpenError> {
    match Engine::of(url)? {
        Engine::Postgres => postgres::migrate(url, scope).await,
        Engine::Sqlite => sqlite::migrate(url, scope).await,
    }
}

enum Engine {
    Postgres,
    Sqlite,
}

impl Engine {
    fn of(url: &str) -> Result<Self, OpenError> {
        match url.split(':').next() {
            Some("postgres" | "postgresql") => Ok(Engine::Postgres),
            Some("sqlite") => Ok(Engine::Sqlite),
            _ => Err(OpenError::Url("it must start with postgres://, postgresql:// or sqlite://".to_owned())),
        }
    }
}

/// A migration that a database has had: its version, and the checksum of its text.
pub(super) type Applied = (i64, Vec<u8>);

/// The schema's version: that of its last migration.
pub(super) fn version_of(applied: &[Applied]) -> i64 {
    applied.iter().map(|(version, _)| *version).max().unwrap_or(0)
}

/// Whether a schema serves as it is (`Ok(true)`), or only after migrating (`Ok(false)`).
pub(super) fn check_version(
    applied: &[Applied],
    migrator: &sqlx::migrate::Migrator,
    migrate: bool,
) -> Result<bool, OpenError> {
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    let found = version_of(applied);
    let differs = |(version, checksum): &&Applied| {
        migrator.iter().any(|known| known.version == *version && *known.checksum != **checksum)
    };
    if let Some((version, _)) = applied.iter().find(differs) {
        Err(OpenError::OtherSchema { version: *version })
    } else if found > known {
        Err(OpenError::TooNew { found, known })
    } else if found < known && !migrate {
        Err(OpenError::TooOld { found, known })
    } else {
        Ok(found == known)
    }
}

/// The scope that a database keeps, if it is the one asked for.
pub(super) fn check_scope(kept: &str, asked: Option<DedupScope>) -> Result<DedupScope, OpenError> {
    let kept: DedupScope = kept.parse().map_err(OpenError::Unsuitable)?;
    match asked {
        Some(asked) if asked != kept => Err(OpenError::OtherScope { kept, asked }),
        _ => Ok(kept),
    }
}
