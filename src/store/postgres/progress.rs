//! Transactions on subscriptions.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, raw_sql};
use time::OffsetDateTime;

use super::{PostgresStore, error::store_error, lease::Lease, search};
use crate::{
    event::Timestamp,
    store::{
        LedgerKey, LedgerRecord, StoreError, StoredEvent, SubscriptionQuery, SubscriptionSettings,
        progress::{
            Found, NewSubscription, ParkedEvent, ParkedRow, Piece, ProgressEngine, ProgressSession, Record,
            Search, StateChange, SubscriptionRow, records,
        },
        rows::{from_sql, to_sql},
    },
};

const COLUMNS: &str =
    "subscription_no, name, to_json(topics)::text AS topics, start_after, lease_seconds, max_leases,
    max_deliveries, partition_by, to_json(handed_out)::text AS handed_out, parked_total,
    (extract(epoch FROM created_at) * 1000000)::bigint AS created_at";

#[async_trait]
impl ProgressEngine for PostgresStore {
    async fn write(&self, ledger: &LedgerRecord) -> Result<Box<dyn ProgressSession + '_>, StoreError> {
        // Each statement sees what was committed before it: the head, once the row is locked.
        begin(&self.owners.of(ledger.key).progress_pool, ledger.key, "BEGIN", true).await
    }

    async fn read(&self, ledger: &LedgerRecord) -> Result<Box<dyn ProgressSession + '_>, StoreError> {
        begin(&self.owners.of(ledger.key).pool, ledger.key, "BEGIN ISOLATION LEVEL REPEATABLE READ", false)
            .await
    }

    async fn events(&self, ledger: &LedgerRecord, seqs: &[u64]) -> Result<Vec<StoredEvent>, StoreError> {
        search::events(&self.owners.of(ledger.key).pool, ledger, seqs).await
    }
}

async fn begin(
    pool: &PgPool,
    ledger: LedgerKey,
    statement: &'static str,
    locks: bool,
) -> Result<Box<dyn ProgressSession>, StoreError> {
    let mut lease = Lease::take(pool).await.map_err(store_error)?;
    raw_sql(statement).execute(lease.connection()).await.map_err(store_error)?;
    Ok(Box::new(Transaction { lease, ledger, locks }))
}

/// A transaction that is open; dropping it ends its connection, and so undoes it.
struct Transaction {
    lease: Lease,
    ledger: LedgerKey,
    /// Whether rows are locked as they are loaded.
    locks: bool,
}

impl Transaction {
    /// The subscriptions of these rows, with their pieces.
    async fn records(&mut self, rows: Vec<SubscriptionRow>) -> sqlx::Result<Vec<Record>> {
        let numbers: Vec<i64> = rows.iter().map(|row| row.subscription_no).collect();
        let pieces = sqlx::query_as(
            "SELECT subscription_no, partition_no, from_seq, through_seq, middle_seq, deliveries, is_retry,
                 lease_id::text AS lease_id, (extract(epoch FROM expires_at) * 1000000)::bigint AS expires_at, worker
             FROM sekali.leases WHERE namespace_no = $1 AND subscription_no = ANY ($2)",
        )
        .bind(self.ledger.namespace_no)
        .bind(numbers)
        .fetch_all(self.lease.connection())
        .await?;
        records(rows, pieces)
    }

    async fn find(&mut self, name: &str) -> sqlx::Result<Option<Record>> {
        let lock = if self.locks { "FOR UPDATE" } else { "" };
        let row: Option<SubscriptionRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM sekali.subscriptions WHERE namespace_no = $1 AND name = $2 {lock}"
        )))
        .bind(self.ledger.namespace_no)
        .bind(name)
        .fetch_optional(self.lease.connection())
        .await?;
        match row {
            Some(row) => Ok(self.records(vec![row]).await?.pop()),
            None => Ok(None),
        }
    }

    async fn page(&mut self, query: &SubscriptionQuery) -> sqlx::Result<Vec<Record>> {
        let rows = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM sekali.subscriptions
             WHERE namespace_no = $1 AND name > $2 AND name >= $3 AND starts_with(name, $3) ORDER BY name LIMIT $4"
        )))
        .bind(self.ledger.namespace_no)
        .bind(&query.after)
        .bind(&query.prefix)
        .bind(query.limit as i64)
        .fetch_all(self.lease.connection())
        .await?;
        self.records(rows).await
    }

    async fn write_back(&mut self, number: i64, change: &StateChange<'_>, now: i64) -> sqlx::Result<()> {
        let namespace_no = self.ledger.namespace_no;
        let connection = self.lease.connection();
        for (partition, from) in &change.removed {
            sqlx::query(
                "DELETE FROM sekali.leases
                 WHERE namespace_no = $1 AND subscription_no = $2 AND partition_no = $3 AND from_seq = $4",
            )
            .bind(namespace_no)
            .bind(number)
            .bind(*partition as i32)
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
        let handed_out = change.handed_out.as_ref();
        sqlx::query(
            "UPDATE sekali.subscriptions
             SET handed_out = coalesce($3, handed_out), parked_total = coalesce($4, parked_total)
             WHERE namespace_no = $1 AND subscription_no = $2",
        )
        .bind(namespace_no)
        .bind(number)
        .bind(handed_out.map(|places| places.iter().map(|seq| to_sql(*seq)).collect::<Vec<i64>>()))
        .bind(change.parked.map(to_sql))
        .execute(connection)
        .await?;
        Ok(())
    }
}

