//! What each session with the server must be like, and what the server must be.
//!
//! Settings are part of the start-up message, so that no other client of a pooler inherits them, and are read back.

use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tracing::warn;

use super::error::open_error;
use crate::store::OpenError;

const VERSION_MIN: i32 = 150_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A setting, and its value as the server shows it.
type Setting = (&'static str, &'static str);

/// A migration may take longer than any append. The times are no server's defaults, so that reading them back shows
/// whether the settings of a session hold.
const OPENING: [Setting; 3] = [
    ("lock_timeout", "1d"),
    ("statement_timeout", "1d"),
    ("default_transaction_isolation", "read committed"),
];

/// A writer gives up waiting for a ledger's lock soon, so that a ledger which another node holds costs the others no
/// more of its connection. One that hangs must not keep its own ledger from the others: its statement is cancelled, and its socket is closed under it; all before the caller's own deadline. `append` needs READ COMMITTED.
const WRITER: [Setting; 4] = [
    ("lock_timeout", "500ms"),
    ("statement_timeout", "6s"),
    ("idle_in_transaction_session_timeout", "6s"),
    ("default_transaction_isolation", "read committed"),
];

/// Creating waits for others who create, deleting for the append that holds the ledger. A sweep's job is short.
const CONTROL: [Setting; 4] = [
    ("lock_timeout", "4s"),
    ("statement_timeout", "8s"),
    ("idle_in_transaction_session_timeout", "6s"),
    ("default_transaction_isolation", "read committed"),
];

/// Every look-up has an index that is in the order of the answer. Until the server has counted the rows of a table that grew,
/// it takes it for cheaper to read them all, and to sort them. To compile a statement that is done in milliseconds costs
/// more than it saves.
const BY_INDEX: [Setting; 3] = [("enable_seqscan", "off"), ("enable_bitmapscan", "off"), ("jit", "off")];

/// A subscription's row is held for milliseconds. A node that hangs with it keeps others from that one subscription, and
/// loses it soon.
const PROGRESS: [Setting; 7] = [
    BY_INDEX[0],
    BY_INDEX[1],
    BY_INDEX[2],
    ("lock_timeout", "1s"),
    ("statement_timeout", "6s"),
    ("idle_in_transaction_session_timeout", "3s"),
    ("default_transaction_isolation", "read committed"),
];

const READER: [Setting; 5] = [
    BY_INDEX[0],
    BY_INDEX[1],
    BY_INDEX[2],
    ("statement_timeout", "10s"),
    ("default_transaction_read_only", "on"),
];

/// Not read back: on a Unix socket the server shows 0.
const TCP_USER_TIMEOUT: Setting = ("tcp_user_timeout", "5s");

/// Ends the statement of a client that is gone. Some systems of servers cannot, and refuse it.
const WATCH_CLIENT: Setting = ("client_connection_check_interval", "1s");

/// Sessions with the same settings.
#[derive(Clone)]
pub(super) struct Session {
    name: &'static str,
    settings: Vec<Setting>,
    options: PgConnectOptions,
}

impl Session {
    fn new(name: &'static str, settings: &[Setting], options: &PgConnectOptions) -> Self {
        let options = options.clone().options(settings.iter().copied());
        Self { name, settings: settings.to_vec(), options }
    }

    /// For checking the server and migrating it.
    pub(super) fn opening(options: &PgConnectOptions) -> Self {
        Self::new("opening", &OPENING, options)
    }

    pub(super) fn reader(options: &PgConnectOptions) -> Self {
        Self::new("reader", &READER, &options.clone().options([TCP_USER_TIMEOUT]))
    }

    pub(super) fn writer(options: &PgConnectOptions, server: Server) -> Self {
        Self::writing("writer", &WRITER, options, server)
    }

    /// For creating and deleting namespaces.
    pub(super) fn control(options: &PgConnectOptions, server: Server) -> Self {
        Self::writing("control", &CONTROL, options, server)
    }

