//! Opening a database of either engine, and what both check.

use super::{CreateOutcome, LedgerRecord, OpenError, Store, postgres, sqlite};
use crate::event::DedupScope;

/// How to open a database.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bring the schema up to date first; else refuse one that is not.
    pub migrate: bool,
    /// The scope to create the namespace `default` with, and to insist on; `None` takes what it has, `event-id` for a
    /// new one.
    pub scope: Option<DedupScope>,
    /// Connections for reading; the writer's own comes on top.
    pub read_connections: u32,
}

/// Opens the database that `url` names, with its schema brought up to date or checked.
pub async fn open(url: &str, options: &OpenOptions) -> Result<Store, OpenError> {
    match Engine::of(url)? {
        Engine::Postgres => {
            let engine = postgres::PostgresStore::open(url, options).await?;
            let news = engine.news();
            Ok(Store { news: Some(news), ..Store::of(engine) })
        }
        Engine::Sqlite => sqlite::SqliteStore::open(url, options).await.map(Store::of),
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
///
/// Migrations are never changed, but for the first one before version 0.2.
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
        Err(if *version == 1 {
            OpenError::FromVersion01
        } else {
            OpenError::OtherSchema { version: *version }
        })
    } else if found > known {
        Err(OpenError::TooNew { found, known })
    } else if found < known && !migrate {
        Err(OpenError::TooOld { found, known })
    } else {
        Ok(found == known)
    }
}

/// The ledger of the namespace `default` once that was created, by this service or another one.
pub(super) fn default_of(outcome: CreateOutcome) -> LedgerRecord {
    match outcome {
        CreateOutcome::Created(default) | CreateOutcome::There(default) => default.ledger,
        CreateOutcome::Full => unreachable!("`default` is created without a limit"),
    }
}

/// Refuses the namespace `default` of the scope `kept` where another one is asked for.
pub(super) fn check_scope(kept: DedupScope, asked: Option<DedupScope>) -> Result<(), OpenError> {
    match asked {
        Some(asked) if asked != kept => Err(OpenError::OtherScope { kept, asked }),
        _ => Ok(()),
    }
}
