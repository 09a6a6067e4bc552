//! The acts: which rooms are crashed, how, and what was seen of it.

use std::{
    cell::Cell,
    collections::HashMap,
    time::{Duration, Instant},
};

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{DemoFailure, stage::Stage, timeline::Timeline};
use crate::{
    actors::{Crash, PublishError, RestartPolicy, RoomName, RoomReport},
    cli::{
        CliError,
        simulate::{Onlooker, RetriedRequest, Run},
    },
    client::ClientError,
};

/// How many acts there are.
pub const ACTS: u32 = 5;
/// Crashes of the room that keeps crashing.
const CRASHES_IN_A_ROW: usize = 7;
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// What must happen happens within this, or is a fault.
const PATIENCE: Duration = Duration::from_secs(20);

/// One act, as it was seen.
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

/// One room's crash and return.
#[derive(Serialize)]
pub struct CrashSeen {
    pub room: String,
    pub at_seconds: f64,
    /// As `/stats` names it.
    pub ending: String,
    /// Requests that it had in hand: they are told to try again.
    pub in_hand: usize,
    /// How long it had been at them.
    pub in_hand_ms: Option<f64>,
    pub recovery_ms: f64,
    /// Requests that had waited for it in its mailbox, or the writer's queue, when it was back.
    pub waited: usize,
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

/// What `/stats` answered who asked while the counters were away.
#[derive(Serialize)]
pub struct StatsAsked {
    /// Events that were acknowledged before the question.
    pub acknowledged: u64,
    /// Events of the run that the answer counts.
    pub received: u64,
    pub answered_after_ms: f64,
}

/// The run's events, as `/stats` counts them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counted {
    pub received: u64,
    pub unique: u64,
    pub duplicates: u64,
}

pub struct Show<'a> {
    pub stage: &'a Stage,
    pub run: &'a Run<'a>,
    pub onlooker: &'a Onlooker,
    pub timeline: &'a Timeline,
    /// Undisturbed load before each act.
    pub pause: Duration,
    /// Retries that are told of already.
    pub retries_told: Cell<u64>,
}

