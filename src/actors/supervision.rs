//! How rooms die and come back.
//!
//! `actix::Supervisor` restarts a room only when its context stops; a panic that reaches it would take the room
//! and its mailbox away for good. So every handler runs [`guarded`]: a panic becomes a stop, the room starts
//! afresh with the mailbox it had, after a pause that grows while it keeps dying.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::prelude::*;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

/// When a room that keeps dying is given up.
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    /// Pause before the first restart; it doubles with each further one within `window`.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// Restarts within `window` beyond which the service gives up and exits.
    pub restarts_max: usize,
    pub window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
            restarts_max: 20,
            window: Duration::from_secs(60),
        }
    }
}

/// Why a room ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A handler or a future of it panicked, with this message.
    Panicked(String),
    /// It died more often than the policy allows; the service exits.
    GivenUp,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Panicked(message) => write!(f, "panicked: {message}"),
            Ending::GivenUp => f.write_str("given up after too many restarts"),
        }
    }
}

/// What is known of a room from outside; it outlives every restart.
pub(super) struct Vitals {
    pub(super) name: String,
    /// Messages sent and not yet handled.
    pub(super) queue: AtomicUsize,
    running: AtomicBool,
    policy: RestartPolicy,
    history: Mutex<History>,
    given_up: mpsc::UnboundedSender<String>,
}

#[derive(Default)]
struct History {
    restarts: u64,
    /// The newest last, none older than the policy's window.
    recent: VecDeque<Instant>,
    last_ending: Option<Ending>,
    ended_at: Option<Instant>,
    last_recovery: Option<Duration>,
}

/// A room's record of restarts.
#[derive(Clone, Debug)]
pub struct RoomReport {
    pub name: String,
    pub queue: usize,
    pub running: bool,
    pub restarts: u64,
    pub last_ending: Option<Ending>,
    pub last_recovery: Option<Duration>,
}

impl Vitals {
    pub(super) fn new(
        name: String,
        policy: RestartPolicy,
        given_up: mpsc::UnboundedSender<String>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            queue: AtomicUsize::new(0),
            running: AtomicBool::new(false),
            policy,
            history: Mutex::default(),
            given_up,
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    pub(super) fn report(&self) -> RoomReport {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        RoomReport {
            name: self.name.clone(),
            queue: self.queue.load(Ordering::Relaxed),
            running: self.is_running(),
            restarts: history.restarts,
            last_ending: history.last_ending.clone(),
            last_recovery: history.last_recovery,
        }
    }

    fn note_ending(&self, ending: Ending) {
        self.running.store(false, Ordering::Relaxed);
        error!(room = self.name, %ending, "a room ended");
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.last_ending = Some(ending);
        history.ended_at = Some(Instant::now());
    }

    /// Counts a restart; answers the pause before it, or none when there were too many.
    fn note_restart(&self) -> Option<Duration> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while history.recent.front().is_some_and(|restart| now - *restart > self.policy.window) {
            history.recent.pop_front();
        }
        history.recent.push_back(now);
        history.restarts += 1;
        let recent = history.recent.len();
        if recent > self.policy.restarts_max {
            history.last_ending = Some(Ending::GivenUp);
            return None;
        }
        let doublings = u32::try_from(recent - 1).unwrap_or(u32::MAX).min(20);
        Some(self.policy.backoff_min.saturating_mul(1 << doublings).min(self.policy.backoff_max))
    }

    fn note_running(&self) {
        self.running.store(true, Ordering::Relaxed);
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended_at) = history.ended_at.take() {
            let recovery = ended_at.elapsed();
            history.last_recovery = Some(recovery);
            info!(room = self.name, recovery_ms = recovery.as_millis() as u64, "a room is back");
        }
    }
}

/// A supervised room.
pub(super) trait Room: Actor<Context = Context<Self>> + Supervised {
    fn vitals(&self) -> &Arc<Vitals>;

    /// Takes up work; called when it may, after the pause that a restart costs.
    fn enter(&mut self, ctx: &mut Context<Self>);
}

/// What each room does in `started`: after a restart it first lets the pause pass, its mailbox held back.
pub(super) fn start<R: Room>(room: &mut R, ctx: &mut Context<R>) {
    let vitals = Arc::clone(room.vitals());
    let ended = vitals.history.lock().unwrap_or_else(PoisonError::into_inner).ended_at.is_some();
    if !ended {
        take_up(room, ctx);
        return;
    }
    let Some(pause) = vitals.note_restart() else {
        error!(room = vitals.name, "a room died too often and is given up; the service ends");
        // Nobody listens any more only when the service is ending already.
        let _ = vitals.given_up.send(vitals.name.clone());
        ctx.wait(futures::future::pending::<()>().into_actor(room));
        return;
    };
    warn!(room = vitals.name, pause_ms = pause.as_millis() as u64, "a room restarts");
    ctx.wait(tokio::time::sleep(pause).into_actor(room).map(|(), room: &mut R, ctx| take_up(room, ctx)));
}

fn take_up<R: Room>(room: &mut R, ctx: &mut Context<R>) {
    room.vitals().note_running();
    guarded(room, ctx, R::enter);
}

/// Runs a handler: a panic ends the room instead of the thread.
pub(super) fn guarded<R: Room>(
    room: &mut R,
    ctx: &mut Context<R>,
    handler: impl FnOnce(&mut R, &mut Context<R>),
) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| handler(room, ctx))) {
        end(room, ctx, panic);
    }
}

/// Ends a room for a panic that a future of it ran into.
pub(super) fn end<R: Room>(room: &mut R, ctx: &mut Context<R>, panic: Box<dyn Any + Send>) {
    room.vitals().note_ending(Ending::Panicked(message_of(&*panic)));
    ctx.stop();
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Makes the room that takes it panic; for demonstrations and tests.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Crash;
