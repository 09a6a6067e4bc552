//! A fresh database for each test, removed with it.

use std::path::PathBuf;

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, FromRow,
    postgres::{PgConnectOptions, PgRow},
    sqlite::SqliteRow,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::citus;
use super::stored_ledger::StoredLedger;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

pub const ENGINES: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];

/// A database of a test's own; dropping it removes it.
pub struct Database {
    pub engine: Engine,
    pub url: String,
    /// Where SQLite's file lies.
    _folder: Option<TempDir>,
    /// Postgres' name for it.
    name: Option<String>,
    /// Where it lies on a cluster.
    _on_cluster: Option<citus::ClusterDatabase>,
}

impl Database {
    /// An empty database. Postgres is the server at `TEST_DATABASE_URL`, which must be there.
    pub async fn create(engine: Engine) -> Self {
        match engine {
            Engine::Postgres if citus::every_database_node().is_some() => Self::create_on_cluster().await,
            Engine::Sqlite => {
                let folder = TempDir::new().unwrap();
                let url = format!("sqlite://{}", folder.path().join("test.db").display());
                Self { engine, url, _folder: Some(folder), name: None, _on_cluster: None }
            }
            Engine::Postgres => {
                let name = format!("sekali_{}", Uuid::new_v4().simple());
                admin(&format!("CREATE DATABASE {name}")).await;
                Self { engine, url: url_of(&name), _folder: None, name: Some(name), _on_cluster: None }
            }
        }
    }

    /// An empty database on the cluster at `TEST_CITUS_URL`, as it is reached through one of its nodes.
    async fn create_on_cluster() -> Self {
        let node = citus::every_database_node().expect("TEST_EVERY_DATABASE_ON_NODE is a number");
        let cluster = citus::Cluster::find().await.expect("TEST_CITUS_URL names a cluster");
        let database = cluster.database().await;
        database.join().await;
        let url = database.urls[node].clone();
        Self { engine: Engine::Postgres, url, _folder: None, name: None, _on_cluster: Some(database) }
    }

    /// An empty Postgres database, created with options such as `ENCODING 'UTF8'`.
    pub async fn create_postgres_with(options: &str) -> Self {
        let name = format!("sekali_{}", Uuid::new_v4().simple());
        admin(&format!("CREATE DATABASE {name} {options}")).await;
        Self {
            engine: Engine::Postgres,
            url: url_of(&name),
            _folder: None,
            name: Some(name),
            _on_cluster: None,
        }
    }

    /// A database that somebody else removes.
    pub fn at(url: &str) -> Self {
        let engine = if url.starts_with("sqlite:") { Engine::Sqlite } else { Engine::Postgres };
        Self { engine, url: url.to_owned(), _folder: None, name: None, _on_cluster: None }
    }

    /// Runs statements beside the service.
    pub async fn execute(&self, sql: &str) {
        match self.engine {
            Engine::Sqlite => {
                let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            }
            Engine::Postgres => {
                let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            }
        }
    }

    /// Keeps every writer from the ledger until the answer is released.
    pub async fn hold_ledger(&self) -> HeldLedger {
        match self.engine {
            Engine::Sqlite => {
                let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
                let take = "PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE";
                sqlx::raw_sql(take).execute(&mut connection).await.unwrap();
                HeldLedger::Sqlite(connection)
            }
            Engine::Postgres => {
                let mut connection = sqlx::PgConnection::connect(&self.url).await.unwrap();
                let take = "BEGIN; SELECT * FROM sekali.ledgers FOR UPDATE";
                sqlx::raw_sql(take).execute(&mut connection).await.unwrap();
                HeldLedger::Postgres(connection)
            }
        }
    }

    /// SQLite's file.
    pub fn file(&self) -> PathBuf {
        PathBuf::from(self.url.strip_prefix("sqlite://").expect("a SQLite database"))
    }

    /// The table of events.
    pub fn events_table(&self) -> String {
        self.table("stored_events")
    }