impl Show<'_> {
    /// All acts, and the load around them.
    pub async fn play(&self) -> Result<Vec<Act>, CliError> {
        self.load_begins().await?;
        let shard =
            self.act("A DedupActor, with a request in its hands", &[RoomName::Shard(0)], Crash::InHand);
        let shard = shard.await?;
        let title = "The WriterActor, with a transaction open";
        let writer = self.act(title, &[RoomName::Writer], Crash::InHand).await?;
        let stats = self.stats().await?;
        let rooms = [RoomName::Shard(0), RoomName::Shard(2), RoomName::Writer, RoomName::Stats];
        let several =
            self.act("Two DedupActors, the WriterActor and the StatsActor at once", &rooms, Crash::Now);
        let several = several.await?;
        let again_and_again = self.again_and_again().await?;
        self.undisturbed().await?;
        Ok(vec![shard, writer, stats, several, again_and_again])
    }

    /// The run's events, as `/stats` counts them now.
    pub async fn counted(&self) -> Result<Counted, CliError> {
        #[derive(Deserialize)]
        struct Stats {
            by_topic: HashMap<String, Topic>,
        }
        #[derive(Deserialize)]
        struct Topic {
            unique: u64,
            duplicates: u64,
        }
        let json = self.run.client().stats().await?;
        let unreadable = |source| ClientError::Unreadable { url: "/stats".to_owned(), source };
        let stats: Stats = serde_json::from_str(&json).map_err(unreadable)?;
        let of_this_run = self.run.topics().iter().filter_map(|topic| stats.by_topic.get(topic));
        Ok(of_this_run.fold(Counted::default(), |sum, topic| Counted {
            received: sum.received + topic.unique + topic.duplicates,
            unique: sum.unique + topic.unique,
            duplicates: sum.duplicates + topic.duplicates,
        }))
    }

    async fn load_begins(&self) -> Result<(), CliError> {
        self.until(|| self.onlooker.acknowledged.get().0 > 0).await?;
        self.timeline.line("load", "begins")
    }

    /// Lets the load pass for a while, and says how it does.
    async fn undisturbed(&self) -> Result<(), CliError> {
        sleep(self.pause).await;
        let (requests, events) = self.onlooker.acknowledged.get();
        let retries = self.onlooker.retries.count();
        let words = format!(
            "{} requests acknowledged so far, with {} events; {retries} had to be sent again",
            HumanCount(requests as u64),
            HumanCount(events)
        );
        self.timeline.line("load", &words)
    }

    async fn opens(&self, title: &str) -> Result<(), CliError> {
        self.undisturbed().await?;
        self.timeline.say(&format!("\n{title}\n"))
    }

    /// Crashes rooms once, all at the same time.
    async fn act(&self, title: &'static str, rooms: &[RoomName], crash: Crash) -> Result<Act, CliError> {
        self.opens(title).await?;
        let crashes = self.crash(rooms, crash).await?;
        self.closes(title, crashes, None).await
    }

    /// Crashes the counters, and asks for them meanwhile.
    async fn stats(&self) -> Result<Act, CliError> {
        const TITLE: &str = "The StatsActor, while somebody asks for the counters";
        self.opens(TITLE).await?;
        let (_, acknowledged) = self.onlooker.acknowledged.get();
        let asked_at = Instant::now();
        let asking = async {
            let counted = self.counted().await?;
            Ok((counted.received, asked_at.elapsed()))
        };
        let (crashes, (received, time)) =
            futures::try_join!(self.crash(&[RoomName::Stats], Crash::Now), asking)?;
        let words = format!(
            "GET /stats, asked as it died, answers after {}: {} events, where {} had been acknowledged",
            shown(time),
            HumanCount(received),
            HumanCount(acknowledged)
        );
        self.timeline.line("asked", &words)?;
        let asked = StatsAsked { acknowledged, received, answered_after_ms: millis(time) };
        self.closes(TITLE, crashes, Some(asked)).await
    }

    /// Crashes a room as soon as it is back, so that its supervisor takes longer and longer.
    async fn again_and_again(&self) -> Result<Act, CliError> {
        const TITLE: &str = "A DedupActor that crashes again and again";
        self.opens(TITLE).await?;
        let mut crashes = Vec::new();
        for _ in 0..CRASHES_IN_A_ROW {
            crashes.extend(self.crash(&[RoomName::Shard(1)], Crash::Now).await?);
        }
        let RestartPolicy { restarts_max, window, .. } = RestartPolicy::default();
        let words = format!(
            "the pause before each restart doubles; after {restarts_max} restarts within {window:?} the service gives up and exits"
        );
        self.timeline.line("so", &words)?;
        self.closes(TITLE, crashes, None).await
    }

    /// Crashes the rooms and waits until all are back.
    async fn crash(&self, rooms: &[RoomName], crash: Crash) -> Result<Vec<CrashSeen>, CliError> {
        let mut watched: Vec<_> =
            rooms.iter().map(|room| (*room, self.report(*room).endings.panicked, Seen::Running)).collect();
        rooms.iter().for_each(|room| self.stage.rooms.crash_by(*room, crash));
        let mut crashes = Vec::new();
        let begun = Instant::now();
        while crashes.len() < rooms.len() {
            for (room, panicked, seen) in &mut watched {
                let report = self.report(*room);
                if *seen == Seen::Running && report.endings.panicked > *panicked {
                    self.tell_crash(*room, &report)?;
                    *seen = Seen::Crashed;
                }
                if *seen == Seen::Crashed && report.running {
                    crashes.push(self.tell_return(&report)?);
                    *seen = Seen::Back;
                }
            }
            if self.stage.is_over() {
                return Err(DemoFailure::ServiceEnded.into());
            }
            if let Some((room, ..)) = watched.iter().find(|(.., seen)| *seen != Seen::Back)
                && begun.elapsed() > PATIENCE
            {
                let room = self.report(*room).name;
                return Err(DemoFailure::NotBack { room, waited: PATIENCE }.into());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(crashes)
    }

    fn tell_crash(&self, room: RoomName, report: &RoomReport) -> Result<(), CliError> {
        let name = &report.name;
        let in_hand = match report.last_in_hand {
            None => "nothing in its hands".to_owned(),
            Some(hand) => match room {
                RoomName::Writer => format!(
                    "{} in its hands, their transaction open for {}",
                    plural(hand.requests, "request"),
                    shown(hand.time)
                ),
                RoomName::Shard(_) | RoomName::Stats => {
                    format!("{} in its hands", plural(hand.requests, "request"))
                }
            },
        };
        let seconds = self.timeline.seconds_at(report.last_ended_at.unwrap_or_else(Instant::now));
        self.timeline.line_at(seconds, "crash", &format!("{name} panics with {in_hand}"))
    }

    fn tell_return(&self, report: &RoomReport) -> Result<CrashSeen, CliError> {
        let ended_at = report.last_ended_at.unwrap_or_else(Instant::now);
        let recovery = report.last_recovery.unwrap_or_default();
        let (room, waited) = (report.name.clone(), report.last_waited);
        let waiting = match room.as_str() {
            "stats" => "reads its counters from the store".to_owned(),
            "writer" => format!("takes up {} that waited in its queue", plural(waited, "request")),
            _ => format!("takes up {} that waited in its mailbox", plural(waited, "request")),
        };
        let words = format!("{room} is back after {} and {waiting}", shown(recovery));
        self.timeline.line_at(self.timeline.seconds_at(ended_at + recovery), "back", &words)?;
        Ok(CrashSeen {
            room,
            at_seconds: self.timeline.seconds_at(ended_at),
            ending: report.last_ending.as_ref().map(ToString::to_string).unwrap_or_default(),
            in_hand: report.last_in_hand.map_or(0, |hand| hand.requests),
            in_hand_ms: report.last_in_hand.map(|hand| millis(hand.time)),
            recovery_ms: millis(recovery),
            waited,
        })
    }

    /// Waits until all that were told to try again are acknowledged; they must be those that were in hand.
    async fn closes(
        &self,
        title: &'static str,
        crashes: Vec<CrashSeen>,
        stats_asked: Option<StatsAsked>,
    ) -> Result<Act, CliError> {
        let in_hand: usize = crashes.iter().map(|crash| crash.in_hand).sum();
        let some_waited = crashes.iter().any(|crash| crash.waited > 0);
        let told_to_retry = self.retries(in_hand).await?;
        let mut faults = Vec::new();
        if let Some(asked) = &stats_asked
            && asked.received < asked.acknowledged
        {
            let StatsAsked { acknowledged, received, .. } = asked;
            faults.push(format!("/stats counted {received} events when {acknowledged} were acknowledged"));
        }
        let interrupted = PublishError::Interrupted.to_string();
        let interrupted = told_to_retry
            .iter()
            .flat_map(|request| &request.told)
            .filter(|told| told.ends_with(&interrupted))
            .count();
        if interrupted != in_hand {
            faults.push(format!(
                "{title}: {in_hand} requests were in hand, and {interrupted} were interrupted"
            ));
        }
        let writer_had_some = crashes.iter().any(|crash| crash.room == "writer" && crash.in_hand > 0);
        if writer_had_some && let Some(words) = fate_of_the_transaction(&told_to_retry) {
            self.timeline.line("so", words)?;
        }
        // By now all that was sent before is acknowledged, and only what was in hand was interrupted.
        if some_waited && faults.is_empty() {
            let words = "all that waited is answered now, and none of it had to be sent again";
            self.timeline.line("so", words)?;
        }
        Ok(Act { title, crashes, told_to_retry, stats_asked, faults })
    }

    /// Waits for the requests that were in hand to be told to try again, and for all that have been sent so far to
    /// be acknowledged.
    async fn retries(&self, in_hand: usize) -> Result<Vec<RetrySeen>, CliError> {
        let Onlooker { retries, retried, under_way, .. } = self.onlooker;
        let told = || retries.count() - self.retries_told.get();
        // Whatever is not as it must be is found when the act closes.
        self.until(|| told() >= in_hand as u64).await?;
        if told() > 0 {
            let last = retries.last();
            // In front of it stands the address, which is always the same.
            let why = last.split_once(" answered ").map_or(&*last, |(_, why)| why);
            let why = why.replacen(" Service Unavailable", "", 1);
            let words = format!("{} told to try again ({why})", plural_is(told() as usize, "request"));
            self.timeline.line("retry", &words)?;
        }
        let last_sent = under_way.borrow().last().copied();
        self.until(|| under_way.borrow().first().copied().is_none_or(|first| Some(first) > last_sent))
            .await?;
        self.retries_told.set(retries.count());
        let seen: Vec<RetrySeen> = retried.take().iter().map(|request| self.retry(request)).collect();
        if !seen.is_empty() {
            self.timeline.line("again", &acknowledged_again(&seen))?;
        }
        Ok(seen)
    }

    fn retry(&self, request: &RetriedRequest) -> RetrySeen {
        let seconds_at = |moment| self.timeline.seconds_at(moment);
        RetrySeen {
            request: request.number,
            told_at_seconds: request.earlier.iter().map(|attempt| seconds_at(attempt.ended_at)).collect(),
            told: request.earlier.iter().map(|attempt| attempt.again.why.clone()).collect(),
            acknowledged_at_seconds: seconds_at(request.acknowledged_at),
            stored: request.stored,
            duplicates: request.duplicates,
        }
    }

    /// Waits for a condition, but not for ever.
    async fn until(&self, condition: impl Fn() -> bool) -> Result<(), CliError> {
        let begun = Instant::now();
        while !condition() && begun.elapsed() < PATIENCE {
            if self.stage.is_over() {
                return Err(DemoFailure::ServiceEnded.into());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    fn report(&self, room: RoomName) -> RoomReport {
        self.stage.rooms.room(room)
    }
}

fn acknowledged_again(seen: &[RetrySeen]) -> String {
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

/// What became of a transaction that was open at the crash, as the second attempts show.
fn fate_of_the_transaction(told_to_retry: &[RetrySeen]) -> Option<&'static str> {
    if told_to_retry.is_empty() {
        return None;
    }
    // Of requests that are in the main new, some would be stored now if they had not been before.
    Some(match told_to_retry.iter().any(|retry| retry.stored > 0) {
        true => "the open transaction was rolled back, and the second attempt stored its events",
        false => "the database committed the open transaction all the same; the second attempt says so",
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Running,
    Crashed,
    Back,
}

fn plural_is(count: usize, what: &str) -> String {
    format!("{} {}", plural(count, what), if count == 1 { "is" } else { "are" })
}

fn plural(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {what}{s}", HumanCount(count as u64))
}

fn shown(time: Duration) -> String {
    match time < Duration::from_secs(1) {
        true => format!("{:.1} ms", millis(time)),
        false => format!("{:.2} s", time.as_secs_f64()),
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
