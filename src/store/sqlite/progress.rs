//! Transactions on subscriptions. One that writes has the turn to write for as long as it is open.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, pool::PoolConnection, raw_sql};

use super::{
    SqliteStore, clock::unix_micros, error::store_error, json::to_json, ledger::place, search, turn::Turn,
};
use crate::store::{
    LedgerKey, LedgerRecord, StoreError, StoredEvent, SubscriptionQuery, SubscriptionSettings,
    progress::{
        Found, NewSubscription, ParkedEvent, ParkedRow, Piece, ProgressEngine, ProgressSession, Record,
        Search, StateChange, SubscriptionRow, records,
    },
    rows::{from_sql, to_sql},
};

const COLUMNS: &str =
    "subscription_no, name, s.topics, start_after, lease_seconds, max_leases, max_deliveries,
    partition_by, handed_out, parked_total, created_at";

#[async_trait]
impl ProgressEngine for SqliteStore {
    async fn write(&self, ledger: &LedgerRecord) -> Result<Box<dyn ProgressSession + '_>, StoreError> {
        self.connector.file().check()?;
        let mut connection = self.progress_pool.acquire().await.map_err(store_error)?;
        let turn = self.turn.take(&mut connection).await?;
        begin(connection, Some(turn), ledger.key, "BEGIN IMMEDIATE").await
    }

    async fn read(&self, ledger: &LedgerRecord) -> Result<Box<dyn ProgressSession + '_>, StoreError> {
        let connection = self.pool()?.acquire().await.map_err(store_error)?;
        begin(connection, None, ledger.key, "BEGIN").await
    }

    async fn events(&self, ledger: &LedgerRecord, seqs: &[u64]) -> Result<Vec<StoredEvent>, StoreError> {
        search::events(self.pool()?, ledger, seqs).await
    }
}

async fn begin<'a>(
    connection: PoolConnection<Sqlite>,
    turn: Option<Turn<'a>>,
    ledger: LedgerKey,
    statement: &'static str,
) -> Result<Box<dyn ProgressSession + 'a>, StoreError> {
    let mut transaction = Transaction { open: Some(connection), turn, ledger };
    raw_sql(statement).execute(transaction.connection()).await.map_err(store_error)?;
    Ok(Box::new(transaction))
}

/// A transaction that is open; dropping it ends its connection, and so undoes it.
struct Transaction<'a> {
    open: Option<PoolConnection<Sqlite>>,
    /// In a transaction that writes.
    turn: Option<Turn<'a>>,
    ledger: LedgerKey,
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.open.take() {
            drop(connection.detach());
        }
    }
}

impl Transaction<'_> {
    fn connection(&mut self) -> &mut SqliteConnection {
        self.open.as_mut().expect("a transaction has its connection until its end")
    }

    /// The subscriptions of these rows, with their pieces.
    async fn records(&mut self, rows: Vec<SubscriptionRow>) -> sqlx::Result<Vec<Record>> {
        let numbers: Vec<i64> = rows.iter().map(|row| row.subscription_no).collect();
        let pieces = sqlx::query_as(
            "SELECT * FROM leases
             WHERE namespace_no = $1 AND subscription_no IN (SELECT value FROM json_each($2))",
        )
        .bind(self.ledger.namespace_no)
        .bind(to_json(&numbers)?)
        .fetch_all(self.connection())
        .await?;
        records(rows, pieces)
    }

    async fn find(&mut self, name: &str) -> sqlx::Result<Option<Record>> {
        let row: Option<SubscriptionRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM subscriptions AS s WHERE namespace_no = $1 AND name = $2"
        )))
        .bind(self.ledger.namespace_no)
        .bind(name)
        .fetch_optional(self.connection())
        .await?;
        match row {
            Some(row) => Ok(self.records(vec![row]).await?.pop()),
            None => Ok(None),
        }
    }

    async fn page(&mut self, query: &SubscriptionQuery) -> sqlx::Result<Vec<Record>> {
        let rows = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM subscriptions AS s
             WHERE namespace_no = $1 AND name > $2 AND name >= $3 AND substr(name, 1, length($3)) = $3
             ORDER BY name LIMIT $4"
        )))
        .bind(self.ledger.namespace_no)
        .bind(&query.after)
        .bind(&query.prefix)
        .bind(query.limit as i64)
        .fetch_all(self.connection())
        .await?;
        self.records(rows).await
    }

    async fn write_back(&mut self, number: i64, change: &StateChange<'_>, now: i64) -> sqlx::Result<()> {
        let namespace_no = self.ledger.namespace_no;
        let connection = self.connection();
        for (partition, from) in &change.removed {
            sqlx::query(
                "DELETE FROM leases
                 WHERE namespace_no = $1 AND subscription_no = $2 AND partition_no = $3 AND from_seq = $4",
            )
            .bind(namespace_no)
            .bind(number)
            .bind(*partition as i64)
            .bind(to_sql(*from))
            .execute(&mut *connection)
            .await?;
        }
        for (partition, piece) in &change.kept {
            keep_piece(connection, namespace_no, number, *partition, piece).await?;
        }
        for event in change.newly_parked {
            park(connection, namespace_no, number, event, now).await?;
        }
        if change.handed_out.is_none() && change.parked.is_none() {
            return Ok(());
        }
        sqlx::query(
            "UPDATE subscriptions
             SET handed_out = coalesce($3, handed_out), parked_total = coalesce($4, parked_total)
             WHERE namespace_no = $1 AND subscription_no = $2",
        )
        .bind(namespace_no)
        .bind(number)
        .bind(change.handed_out.as_ref().map(to_json).transpose()?)
        .bind(change.parked.map(to_sql))
        .execute(connection)
        .await?;
        Ok(())
    }
}

