//! What goes wrong with a database, sorted by what to do about it.

use crate::event::DedupScope;

/// Why the store did not do what it was asked; says whether to try again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is unavailable, or too busy: the same call may succeed later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The ledger is locked, by another node most likely; others are not.
    #[error("the namespace is locked by another node")]
    Locked(#[source] sqlx::Error),
    /// The node of the cluster that holds the ledger is not available, or hands it over at the moment; others are.
    #[error("the node of the cluster that holds the namespace is not available")]
    NodeAway(#[source] sqlx::Error),
    /// It did not answer in time: the call may have been carried out, or may yet be.
    #[error("the database did not answer within {0:.0?}")]
    TimedOut(std::time::Duration),
    /// It had too little memory or temporary space for this call. A smaller call may succeed at the same time.
    #[error("the database has too little memory or temporary space for this")]
    Exhausted(#[source] sqlx::Error),
    /// It cannot keep the data of this call, and never will.
    #[error("the database refuses the data")]
    Rejected(#[source] sqlx::Error),
    /// The namespace may not have another topic.
    #[error("the namespace may not have more than {0} topics (--topics-max)")]
    TooManyTopics(u32),
    /// Something that no retry mends: a missing table or right.
    #[error("the database cannot be used as it is")]
    Broken(#[source] sqlx::Error),
    /// What is stored is damaged. No retry mends it; an append that returns this has stored nothing.
    #[error("the database is damaged: {0}")]
    Damaged(Damage),
    /// The name of the database no longer leads to the database that is open. What was appended is not there.
    #[error("{0}")]
    Detached(String),
    /// The number of the ledger belongs to another one by now, or to none: its namespace was deleted, or the database
    /// was restored. Nothing was done.
    #[error("the ledger is gone")]
    Gone,
}

/// Something stored that no working store holds; it says what, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(String);

impl Damage {
    pub(super) fn new(detail: impl Into<String>) -> Self {
        Self(detail.into())
    }

    /// The damage that `error` reports, if it reports one: a row or value that cannot be what it must be.
    pub(super) fn reported_by(error: &sqlx::Error) -> Option<Self> {
        match error {
            sqlx::Error::Decode(source) => {
                let known = source.downcast_ref::<Damage>().cloned();
                Some(known.unwrap_or_else(|| Self(source.to_string())))
            }
            sqlx::Error::ColumnDecode { index, source } => Some(Self(format!("column {index}: {source}"))),
            sqlx::Error::RowNotFound => Some(Self("the ledger has no row".to_owned())),
            _ => None,
        }
    }
}

/// Functions that read rows return the errors of sqlx; there a damage is a value that cannot be decoded.
impl From<Damage> for sqlx::Error {
    fn from(damage: Damage) -> Self {
        sqlx::Error::Decode(Box::new(damage))
    }
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is unavailable; it may come back.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// It is there, and cannot serve as it is.
    #[error("the database refuses the connection or its set-up")]
    Refused(#[source] sqlx::Error),
    #[error("the database is damaged: {0}")]
    Damaged(Damage),
    #[error("the database URL cannot be used: {0}")]
    Url(String),
    #[error("{0}")]
    Unsuitable(String),
    /// A node of a cluster is away that is needed to distribute the tables; says which, and what to do.
    #[error("{0}")]
    NodeAway(String),
    #[error("the database's schema could not be migrated")]
    Migration(#[source] sqlx::migrate::MigrateError),
    #[error(
        "the database has schema version {found}, which a newer sekali made; this one knows up to {known}: run a newer sekali, or give another database"
    )]
    TooNew { found: i64, known: i64 },
    #[error(
        "this database is of sekali 0.1: export it with that version (`sekali events --all > f`), then `sekali publish f` into a new one"
    )]
    FromVersion01,
    #[error(
        "schema version {version} of this database was made by another build and differs from this one's: serve it with that build, or give another database"
    )]
    OtherSchema { version: i64 },
    #[error(
        "the database has schema version {found}, this sekali needs {known}: run `sekali migrate`, or serve without --migrate=false"
    )]
    TooOld { found: i64, known: i64 },
    #[error(
        "the namespace default was created with --dedup-scope {kept} and keeps it; {asked} was asked for: leave the setting out, or give another database"
    )]
    OtherScope { kept: DedupScope, asked: DedupScope },
    #[error("{database} is in use by another sekali: stop that one, or give another file")]
    InUse { database: String },
}

impl OpenError {
    /// Whether waiting may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, OpenError::Unavailable(_) | OpenError::NodeAway(_))
    }
}
