//! What was seen during the acts, as data and in words.

use std::time::Duration;

use indicatif::HumanCount;
use serde::Serialize;

use crate::actors::{ActorName, ActorReport};

/// What was seen of one act.
#[derive(Serialize)]
pub struct Act {
    pub title: &'static str,
    pub crashes: Vec<CrashSeen>,
    /// The requests that were told to try again, in the order of their acknowledgements.
    pub told_to_retry: Vec<RetrySeen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats_asked: Option<StatsAsked>,
    #[serde(skip)]
    pub faults: Vec<String>,
}

/// One crash of an actor, and its return.
#[derive(Serialize)]
pub struct CrashSeen {
    #[serde(skip)]
    pub name: ActorName,
    pub actor: String,
    pub at_seconds: f64,
    /// The ending, as `/stats` names it.
    pub ending: String,
    /// Requests that it was handling: their clients are told to try again.
    pub in_hand: usize,
    /// How long it had been handling them.
    pub in_hand_ms: Option<f64>,
    pub recovery_ms: f64,
    /// Requests that waited for it in its mailbox or queue when it was back.
    pub waited: usize,
}

impl CrashSeen {
    /// The last crash of an actor that is back.
    pub fn new(name: ActorName, report: &ActorReport, at_seconds: f64) -> Self {
        Self {
            name,
            actor: report.name.clone(),
            at_seconds,
            ending: report.last_ending.as_ref().map(ToString::to_string).unwrap_or_default(),
            in_hand: report.last_in_hand.map_or(0, |hand| hand.requests),
            in_hand_ms: report.last_in_hand.map(|hand| millis(hand.time)),
            recovery_ms: report.last_recovery.map(millis).unwrap_or_default(),
            waited: report.last_waited,
        }
    }
}

/// One request that was told to try again.
#[derive(Serialize)]
pub struct RetrySeen {
    pub request: usize,
    pub told_at_seconds: Vec<f64>,
    pub told: Vec<String>,
    pub acknowledged_at_seconds: f64,
    pub stored: u64,
    pub duplicates: u64,
}

/// The answer of `/stats` to a request that was sent while StatsActor was restarting.
#[derive(Serialize)]
pub struct StatsAsked {
    /// Events that were acknowledged before the request.
    pub acknowledged: u64,
    /// Events of the run that the answer counts.
    pub received: u64,
    pub answered_after_ms: f64,
}

/// The counts of the run's events in `/stats`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counted {
    pub received: u64,
    pub unique: u64,
    pub duplicates: u64,
}

/// `shard 0 panics with no request in hand`
pub fn crash_in_words(actor: ActorName, report: &ActorReport) -> String {
    let in_hand = match report.last_in_hand {
        None => "no request in hand".to_owned(),
        Some(hand) => format!("{} in hand", plural(hand.requests, "request")),
    };
    let transaction = match report.last_in_hand {
        Some(hand) if matches!(actor, ActorName::Writer(_)) => {
            format!(", in a transaction under way for {}", shown(hand.time))
        }
        _ => String::new(),
    };
    format!("{} panics with {in_hand}{transaction}", report.name)
}

/// `shard 0 is back after 11.0 ms and takes up 3 requests that waited in its mailbox`
pub fn return_in_words(actor: ActorName, report: &ActorReport) -> String {
    let waited = plural(report.last_waited, "request");
    let goes_on = match actor {
        ActorName::Shard(_) => format!("takes up {waited} that waited in its mailbox"),
        ActorName::Writer(_) => format!("takes up {waited} that waited in its queue"),
        ActorName::Stats => "reads its counters from the store".to_owned(),
    };
    format!("{} is back after {} and {goes_on}", report.name, shown(report.last_recovery.unwrap_or_default()))
}

/// Whether the transaction that was open at the crash was committed, as the second attempts show.
pub fn fate_of_the_transaction(told_to_retry: &[RetrySeen]) -> &'static str {
    // Most events of a request are new: they are stored now if they were not stored before.
    match told_to_retry.iter().any(|retry| retry.stored > 0) {
        true => "the transaction under way was rolled back, and the second attempt stored its events",
        false => "the database committed the transaction under way all the same, as the second attempt tells",
    }
}

/// `request 633, sent again and acknowledged within 1.02 s: 13 events stored, 7 duplicates`
pub fn acknowledged_again(seen: &[RetrySeen]) -> String {
    const NAMED_MAX: usize = 4;
    let names: Vec<String> = seen.iter().take(NAMED_MAX).map(|retry| retry.request.to_string()).collect();
    let more = seen.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let s = if seen.len() == 1 { "" } else { "s" };
    let time = |retry: &RetrySeen| {
        retry.acknowledged_at_seconds - retry.told_at_seconds.first().copied().unwrap_or_default()
    };
    let longest = seen.iter().map(time).fold(0.0, f64::max);
    let stored: u64 = seen.iter().map(|retry| retry.stored).sum();
    let duplicates: u64 = seen.iter().map(|retry| retry.duplicates).sum();
    format!(
        "request{s} {}{more}, sent again and acknowledged within {longest:.2} s: {stored} events stored, {duplicates} duplicates",
        names.join(", ")
    )
}

/// `1 request`, `1,234 requests`
pub fn plural(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {what}{s}", HumanCount(count as u64))
}

/// `11.0 ms`, `1.02 s`
pub fn shown(time: Duration) -> String {
    match time < Duration::from_secs(1) {
        true => format!("{:.1} ms", millis(time)),
        false => format!("{:.2} s", time.as_secs_f64()),
    }
}

pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
