//! From the rows of either engine to what the store answers. Times come as microseconds since 1970.

use sqlx::{ColumnIndex, Database, Decode, FromRow, Row, Type};
use uuid::Uuid;

use super::{Head, LedgerMark, Page, StoredEvent, StoredId, TopicTotal, Totals, from_sql};
use crate::event::Timestamp;

/// The columns of [`Head`].
pub(super) const HEAD_COLUMNS: &str = "commit_no, writer_id, group_no, last_seq, received, topics_total";

impl<'r, R: Row> FromRow<'r, R> for Head
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    Uuid: Column<'r, R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let number = |column| row.try_get(column).map(from_sql);
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
        let moment = |column| -> sqlx::Result<Timestamp> {
            Timestamp::from_unix_micros(row.try_get(column)?)
                .map_err(|fault| sqlx::Error::Decode(Box::new(fault)))
        };
        Ok(StoredEvent {
            seq: from_sql(row.try_get("seq")?),
            topic: row.try_get("topic")?,
            event_id: row.try_get("event_id")?,
            timestamp: moment("timestamp")?,
            source: row.try_get("source")?,
            payload: row.try_get("payload")?,
            received_at: moment("received_at")?,
        })
    }
}

impl<'r, R: Row> FromRow<'r, R> for StoredId
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    String: Column<'r, R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let seq = from_sql(row.try_get("seq")?);
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
            let unique = from_sql(row.try_get("unique_events")?);
            let duplicates = from_sql(row.try_get("duplicate_events")?);
            topics.push(TopicTotal { topic, unique, duplicates });
        }
    }
    Ok(Totals { head, topics })
}

/// What a column of `DB` can be read as.
pub(super) trait Column<'r, DB: Database>: Decode<'r, DB> + Type<DB> {}

impl<'r, DB: Database, T: Decode<'r, DB> + Type<DB>> Column<'r, DB> for T {}