    /// For subscriptions.
    pub(super) fn progress(options: &PgConnectOptions, server: Server) -> Self {
        Self::writing("progress", &PROGRESS, options, server)
    }

    fn writing(name: &'static str, settings: &[Setting], options: &PgConnectOptions, server: Server) -> Self {
        let durable = ("synchronous_commit", server.synchronous_commit);
        let watch_client = server.can_watch_clients.then_some(WATCH_CLIENT);
        let settings: Vec<Setting> = settings.iter().copied().chain([durable]).chain(watch_client).collect();
        Self::new(name, &settings, &options.clone().options([TCP_USER_TIMEOUT]))
    }

    /// For a pool, which must [`check`](Self::check) each connection.
    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    pub(super) async fn connect(&self) -> sqlx::Result<PgConnection> {
        let connected = async {
            let mut connection = self.options.connect().await?;
            self.check(&mut connection).await?;
            Ok(connection)
        };
        let silent = Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
        tokio::time::timeout(CONNECT_TIMEOUT, connected).await.unwrap_or(silent)
    }

    /// Fails where a setting of the start-up message does not hold.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let (names, values): (Vec<&str>, Vec<&str>) = self.settings.iter().copied().unzip();
        let differing: Option<(String, String)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT name, current_setting(name) /* settings of the {} */
             FROM unnest($1::text[], $2::text[]) AS asked (name, value)
             WHERE current_setting(name) <> value LIMIT 1",
            self.name
        )))
        .bind(names)
        .bind(values)
        .fetch_optional(connection)
        .await?;
        match differing {
            None => Ok(()),
            Some((name, value)) => Err(sqlx::Error::Configuration(
                format!(
                    "the session setting {name} that was asked for does not hold (it is {value}): {NO_POOLER}"
                )
                .into(),
            )),
        }
    }
}

/// What to do about a pooler that does not pass settings on.
pub(super) const NO_POOLER: &str = "a pooler such as PgBouncer stands before the server and shares its sessions among \
     clients, or drops their settings (ignore_startup_parameters); give the address of the PostgreSQL server itself";

/// What sessions depend on.
#[derive(Clone, Copy)]
pub(super) struct Server {
    synchronous_commit: &'static str,
    can_watch_clients: bool,
}

/// Refuses a server that cannot keep what is promised, in a sentence that says why.
pub(super) async fn check_server(connection: &mut PgConnection) -> Result<Server, OpenError> {
    let (version, version_shown, encoding, durable, fsync): (i32, String, String, String, String) =
        sqlx::query_as(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                    current_setting('server_encoding'), current_setting('synchronous_commit'),
                    current_setting('fsync')",
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(open_error)?;
    if version < VERSION_MIN {
        let sentence = format!("sekali needs PostgreSQL 15 or newer; this server is {version_shown}");
        return Err(OpenError::Unsuitable(sentence));
    }
    if encoding != "UTF8" {
        return Err(OpenError::Unsuitable(format!(
            "the database is encoded in {encoding}: create one with ENCODING 'UTF8' and give that"
        )));
    }
    if fsync != "on" {
        warn!(
            "the server runs with fsync off: a crash of its machine can lose events that were acknowledged"
        );
    }
    // "Stored" needs a commit that waits for the disk; one that waits for more stays.
    let synchronous_commit = if durable == "remote_apply" { "remote_apply" } else { "on" };
    Ok(Server { synchronous_commit, can_watch_clients: can_watch_clients(connection).await? })
}

async fn can_watch_clients(connection: &mut PgConnection) -> Result<bool, OpenError> {
    let (name, value) = WATCH_CLIENT;
    match sqlx::query("SELECT set_config($1, $2, false)").bind(name).bind(value).execute(connection).await {
        Ok(_) => Ok(true),
        Err(error) if error.as_database_error().is_some() => Ok(false),
        Err(error) => Err(open_error(error)),
    }
}
