//! The numbers of a group's topics, and their counters.

use std::collections::HashMap;

use sqlx::{Sqlite, Transaction};

use super::{insert::expect_rows, json::to_json, ledger::Ledger};
use crate::store::{AppendGroup, Damage, TopicCount};

/// The number of each topic of the group, in the order of its counts. New topics get the next numbers, and come into
/// their table with their counts; `None` where the ledger would have too many.
pub(super) async fn number_topics(
    transaction: &mut Transaction<'_, Sqlite>,
    group: &AppendGroup<'_>,
    ledger: &Ledger,
) -> sqlx::Result<Option<Vec<i64>>> {
    if group.counts.is_empty() {
        return Ok(Some(Vec::new()));
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
    let new = names.iter().filter(|name| !known.contains_key(**name)).count() as u64;
    if new > 0 && ledger.topics_total() as u64 + new > u64::from(group.topics_max) {
        return Ok(None);
    }
    let mut next = ledger.topics_total();
    let number = |name: &str| {
        known.get(name).copied().unwrap_or_else(|| {
            next += 1;
            next
        })
    };
    Ok(Some(names.into_iter().map(number).collect()))
}

/// Adds the group's counts to its topics, whose numbers these are, once `repeats` (places in its events) proved to be
/// duplicates.
pub(super) async fn count_events<'a>(
    transaction: &mut Transaction<'_, Sqlite>,
    group: &AppendGroup<'a>,
    topic_nos: &[i64],
    topic_places: &[usize],
    repeats: &[(usize, u64)],
    ledger: &Ledger,
) -> sqlx::Result<()> {
    if group.counts.is_empty() {
        return Ok(());
    }
    let row = |(topic_no, count): (&i64, &TopicCount<'a>)| {
        (count.topic, *topic_no, count.new_events, count.duplicates)
    };
    let mut counts: Vec<_> = topic_nos.iter().zip(group.counts).map(row).collect();
    for (event, _) in repeats {
        let (.., new_events, duplicates) = &mut counts[topic_places[*event]];
        *new_events = new_events.checked_sub(1).ok_or_else(|| Damage::new("more repeats than events"))?;
        *duplicates += 1;
    }
    // UPDATE … FROM would be planned as a scan of all topics of the namespace.
    let counted = sqlx::query(
        "INSERT INTO topics (namespace_no, topic, topic_no, unique_events, duplicate_events)
         SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($2) WHERE true
         ON CONFLICT (namespace_no, topic) DO UPDATE
         SET unique_events = unique_events + excluded.unique_events,
             duplicate_events = duplicate_events + excluded.duplicate_events",
    )
    .bind(ledger.namespace_no())
    .bind(to_json(&counts)?)
    .execute(&mut **transaction)
    .await?;
    expect_rows("INSERT INTO topics", &counted, counts.len())
}
