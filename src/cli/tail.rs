//! `sekali tail`: prints events as they are stored, and goes on where it was when the service comes back.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use super::{CliError, block_on, server_args::LedgerArgs};
use crate::client::{LogMessage, StreamQuery};

/// A service that is away is told about once in this time.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Args)]
pub struct TailArgs {
    /// Only this topic; may be given up to 100 times
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,

    /// Only events that read so, such as /payload/level=error; may be given up to 3 times
    #[arg(long = "where", value_name = "/POINTER=VALUE")]
    conditions: Vec<String>,

    /// Where to begin: now, earliest, or behind a seq [default: now]
    #[arg(long, value_name = "now|earliest|SEQ", conflicts_with = "subscription")]
    after: Option<String>,

    /// Begin where this subscription is, with its topics; nothing of it is leased or acked
    #[arg(long, value_name = "NAME", conflicts_with = "topic")]
    subscription: Option<String>,

    /// One JSON object a line, also on a terminal
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    ledger: LedgerArgs,
}

/// Follows the log until it is interrupted, or nobody reads what it prints.
pub fn run(args: &TailArgs) -> Result<(), CliError> {
    let client = args.ledger.client()?;
    let query = StreamQuery {
        topics: args.topic.clone(),
        conditions: args.conditions.clone(),
        after: args.after.clone(),
        subscription: args.subscription.clone(),
    };
    let style = Style::of_output(args.json);
    block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
        let mut reader = client.follow(query);
        let mut complained: Option<Instant> = None;
        loop {
            let message = tokio::select! {
                message = reader.next() => message?,
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            };
            match message {
                LogMessage::Event(event) => {
                    style.print(&event, &mut io::stdout().lock()).map_err(CliError::Output)?;
                }
                LogMessage::CaughtUp { .. } => complained = None,
                LogMessage::Restored { head } => {
                    tell(format_args!(
                        "the database was restored to an older copy, which ends with seq {head}"
                    ));
                }
                LogMessage::Lost(why) => {
                    if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
                        tell(format_args!("{why}; trying again"));
                        complained = Some(Instant::now());
                    }
                }
            }
        }
    })
}

/// Prints a line on standard error; the work goes on where that is closed.
fn tell(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// How an event is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Json,
    Text { coloured: bool },
}

/// What is shown of an event.
#[derive(Deserialize)]
struct Shown<'a> {
    seq: u64,
    topic: String,
    event_id: String,
    source: String,
    received_at: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Style {
    /// Text for people on a terminal, JSON for programs.
    fn of_output(json: bool) -> Self {
        match json || !io::stdout().is_terminal() {
            true => Self::Json,
            false => {
                Self::Text { coloured: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
            }
        }
    }

    fn print(self, event: &RawValue, out: &mut impl Write) -> io::Result<()> {
        match (self, serde_json::from_str::<Shown<'_>>(event.get())) {
            (Self::Text { coloured }, Ok(shown)) => write_text(&shown, coloured, out)?,
            _ => writeln!(out, "{event}")?,
        }
        out.flush()
    }
}

fn write_text(event: &Shown<'_>, coloured: bool, out: &mut impl Write) -> io::Result<()> {
    let paint = |code: &str, text: &str| match coloured {
        true => format!("\x1b[{code}m{}\x1b[0m", plain(text)),
        false => plain(text),
    };
    writeln!(
        out,
        "{} {} {} {} {} {}",
        paint("2", &event.received_at),
        paint("2", &event.seq.to_string()),
        paint("1;36", &event.topic),
        paint("33", &event.event_id),
        paint("2", &event.source),
        plain(event.payload.get()),
    )
}

/// Text that a terminal shows as it is: what producers send must not move its cursor.
fn plain(text: &str) -> String {
    let is_shown = |c: char| {
        !c.is_control() && !('\u{202a}'..='\u{202e}').contains(&c) && !('\u{2066}'..='\u{2069}').contains(&c)
    };
    text.chars().map(|c| if is_shown(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(style: Style, event: &str) -> String {
        let mut out = Vec::new();
        style.print(&RawValue::from_string(event.to_owned()).unwrap(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_a_line_that_cannot_move_the_cursor() {
        let event = r#"{"seq":7,"topic":"t\u001b[2J","event_id":"a","timestamp":"x","source":"s","payload":{"a": 1.0},"received_at":"2026-01-01T00:00:00Z"}"#;
        assert_eq!(printed(Style::Json, event), format!("{event}\n"));
        assert_eq!(
            printed(Style::Text { coloured: false }, event),
            "2026-01-01T00:00:00Z 7 t\u{fffd}[2J a s {\"a\": 1.0}\n"
        );
        let coloured = printed(Style::Text { coloured: true }, event);
        assert!(coloured.contains("\u{1b}[33ma\u{1b}[0m"), "{coloured:?}");
    }
}
