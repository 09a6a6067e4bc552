//! From the rows of either engine to the types of the store. Times are microseconds since 1970.

use serde_json::value::RawValue;
use sqlx::{ColumnIndex, Database, Decode, FromRow, Row, Type};
use uuid::Uuid;

use super::{Damage, Head, LedgerMark, Page, StoredEvent, StoredId, TopicTotal, Totals};
use crate::event::Timestamp;

/// A `seq` or count as the engines keep it.
pub(super) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A `seq` or count as it stands in the database. A negative one is damage.
pub(super) fn from_sql(number: i64) -> sqlx::Result<u64> {
    u64::try_from(number).map_err(|_| Damage::new(format!("{number} stands where a count must be")).into())
}

/// The columns of [`Head`].
pub(super) const HEAD_COLUMNS: &str = "commit_no, writer_id, group_no, last_seq, received, topics_total";

impl<'r, R: Row> FromRow<'r, R> for Head
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    Uuid: Column<'r, R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let number = |column| row.try_get(column).and_then(from_sql);
        Ok(Head {
            mark: LedgerMark {
                commit_no: number("commit_no")?,
                writer_id: row.try_get("writer_id")?,
                group_no: number("group_no")?,
            },
            last_seq: number("last_seq")?,
            received: number("received")?,
            topics_total: number("topics_total")?,
        })
    }
}

impl<'r, R: Row> FromRow<'r, R> for StoredEvent
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    String: Column<'r, R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let seq = from_sql(row.try_get("seq")?)?;
        event(seq, row).map_err(|error| match Damage::reported_by(&error) {
            Some(damage) => Damage::new(format!("the event with seq {seq} cannot be read: {damage}")).into(),
            None => error,
        })
    }
}

fn event<'r, R: Row>(seq: u64, row: &'r R) -> sqlx::Result<StoredEvent>
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    String: Column<'r, R::Database>,
{
    let moment = |column| -> sqlx::Result<Timestamp> {
        Timestamp::from_unix_micros(row.try_get(column)?)
            .map_err(|fault| sqlx::Error::Decode(Box::new(fault)))
    };
    let payload: String = row.try_get("payload")?;
    check_payload(&payload)?;
    Ok(StoredEvent {
        seq,
        topic: row.try_get("topic")?,
        event_id: row.try_get("event_id")?,
        timestamp: moment("timestamp")?,
        source: row.try_get("source")?,
        payload,
        received_at: moment("received_at")?,
    })
}

/// A payload is written into an answer as it is, so it must be JSON. The check keeps nothing and builds nothing.
fn check_payload(payload: &str) -> Result<(), Damage> {
    match serde_json::from_str::<&RawValue>(payload) {
        Ok(value) if value.get().starts_with('{') => Ok(()),
        Ok(_) => Err(Damage::new("its payload is not a JSON object")),
        Err(error) => Err(Damage::new(format!("its payload is not JSON: {error}"))),
    }
}

impl<'r, R: Row> FromRow<'r, R> for StoredId
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    String: Column<'r, R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let seq = from_sql(row.try_get("seq")?)?;
        Ok(StoredId { seq, topic: row.try_get("topic")?, event_id: row.try_get("event_id")? })
    }
}

/// A page, of rows that each tell in `found` how many there were before the page was cut to its limits.
pub(super) fn page<'r, R: Row>(rows: &'r [R]) -> sqlx::Result<Page>
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    StoredEvent: FromRow<'r, R>,
{
    let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get("found"))?;
    let events: Vec<StoredEvent> = rows.iter().map(StoredEvent::from_row).collect::<Result<_, _>>()?;
    Ok(Page { more: events.len() < found as usize, events })
}

/// All counters, of one row a topic shown, or one without a topic where none was used yet.
pub(super) fn totals<'r, R: Row>(rows: &'r [R]) -> sqlx::Result<Totals>
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    Uuid: Column<'r, R::Database>,
    Option<String>: Column<'r, R::Database>,
{
    let head = rows.first().map_or(Ok(Head::default()), Head::from_row)?;
    let mut topics = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(topic) = row.try_get("topic")? {
            let unique = from_sql(row.try_get("unique_events")?)?;
            let duplicates = from_sql(row.try_get("duplicate_events")?)?;
            topics.push(TopicTotal { topic, unique, duplicates });
        }
    }
    Ok(Totals { head, topics })
}

/// What a column of `DB` can be read as.
pub(super) trait Column<'r, DB: Database>: Decode<'r, DB> + Type<DB> {}

impl<'r, DB: Database, T: Decode<'r, DB> + Type<DB>> Column<'r, DB> for T {}
