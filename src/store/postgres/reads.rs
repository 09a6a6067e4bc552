//! What readers ask: each is one statement, and so one snapshot.

use sqlx::{AssertSqlSafe, FromRow, PgPool};

use super::{
    clock::{AHEAD_COLUMN, ClockCheck},
    lease::Lease,
};
use crate::{
    event::DedupScope,
    store::{
        Head, LedgerMark, PAGE_BYTES_MAX, Page, PageQuery, StoredEvent, StoredId, TOPICS_SHOWN_MAX, Totals,
        rows::{self, HEAD_COLUMNS, to_sql},
    },
};

/// What a [`StoredEvent`] is read from.
const EVENT_COLUMNS: &str = "seq, topic, event_id, source, payload::text AS payload,
    (extract(epoch FROM \"timestamp\") * 1000000)::bigint AS \"timestamp\",
    (extract(epoch FROM received_at) * 1000000)::bigint AS received_at";

/// The sizes are summed up before any payload is fetched: a page ends where it would outgrow its limit.
pub(super) async fn page(pool: &PgPool, query: &PageQuery) -> sqlx::Result<Page> {
    let direction = if query.after.is_some() { "ASC" } else { "DESC" };
    let topic_filter = if query.topic.is_some() { "AND topic = $5" } else { "" };
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, found FROM (
             SELECT *, count(*) OVER () AS found, row_number() OVER running AS place,
                 sum(bytes) OVER running AS bytes_so_far
             FROM (
                 SELECT *, payload_bytes + octet_length(topic || event_id || source) AS bytes
                 FROM sekali.events WHERE seq < $1 AND seq > $2 {topic_filter}
                 ORDER BY seq {direction} LIMIT $3 + 1
             ) candidates
             WINDOW running AS (ORDER BY seq {direction} ROWS UNBOUNDED PRECEDING)
         ) sized
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
    let mut lease = Lease::take(pool).await?;
    let rows = statement.fetch_all(lease.connection()).await?;
    lease.give_back();
    rows::page(&rows)
}

pub(super) async fn event(
    pool: &PgPool,
    scope: DedupScope,
    event_id: &str,
    topic: Option<&str>,
) -> sqlx::Result<Option<StoredEvent>> {
    let mut lease = Lease::take(pool).await?;
    let event = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {EVENT_COLUMNS} FROM sekali.events
         WHERE event_id = $1 AND scope_topic = $2 AND ($3::text IS NULL OR topic = $3)"
    )))
    .bind(event_id)
    .bind(scope.key_topic(topic.unwrap_or_default()))
    .bind(topic)
    .fetch_optional(lease.connection())
    .await?;
    lease.give_back();
    Ok(event)
}

pub(super) async fn head(pool: &PgPool, clock_check: &ClockCheck) -> sqlx::Result<Head> {
    let mut lease = Lease::take(pool).await?;
    let newest = sqlx::query(AssertSqlSafe(format!(
        "SELECT {HEAD_COLUMNS}, {AHEAD_COLUMN} FROM sekali.commits ORDER BY commit_no DESC LIMIT 1"
    )))
    .fetch_optional(lease.connection())
    .await?;
    lease.give_back();
    let Some(newest) = newest else { return Ok(Head::default()) };
    clock_check.note(&newest)?;
    Head::from_row(&newest)
}

pub(super) async fn holds(pool: &PgPool, seen: &LedgerMark) -> sqlx::Result<bool> {
    let mut lease = Lease::take(pool).await?;
    let holds = sqlx::query_scalar(
        "SELECT $1 = 0 OR EXISTS (
             SELECT FROM sekali.commits WHERE commit_no = $1 AND writer_id = $2 AND group_no = $3
         )",
    )
    .bind(to_sql(seen.commit_no))
    .bind(seen.writer_id)
    .bind(to_sql(seen.group_no))
    .fetch_one(lease.connection())
    .await?;
    lease.give_back();
    Ok(holds)
}

pub(super) async fn totals(pool: &PgPool) -> sqlx::Result<Totals> {
    let mut lease = Lease::take(pool).await?;
    let rows = sqlx::query(AssertSqlSafe(format!(
        "WITH newest AS (SELECT * FROM sekali.commits ORDER BY commit_no DESC LIMIT 1),
         unfolded AS (
             SELECT d.topic, sum(d.unique_count)::bigint AS unique_events,
                 sum(d.duplicate_count)::bigint AS duplicate_events
             FROM newest, sekali.commits c,
                 unnest(c.topics, c.unique_counts, c.duplicate_counts) AS d (topic, unique_count, duplicate_count)
             WHERE c.commit_no > newest.folded_to
             GROUP BY d.topic
         ),
         shown AS (SELECT * FROM sekali.topics ORDER BY topic_no DESC LIMIT $1)
         SELECT {HEAD_COLUMNS}, s.topic,
             s.unique_events + coalesce(u.unique_events, 0) AS unique_events,
             s.duplicate_events + coalesce(u.duplicate_events, 0) AS duplicate_events
         FROM newest n LEFT JOIN shown s ON true LEFT JOIN unfolded u ON u.topic = s.topic
         ORDER BY s.topic_no"
    )))
    .bind(TOPICS_SHOWN_MAX as i64)
    .fetch_all(lease.connection())
    .await?;
    lease.give_back();
    rows::totals(&rows)
}

pub(super) async fn newest_ids(pool: &PgPool, before: u64, limit: usize) -> sqlx::Result<Vec<StoredId>> {
    let mut lease = Lease::take(pool).await?;
    let ids = sqlx::query_as(
        "SELECT seq, topic, event_id FROM sekali.events WHERE seq < $1 ORDER BY seq DESC LIMIT $2",
    )
    .bind(to_sql(before))
    .bind(limit as i64)
    .fetch_all(lease.connection())
    .await?;
    lease.give_back();
    Ok(ids)
}
