//! `sekali events`: prints a page of stored events as a JSON array, or all of them as NDJSON.

use std::{
    io::{self, BufWriter, Write},
    pin::pin,
    time::Duration,
};

use clap::{Args, value_parser};
use futures::TryStreamExt;
use serde_json::value::RawValue;

use super::{CliError, LedgerArgs, block_on};
use crate::{
    client::{Client, Page, PageQuery},
    config::WrongValue,
};

/// Most events in a page of the service.
const PAGE_EVENTS_MAX: u64 = 1_000;

#[derive(Args)]
pub struct EventsArgs {
    /// Only this topic; may be given up to 100 times
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,

    /// Only events received at this time or later, such as 2026-06-18T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only events received before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Only events that read so, such as /payload/level=error; may be given up to 3 times
    #[arg(long = "where", value_name = "/POINTER=VALUE")]
    conditions: Vec<String>,

    /// How many events: 1 to 1000 [default: 100]; with --all any number [default: all]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Only events with a lower seq than this
    #[arg(long, value_name = "SEQ")]
    before: Option<u64>,

    /// Only events with a higher seq than this, oldest first
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,

    /// All events, oldest first, one JSON object per line, from --after SEQ on [default: 0]
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    ledger: LedgerArgs,
}

/// Prints the events.
pub fn run(args: &EventsArgs) -> Result<(), CliError> {
    let query = page_query(args)?;
    let client = args.ledger.client()?;
    let out = BufWriter::new(io::stdout().lock());
    if args.all {
        block_on(print_all(&client, query, args.limit.unwrap_or(u64::MAX), out))
    } else {
        let page = block_on(async { Ok(client.page(&query).await?) })?;
        write_array(&page, out).map_err(CliError::Output)
    }
}

/// The first page to ask for. With `--all` pages have the largest size, and `--limit` counts all events.
fn page_query(args: &EventsArgs) -> Result<PageQuery, WrongValue> {
    let (limit, after) = match (args.all, args.limit) {
        (true, limit) => {
            (Some(limit.unwrap_or(PAGE_EVENTS_MAX).min(PAGE_EVENTS_MAX)), Some(args.after.unwrap_or(0)))
        }
        (false, Some(limit)) if limit > PAGE_EVENTS_MAX => {
            let allowed = format!("1 to {PAGE_EVENTS_MAX} without --all");
            return Err(WrongValue::new("limit", allowed, limit.to_string()));
        }
        (false, limit) => (limit, args.after),
    };
    let limit = limit.map(|limit| u32::try_from(limit).expect("a page's limit is small"));
    Ok(PageQuery {
        topics: args.topic.clone(),
        limit,
        before: args.before,
        after,
        since: args.since.clone(),
        until: args.until.clone(),
        conditions: args.conditions.clone(),
    })
}

async fn print_all(
    client: &Client,
    query: PageQuery,
    events_max: u64,
    mut out: impl Write,
) -> Result<(), CliError> {
    let mut pages = pin!(client.pages(query, Duration::ZERO));
    let mut events_left = events_max;
    while let Some(page) = pages.try_next().await? {
        let written = write_lines(&page, events_left, &mut out).map_err(CliError::Output)?;
        events_left -= written;
        if events_left == 0 {
            break;
        }
    }
    Ok(())
}

/// Writes one event per line, at most `events_max`; returns how many.
fn write_lines(page: &Page, events_max: u64, out: &mut impl Write) -> io::Result<u64> {
    let mut written = 0;
    for event in page.iter().take(usize::try_from(events_max).unwrap_or(usize::MAX)) {
        writeln!(out, "{}", one_line(event))?;
        written += 1;
    }
    // A reader behind a pipe gets each page as it comes, and a closed pipe ends the reading.
    out.flush()?;
    Ok(written)
}

/// Writes the page as one JSON array, one event per line.
fn write_array(page: &Page, mut out: impl Write) -> io::Result<()> {
    out.write_all(b"[")?;
    for (index, event) in page.iter().enumerate() {
        let separator = if index == 0 { "\n" } else { ",\n" };
        write!(out, "{separator}{}", one_line(event))?;
    }
    out.write_all(if page.is_empty() { b"]\n" } else { b"\n]\n" })?;
    out.flush()
}

/// The event's text without line breaks, which JSON has between tokens only: numbers and strings stay as they are.
pub(super) fn one_line(event: &RawValue) -> String {
    event.get().replace(['\r', '\n'], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;

    fn page(events: &[&str]) -> Page {
        let raw = |text: &&str| RawValue::from_string(String::from(*text)).unwrap();
        events.iter().map(raw).collect()
    }

    fn args(all: bool, limit: Option<u64>, after: Option<u64>) -> EventsArgs {
        EventsArgs { all, limit, after, ..defaults() }
    }

    fn array(events: &[&str]) -> String {
        let mut out = Vec::new();
        write_array(&page(events), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_page_is_an_array_with_one_event_a_line() {
        assert_eq!(array(&["{\"a\":\n1}", "{}"]), "[\n{\"a\":1},\n{}\n]\n");
        assert_eq!(array(&[]), "[]\n");
    }

    #[test]
    fn all_is_one_event_a_line_up_to_the_limit() {
        let mut out = Vec::new();
        assert_eq!(write_lines(&page(&["{\"a\":\n1}", "{}", "{}"]), 2, &mut out).unwrap(), 2);
        assert_eq!(out, b"{\"a\":1}\n{}\n");
    }

    #[test]
    fn all_reads_large_pages_from_the_start() {
        let first = |limit, after| {
            let query = page_query(&args(true, limit, after)).unwrap();
            (query.limit, query.after)
        };
        assert_eq!(first(None, None), (Some(1_000), Some(0)));
        assert_eq!(first(Some(5_000), Some(7)), (Some(1_000), Some(7)));
        assert_eq!(first(Some(5), None), (Some(5), Some(0)));
    }

    #[test]
    fn one_page_leaves_the_defaults_to_the_service_and_has_its_limit() {
        assert_eq!(page_query(&args(false, None, None)).unwrap(), PageQuery::default());
        assert!(page_query(&args(false, Some(1_000), None)).is_ok());
        assert!(page_query(&args(false, Some(1_001), None)).is_err());
    }
}