async fn keep_piece(
    connection: &mut PgConnection,
    namespace_no: i32,
    number: i64,
    partition: usize,
    piece: &Piece,
) -> sqlx::Result<()> {
    let holder = piece.holder.as_ref();
    sqlx::query(
        "INSERT INTO sekali.leases (namespace_no, subscription_no, partition_no, from_seq, through_seq, middle_seq,
             deliveries, is_retry, lease_id, expires_at, worker)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (namespace_no, subscription_no, partition_no, from_seq) DO UPDATE
         SET through_seq = $5, middle_seq = $6, deliveries = $7, is_retry = $8, lease_id = $9, expires_at = $10,
             worker = $11",
    )
    .bind(namespace_no)
    .bind(number)
    .bind(partition as i32)
    .bind(to_sql(piece.from))
    .bind(to_sql(piece.through))
    .bind(to_sql(piece.middle))
    .bind(i32::try_from(piece.deliveries).unwrap_or(i32::MAX))
    .bind(piece.is_retry)
    .bind(holder.map(|holder| holder.lease))
    .bind(holder.map(|holder| time_of(holder.expires_at)).transpose()?)
    .bind(holder.and_then(|holder| holder.worker.as_deref()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn park(
    connection: &mut PgConnection,
    namespace_no: i32,
    number: i64,
    event: &ParkedEvent,
    now: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sekali.parked (namespace_no, subscription_no, seq, partition_no, deliveries, parked_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(namespace_no)
    .bind(number)
    .bind(to_sql(event.seq))
    .bind(event.partition as i32)
    .bind(i32::try_from(event.deliveries).unwrap_or(i32::MAX))
    .bind(time_of(now)?)
    .execute(connection)
    .await?;
    Ok(())
}

fn time_of(micros: i64) -> sqlx::Result<OffsetDateTime> {
    let time = Timestamp::from_unix_micros(micros).map_err(|fault| sqlx::Error::Encode(Box::new(fault)))?;
    Ok(time.into())
}

#[async_trait]
impl ProgressSession for Transaction {
    async fn load(&mut self, name: &str) -> Result<Option<Record>, StoreError> {
        self.find(name).await.map_err(store_error)
    }

    async fn list(&mut self, query: &SubscriptionQuery) -> Result<Vec<Record>, StoreError> {
        self.page(query).await.map_err(store_error)
    }

    async fn head_and_now(&mut self) -> Result<(u64, i64), StoreError> {
        let row: Option<(i64, i64)> = sqlx::query_as(
            "SELECT coalesce(last_seq, 0), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
             FROM sekali.ledgers l
             LEFT JOIN (
                 SELECT last_seq FROM sekali.commits WHERE namespace_no = $1 ORDER BY commit_no DESC LIMIT 1
             ) newest ON true
             WHERE l.namespace_no = $1 AND l.ledger_id = $2",
        )
        .bind(self.ledger.namespace_no)
        .bind(self.ledger.ledger_id)
        .fetch_optional(self.lease.connection())
        .await
        .map_err(store_error)?;
        let (head, now) = row.ok_or(StoreError::Gone)?;
        Ok((from_sql(head).map_err(store_error)?, now))
    }

    async fn count(&mut self, max: usize) -> Result<usize, StoreError> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (SELECT FROM sekali.subscriptions WHERE namespace_no = $1 LIMIT $2) counted",
        )
        .bind(self.ledger.namespace_no)
        .bind(max as i64)
        .fetch_one(self.lease.connection())
        .await
        .map_err(store_error)?;
        Ok(count as usize)
    }

    async fn insert(&mut self, new: &NewSubscription<'_>) -> Result<bool, StoreError> {
        let settings = new.settings;
        let handed_out: Vec<i64> = new.handed_out.iter().map(|seq| to_sql(*seq)).collect();
        let inserted = sqlx::query(
            "INSERT INTO sekali.subscriptions (namespace_no, subscription_no, name, topics, start_after, lease_seconds,
                 max_leases, max_deliveries, partition_by, handed_out)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (namespace_no, name) DO NOTHING",
        )
        .bind(self.ledger.namespace_no)
        .bind(new.number)
        .bind(new.name)
        .bind(settings.topics.patterns())
        .bind(settings.start.text())
        .bind(settings.lease_seconds as i32)
        .bind(settings.max_leases as i32)
        .bind(settings.max_deliveries as i32)
        .bind(settings.partitions.map(|partitions| partitions.by.name()))
        .bind(handed_out)
        .execute(self.lease.connection())
        .await
        .map_err(store_error)?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn set(&mut self, number: i64, settings: &SubscriptionSettings) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sekali.subscriptions SET topics = $3, lease_seconds = $4, max_leases = $5, max_deliveries = $6
             WHERE namespace_no = $1 AND subscription_no = $2",
        )
        .bind(self.ledger.namespace_no)
        .bind(number)
        .bind(settings.topics.patterns())
        .bind(settings.lease_seconds as i32)
        .bind(settings.max_leases as i32)
        .bind(settings.max_deliveries as i32)
        .execute(self.lease.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn delete(&mut self, number: i64) -> Result<(), StoreError> {
        for table in ["subscriptions", "leases", "parked"] {
            sqlx::query(AssertSqlSafe(format!(
                "DELETE FROM sekali.{table} WHERE namespace_no = $1 AND subscription_no = $2"
            )))
            .bind(self.ledger.namespace_no)
            .bind(number)
            .execute(self.lease.connection())
            .await
            .map_err(store_error)?;
        }
        Ok(())
    }

    async fn search(&mut self, wanted: &Search<'_>) -> Result<Vec<Found>, StoreError> {
        let found = search::search(self.lease.connection(), self.ledger.namespace_no, wanted).await;
        found.map_err(store_error)
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
        let seqs: Option<Vec<i64>> = seqs.map(|seqs| seqs.iter().map(|seq| to_sql(*seq)).collect());
        sqlx::query_as(
            "SELECT p.seq, partition_no, deliveries, (extract(epoch FROM parked_at) * 1000000)::bigint AS parked_at,
                 coalesce(bytes, 0) AS bytes
             FROM (
                 SELECT * FROM sekali.parked
                 WHERE namespace_no = $1 AND subscription_no = $2 AND seq > $3
                     AND ($4::bigint[] IS NULL OR seq = ANY ($4))
                 ORDER BY seq LIMIT $5
             ) p LEFT JOIN LATERAL (
                 SELECT (octet_length(payload) + octet_length(event_id) + octet_length(source))::bigint AS bytes
                 FROM sekali.stored_events WHERE namespace_no = $1 AND seq = p.seq LIMIT 1
             ) e ON true
             ORDER BY p.seq",
        )
        .bind(self.ledger.namespace_no)
        .bind(number)
        .bind(to_sql(after))
        .bind(seqs)
        .bind(limit as i64)
        .fetch_all(self.lease.connection())
        .await
        .map_err(store_error)
    }

    async fn forget_parked(&mut self, number: i64, seqs: &[u64]) -> Result<(), StoreError> {
        let seqs: Vec<i64> = seqs.iter().map(|seq| to_sql(*seq)).collect();
        sqlx::query(
            "DELETE FROM sekali.parked WHERE namespace_no = $1 AND subscription_no = $2 AND seq = ANY ($3)",
        )
        .bind(self.ledger.namespace_no)
        .bind(number)
        .bind(seqs)
        .execute(self.lease.connection())
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn forget_parked_after(&mut self, number: i64, seq: u64) -> Result<u64, StoreError> {
        let forgotten = sqlx::query(
            "DELETE FROM sekali.parked WHERE namespace_no = $1 AND subscription_no = $2 AND seq > $3",
        )
        .bind(self.ledger.namespace_no)
        .bind(number)
        .bind(to_sql(seq))
        .execute(self.lease.connection())
        .await
        .map_err(store_error)?;
        Ok(forgotten.rows_affected())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        raw_sql("COMMIT").execute(self.lease.connection()).await.map_err(store_error)?;
        self.lease.give_back();
        Ok(())
    }
}
