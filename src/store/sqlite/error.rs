//! Sorts the errors of SQLite by what to do about them (<https://sqlite.org/rescode.html>).

use std::path::Path;

use crate::store::{Damage, OpenError, StoreError};

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NOMEM: i32 = 7;
const READONLY: i32 = 8;
const INTERRUPT: i32 = 9;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const PROTOCOL: i32 = 15;
const TOOBIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const NOTADB: i32 = 26;

/// A trigger, which is not one of ours, refuses a row.
const CONSTRAINT_TRIGGER: i32 = CONSTRAINT | 7 << 8;
/// A rule of the tables. Valid events meet all of them, so only a damaged ledger or another program breaks one.
const CONSTRAINT_RULES: [i32; 6] = [
    CONSTRAINT | 1 << 8,  // CHECK
    CONSTRAINT | 3 << 8,  // FOREIGNKEY
    CONSTRAINT | 5 << 8,  // NOTNULL
    CONSTRAINT | 6 << 8,  // PRIMARYKEY
    CONSTRAINT | 8 << 8,  // UNIQUE
    CONSTRAINT | 12 << 8, // DATATYPE
];
/// No folder for temporary files can be written: what needs none works on.
const IOERR_GETTEMPPATH: i32 = IOERR | 25 << 8;
/// A checksum of the file system or of SQLite does not agree with the bytes that were read.
const IOERR_CORRUPTFS: i32 = IOERR | 33 << 8;
const IOERR_DATA: i32 = IOERR | 32 << 8;

/// Sorts an error of an open database.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    if let Some(damage) = damage(&error) {
        return StoreError::Damaged(damage);
    }
    let Some(code) = extended_code(&error) else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error),
            _ => StoreError::Broken(error),
        };
    };
    match (code, code & 0xff) {
        (IOERR_GETTEMPPATH, _) | (_, NOMEM) => StoreError::Exhausted(error),
        (CONSTRAINT_TRIGGER, _) | (_, TOOBIG) => StoreError::Rejected(error),
        (_, BUSY | LOCKED | READONLY | INTERRUPT | IOERR | FULL | CANTOPEN | PROTOCOL) => {
            StoreError::Unavailable(error)
        }
        _ => StoreError::Broken(error),
    }
}

/// Sorts an error of opening a database.
pub(super) fn open_error(error: sqlx::Error) -> OpenError {
    let is_locked = extended_code(&error).is_some_and(|code| code & 0xff == BUSY);
    match store_error(error) {
        // Waiting helps only against another program's lock.
        StoreError::Unavailable(error) if is_locked => OpenError::Unavailable(error),
        StoreError::Unavailable(error)
        | StoreError::Locked(error)
        | StoreError::NodeAway(error)
        | StoreError::Exhausted(error)
        | StoreError::Rejected(error)
        | StoreError::Broken(error) => OpenError::Refused(error),
        StoreError::TimedOut(_) => OpenError::Unavailable(sqlx::Error::PoolTimedOut),
        StoreError::Damaged(damage) => OpenError::Damaged(damage),
        StoreError::Detached(reason) => OpenError::Unsuitable(reason),
        error @ StoreError::TooManyTopics(_) => OpenError::Unsuitable(error.to_string()),
        StoreError::Gone => OpenError::Unsuitable("the namespace default is missing".to_owned()),
    }
}

/// Sorts an error of the first connection to a file that could be opened for writing.
pub(super) fn first_error(error: sqlx::Error, file: &Path) -> OpenError {
    let shown = file.display();
    match extended_code(&error).map(|code| code & 0xff) {
        Some(NOTADB) => {
            OpenError::Unsuitable(format!("{shown} is not a SQLite database: file is not a database"))
        }
        Some(CANTOPEN | READONLY) => OpenError::Unsuitable(format!(
            "SQLite cannot make its log beside {shown}: the folder must be writable ({error})"
        )),
        _ => open_error(error),
    }
}

/// Whether the error is that of the key which judges what is new.
pub(super) fn is_repeat(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.is_unique_violation() && error.message().contains("identities.namespace_no, identities.digest")
    })
}

fn damage(error: &sqlx::Error) -> Option<Damage> {
    let code = extended_code(error);
    let is_damage = |code: i32| {
        matches!(code & 0xff, CORRUPT | NOTADB)
            || matches!(code, IOERR_CORRUPTFS | IOERR_DATA)
            || CONSTRAINT_RULES.contains(&code)
    };
    match code.filter(|code| is_damage(*code)) {
        Some(code) => {
            Some(Damage::new(format!("{} (SQLite code {code})", error.as_database_error()?.message())))
        }
        None => Damage::reported_by(error),
    }
}

/// SQLite's extended result code; its low byte is the kind.
fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

    use super::*;

    async fn error_of(sql: &str) -> sqlx::Error {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap_err()
    }

    #[tokio::test]
    async fn only_what_data_can_break_is_rejected() {
        let table = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL UNIQUE CHECK (b <> 'x')) STRICT;";
        let refused = format!(
            "{table} CREATE TRIGGER refuse BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'no'); END;
             INSERT INTO t VALUES (1, 'a')"
        );
        for sql in [refused.as_str(), "SELECT zeroblob(2000000000)"] {
            let error = store_error(error_of(sql).await);
            assert!(matches!(error, StoreError::Rejected(_)), "{error:?}");
        }
        for rows in ["(1, NULL)", "(1, 'x')", "('a', 'a')", "(1, 'a'), (1, 'b')", "(1, 'a'), (2, 'a')"] {
            let error = store_error(error_of(&format!("{table} INSERT INTO t VALUES {rows}")).await);
            assert!(matches!(error, StoreError::Damaged(_) | StoreError::Broken(_)), "{rows}: {error:?}");
        }
        let error = store_error(error_of("SELECT * FROM missing").await);
        assert!(matches!(error, StoreError::Broken(_)), "{error:?}");
    }
}
