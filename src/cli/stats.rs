//! `sekali stats`: what a running service has counted, for people or as it came.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, Write as _},
};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{CliError, ServerArgs, block_on};

#[derive(Args)]
pub struct StatsArgs {
    /// Print the service's answer as it came, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// Prints the counts.
pub fn run(args: &StatsArgs) -> Result<(), CliError> {
    let client = args.server.client()?;
    let json = block_on(async { Ok(client.stats().await?) })?;
    // An answer that has none of the counts is still worth seeing as it is.
    let table = if args.json { None } else { serde_json::from_str(&json).ok().map(|stats| table(&stats)) };
    writeln!(io::stdout(), "{}", table.as_deref().unwrap_or(&json).trim_end()).map_err(CliError::Output)
}

/// The part of the answer that is shown; what a service does not tell is left out.
#[derive(Deserialize)]
struct Stats {
    received: u64,
    unique_processed: u64,
    duplicate_dropped: u64,
    duplicate_rate: Option<f64>,
    topics_total: Option<usize>,
    #[serde(default)]
    by_topic: HashMap<String, TopicCounts>,
    uptime_seconds: Option<f64>,
    #[serde(default)]
    node: Value,
}

#[derive(Clone, Copy, Deserialize)]
struct TopicCounts {
    unique: u64,
    duplicates: u64,
}

impl TopicCounts {
    fn received(self) -> u64 {
        self.unique.saturating_add(self.duplicates)
    }
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

/// The topics, busiest first; the name last, so that its length bends no column.
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
    let hidden = stats.topics_total.unwrap_or(0).saturating_sub(stats.by_topic.len());
    if hidden > 0 {
        push_line(table, format_args!("and {hidden} more topics"));
    }
}

/// All that the node tells about itself on one line: `shards.len=2 writer.restarts=0`.
fn push_node(table: &mut String, node: &Value) {
    let mut facts = Vec::new();
    collect_facts("", node, &mut facts);
    if !facts.is_empty() {
        push_line(table, format_args!("\nnode  {}", facts.join("  ")));
    }
}

/// A node may learn to tell more: so whatever there is, is shown by its name.
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
    writeln!(table, "{line}").expect("a String takes all that is written");
}

/// Its two largest units: `42s`, `3m 05s`, `7h 03m`, `12d 01h`.
fn shown_uptime(seconds: f64) -> String {
    // Whole seconds are enough, and the cast keeps what no service sends (NaN, below zero) at 0.
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
