//! The numbers of a group's topics, and their counters.

use std::collections::HashMap;

use sqlx::{Sqlite, Transaction};

use super::{insert::expect_rows, json::to_json, ledger::Ledger};
use crate::store::{AppendGroup, Damage};

/// The number of each topic of the group, in the order of its counts. New topics get the next numbers.
pub(super) async fn number_topics(
    transaction: &mut Transaction<'_, Sqlite>,
    group: &AppendGroup<'_>,
    ledger: &Ledger,
) -> sqlx::Result<Vec<i64>> {
    if group.counts.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = group.counts.iter().map(|count| count.topic).collect();
    let known: Vec<(String, i64)> = sqlx::query_as(
        "SELECT topic, topic_no FROM json_each($2) AS given CROSS JOIN topics
         WHERE namespace_no = $1 AND topic = given.value",
    )
    .bind(ledger.namespace_no())
    .bind(to_json(&names)?)
    .fetch_all(&mut **transaction)
    .await?;
    let known: HashMap<String, i64> = known.into_iter().collect();
    let new: Vec<&str> = names.iter().copied().filter(|name| !known.contains_key(*name)).collect();
    if !new.is_empty() {
        let inserted = sqlx::query(
            "INSERT INTO topics (namespace_no, topic, topic_no, unique_events, duplicate_events)
             SELECT $1, value, $2 + 1 + key, 0, 0 FROM json_each($3)",
        )
        .bind(ledger.namespace_no())
        .bind(ledger.topics_total())
        .bind(to_json(&new)?)
        .execute(&mut **transaction)
        .await?;
        expect_rows("INSERT INTO topics", &inserted, new.len())?;
    }
    let mut next = ledger.topics_total();
    let number = |name: &str| {
        known.get(name).copied().unwrap_or_else(|| {
            next += 1;
            next
        })
    };
    Ok(names.into_iter().map(number).collect())
}

/// Adds the group's counts to its topics, whose numbers these are, once `repeats` (places in its events) proved to be
/// duplicates.
pub(super) async fn count_events(
    transaction: &mut Transaction<'_, Sqlite>,
    group: &AppendGroup<'_>,
    topic_nos: &[i64],
    topic_places: &[usize],
    repeats: &[(usize, u64)],
    ledger: &Ledger,
) -> sqlx::Result<()> {
    if group.counts.is_empty() {
        return Ok(());
    }
    let row = |(topic_no, count): (&i64, &crate::store::TopicCount<'_>)| {
        (*topic_no, count.new_events, count.duplicates)
    };
    let mut counts: Vec<(i64, u64, u64)> = topic_nos.iter().zip(group.counts).map(row).collect();
    for (event, _) in repeats {
        let (_, new_events, duplicates) = &mut counts[topic_places[*event]];
        *new_events = new_events.checked_sub(1).ok_or_else(|| Damage::new("more repeats than events"))?;
        *duplicates += 1;
    }
    let updated = sqlx::query(
        "UPDATE topics SET unique_events = unique_events + added.unique_count,
             duplicate_events = duplicate_events + added.duplicate_count
         FROM (SELECT value ->> 0 AS topic_no, value ->> 1 AS unique_count, value ->> 2 AS duplicate_count
               FROM json_each($2)) AS added
         WHERE topics.namespace_no = $1 AND topics.topic_no = added.topic_no",
    )
    .bind(ledger.namespace_no())
    .bind(to_json(&counts)?)
    .execute(&mut **transaction)
    .await?;
    expect_rows("UPDATE topics", &updated, counts.len())
}
