//! `sekali stats`: prints the counts of a running service, as a table or as the JSON that came.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use clap::Args;
use serde_json::Value;

use super::{CliError, LedgerArgs, block_on};
use crate::client::{Stats, TopicCounts};

#[derive(Args)]
pub struct StatsArgs {
    /// Print the service's answer as it came, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    ledger: LedgerArgs,
}

/// Prints the counts.
pub fn run(args: &StatsArgs) -> Result<(), CliError> {
    let client = args.ledger.client()?;
    let shown = block_on(async {
        Ok(match args.json {
            true => client.stats_json().await?.get().to_owned(),
            false => table(&client.stats().await?),
        })
    })?;
    writeln!(io::stdout(), "{}", shown.trim_end()).map_err(CliError::Output)
}

fn table(stats: &Stats) -> String {
    let rate = stats.duplicate_rate.map(|rate| format!("  ({:.1} %)", rate * 100.0)).unwrap_or_default();
    let mut table = String::new();
    push_line(&mut table, format_args!("received    {:>12}", stats.received));
    push_line(&mut table, format_args!("unique      {:>12}", stats.unique_processed));
    push_line(&mut table, format_args!("duplicates  {:>12}{rate}", stats.duplicate_dropped));
    if let Some(topics) = stats.topics_total {
        push_line(&mut table, format_args!("topics      {topics:>12}"));
    }
    if let Some(seconds) = stats.uptime_seconds {
        push_line(&mut table, format_args!("uptime      {:>12}", shown_uptime(seconds)));
    }
    push_topics(&mut table, stats);
    push_node(&mut table, &stats.node);
    table
}

/// The topics, those with most events first. The name is last, so that long names keep the columns aligned.
fn push_topics(table: &mut String, stats: &Stats) {
    if stats.by_topic.is_empty() {
        return;
    }
    let mut topics: Vec<(&String, TopicCounts)> =
        stats.by_topic.iter().map(|(name, counts)| (name, *counts)).collect();
    topics.sort_by(|(left, a), (right, b)| b.received().cmp(&a.received()).then_with(|| left.cmp(right)));
    push_line(table, format_args!("\n{:>12}  {:>12}  topic", "unique", "duplicates"));
    for (name, counts) in topics {
        push_line(table, format_args!("{:>12}  {:>12}  {name}", counts.unique, counts.duplicates));
    }
    let hidden = stats.topics_hidden();
    if hidden > 0 {
        push_line(table, format_args!("and {hidden} more topics"));
    }
}

/// Everything that the node tells about itself, on one line: `shards.len=2 writer.restarts=0`.
fn push_node(table: &mut String, node: &Value) {
    let mut facts = Vec::new();
    collect_facts("", node, &mut facts);
    if !facts.is_empty() {
        push_line(table, format_args!("\nnode  {}", facts.join("  ")));
    }
}

/// Shows each value by its name, so that values of later versions are shown, too.
fn collect_facts(name: &str, value: &Value, facts: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (field, value) in fields {
                let name = if name.is_empty() { field.clone() } else { format!("{name}.{field}") };
                collect_facts(&name, value, facts);
            }
        }
        Value::Array(items) => facts.push(format!("{name}.len={}", items.len())),
        scalar => facts.push(format!("{name}={scalar}")),
    }
}

fn push_line(table: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(table, "{line}").expect("writing to a String never fails");
}

/// The two largest units: `42s`, `3m 05s`, `7h 03m`, `12d 01h`.
fn shown_uptime(seconds: f64) -> String {
    // The cast turns NaN and negative numbers into 0.
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h {:02}m", minutes % 60),
        (_, _, _) => format!("{days}d {:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_of(json: &str) -> String {
        table(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn topics_are_aligned_busiest_first() {
        let shown = table_of(
            r#"{"received":15,"unique_processed":10,"duplicate_dropped":5,"duplicate_rate":0.3333,"topics":["a","b"],
            "topics_total":5,"by_topic":{"a":{"unique":1,"duplicates":0},"b":{"unique":9,"duplicates":5}},
            "uptime":65.2,"uptime_seconds":65.2,"node":{"shards":[{},{}],"writer":{"restarts":0},"name":"n"}}"#,
        );
        let expected = "\
received              15
unique                10
duplicates             5  (33.3 %)
topics                 5
uptime            1m 05s

      unique    duplicates  topic
           9             5  b
           1             0  a
and 3 more topics

node  name=\"n\"  shards.len=2  writer.restarts=0
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_service_that_tells_only_the_three_counts_is_shown_too() {
        let shown = table_of(r#"{"received":0,"unique_processed":0,"duplicate_dropped":0}"#);
        assert_eq!(shown.lines().count(), 3);
    }

    #[test]
    fn uptime_shows_its_two_largest_units() {
        for (seconds, shown) in
            [(0.9, "0s"), (185.0, "3m 05s"), (25_380.0, "7h 03m"), (1_040_400.0, "12d 01h"), (-1.0, "0s")]
        {
            assert_eq!(shown_uptime(seconds), shown);
        }
    }
}
