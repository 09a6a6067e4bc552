//! Adds a group's counts to its topics.

use sqlx::{Sqlite, Transaction};

use super::{insert::expect_rows, json::to_json, ledger::Ledger};
use crate::store::AppendGroup;

/// Adds the group's counts to its topics; returns those that are new, in order.
pub(super) async fn count_topics(
    transaction: &mut Transaction<'_, Sqlite>,
    group: &AppendGroup<'_>,
    repeats: &[(usize, u64)],
    ledger: &Ledger,
) -> sqlx::Result<Vec<String>> {
    let names: Vec<&str> = group.counts.iter().map(|count| count.topic).collect();
    let new_topics: Vec<String> = sqlx::query_scalar(
        "SELECT value FROM json_each($1) AS given
         WHERE NOT EXISTS (SELECT 1 FROM topics WHERE topic = given.value) ORDER BY key",
    )
    .bind(to_json(&names)?)
    .fetch_all(&mut **transaction)
    .await?;
    let inserted = sqlx::query(
        "INSERT INTO topics (topic, topic_no, unique_events, duplicate_events)
         SELECT value, $1 + key, 0, 0 FROM json_each($2)",
    )
    .bind(ledger.next_topic_no())
    .bind(to_json(&new_topics)?)
    .execute(&mut **transaction)
    .await?;
    expect_rows("INSERT INTO topics", &inserted, new_topics.len())?;
    let counts: Vec<(&str, u64, u64)> = group
        .counts_after(repeats)
        .iter()
        .map(|count| (count.topic, count.new_events, count.duplicates))
        .collect();
    let updated = sqlx::query(
        "UPDATE topics SET unique_events = unique_events + added.unique_count,
             duplicate_events = duplicate_events + added.duplicate_count
         FROM (SELECT value ->> 0 AS topic, value ->> 1 AS unique_count, value ->> 2 AS duplicate_count
               FROM json_each($1)) AS added
         WHERE topics.topic = added.topic",
    )
    .bind(to_json(&counts)?)
    .execute(&mut **transaction)
    .await?;
    expect_rows("UPDATE topics", &updated, counts.len())?;
    Ok(new_topics)
}
