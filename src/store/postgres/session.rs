//! What each session with the server must be like, and what the server must be.

use std::time::Duration;

use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tracing::warn;

use super::error::open_error;
use crate::store::OpenError;

const VERSION_MIN: i32 = 150_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The writer's session. A writer that hangs must not keep the ledger from the others: it gives up waiting for
/// the lock, then its statement is cancelled, and its socket is closed under it; all before the caller's own
/// deadline. `append` needs READ COMMITTED, and "stored" needs a commit that waits for the disk.
const WRITER_SET_UP: &str = "
    SET lock_timeout = '3s';
    SET statement_timeout = '6s';
    SET idle_in_transaction_session_timeout = '6s';
    SET tcp_user_timeout = '5s';
    SET default_transaction_isolation = 'read committed';
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');
";

/// Where the server's system cannot watch its clients, this is refused, and does no harm.
const WATCH_CLIENT: &str = "SET client_connection_check_interval = '1s'";

const READER_SET_UP: &str = "
    SET statement_timeout = '10s';
    SET tcp_user_timeout = '5s';
    SET default_transaction_read_only = on;
";

pub(super) async fn connect(options: &PgConnectOptions) -> sqlx::Result<PgConnection> {
    match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
        Ok(connected) => connected,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

pub(super) async fn set_up_writer(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(WRITER_SET_UP).execute(&mut *connection).await?;
    if let Err(error) = sqlx::raw_sql(WATCH_CLIENT).execute(connection).await
        && error.as_database_error().is_none()
    {
        return Err(error);
    }
    Ok(())
}

pub(super) async fn set_up_reader(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(READER_SET_UP).execute(connection).await?;
    Ok(())
}

/// Refuses a server that cannot keep what is promised, in a sentence that says why.
pub(super) async fn check_server(connection: &mut PgConnection) -> Result<(), OpenError> {
    set_up_writer(connection).await.map_err(open_error)?;
    let (version, version_shown, encoding, isolation, durable, fsync): (
        i32,
        String,
        String,
        String,
        String,
        String,
    ) = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                    current_setting('server_encoding'), current_setting('transaction_isolation'),
                    current_setting('synchronous_commit'), current_setting('fsync')",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(open_error)?;
    if version < VERSION_MIN {
        return Err(unsuitable(format!(
            "sekali needs PostgreSQL 15 or newer; this server is {version_shown}"
        )));
    }
    if encoding != "UTF8" {
        return Err(unsuitable(format!(
            "the database is encoded in {encoding}: create one with ENCODING 'UTF8' and give that"
        )));
    }
    if isolation != "read committed" || !matches!(durable.as_str(), "on" | "remote_apply") {
        return Err(unsuitable(format!(
            "the session keeps transaction_isolation at {isolation} and synchronous_commit at {durable}; sekali needs `read committed` and `on`"
        )));
    }
    if fsync != "on" {
        warn!(
            "the server runs with fsync off: a crash of its machine can lose events that were acknowledged"
        );
    }
    // What follows may migrate, and a migration may take longer than an append.
    sqlx::raw_sql("SET statement_timeout = 0; SET lock_timeout = 0")
        .execute(connection)
        .await
        .map_err(open_error)?;
    Ok(())
}

fn unsuitable(sentence: String) -> OpenError {
    OpenError::Unsuitable(sentence)
}
