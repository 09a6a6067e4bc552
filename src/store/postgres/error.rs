//! Sorts the errors of Postgres by what to do about them (SQLSTATE: Postgres manual, appendix A).

use std::fmt::Display;

use sqlx::{migrate::MigrateError, postgres::PgDatabaseError};

use super::session::NO_POOLER;
use crate::store::{Damage, OpenError, StoreError};

/// What Citus says around an error of another node.
const CONTEXT_OF_NODES: &str = "while executing command on";

/// Sorts an error of an open database.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    if let Some(damage) = Damage::reported_by(&error) {
        return StoreError::Damaged(damage);
    }
    let Some(database_error) = error.as_database_error() else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error),
            _ => StoreError::Broken(error),
        };
    };
    let code = database_error.code().unwrap_or_default();
    if is_of_other_node(&error) && !is_of_data(&code) {
        return StoreError::NodeAway(error);
    }
    match (code.get(..2).unwrap_or_default(), &*code) {
        // What valid events can break are the checks and triggers that an operator added. `append` deals with a
        // repeated identity itself. Any other rule of the tables breaks only where the ledger is damaged.
        (_, "23514" | "P0001") => StoreError::Rejected(error),
        ("23", _) | (_, "XX001" | "XX002" | "P0002" | "P0003") => {
            StoreError::Damaged(Damage::new(format!("{} (SQLSTATE {code})", database_error.message())))
        }
        ("22" | "54", _) => StoreError::Rejected(error),
        // A full disk takes small groups on for a while, and is no request's fault.
        (_, "53100" | "53300") => StoreError::Unavailable(error),
        ("53", _) => StoreError::Exhausted(error),
        (_, "55P03") => StoreError::Locked(error),
        ("08" | "40" | "57" | "58", _) | (_, "25006") => StoreError::Unavailable(error),
        _ => StoreError::Broken(error),
    }
}

/// Sorts an error of a call that a node of a cluster sends on. One that ran out of time waited for the ledger's node.
pub(super) fn node_error(error: sqlx::Error) -> StoreError {
    match store_error(error) {
        StoreError::Unavailable(error)
            if error.as_database_error().and_then(|error| error.code()).as_deref() == Some("57014") =>
        {
            StoreError::NodeAway(error)
        }
        error => error,
    }
}

/// Sorts an error of a call on the node that owns the ledger: others may be there.
pub(super) fn owner_error(error: sqlx::Error) -> StoreError {
    match store_error(error) {
        StoreError::Unavailable(error) => StoreError::NodeAway(error),
        error => error,
    }
}

/// Whether a node of a cluster reports what another one said, or that it does not answer.
fn is_of_other_node(error: &sqlx::Error) -> bool {
    let Some(report) =
        error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    else {
        return false;
    };
    // A server does not complain to its client of a connection, unless it is one to another server.
    report.code().starts_with("08") || report.r#where().is_some_and(|place| place.contains(CONTEXT_OF_NODES))
}

/// Whether an error is about what is stored or to be stored, wherever the ledger is. Any other one of another node is
/// about the node: it stops, its shards are being moved (tables that are not there, plans that cannot be made), or a call
/// could not be sent on to it as a whole and met a repeated identity on the way, which only the whole call can deal with.
fn is_of_data(code: &str) -> bool {
    match (code.get(..2).unwrap_or_default(), code) {
        (_, "23505" | "53100" | "53300") => false,
        (_, "P0001" | "XX001" | "XX002" | "P0002" | "P0003" | "55P03") => true,
        ("22" | "23" | "53" | "54", _) => true,
        _ => false,
    }
}

/// Sorts an error of opening a database. What can never work is refused, in a sentence.
pub(super) fn open_error(error: sqlx::Error) -> OpenError {
    if let Some(sentence) = why_never(&error) {
        return OpenError::Unsuitable(sentence);
    }
    match store_error(error) {
        StoreError::Unavailable(error)
        | StoreError::Locked(error)
        | StoreError::NodeAway(error)
        | StoreError::Exhausted(error) => OpenError::Unavailable(error),
        StoreError::Rejected(error) | StoreError::Broken(error) => OpenError::Refused(error),
        StoreError::TimedOut(_) => OpenError::Unavailable(sqlx::Error::PoolTimedOut),
        StoreError::Damaged(damage) => OpenError::Damaged(damage),
        StoreError::Detached(reason) => OpenError::Unsuitable(reason),
        error @ StoreError::TooManyTopics(_) => OpenError::Unsuitable(error.to_string()),
        StoreError::Gone => OpenError::Unsuitable("the namespace default is missing".to_owned()),
    }
}

fn why_never(error: &sqlx::Error) -> Option<String> {
    let without_tls = |reason: &dyn Display| {
        format!(
            "no TLS connection can be made, for which the URL's `sslmode` asks (`prefer` where it has none): {reason}; give the server a certificate that can be used, or the URL sslmode=disable where the way to the server is trusted"
        )
    };
    match error {
        sqlx::Error::Configuration(sentence) => Some(sentence.to_string()),
        sqlx::Error::Tls(reason) => Some(without_tls(reason)),
        sqlx::Error::Io(io) if io.get_ref().is_some_and(|reason| reason.is::<rustls::Error>()) => {
            Some(without_tls(io))
        }
        sqlx::Error::Database(refusal) if refusal.message().starts_with("unsupported startup parameter") => {
            Some(format!("{}: {NO_POOLER}", refusal.message()))
        }
        // A prepared statement of another client's session, or one that is in another session by now.
        sqlx::Error::Database(refusal) if matches!(refusal.code().as_deref(), Some("42P05" | "26000")) => {
            Some(format!("{}: {NO_POOLER}", refusal.message()))
        }
        _ => None,
    }
}

/// Sorts an error of migrating: a server that becomes unavailable meanwhile, or cannot be written yet, is waited for.
pub(super) fn migration_error(error: MigrateError) -> OpenError {
    match error {
        MigrateError::Execute(error) => open_error(error),
        MigrateError::ExecuteMigration(error, version) => match open_error(error) {
            OpenError::Refused(error) => OpenError::Migration(MigrateError::ExecuteMigration(error, version)),
            other => other,
        },
        error => OpenError::Migration(error),
    }
}
