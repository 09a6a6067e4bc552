//! From the rows of either engine to the types of the store. Times are microseconds since 1970.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;
use sqlx::{ColumnIndex, Database, Decode, FromRow, Row, Type};
use uuid::Uuid;

use super::{
    Damage, Head, LedgerKey, LedgerMark, LedgerRecord, NamespaceInfo, Page, StoreError, StoredEvent,
    StoredId, TopicInfo, TopicTotal, Totals,
    plan::{PagePlan, Survey},
};
use crate::event::{DedupScope, IDENTITY_KEY_BYTES, Timestamp};

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

/// The columns of [`ledger`].
pub(super) const LEDGER_COLUMNS: &str = "namespace_no, ledger_id, dedup_scope, identity_key";

/// The ledger of this namespace, of a row with [`LEDGER_COLUMNS`].
pub(super) fn ledger<'r, R: Row>(namespace: &str, row: &'r R) -> sqlx::Result<LedgerRecord>
where
    &'static str: ColumnIndex<R>,
    i32: Column<'r, R::Database>,
    Uuid: Column<'r, R::Database>,
    String: Column<'r, R::Database>,
    Vec<u8>: Column<'r, R::Database>,
{
    let key = LedgerKey { namespace_no: row.try_get("namespace_no")?, ledger_id: row.try_get("ledger_id")? };
    let scope: String = row.try_get("dedup_scope")?;
    let scope: DedupScope = scope.parse().map_err(Damage::new)?;
    let identity_key: Vec<u8> = row.try_get("identity_key")?;
    let identity_key: [u8; IDENTITY_KEY_BYTES] =
        identity_key.try_into().map_err(|_| Damage::new("an identity key has not 16 bytes"))?;
    Ok(LedgerRecord::new(key, namespace, scope, identity_key))
}

/// Of a row with `name`, `created_at`, `LEDGER_COLUMNS` and `HEAD_COLUMNS`; these are null where nothing was
/// committed yet.
impl<'r, R: Row> FromRow<'r, R> for NamespaceInfo
where
    &'static str: ColumnIndex<R>,
    i32: Column<'r, R::Database>,
    i64: Column<'r, R::Database>,
    Option<i64>: Column<'r, R::Database>,
    Uuid: Column<'r, R::Database>,
    String: Column<'r, R::Database>,
    Vec<u8>: Column<'r, R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let name: String = row.try_get("name")?;
        let commit_no: Option<i64> = row.try_get("commit_no")?;
        Ok(NamespaceInfo {
            ledger: ledger(&name, row)?,
            created_at: moment("created_at", row)?,
            head: commit_no.map(|_| Head::from_row(row)).transpose()?.unwrap_or_default(),
        })
    }
}

