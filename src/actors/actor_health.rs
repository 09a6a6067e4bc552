//! The record of one actor: how it ended, how often it was restarted, and what it had in hand.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::{error, info};

use super::supervision::RestartPolicy;

/// Every way in which an actor ends.
///
/// A store that is unavailable is not among them: the writer goes on, and only its connection ends; see
/// [`StoreLoss`](crate::ledger::StoreLoss).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActorExit {
    /// A handler or a future of it panicked, with this message. The actor starts again.
    Panicked(String),
    /// It panicked more often than the policy allows. The service exits.
    GivenUp,
    /// It was found dead: a panic outside of its guard ended it and its mailbox. The service exits.
    Died,
    /// It was told to stop with the service.
    Stopped,
}

impl ActorExit {
    /// Whether the actor is gone for good.
    fn is_final(&self) -> bool {
        !matches!(self, ActorExit::Panicked(_))
    }

    /// Whether the service cannot go on.
    fn ends_the_process(&self) -> bool {
        matches!(self, ActorExit::GivenUp | ActorExit::Died)
    }
}

impl fmt::Display for ActorExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActorExit::Panicked(message) => write!(f, "panicked: {message}"),
            ActorExit::GivenUp => f.write_str("given up after too many restarts"),
            ActorExit::Died => f.write_str("died in spite of its supervisor"),
            ActorExit::Stopped => f.write_str("stopped"),
        }
    }
}

/// How often an actor has ended, by the way it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitCounts {
    pub panicked: u64,
    pub given_up: u64,
    pub died: u64,
    pub stopped: u64,
}

/// What is known of an actor from outside; it outlives every restart.
pub(in crate::actors) struct ActorHealth {
    pub(in crate::actors) name: String,
    /// Requests that were sent to it and that it has not begun to handle.
    pub(in crate::actors) queue: AtomicUsize,
    running: AtomicBool,
    pub(in crate::actors) policy: RestartPolicy,
    history: Mutex<History>,
    /// Receives the name of an actor that cannot be brought back.
    lost: mpsc::UnboundedSender<String>,
}

#[derive(Default)]
struct History {
    restarts: u64,
    /// The newest last, none older than the policy's window.
    recent: VecDeque<Instant>,
    endings: ExitCounts,
    last_ending: Option<ActorExit>,
    last_ended_at: Option<Instant>,
    /// Set from an ending until the actor is back.
    ended_at: Option<Instant>,
    last_recovery: Option<Duration>,
    /// How many requests it has in hand, and since when.
    in_hand: Option<(usize, Instant)>,
    last_in_hand: Option<InHand>,
    last_waited: usize,
}

impl History {
    /// Whether the actor is gone for good: it neither comes back nor ends a second time.
    fn is_over(&self) -> bool {
        self.last_ending.as_ref().is_some_and(ActorExit::is_final)
    }
}

/// What an actor had in hand when it ended: requests that were answered "try again".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InHand {
    pub requests: usize,
    /// How long it had been at them.
    pub time: Duration,
}

/// An actor's record of endings and restarts.
#[derive(Clone, Debug)]
pub struct ActorReport {
    pub name: String,
    pub queue: usize,
    pub running: bool,
    pub restarts: u64,
    pub endings: ExitCounts,
    pub last_ending: Option<ActorExit>,
    pub last_ended_at: Option<Instant>,
    /// How long the actor was down before it last ran again.
    pub last_recovery: Option<Duration>,
    /// For how long it has had requests in hand, if it has.
    pub in_hand_for: Option<Duration>,
    /// What it had in hand when it last ended.
    pub last_in_hand: Option<InHand>,
    /// Requests that were waiting for it when it last came back.
    pub last_waited: usize,
}

