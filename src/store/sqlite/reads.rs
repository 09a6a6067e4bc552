//! What readers ask: each is one statement, and so one snapshot.

use sqlx::{AssertSqlSafe, FromRow, Row, SqlitePool, sqlite::SqliteRow};

use crate::{
    event::{DedupScope, Timestamp},
    store::{
        Head, PAGE_BYTES_MAX, Page, PageQuery, StoredEvent, StoredId, TOPICS_SHOWN_MAX, TopicTotal, Totals,
        from_sql, to_sql,
    },
};

/// The sizes are summed up before any payload is read: a page ends where it would outgrow its limit.
pub(super) async fn page(pool: &SqlitePool, query: &PageQuery) -> sqlx::Result<Page> {
    let direction = if query.after.is_some() { "ASC" } else { "DESC" };
    let topic_filter = if query.topic.is_some() { "AND topic = $5" } else { "" };
    let sql = format!(
        "SELECT events.*, found FROM (
             SELECT seq, count(*) OVER () AS found, row_number() OVER running AS place,
                 sum(bytes) OVER running AS bytes_so_far
             FROM (
                 SELECT seq, octet_length(payload) + octet_length(topic || event_id || source) AS bytes
                 FROM events WHERE seq < $1 AND seq > $2 {topic_filter}
                 ORDER BY seq {direction} LIMIT $3 + 1
             )
             WINDOW running AS (ORDER BY seq {direction} ROWS UNBOUNDED PRECEDING)
         ) AS sized CROSS JOIN events USING (seq)
         WHERE place <= $3 AND (place = 1 OR bytes_so_far <= $4)
         ORDER BY place"
    );
    let mut statement = sqlx::query(AssertSqlSafe(sql))
        .bind(query.before.map_or(i64::MAX, to_sql))
        .bind(query.after.map_or(0, to_sql))
        .bind(query.limit as i64)
        .bind(PAGE_BYTES_MAX as i64);
    if let Some(topic) = &query.topic {
        statement = statement.bind(topic);
    }
    let rows = statement.fetch_all(pool).await?;
    let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get("found"))?;
    let events: Vec<StoredEvent> = rows.iter().map(StoredEvent::from_row).collect::<Result<_, _>>()?;
    Ok(Page { more: events.len() < found as usize, events })
}

pub(super) async fn event(
    pool: &SqlitePool,
    scope: DedupScope,
    event_id: &str,
    topic: Option<&str>,
) -> sqlx::Result<Option<StoredEvent>> {
    let row = sqlx::query(
        "SELECT * FROM events WHERE event_id = $1 AND scope_topic = $2 AND ($3 IS NULL OR topic = $3)",
    )
    .bind(event_id)
    .bind(scope.key_topic(topic.unwrap_or_default()))
    .bind(topic)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(StoredEvent::from_row).transpose()
}

pub(super) async fn head(pool: &SqlitePool) -> sqlx::Result<Head> {
    let row =
        sqlx::query("SELECT commit_no, last_seq, received, topics_total FROM ledger").fetch_one(pool).await?;
    Head::from_row(&row)
}

/// One row a topic shown, or one without a topic where none was used yet.
pub(super) async fn totals(pool: &SqlitePool) -> sqlx::Result<Totals> {
    let rows = sqlx::query(
        "SELECT ledger.*, topic, unique_events, duplicate_events FROM ledger
         LEFT JOIN (SELECT * FROM topics ORDER BY topic_no DESC LIMIT $1) ON true
         ORDER BY topic_no",
    )
    .bind(TOPICS_SHOWN_MAX as i64)
    .fetch_all(pool)
    .await?;
    let head = rows.first().map_or(Ok(Head::default()), Head::from_row)?;
    let topics = rows.iter().filter_map(|row| topic_total(row).transpose()).collect::<Result<_, _>>()?;
    Ok(Totals { head, topics })
}

fn topic_total(row: &SqliteRow) -> sqlx::Result<Option<TopicTotal>> {
    let Some(topic) = row.try_get("topic")? else { return Ok(None) };
    let unique = from_sql(row.try_get("unique_events")?);
    let duplicates = from_sql(row.try_get("duplicate_events")?);
    Ok(Some(TopicTotal { topic, unique, duplicates }))
}

pub(super) async fn newest_ids(pool: &SqlitePool, before: u64, limit: usize) -> sqlx::Result<Vec<StoredId>> {
    let rows: Vec<(i64, String, String)> =
        sqlx::query_as("SELECT seq, topic, event_id FROM events WHERE seq < $1 ORDER BY seq DESC LIMIT $2")
            .bind(to_sql(before))
            .bind(limit as i64)
            .fetch_all(pool)
            .await?;
    Ok(rows
        .into_iter()
        .map(|(seq, topic, event_id)| StoredId { seq: from_sql(seq), topic, event_id })
        .collect())
}

impl FromRow<'_, SqliteRow> for Head {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Head {
            commit_no: from_sql(row.try_get("commit_no")?),
            last_seq: from_sql(row.try_get("last_seq")?),
            received: from_sql(row.try_get("received")?),
            topics_total: from_sql(row.try_get("topics_total")?),
        })
    }
}

impl FromRow<'_, SqliteRow> for StoredEvent {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(StoredEvent {
            seq: from_sql(row.try_get("seq")?),
            topic: row.try_get("topic")?,
            event_id: row.try_get("event_id")?,
            timestamp: timestamp(row, "timestamp")?,
            source: row.try_get("source")?,
            payload: row.try_get("payload")?,
            received_at: timestamp(row, "received_at")?,
        })
    }
}

fn timestamp(row: &SqliteRow, column: &str) -> sqlx::Result<Timestamp> {
    Timestamp::from_unix_micros(row.try_get(column)?).map_err(|fault| sqlx::Error::Decode(Box::new(fault)))
}
