//! A fresh database for each test, removed with it.

use std::{collections::HashMap, path::PathBuf};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, FromRow,
    postgres::{PgConnectOptions, PgRow},
    sqlite::SqliteRow,
};
use tempfile::TempDir;
use uuid::Uuid;

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
}

impl Database {
    /// An empty database. Postgres is the server at `TEST_DATABASE_URL`, which must be there.
    pub async fn create(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => {
                let folder = TempDir::new().unwrap();
                let url = format!("sqlite://{}", folder.path().join("test.db").display());
                Self { engine, url, _folder: Some(folder), name: None }
            }
            Engine::Postgres => {
                let name = format!("sekali_{}", Uuid::new_v4().simple());
                admin(&format!("CREATE DATABASE {name}")).await;
                Self { engine, url: url_of(&name), _folder: None, name: Some(name) }
            }
        }
    }

    /// An empty Postgres database, created with options such as `ENCODING 'UTF8'`.
    pub async fn create_postgres_with(options: &str) -> Self {
        let name = format!("sekali_{}", Uuid::new_v4().simple());
        admin(&format!("CREATE DATABASE {name} {options}")).await;
        Self { engine: Engine::Postgres, url: url_of(&name), _folder: None, name: Some(name) }
    }

    /// A database that somebody else removes.
    pub fn at(url: &str) -> Self {
        let engine = if url.starts_with("sqlite:") { Engine::Sqlite } else { Engine::Postgres };
        Self { engine, url: url.to_owned(), _folder: None, name: None }
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

    /// What every database must be like at any time: events, `seq` and totals agree, and no `seq` is missing.
    pub async fn assert_sound(&self) {
        let unsound = self.unsound().await;
        assert!(unsound.is_empty(), "{unsound:#?}");
    }

    /// What of that does not hold.
    pub async fn unsound(&self) -> Vec<String> {
        let (events, ledgers) = (self.events_table(), self.table("ledgers"));
        let by_topic = match self.engine {
            Engine::Sqlite => "topics",
            Engine::Postgres => {
                "(SELECT topic_no, unique_events, duplicate_events FROM sekali.topics
                  UNION ALL SELECT d.* FROM (SELECT * FROM sekali.commits c WHERE commit_no >
                      (SELECT folded_to FROM sekali.commits ORDER BY commit_no DESC LIMIT 1)) c,
                      unnest(c.topic_nos, c.unique_counts, c.duplicate_counts) AS d) AS counted"
            }
        };
        let mut unsound = Vec::new();
        let mut must = |what: &str, numbers: &[i64]| {
            if numbers.windows(2).any(|pair| pair[0] != pair[1]) {
                unsound.push(format!("{what}: {numbers:?}"));
            }
        };
        let stored = self.number(&format!("SELECT count(*) FROM {events}")).await;
        let highest = self.number(&format!("SELECT coalesce(max(seq), 0) FROM {events}")).await;
        let ids = format!(
            "SELECT count(*) FROM (
                 SELECT DISTINCT event_id, CASE dedup_scope WHEN 'topic' THEN topic_no END
                 FROM {events} JOIN {ledgers} USING (namespace_no)
             ) AS ids"
        );
        must("count, highest seq, and different ids", &[stored, highest, self.number(&ids).await]);
        let shown = self.number(&format!("SELECT count(*) FROM {}", self.table("events"))).await;
        must("events, and those that the view shows", &[stored, shown]);
        let identities = self.number(&format!("SELECT count(*) FROM {}", self.table("identities"))).await;
        must(
            "events, identities, and those that belong together",
            &[stored, identities, self.paired().await],
        );
        let (received, unique) = self.totals().await;
        must("what is stored, and what the ledger counts", &[stored, unique as i64]);
        let counted =
            |column: &str| format!("SELECT CAST(coalesce(sum({column}), 0) AS bigint) FROM {by_topic}");
        let unique_by_topic = self.number(&counted("unique_events")).await;
        let duplicates_by_topic = self.number(&counted("duplicate_events")).await;
        must("unique events, and their sum by topic", &[unique as i64, unique_by_topic]);
        must("all events, and their sum by topic", &[received as i64, unique_by_topic + duplicates_by_topic]);
        let backwards = format!(
            "SELECT count(*) FROM (SELECT received_at, lag(received_at) OVER (ORDER BY seq) AS earlier
             FROM {events}) AS pairs WHERE received_at < earlier"
        );
        must("received_at never runs backwards", &[0, self.number(&backwards).await]);
        unsound
    }

    /// How many identities belong to a stored event; on Postgres, those with its digest.
    async fn paired(&self) -> i64 {
        self.number(match self.engine {
            Engine::Sqlite => {
                "SELECT count(*) FROM identities AS i
                 CROSS JOIN stored_events AS e ON e.place = (i.namespace_no << 40) + i.seq"
            }
            Engine::Postgres => {
                "SELECT count(*) FROM sekali.identities i
                 JOIN sekali.stored_events e ON e.namespace_no = i.namespace_no AND e.seq = i.seq
                 JOIN sekali.topics t ON t.namespace_no = e.namespace_no AND t.topic_no = e.topic_no
                 JOIN sekali.ledgers l ON l.namespace_no = e.namespace_no
                 WHERE i.digest = sekali.digest(l.identity_key, l.dedup_scope, t.topic, e.event_id)"
            }
        })
        .await
    }

    /// What the ledger counts: received and unique.
    pub async fn totals(&self) -> (u64, u64) {
        let totals = match self.engine {
            Engine::Sqlite => "ledgers",
            Engine::Postgres => "(SELECT * FROM sekali.commits ORDER BY commit_no DESC LIMIT 1) AS newest",
        };
        let total = |column: &str| format!("SELECT coalesce(max({column}), 0) FROM {totals}");
        let received = self.number(&total("received")).await;
        (received as u64, self.number(&total("last_seq")).await as u64)
    }

    /// What is stored behind `after`, in order.
    pub async fn rows_after(&self, after: u64) -> Vec<StoredRow> {
        let rows = format!(
            "SELECT seq, event_id, topic FROM {} WHERE seq > {after} ORDER BY seq",
            self.table("events")
        );
        let row = |(seq, event_id, topic): (i64, _, _)| StoredRow { seq: seq as u64, event_id, topic };
        self.select(&rows).await.into_iter().map(row).collect()
    }

    /// How many events each topic has.
    pub async fn stored_by_topic(&self) -> HashMap<String, u64> {
        let counts = format!("SELECT topic, count(*) FROM {} GROUP BY topic", self.table("events"));
        let count = |(topic, count): (String, i64)| (topic, count as u64);
        self.select(&counts).await.into_iter().map(count).collect()
    }

    /// The rows that `sql` selects, asked beside the service.
    async fn select<T>(&self, sql: &str) -> Vec<T>
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

/// An event as it lies in the database, without what does not matter to whether it is there.
#[derive(Debug)]
pub struct StoredRow {
    pub seq: u64,
    pub event_id: String,
    pub topic: String,
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