/// A secret for the digests of a new ledger.
pub(super) fn new_identity_key() -> sqlx::Result<[u8; IDENTITY_KEY_BYTES]> {
    let mut key = [0; IDENTITY_KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
    Ok(key)
}

/// The newest `seq` of each of the ledgers asked for; a row may be of another ledger with the number of one of them.
pub(super) fn last_seqs(
    asked: &[LedgerKey],
    rows: Vec<(i32, Uuid, i64)>,
) -> sqlx::Result<HashMap<LedgerKey, Option<u64>>> {
    let found = rows.into_iter().map(|(namespace_no, ledger_id, last_seq)| {
        Ok((LedgerKey { namespace_no, ledger_id }, Some(from_sql(last_seq)?)))
    });
    let mut found: HashMap<LedgerKey, Option<u64>> = found.collect::<sqlx::Result<_>>()?;
    let asked: HashSet<&LedgerKey> = asked.iter().collect();
    found.retain(|key, _| asked.contains(key));
    Ok(found)
}

/// The answer to a question about one ledger: each is asked so that there is no row where the ledger is gone.
pub(super) fn or_gone<T>(answer: Result<Option<T>, StoreError>) -> Result<T, StoreError> {
    answer?.ok_or(StoreError::Gone)
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
    let payload: String = row.try_get("payload")?;
    check_payload(&payload)?;
    Ok(StoredEvent {
        seq,
        topic: row.try_get("topic")?,
        event_id: row.try_get("event_id")?,
        timestamp: moment("timestamp", row)?,
        source: row.try_get("source")?,
        payload,
        received_at: moment("received_at", row)?,
    })
}

fn moment<'r, R: Row>(column: &'static str, row: &'r R) -> sqlx::Result<Timestamp>
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
{
    Timestamp::from_unix_micros(row.try_get(column)?).map_err(|fault| sqlx::Error::Decode(Box::new(fault)))
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

/// What the columns of a row's left join hold, if they hold anything: then there is a `seq`.
pub(super) fn joined<'r, R: Row, T: FromRow<'r, R>>(row: &'r R) -> sqlx::Result<Option<T>>
where
    &'static str: ColumnIndex<R>,
    Option<i64>: Column<'r, R::Database>,
{
    let seq: Option<i64> = row.try_get("seq")?;
    seq.map(|_| T::from_row(row)).transpose()
}

/// A planned page, of rows that each tell the newest `seq` in `head`. They end with the first one that would exceed the
/// limit of events or of bytes. An empty page is one row without an event; no row at all means that the ledger is gone.
pub(super) fn page<'r, R: Row>(
    plan: &PagePlan<'_>,
    bytes_max: usize,
    rows: &'r [R],
) -> sqlx::Result<Option<Page>>
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    Option<i64>: Column<'r, R::Database>,
    StoredEvent: FromRow<'r, R>,
{
    let Some(first) = rows.first() else { return Ok(None) };
    let head = from_sql(first.try_get("head")?)?;
    let mut events = Vec::with_capacity(rows.len());
    let mut bytes = 0;
    for row in rows {
        let Some(event) = joined::<_, StoredEvent>(row)? else { break };
        // More than the statement counted, which leaves out the topic: so its last row never fits.
        bytes += event.bytes();
        if events.len() == plan.limit || bytes > bytes_max && !events.is_empty() {
            break;
        }
        events.push(event);
    }
    let is_cut = events.len() == plan.limit && rows.len() > events.len() || bytes > bytes_max;
    Ok(Some(plan.page(events, is_cut, head)))
}

/// The survey, of a row with the head and two lists.
pub(super) fn survey<'r, R: Row>(
    row: &'r R,
    list: impl Fn(&'r R, &'static str) -> sqlx::Result<Vec<i64>>,
) -> sqlx::Result<Survey>
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
{
    let counts = |column| list(row, column)?.into_iter().map(from_sql).collect::<sqlx::Result<Vec<u64>>>();
    Ok(Survey {
        head: from_sql(row.try_get("head")?)?,
        received_before: counts("received_before")?,
        topic_events: counts("topic_events")?,
    })
}

/// Topics, of one row each, or one without a topic where none matches; no row at all means that the ledger is gone.
pub(super) fn topics<'r, R: Row>(rows: &'r [R]) -> sqlx::Result<Option<Vec<TopicInfo>>>
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    Option<i64>: Column<'r, R::Database>,
    Option<String>: Column<'r, R::Database>,
{
    if rows.is_empty() {
        return Ok(None);
    }
    let mut topics = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(topic) = row.try_get("topic")? else { continue };
        let seq = |column| row.try_get::<Option<i64>, _>(column)?.map(from_sql).transpose();
        let (first_seq, last_seq) = (seq("first_seq")?, seq("last_seq")?);
        topics.push(TopicInfo {
            topic,
            unique: from_sql(row.try_get("unique_events")?)?,
            duplicates: from_sql(row.try_get("duplicate_events")?)?,
            first_seq,
            last_seq,
            last_received_at: last_seq.map(|_| moment("last_received_at", row)).transpose()?,
        });
    }
    Ok(Some(topics))
}

/// All counters, of one row a topic shown, or one without a topic where none was used yet; no row at all means that the
/// ledger is gone.
pub(super) fn totals<'r, R: Row>(rows: &'r [R]) -> sqlx::Result<Option<Totals>>
where
    &'static str: ColumnIndex<R>,
    i64: Column<'r, R::Database>,
    Uuid: Column<'r, R::Database>,
    Option<String>: Column<'r, R::Database>,
{
    let Some(first) = rows.first() else { return Ok(None) };
    let head = Head::from_row(first)?;
    let mut topics = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(topic) = row.try_get("topic")? {
            let unique = from_sql(row.try_get("unique_events")?)?;
            let duplicates = from_sql(row.try_get("duplicate_events")?)?;
            topics.push(TopicTotal { topic, unique, duplicates });
        }
    }
    Ok(Some(Totals { head, topics }))
}

/// What a column of `DB` can be read as.
pub(super) trait Column<'r, DB: Database>: Decode<'r, DB> + Type<DB> {}

impl<'r, DB: Database, T: Decode<'r, DB> + Type<DB>> Column<'r, DB> for T {}
