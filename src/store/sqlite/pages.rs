//! Pages of events.

use std::cmp::Reverse;

use sqlx::{AssertSqlSafe, Row, SqlitePool, sqlite::SqliteRow};

use super::{
    json::{from_json, to_json},
    ledger::place,
};
use crate::store::{
    LedgerRecord, Page, PageQuery,
    plan::{PagePlan, Survey, TopicPlan},
    rows,
};

pub(super) async fn page(
    pool: &SqlitePool,
    ledger: &LedgerRecord,
    query: &PageQuery,
) -> sqlx::Result<Option<Page>> {
    let plan = if query.needs_survey() {
        let Some(survey) = survey(pool, ledger, query).await? else { return Ok(None) };
        PagePlan::surveyed(query, &survey)
    } else {
        PagePlan::direct(query)
    };
    let namespace_no = ledger.key.namespace_no;
    let (after, before) = plan.range();
    let mut statement = sqlx::query(AssertSqlSafe(page_sql(&plan)))
        .bind(namespace_no)
        .bind(ledger.key.ledger_id)
        .bind(place(namespace_no, before))
        .bind(place(namespace_no, after))
        .bind(plan.limit as i64)
        .bind(query.bytes_max as i64);
    match plan.topics {
        TopicPlan::All => statement = statement.bind(place(namespace_no, 0)),
        TopicPlan::One(topic) => statement = statement.bind(topic),
        TopicPlan::Each(topics) | TopicPlan::Scan(topics) => statement = statement.bind(to_json(&topics)?),
    }
    let mut rows = statement.fetch_all(pool).await?;
    // They come in order, which is nothing that SQL promises. For an ORDER BY, SQLite would copy each payload.
    let place_of = |row: &SqliteRow| row.get::<Option<i64>, _>("place");
    match plan.oldest_first {
        true => rows.sort_by_key(place_of),
        false => rows.sort_by_key(|row| Reverse(place_of(row))),
    }
    rows::page(&plan, query.bytes_max, &rows)
}

/// With the first event that would exceed the limit of sizes the rows end. No row of a sub-select holds a payload, or SQLite
/// would copy it.
fn page_sql(plan: &PagePlan<'_>) -> String {
    let direction = plan.direction();
    let candidates = candidates_sql(plan);
    format!(
        "SELECT events.*, topic, last_seq AS head FROM ledgers
         LEFT JOIN (
             SELECT place FROM (
                 SELECT place, bytes, sum(bytes) OVER (ORDER BY place {direction} ROWS UNBOUNDED PRECEDING)
                     AS bytes_so_far
                 FROM ({candidates})
             ) WHERE bytes_so_far - bytes <= $6
         ) AS chosen ON true
         LEFT JOIN stored_events AS events ON events.place = chosen.place
         LEFT JOIN topics ON topics.namespace_no = $1 AND topics.topic_no = events.topic_no
         WHERE ledgers.namespace_no = $1 AND ledgers.ledger_id = $2"
    )
}

/// The places and sizes of the first events that match, and of one more where nothing else tells whether there is one.
fn candidates_sql(plan: &PagePlan<'_>) -> String {
    let direction = plan.direction();
    let topic_filter = match plan.topics {
        TopicPlan::All => return dense_sql(plan),
        TopicPlan::One(_) => {
            "AND namespace_no = $1
             AND topic_no = (SELECT topic_no FROM topics WHERE namespace_no = $1 AND topic = $7)"
        }
        // With the plus sign the range is read, and not all events of these topics.
        TopicPlan::Scan(_) => {
            "AND +topic_no IN (
                 SELECT topic_no FROM json_each($7) AS given CROSS JOIN topics
                 WHERE namespace_no = $1 AND topic = given.value)"
        }
        // A sub-select for each topic, whose places json_each takes apart, stands for a lateral join.
        TopicPlan::Each(_) => {
            return format!(
                "SELECT place, octet_length(payload) + octet_length(event_id || source) AS bytes FROM (
                     SELECT chosen.value AS chosen_place
                     FROM json_each($7) AS given CROSS JOIN topics CROSS JOIN json_each((
                         SELECT json_group_array(place) FROM (
                             SELECT place FROM stored_events
                             WHERE namespace_no = $1 AND topic_no = topics.topic_no AND place < $3 AND place > $4
                             ORDER BY place {direction} LIMIT $5 + 1
                         )
                     )) AS chosen
                     WHERE topics.namespace_no = $1 AND topics.topic = given.value
                     ORDER BY chosen.value {direction} LIMIT $5 + 1
                 ) CROSS JOIN stored_events ON place = chosen_place"
            );
        }
    };
    format!(
        "SELECT place, octet_length(payload) + octet_length(event_id || source) AS bytes
         FROM stored_events WHERE place < $3 AND place > $4 {topic_filter}
         ORDER BY place {direction} LIMIT $5 + 1"
    )
}

/// The places and sizes of all events of a range, which has no gaps.
fn dense_sql(plan: &PagePlan<'_>) -> String {
    const NEWEST: &str = "min($3 - 1, $7 + (SELECT last_seq FROM ledgers WHERE namespace_no = $1))";
    let range = match plan.oldest_first {
        true => format!("place > $4 AND place <= min({NEWEST}, $4 + $5)"),
        false => format!("place <= {NEWEST} AND place > max($4, {NEWEST} - $5)"),
    };
    format!(
        "SELECT place, octet_length(payload) + octet_length(event_id || source) AS bytes
         FROM stored_events WHERE {range}"
    )
}

/// `received_at` rises with `seq`, so a bound is found by halving the range: the events up to `low` were received before
/// it, and those behind `high` were not.
async fn survey(pool: &SqlitePool, ledger: &LedgerRecord, query: &PageQuery) -> sqlx::Result<Option<Survey>> {
    let times: Vec<i64> = query.times().map(|time| time.unix_micros()).collect();
    // One topic is always looked up.
    let topics = if query.topics.len() > 1 { &query.topics[..] } else { &[] };
    let row = sqlx::query(
        "WITH RECURSIVE halves (number, bound, low, high) AS (
             SELECT given.key, given.value, 0, last_seq FROM ledgers CROSS JOIN json_each($3) AS given
             WHERE namespace_no = $1
             UNION ALL
             SELECT number, bound, iif(received_at < bound, (low + high + 1) / 2, low),
                 iif(received_at < bound, high, (low + high + 1) / 2 - 1)
             FROM halves LEFT JOIN stored_events ON place = $5 + (low + high + 1) / 2
             WHERE low < high
         )
         SELECT last_seq AS head,
             (SELECT json_group_array(low) FROM (SELECT low FROM halves WHERE low = high ORDER BY number))
                 AS received_before,
             (SELECT json_group_array(unique_events) FROM json_each($4) AS given CROSS JOIN topics
              WHERE namespace_no = $1 AND topic = given.value) AS topic_events
         FROM ledgers WHERE namespace_no = $1 AND ledger_id = $2",
    )
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(to_json(&times)?)
    .bind(to_json(&topics)?)
    .bind(place(ledger.key.namespace_no, 0))
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(|row| rows::survey(row, |row, column| from_json(row.try_get(column)?))).transpose()
}
