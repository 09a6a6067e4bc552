//! From the rows of either engine to the state of a subscription. Lists are JSON, times are microseconds since 1970.

use sqlx::{ColumnIndex, FromRow, Row};
use uuid::Uuid;

use super::{
    Holder, ParkedEvent, ParkedRow, PartitionBy, Partitions, Piece, Progress, Record, Start,
    SubscriptionSettings, TopicPatterns, Track,
};
use crate::{
    event::Timestamp,
    store::{
        Damage,
        rows::{Column, from_sql},
    },
};

/// A row of `subscriptions`.
#[derive(FromRow)]
pub struct SubscriptionRow {
    pub subscription_no: i64,
    name: String,
    topics: String,
    start_after: String,
    lease_seconds: i32,
    max_leases: i32,
    max_deliveries: i32,
    partition_by: Option<String>,
    handed_out: String,
    parked_total: i64,
    created_at: i64,
}

/// A row of `leases`.
#[derive(FromRow)]
pub struct PieceRow {
    subscription_no: i64,
    partition_no: i32,
    from_seq: i64,
    through_seq: i64,
    middle_seq: i64,
    deliveries: i32,
    is_retry: bool,
    lease_id: Option<String>,
    expires_at: Option<i64>,
    worker: Option<String>,
}

/// Subscriptions, in the order of their rows, with those of the pieces that are theirs.
pub fn records(rows: Vec<SubscriptionRow>, mut pieces: Vec<PieceRow>) -> sqlx::Result<Vec<Record>> {
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let (own, others) =
            pieces.into_iter().partition(|piece| piece.subscription_no == row.subscription_no);
        pieces = others;
        records.push(record(row, own)?);
    }
    Ok(records)
}

fn record(row: SubscriptionRow, pieces: Vec<PieceRow>) -> sqlx::Result<Record> {
    let handed_out: Vec<u64> = list(&row.handed_out)?;
    let settings = settings(&row, handed_out.len())?;
    let mut of_partition: Vec<Vec<Piece>> = vec![Vec::new(); handed_out.len()];
    for piece in pieces {
        let partition = usize::try_from(piece.partition_no).ok().and_then(|at| of_partition.get_mut(at));
        partition.ok_or_else(|| damaged(&row.name, "a lease of no partition"))?.push(piece_of(piece)?);
    }
    let tracks = handed_out.into_iter().zip(of_partition).map(|(seq, pieces)| Track::new(seq, pieces));
    Ok(Record {
        number: row.subscription_no,
        progress: Progress::new(&settings, tracks.collect(), from_sql(row.parked_total)?),
        settings,
        created_at: moment(row.created_at)?,
        name: row.name,
    })
}

fn settings(row: &SubscriptionRow, places: usize) -> sqlx::Result<SubscriptionSettings> {
    let wrong = |what| damaged(&row.name, what);
    let by = row
        .partition_by
        .as_deref()
        .map(|name| PartitionBy::parse(name).ok_or_else(|| wrong("an unknown field to make partitions by")));
    let partitions = by.transpose()?.map(|by| Partitions { count: places as u32, by });
    if places == 0 || partitions.is_none() && places > 1 {
        return Err(wrong("a number of places that it cannot have").into());
    }
    Ok(SubscriptionSettings {
        topics: TopicPatterns::kept(list(&row.topics)?),
        start: Start::parse(&row.start_after).ok_or_else(|| wrong("an unknown start"))?,
        lease_seconds: small(row.lease_seconds)?,
        max_leases: small(row.max_leases)?,
        max_deliveries: small(row.max_deliveries)?,
        partitions,
    })
}

fn piece_of(row: PieceRow) -> sqlx::Result<Piece> {
    let lease = row.lease_id.map(|lease| lease.parse::<Uuid>()).transpose();
    let lease = lease.map_err(|error| Damage::new(format!("a lease is no UUID: {error}")))?;
    let worker = row.worker;
    let holder = lease.zip(row.expires_at).map(|(lease, expires_at)| Holder { lease, expires_at, worker });
    Ok(Piece {
        from: from_sql(row.from_seq)?,
        through: from_sql(row.through_seq)?,
        middle: from_sql(row.middle_seq)?,
        deliveries: small(row.deliveries)?,
        is_retry: row.is_retry,
        holder,
    })
}

/// A row of `parked`, with the `bytes` of its event.
impl<'r, R: Row> FromRow<'r, R> for ParkedRow
where
    &'static str: ColumnIndex<R>,
    i32: Column<'r, R::Database>,
    i64: Column<'r, R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let event = ParkedEvent {
            seq: from_sql(row.try_get("seq")?)?,
            partition: small(row.try_get("partition_no")?)? as usize,
            deliveries: small(row.try_get("deliveries")?)?,
        };
        let parked_at = moment(row.try_get("parked_at")?)?;
        Ok(ParkedRow { event, parked_at, bytes: from_sql(row.try_get("bytes")?)? })
    }
}

fn small(number: i32) -> sqlx::Result<u32> {
    u32::try_from(number).map_err(|_| Damage::new(format!("{number} stands where a count must be")).into())
}

fn moment(micros: i64) -> sqlx::Result<Timestamp> {
    Timestamp::from_unix_micros(micros).map_err(|fault| sqlx::Error::Decode(Box::new(fault)))
}

fn list<T: serde::de::DeserializeOwned>(json: &str) -> sqlx::Result<Vec<T>> {
    serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn damaged(subscription: &str, what: &str) -> Damage {
    Damage::new(format!("the subscription {subscription} has {what}"))
}