impl ActorHealth {
    pub(in crate::actors) fn new(
        name: String,
        policy: RestartPolicy,
        lost: mpsc::UnboundedSender<String>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            queue: AtomicUsize::new(0),
            running: AtomicBool::new(false),
            policy,
            history: Mutex::default(),
            lost,
        })
    }

    pub(in crate::actors) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Whether the actor is gone for good.
    pub(in crate::actors) fn is_over(&self) -> bool {
        self.history.lock().is_over()
    }

    pub(in crate::actors) fn report(&self) -> ActorReport {
        let history = self.history.lock();
        ActorReport {
            name: self.name.clone(),
            queue: self.queue.load(Ordering::Relaxed),
            running: self.is_running(),
            restarts: history.restarts,
            endings: history.endings,
            last_ending: history.last_ending.clone(),
            last_ended_at: history.last_ended_at,
            last_recovery: history.last_recovery,
            in_hand_for: history.in_hand.map(|(_, since)| since.elapsed()),
            last_in_hand: history.last_in_hand,
            last_waited: history.last_waited,
        }
    }

    /// Notes that the actor has so many requests in hand from now on.
    pub(in crate::actors) fn note_in_hand(&self, requests: usize) {
        let in_hand = (requests > 0).then(|| (requests, Instant::now()));
        self.history.lock().in_hand = in_hand;
    }

    /// Counts an ending and logs it.
    pub(in crate::actors) fn note_exit(&self, ending: ActorExit) {
        let mut history = self.history.lock();
        if history.is_over() {
            return;
        }
        self.running.store(false, Ordering::Relaxed);
        let count = match ending {
            ActorExit::Panicked(_) => &mut history.endings.panicked,
            ActorExit::GivenUp => &mut history.endings.given_up,
            ActorExit::Died => &mut history.endings.died,
            ActorExit::Stopped => &mut history.endings.stopped,
        };
        *count += 1;
        let in_hand = history.in_hand.take();
        history.last_in_hand = in_hand.map(|(requests, since)| InHand { requests, time: since.elapsed() });
        history.last_ending = Some(ending.clone());
        history.last_ended_at = Some(Instant::now());
        history.ended_at = history.last_ended_at;
        drop(history);
        // First of all: nothing that happens to the log may keep the service from ending.
        if ending.ends_the_process() {
            // Nobody listens any more only when the service is ending already.
            let _ = self.lost.send(self.name.clone());
        }
        let in_hand = in_hand.map_or(0, |(requests, _)| requests);
        let queue = self.queue.load(Ordering::Relaxed);
        match ending {
            ActorExit::Stopped => info!(actor = self.name, %ending, in_hand, queue, "an actor ended"),
            _ => error!(actor = self.name, %ending, in_hand, queue, "an actor ended"),
        }
    }

    /// Whether it has ended and is not back.
    pub(in crate::actors) fn has_ended(&self) -> bool {
        self.history.lock().ended_at.is_some()
    }

    /// Counts a restart; returns how many there were within the policy's window.
    pub(in crate::actors) fn note_restart(&self) -> usize {
        let mut history = self.history.lock();
        let now = Instant::now();
        let is_old = |restart: &Instant| now.saturating_duration_since(*restart) > self.policy.window;
        while history.recent.front().is_some_and(is_old) {
            history.recent.pop_front();
        }
        history.recent.push_back(now);
        history.restarts += 1;
        history.recent.len()
    }

    /// Leaves the last restart out of the count that decides when the actor is given up: its cause is known, and
    /// is not the actor.
    pub(in crate::actors) fn forgive_restart(&self) {
        self.history.lock().recent.pop_back();
    }

    /// Notes that the actor runs; logs it where it was ended before.
    pub(in crate::actors) fn note_running(&self) {
        let mut history = self.history.lock();
        if history.is_over() {
            return;
        }
        self.running.store(true, Ordering::Relaxed);
        if let Some(ended_at) = history.ended_at.take() {
            let (recovery, waited) = (ended_at.elapsed(), self.queue.load(Ordering::Relaxed));
            (history.last_recovery, history.last_waited) = (Some(recovery), waited);
            drop(history);
            info!(actor = self.name, recovery_ms = recovery.as_millis() as u64, waited, "an actor is back");
        }
    }
}