    /// A table or view by its full name.
    pub fn table(&self, name: &str) -> String {
        match self.engine {
            Engine::Sqlite => name.to_owned(),
            Engine::Postgres => format!("sekali.{name}"),
        }
    }

    /// The one number that `sql` selects, asked beside the service.
    pub async fn number(&self, sql: &str) -> i64 {
        let (number,) = self.select(sql).await[0];
        number
    }

    /// What each namespace must be like at any time: events, `seq` and totals agree, and no `seq` is missing.
    pub async fn assert_sound(&self) {
        for namespace in self.namespaces().await {
            let unsound = self.ledger(&namespace).await.unsound().await;
            assert!(unsound.is_empty(), "{namespace}: {unsound:#?}");
        }
    }

    /// The names of all namespaces.
    pub async fn namespaces(&self) -> Vec<String> {
        let names =
            format!("SELECT name FROM {} WHERE state = 'open' ORDER BY name", self.table("namespaces"));
        self.select(&names).await.into_iter().map(|(name,)| name).collect()
    }

    /// What is stored in a namespace that there is.
    pub async fn ledger(&self, namespace: &str) -> StoredLedger<'_> {
        let table = self.table("namespaces");
        let number = format!("SELECT CAST(namespace_no AS bigint) FROM {table} WHERE name = '{namespace}'");
        StoredLedger { database: self, namespace: namespace.to_owned(), number: self.number(&number).await }
    }

    /// The rows of namespaces that were deleted, in every table that has some.
    pub async fn rows_of_deleted(&self) -> i64 {
        let namespaces = self.table("namespaces");
        let commits = if self.engine == Engine::Postgres { "commits" } else { "ledgers" };
        let mut rows = format!("SELECT count(*) FROM {namespaces} WHERE state <> 'open'");
        for table in ["ledgers", "stored_events", "identities", "topics", commits] {
            let table = self.table(table);
            let open = format!("SELECT namespace_no FROM {namespaces} WHERE state = 'open'");
            rows += &format!(" UNION ALL SELECT count(*) FROM {table} WHERE namespace_no NOT IN ({open})");
        }
        self.select(&rows).await.into_iter().map(|(count,): (i64,)| count).sum()
    }

    /// The rows that `sql` selects, asked beside the service.
    pub(super) async fn select<T>(&self, sql: &str) -> Vec<T>
    where
        T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        match self.engine {
            Engine::Sqlite => {
                let mut connection = sqlx::SqliteConnection::connect(&self.url).await.unwrap();
                sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap()
            }
            Engine::Postgres => {
                // Nobody has analysed the tables: a nested loop over all rows would be a guess that they are few. Where
                // there is no other way, its cost is said to be so high that the statement would be compiled.
                let options: PgConnectOptions = self.url.parse().unwrap();
                let options = options.options([("enable_nestloop", "off"), ("jit", "off")]);
                let mut connection = options.connect().await.unwrap();
                sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap()
            }
        }
    }
}

/// A foreign session that holds the ledger.
pub enum HeldLedger {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl HeldLedger {
    pub async fn release(self) {
        match self {
            HeldLedger::Sqlite(mut connection) => {
                sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
            }
            HeldLedger::Postgres(mut connection) => {
                sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            let drop_it =
                move || super::block_on(admin(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
            // A runtime must not block in itself, and this may run within one.
            let _ = std::thread::spawn(drop_it).join();
        }
    }
}

fn server_url() -> String {
    std::env::var("TEST_DATABASE_URL")
        .expect("TEST_DATABASE_URL names the Postgres server to test on; scripts/test starts one")
}

fn url_of(name: &str) -> String {
    let options: PgConnectOptions = server_url().parse().expect("TEST_DATABASE_URL is a Postgres URL");
    options.database(name).to_url_lossy().to_string()
}

async fn admin(sql: &str) {
    let mut connection =
        sqlx::PgConnection::connect(&server_url()).await.expect("the Postgres to test on answers");
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}
