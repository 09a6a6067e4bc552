//! Pages of events.

use sqlx::{AssertSqlSafe, PgPool, Row};
use time::OffsetDateTime;

use super::{
    lease::Lease,
    reads::{EVENT_COLUMNS, NEWEST, UNFOLDED},
};
use crate::store::{
    LedgerRecord, Page, PageQuery,
    plan::{PagePlan, Survey, TopicPlan},
    rows,
};

/// The newest `seq`.
const HEAD: &str = "coalesce(
    (SELECT last_seq FROM sekali.commits WHERE namespace_no = $1 ORDER BY commit_no DESC LIMIT 1), 0)";

pub(super) async fn page(
    pool: &PgPool,
    ledger: &LedgerRecord,
    query: &PageQuery,
) -> sqlx::Result<Option<Page>> {
    let mut lease = Lease::take(pool).await?;
    let plan = if query.needs_survey() {
        let Some(survey) = survey(&mut lease, ledger, query).await? else { return Ok(None) };
        PagePlan::surveyed(query, &survey)
    } else {
        PagePlan::direct(query)
    };
    let (after, before) = plan.range();
    let mut statement = sqlx::query(AssertSqlSafe(page_sql(&plan)))
        .bind(ledger.key.namespace_no)
        .bind(ledger.key.ledger_id)
        .bind(before)
        .bind(after)
        .bind(plan.limit as i64)
        .bind(query.bytes_max as i64);
    match plan.topics {
        TopicPlan::All => {}
        TopicPlan::One(topic) => statement = statement.bind(topic),
        TopicPlan::Each(topics) | TopicPlan::Scan(topics) => statement = statement.bind(topics),
    }
    let rows = statement.fetch_all(lease.connection()).await?;
    lease.give_back();
    rows::page(&plan, query.bytes_max, &rows)
}

/// The sizes are summed up before any payload is fetched: with the first event that would exceed the limit the rows
/// end.
fn page_sql(plan: &PagePlan<'_>) -> String {
    let direction = plan.direction();
    let candidates = candidates_sql(plan);
    format!(
        "SELECT {EVENT_COLUMNS}, {HEAD} AS head FROM sekali.ledgers l
         LEFT JOIN (
             SELECT sized.*, topic FROM (
                 SELECT *, sum(bytes) OVER (ORDER BY seq {direction} ROWS UNBOUNDED PRECEDING) AS bytes_so_far
                 FROM (
                     SELECT *, octet_length(payload) + octet_length(event_id) + octet_length(source) AS bytes
                     FROM ({candidates}) matching
                 ) candidates
             ) sized
             JOIN sekali.topics t ON t.namespace_no = $1 AND t.topic_no = sized.topic_no
             WHERE bytes_so_far - bytes <= $6
         ) page ON true
         WHERE l.namespace_no = $1 AND l.ledger_id = $2
         ORDER BY seq {direction}"
    )
}

/// The first events that match, and one more where nothing else tells whether there is one.
fn candidates_sql(plan: &PagePlan<'_>) -> String {
    let direction = plan.direction();
    let topic_filter = match plan.topics {
        // A range with two ends: the planner takes the primary key whatever it knows of the table.
        TopicPlan::All => {
            let range = match plan.oldest_first {
                true => format!("seq > $4 AND seq <= least({HEAD}, $4 + least($5, $3 - 1 - $4))"),
                false => {
                    let newest = format!("least($3 - 1, {HEAD})");
                    format!("seq <= {newest} AND seq > greatest($4, {newest} - $5)")
                }
            };
            return format!("SELECT * FROM sekali.stored_events WHERE namespace_no = $1 AND {range}");
        }
        TopicPlan::One(_) => {
            "AND topic_no = (SELECT topic_no FROM sekali.topics WHERE namespace_no = $1 AND topic = $7)"
        }
        TopicPlan::Scan(_) => {
            "AND topic_no = ANY (ARRAY(
                 SELECT topic_no FROM sekali.topics WHERE namespace_no = $1 AND topic = ANY ($7)))"
        }
        // The planner would read all events for these.
        TopicPlan::Each(_) => {
            return format!(
                "SELECT e.* FROM (
                     SELECT seq FROM sekali.topics t CROSS JOIN LATERAL (
                         SELECT seq FROM sekali.stored_events
                         WHERE namespace_no = $1 AND topic_no = t.topic_no AND seq < $3 AND seq > $4
                         ORDER BY seq {direction} LIMIT $5 + 1
                     ) of_topic
                     WHERE t.namespace_no = $1 AND t.topic = ANY ($7)
                     ORDER BY seq {direction} LIMIT $5 + 1
                 ) chosen
                 JOIN sekali.stored_events e ON e.namespace_no = $1 AND e.seq = chosen.seq"
            );
        }
    };
    format!(
        "SELECT * FROM sekali.stored_events
         WHERE namespace_no = $1 AND seq < $3 AND seq > $4 {topic_filter}
         ORDER BY seq {direction} LIMIT $5 + 1"
    )
}

/// `received_at` rises with `seq`, so a bound is found by halving the range: the events up to `low` were received before
/// it, and those behind `high` were not.
async fn survey(lease: &mut Lease, ledger: &LedgerRecord, query: &PageQuery) -> sqlx::Result<Option<Survey>> {
    let times: Vec<OffsetDateTime> = query.times().map(OffsetDateTime::from).collect();
    // One topic is always looked up.
    let topics = if query.topics.len() > 1 { &query.topics[..] } else { &[] };
    let row = sqlx::query(AssertSqlSafe(format!(
        "WITH RECURSIVE newest AS ({NEWEST}),
         halves (place, bound, low, high) AS (
             SELECT place, bound, 0::bigint, last_seq
             FROM newest, unnest($3::timestamptz[]) WITH ORDINALITY AS given (bound, place)
             UNION ALL
             SELECT place, bound, CASE WHEN earlier THEN middle ELSE low END,
                 CASE WHEN earlier THEN high ELSE middle - 1 END
             FROM (
                 SELECT *, (SELECT e.received_at < bound FROM sekali.stored_events e
                            WHERE e.namespace_no = $1 AND e.seq = middle) AS earlier
                 FROM (SELECT *, (low + high + 1) / 2 AS middle FROM halves WHERE low < high) open
             ) asked
         ),
         known AS (SELECT topic_no, unique_events FROM sekali.topics WHERE namespace_no = $1 AND topic = ANY ($4)),
         unfolded AS ({UNFOLDED})
         SELECT last_seq AS head,
             ARRAY(SELECT low FROM halves WHERE low = high ORDER BY place) AS received_before,
             ARRAY(SELECT k.unique_events + coalesce(u.unique_events, 0)
                   FROM known k LEFT JOIN unfolded u USING (topic_no)) AS topic_events
         FROM newest"
    )))
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(times)
    .bind(topics)
    .fetch_optional(lease.connection())
    .await?;
    row.as_ref().map(|row| rows::survey(row, |row, column| row.try_get(column))).transpose()
}
