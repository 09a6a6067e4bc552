//! The acts: crashes actors and notes what happens.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use indicatif::HumanCount;
use tokio::time::sleep;

use super::{
    DemoFailure,
    seen::{self, Act, Counted, CrashSeen, RetrySeen, StatsAsked},
    stage::Stage,
    timeline::Timeline,
};
use crate::{
    actors::{ActorName, ActorReport, Crash, PublishError, RestartPolicy},
    cli::{
        CliError,
        simulate::{Followed, Observer, RetriedRequest, Run},
    },
};

/// How many acts there are.
pub const ACTS: u32 = 5;
/// Number of crashes of one actor in the last act.
const CRASHES_IN_A_ROW: usize = 7;
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Longest wait for anything that must happen; after it there is a fault.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Show<'a> {
    pub stage: &'a Stage,
    pub run: &'a Run<'a>,
    pub observer: &'a Observer,
    pub timeline: &'a Timeline,
    /// Time of load without crashes before each act.
    pub pause: Duration,
    /// Retries that are in the timeline already.
    pub retries_told: Cell<u64>,
}

impl Show<'_> {
    /// All acts, and the load around them.
    pub async fn play(&self) -> Result<Vec<Act>, CliError> {
        self.load_begins().await?;
        let mut acts = Vec::new();
        for act in 0..ACTS {
            acts.push(self.act(act).await?);
            // After a fault, later acts would have faults for the same reason.
            if acts.iter().any(|act| !act.faults.is_empty()) {
                return Ok(acts);
            }
        }
        self.undisturbed().await?;
        Ok(acts)
    }

    async fn act(&self, number: u32) -> Result<Act, CliError> {
        use ActorName::{Shard, Stats, Writer};
        match number {
            0 => self.crash_once("A DedupActor", &[Shard(0)], CrashKind::AtOnce).await,
            1 => {
                self.crash_once("The WriterActor, with a transaction open", &[Writer(0)], CrashKind::InAppend)
                    .await
            }
            2 => self.crash_the_counters("The StatsActor, while somebody asks for the counters").await,
            3 => {
                let actors = [Shard(0), Shard(2), Writer(0), Stats];
                let title = "Two DedupActors, the WriterActor and the StatsActor at once";
                self.crash_once(title, &actors, CrashKind::AtOnce).await
            }
            _ => self.crash_again_and_again("A DedupActor that crashes again and again").await,
        }
    }

    /// The counts of the run's events in `/stats` now.
    pub async fn counted(&self) -> Result<Counted, CliError> {
        let stats = self.run.client().stats().await?;
        let of_this_run = self.run.topics().iter().filter_map(|topic| stats.by_topic.get(topic));
        Ok(of_this_run.fold(Counted::default(), |sum, topic| Counted {
            received: sum.received + topic.received(),
            unique: sum.unique + topic.unique,
            duplicates: sum.duplicates + topic.duplicates,
        }))
    }

    async fn load_begins(&self) -> Result<(), CliError> {
        if !self.until(|| self.observer.acknowledged.get().0 > 0).await? {
            return Err(DemoFailure::NotServed { waited: PATIENCE, why: self.observer.retries.last() }.into());
        }
        self.timeline.line("load", "begins")
    }

    /// Waits while the load goes on, and prints how many requests were acknowledged.
    async fn undisturbed(&self) -> Result<(), CliError> {
        sleep(self.pause).await;
        let (requests, events) = self.observer.acknowledged.get();
        let retries = self.observer.retries.count();
        let words = format!(
            "{} requests acknowledged so far, with {} events; {retries} had to be sent again",
            HumanCount(requests as u64),
            HumanCount(events)
        );
        self.timeline.line("load", &words)?;
        let Followed { events, losses, .. } = self.observer.followed.get();
        let words = format!("{} events followed so far; {losses} streams were lost", HumanCount(events));
        self.timeline.line("read", &words)
    }

    async fn opens(&self, title: &str) -> Result<(), CliError> {
        self.undisturbed().await?;
        self.timeline.say(&format!("\n{title}\n"))
    }

    /// Crashes actors once, all at the same time.
    async fn crash_once(
        &self,
        title: &'static str,
        actors: &[ActorName],
        kind: CrashKind,
    ) -> Result<Act, CliError> {
        self.opens(title).await?;
        let crashes = self.crash(actors, kind).await?;
        self.closes(title, crashes, None).await
    }

    /// Crashes StatsActor, and asks for the counters meanwhile.
    async fn crash_the_counters(&self, title: &'static str) -> Result<Act, CliError> {
        self.opens(title).await?;
        let (_, acknowledged) = self.observer.acknowledged.get();
        let asked_at = Instant::now();
        let asking = async {
            let counted = self.counted().await?;
            Ok((counted.received, asked_at.elapsed()))
        };
        let (crashes, (received, time)) =
            futures::try_join!(self.crash(&[ActorName::Stats], CrashKind::AtOnce), asking)?;
        let words = format!(
            "GET /stats, asked as it died, answers after {}: {} events, where {} had been acknowledged",
            seen::shown(time),
            HumanCount(received),
            HumanCount(acknowledged)
        );
        self.timeline.line("asked", &words)?;
        let asked = StatsAsked { acknowledged, received, answered_after_ms: seen::millis(time) };
        self.closes(title, crashes, Some(asked)).await
    }

    /// Crashes an actor each time it is back, so that its supervisor waits longer and longer.
    async fn crash_again_and_again(&self, title: &'static str) -> Result<Act, CliError> {
        self.opens(title).await?;
        let mut crashes = Vec::new();
        for _ in 0..CRASHES_IN_A_ROW {
            crashes.extend(self.crash(&[ActorName::Shard(1)], CrashKind::AtOnce).await?);
        }
        let RestartPolicy { restarts_max, window, .. } = RestartPolicy::default();
        let words = format!(
            "the pause before each restart doubles; after {restarts_max} restarts within {window:?} the service gives up and exits"
        );
        self.timeline.line("so", &words)?;
        self.closes(title, crashes, None).await
    }

    /// Crashes the actors and waits until all are back.
    async fn crash(&self, actors: &[ActorName], kind: CrashKind) -> Result<Vec<CrashSeen>, CliError> {
        let mut watched: Vec<_> = actors
            .iter()
            .map(|actor| (*actor, self.report(*actor).endings.panicked, Seen::Running))
            .collect();
        match kind {
            CrashKind::AtOnce => actors.iter().for_each(|actor| self.stage.service.crash(*actor, Crash::Now)),
            CrashKind::InAppend => self.stage.writer_crash.arm(),
        }
        let mut crashes = Vec::new();
        let begun = Instant::now();
        while crashes.len() < actors.len() {
            for (actor, panicked, seen) in &mut watched {
                let report = self.report(*actor);
                if *seen == Seen::Running && report.endings.panicked > *panicked {
                    self.tell_crash(*actor, &report)?;
                    *seen = Seen::Crashed;
                }
                if *seen == Seen::Crashed && report.running {
                    crashes.push(self.tell_return(*actor, &report)?);
                    *seen = Seen::Back;
                }
            }
            if self.stage.is_over() {
                return Err(DemoFailure::ServiceEnded.into());
            }
            if let Some((actor, ..)) = watched.iter().find(|(.., seen)| *seen != Seen::Back)
                && begun.elapsed() > PATIENCE
            {
                let actor = self.report(*actor).name;
                return Err(DemoFailure::NotBack { actor, waited: PATIENCE }.into());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(crashes)
    }

    fn tell_crash(&self, actor: ActorName, report: &ActorReport) -> Result<(), CliError> {
        let seconds = self.timeline.seconds_at(report.last_ended_at.unwrap_or_else(Instant::now));
        self.timeline.line_at(seconds, "crash", &seen::crash_in_words(actor, report))
    }

    fn tell_return(&self, actor: ActorName, report: &ActorReport) -> Result<CrashSeen, CliError> {
        let ended_at = report.last_ended_at.unwrap_or_else(Instant::now);
        let back_at = ended_at + report.last_recovery.unwrap_or_default();
        let words = seen::return_in_words(actor, report);
        self.timeline.line_at(self.timeline.seconds_at(back_at), "back", &words)?;
        Ok(CrashSeen::new(actor, report, self.timeline.seconds_at(ended_at)))
    }

    /// Waits until everything that was sent is acknowledged, and checks that only the requests in hand were retried.
    async fn closes(
        &self,
        title: &'static str,
        crashes: Vec<CrashSeen>,
        stats_asked: Option<StatsAsked>,
    ) -> Result<Act, CliError> {
        let in_hand: usize = crashes.iter().map(|crash| crash.in_hand).sum();
        let some_waited = crashes.iter().any(|crash| crash.waited > 0);
        let (told_to_retry, all_acknowledged) = self.retries(in_hand).await?;
        let mut faults = Vec::new();
        if !all_acknowledged {
            faults.push(format!("{title}: not everything that was sent is acknowledged after {PATIENCE:?}"));
        }
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
        let interrupts = |crash: &CrashSeen| crash.name == ActorName::Writer(0) && crash.in_hand > 0;
        if faults.is_empty() && crashes.iter().any(interrupts) {
            self.timeline.line("so", seen::fate_of_the_transaction(&told_to_retry))?;
        }
        // Everything that was sent before is acknowledged, and only the requests in hand were interrupted.
        if faults.is_empty() && some_waited {
            let words = "all that waited is answered now, and none of it had to be sent again";
            self.timeline.line("so", words)?;
        }
        Ok(Act { title, crashes, told_to_retry, stats_asked, faults })
    }

    /// Waits until the requests in hand are told to try again and all requests so far are acknowledged. Returns the
    /// retried requests, and whether all were acknowledged.
    async fn retries(&self, in_hand: usize) -> Result<(Vec<RetrySeen>, bool), CliError> {
        let Observer { retries, retried, under_way, .. } = self.observer;
        let told = || retries.count() - self.retries_told.get();
        // A missing retry is found when the act closes.
        self.until(|| told() >= in_hand as u64).await?;
        if told() > 0 {
            let last = retries.last();
            // The address before it is always the same.
            let why = last.split_once(" answered ").map_or(&*last, |(_, why)| why);
            let why = why.replacen(" Service Unavailable", "", 1);
            let told = told() as usize;
            let are = if told == 1 { "is" } else { "are" };
            let words = format!("{} {are} told to try again ({why})", seen::plural(told, "request"));
            self.timeline.line("retry", &words)?;
        }
        let last_sent = under_way.borrow().last().copied();
        let all_acknowledged =
            self.until(|| under_way.borrow().first().is_none_or(|first| Some(*first) > last_sent)).await?;
        self.retries_told.set(retries.count());
        let seen: Vec<RetrySeen> = retried.take().iter().map(|request| self.retry(request)).collect();
        if !seen.is_empty() {
            self.timeline.line("again", &seen::acknowledged_again(&seen))?;
        }
        Ok((seen, all_acknowledged))
    }

    fn retry(&self, request: &RetriedRequest) -> RetrySeen {
        let seconds_at = |moment| self.timeline.seconds_at(moment);
        RetrySeen {
            request: request.number,
            told_at_seconds: request.earlier.iter().map(|attempt| seconds_at(attempt.ended_at)).collect(),
            told: request.earlier.iter().map(|attempt| attempt.why.clone()).collect(),
            acknowledged_at_seconds: seconds_at(request.acknowledged_at),
            stored: request.stored,
            duplicates: request.duplicates,
        }
    }

    /// Waits for a condition, at most [`PATIENCE`]; returns whether it became true.
    async fn until(&self, condition: impl Fn() -> bool) -> Result<bool, CliError> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if condition() {
                return Ok(true);
            }
            if self.stage.is_over() {
                return Err(DemoFailure::ServiceEnded.into());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(false)
    }

    fn report(&self, actor: ActorName) -> ActorReport {
        self.stage.service.actor(actor)
    }
}

/// How an actor crashes.
#[derive(Clone, Copy)]
enum CrashKind {
    /// While it handles a message.
    AtOnce,
    /// The writer, with a transaction open.
    InAppend,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Running,
    Crashed,
    Back,
}