async fn keep_piece(
    connection: &mut SqliteConnection,
    namespace_no: i32,
    number: i64,
    partition: usize,
    piece: &Piece,
) -> sqlx::Result<()> {
    let holder = piece.holder.as_ref();
    sqlx::query(
        "INSERT INTO leases (namespace_no, subscription_no, partition_no, from_seq, through_seq, middle_seq,
             deliveries, is_retry, lease_id, expires_at, worker)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (namespace_no, subscription_no, partition_no, from_seq) DO UPDATE
         SET through_seq = $5, middle_seq = $6, deliveries = $7, is_retry = $8, lease_id = $9, expires_at = $10,
             worker = $11",
    )
    .bind(namespace_no)
    .bind(number)
    .bind(partition as i64)
    .bind(to_sql(piece.from))
    .bind(to_sql(piece.through))
    .bind(to_sql(piece.middle))
    .bind(i64::from(piece.deliveries))
    .bind(piece.is_retry)
    .bind(holder.map(|holder| holder.lease.to_string()))
    .bind(holder.map(|holder| holder.expires_at))
    .bind(holder.and_then(|holder| holder.worker.as_deref()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn park(
    connection: &mut SqliteConnection,
    namespace_no: i32,
    number: i64,
    event: &ParkedEvent,
    now: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO parked (namespace_no, subscription_no, seq, partition_no, deliveries, parked_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(namespace_no)
    .bind(number)
    .bind(to_sql(event.seq))
    .bind(event.partition as i64)
    .bind(i64::from(event.deliveries))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

#[async_trait]
impl ProgressSession for Transaction<'_> {
    async fn load(&mut self, name: &str) -> Result<Option<Record>, StoreError> {
        self.find(name).await.map_err(store_error)
    }

    async fn list(&mut self, query: &SubscriptionQuery) -> Result<Vec<Record>, StoreError> {
        self.page(query).await.map_err(store_error)
    }

    async fn head_and_now(&mut self) -> Result<(u64, i64), StoreError> {
        let ledger = self.ledger;
        let head: Option<i64> =
            sqlx::query_scalar("SELECT last_seq FROM ledgers WHERE namespace_no = $1 AND ledger_id = $2")
                .bind(ledger.namespace_no)
                .bind(ledger.ledger_id)
                .fetch_optional(self.connection())
                .await
                .map_err(store_error)?;
        Ok((from_sql(head.ok_or(StoreError::Gone)?).map_err(store_error)?, unix_micros()))
    }

    async fn count(&mut self, max: usize) -> Result<usize, StoreError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT 1 FROM subscriptions WHERE namespace_no = $1 LIMIT $2)",
        )
        .bind(self.ledger.namespace_no)
        .bind(max as i64)
        .fetch_one(self.connection())
        .await
        .map_err(store_error)?;
        Ok(count as usize)
    }

    async fn insert(&mut self, new: &NewSubscription<'_>) -> Result<bool, StoreError> {
        let settings = new.settings;
        let topics = to_json(&settings.topics.patterns()).map_err(store_error)?;
        let handed_out = to_json(&new.handed_out).map_err(store_error)?;
        let inserted = sqlx::query(
            "INSERT INTO subscriptions (namespace_no, subscription_no, name, topics, start_after, lease_seconds,
                 max_leases, max_deliveries, partition_by, handed_out, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (namespace_no, name) DO NOTHING",
        )
        .bind(self.ledger.namespace_no)
        .bind(new.number)
        .bind(new.name)
        .bind(topics)
        .bind(settings.start.text())
        .bind(settings.lease_seconds)
        .bind(settings.max_leases)
        .bind(settings.max_deliveries)
        .bind(settings.partitions.map(|partitions| partitions.by.name()))
        .bind(handed_out)
        .bind(unix_micros())
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn set(&mut self, number: i64, settings: &SubscriptionSettings) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE subscriptions SET topics = $3, lease_seconds = $4, max_leases = $5, max_deliveries = $6
             WHERE namespace_no = $1 AND subscription_no = $2",
        )
        .bind(self.ledger.namespace_no)
        .bind(number)
        .bind(to_json(&settings.topics.patterns()).map_err(store_error)?)
        .bind(settings.lease_seconds)
        .bind(settings.max_leases)
        .bind(settings.max_deliveries)
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn delete(&mut self, number: i64) -> Result<(), StoreError> {
        for table in ["subscriptions", "leases", "parked"] {
            sqlx::query(AssertSqlSafe(format!(
                "DELETE FROM {table} WHERE namespace_no = $1 AND subscription_no = $2"
            )))
            .bind(self.ledger.namespace_no)
            .bind(number)
            .execute(self.connection())
            .await
            .map_err(store_error)?;
        }
        Ok(())
    }

    async fn search(&mut self, wanted: &Search<'_>) -> Result<Vec<Found>, StoreError> {
        let namespace_no = self.ledger.namespace_no;
        search::search(self.connection(), namespace_no, wanted).await.map_err(store_error)
    }

    async fn save(&mut self, number: i64, change: &StateChange<'_>, now: i64) -> Result<(), StoreError> {
        self.write_back(number, change, now).await.map_err(store_error)
    }

    async fn parked(
        &mut self,
        number: i64,
        after: u64,
        seqs: Option<&[u64]>,
        limit: usize,
    ) -> Result<Vec<ParkedRow>, StoreError> {
        let seqs = seqs.map(|seqs| to_json(&seqs)).transpose().map_err(store_error)?;
        sqlx::query_as(
            "SELECT p.seq, partition_no, deliveries, parked_at,
                 coalesce(octet_length(payload) + octet_length(event_id || source), 0) AS bytes
             FROM (
                 SELECT * FROM parked
                 WHERE namespace_no = $1 AND subscription_no = $2 AND seq > $3
                     AND ($4 IS NULL OR seq IN (SELECT value FROM json_each($4)))
                 ORDER BY seq LIMIT $5
             ) AS p LEFT JOIN stored_events ON place = $6 + p.seq
             ORDER BY p.seq",
        )
        .bind(self.ledger.namespace_no)
        .bind(number)
        .bind(to_sql(after))
        .bind(seqs)
        .bind(limit as i64)
        .bind(place(self.ledger.namespace_no, 0))
        .fetch_all(self.connection())
        .await
        .map_err(store_error)
    }

    async fn forget_parked(&mut self, number: i64, seqs: &[u64]) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM parked WHERE namespace_no = $1 AND subscription_no = $2
                 AND seq IN (SELECT value FROM json_each($3))",
        )
        .bind(self.ledger.namespace_no)
        .bind(number)
        .bind(to_json(&seqs).map_err(store_error)?)
        .execute(self.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn forget_parked_after(&mut self, number: i64, seq: u64) -> Result<u64, StoreError> {
        let forgotten =
            sqlx::query("DELETE FROM parked WHERE namespace_no = $1 AND subscription_no = $2 AND seq > $3")
                .bind(self.ledger.namespace_no)
                .bind(number)
                .bind(to_sql(seq))
                .execute(self.connection())
                .await
                .map_err(store_error)?;
        Ok(forgotten.rows_affected())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        raw_sql("COMMIT").execute(self.connection()).await.map_err(store_error)?;
        self.open = None;
        match self.turn.take() {
            Some(turn) => turn.end(),
            None => Ok(()),
        }
    }
}
