//! What the databases do with the same rows and indexes when nothing stands before them.

use std::time::Instant;

use sqlx::{
    Connection, PgConnection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    types::Uuid,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BATCH: usize = 1_000;

/// One row an event, and a unique key on its id: what one would write without the service.
pub async fn create_table(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(
        "CREATE TABLE raw_events (
             seq bigserial, received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
             \"timestamp\" timestamptz NOT NULL, payload_bytes integer NOT NULL, topic text NOT NULL,
             event_id text NOT NULL, scope_topic text NOT NULL, source text NOT NULL, payload json NOT NULL,
             PRIMARY KEY (seq), UNIQUE (event_id, scope_topic));
         CREATE INDEX ON raw_events (topic, seq);",
    )
    .execute(&mut connection)
    .await?;
    Ok(connection.close().await?)
}

/// Fills the table with so many rows like those that are measured.
pub async fn fill(url: &str, rows: u64) -> Result<()> {
    const CHUNK: u64 = 200_000;
    let mut connection = PgConnection::connect(url).await?;
    for _ in 0..rows.div_ceil(CHUNK) {
        sqlx::query(
            "INSERT INTO raw_events (\"timestamp\", payload_bytes, topic, event_id, scope_topic, source, payload)
             SELECT '2026-06-18T12:00:00.123456Z', octet_length($2), ($3::text[])[1 + n % 8], gen_random_uuid()::text,
                 '', 'load', $2::json
             FROM generate_series(1, $1) AS n",
        )
        .bind(CHUNK as i64)
        .bind(PAYLOAD)
        .bind(TOPICS)
        .execute(&mut connection)
        .await?;
    }
    Ok(connection.close().await?)
}

/// Rows a second that SQLite takes from `json_each` in transactions of `batch` rows, into the service's own tables.
pub async fn json_each(url: &str, batch: usize, seconds: f64) -> Result<f64> {
    sekali::store::migrate(url, None).await?;
    let options: SqliteConnectOptions = url.parse()?;
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let begun = Instant::now();
    let mut rows = 0;
    while begun.elapsed().as_secs_f64() < seconds {
        let values: Vec<_> = (0..batch)
            .map(|place| {
                let id = Uuid::new_v4().to_string();
                (place % TOPICS.len(), id, 1_781_784_000_123_456_i64, "load", PAYLOAD)
            })
            .collect();
        let digests: Vec<_> = (0..batch).map(|_| Uuid::new_v4().simple().to_string()).collect();
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(
            "INSERT INTO identities (namespace_no, digest, seq)
             SELECT 1, unhex(value), $1 + key FROM json_each($2)",
        )
        .bind(rows + 1)
        .bind(serde_json::to_string(&digests)?)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO stored_events (place, topic_no, event_id, timestamp, source, payload, received_at)
             SELECT (1 << 40) + $1 + key, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0
             FROM json_each($2)",
        )
        .bind(rows + 1)
        .bind(serde_json::to_string(&values)?)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows += batch as i64;
    }
    Ok(rows as f64 / begun.elapsed().as_secs_f64())
}

/// Rows a second by UNNEST with ON CONFLICT in batches of 1,000, over so many connections.
pub async fn unnest(url: &str, connections: usize, seconds: f64) -> Result<f64> {
    let begun = Instant::now();
    let inserting = (0..connections).map(|_| async {
        let mut connection = PgConnection::connect(url).await?;
        let mut rows = 0_u64;
        while begun.elapsed().as_secs_f64() < seconds {
            insert_batch(&mut connection).await?;
            rows += BATCH as u64;
        }
        Ok::<_, Box<dyn std::error::Error>>(rows)
    });
    let rows: u64 = futures::future::try_join_all(inserting).await?.iter().sum();
    Ok(rows as f64 / begun.elapsed().as_secs_f64())
}

async fn insert_batch(connection: &mut PgConnection) -> Result<()> {
    let ids: Vec<String> = (0..BATCH).map(|_| Uuid::new_v4().to_string()).collect();
    let topics: Vec<&str> = (0..BATCH).map(|place| TOPICS[place % TOPICS.len()]).collect();
    sqlx::query(
        "INSERT INTO raw_events (\"timestamp\", payload_bytes, topic, event_id, scope_topic, source, payload)
         SELECT '2026-06-18T12:00:00.123456Z', octet_length(payload), topic, event_id, '', source, payload::json
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS e (topic, event_id, source, payload)
         ON CONFLICT DO NOTHING",
    )
    .bind(topics)
    .bind(ids)
    .bind(vec!["load"; BATCH])
    .bind(vec![PAYLOAD; BATCH])
    .execute(connection)
    .await?;
    Ok(())
}

/// Single-row inserts a second over so many connections, and their median latency in milliseconds.
pub async fn singles(url: &str, connections: usize, seconds: f64) -> Result<(f64, f64)> {
    let begun = Instant::now();
    let inserting = (0..connections).map(|number| async move {
        let mut connection = PgConnection::connect(url).await?;
        let mut micros = Vec::new();
        while begun.elapsed().as_secs_f64() < seconds {
            let since = Instant::now();
            insert_single(&mut connection, number).await?;
            micros.push(since.elapsed().as_micros() as u64);
        }
        Ok::<_, Box<dyn std::error::Error>>(micros)
    });
    let mut micros: Vec<u64> = futures::future::try_join_all(inserting).await?.concat();
    let rate = micros.len() as f64 / begun.elapsed().as_secs_f64();
    micros.sort_unstable();
    Ok((rate, micros.get(micros.len() / 2).copied().unwrap_or_default() as f64 / 1_000.0))
}

async fn insert_single(connection: &mut PgConnection, number: usize) -> Result<()> {
    sqlx::query(
        "INSERT INTO raw_events (\"timestamp\", payload_bytes, topic, event_id, scope_topic, source, payload)
         VALUES ('2026-06-18T12:00:00.123456Z', octet_length($3), $1, $2, '', 'load', $3::json)
         ON CONFLICT DO NOTHING",
    )
    .bind(TOPICS[number % TOPICS.len()])
    .bind(Uuid::new_v4().to_string())
    .bind(PAYLOAD)
    .execute(connection)
    .await?;
    Ok(())
}

const TOPICS: [&str; 8] = super::load::TOPICS;
const PAYLOAD: &str =
    r#"{"n":351773151,"note":"a payload of about a hundred bytes, as a small real event has it","ok":true}"#;
