//! How actors die and come back.
//!
//! `actix::Supervisor` restarts an actor only when its context stops; a panic that reaches it would take the actor
//! and its mailbox away for good. So every handler runs [`guarded`]: a panic becomes a stop, the actor starts
//! afresh with the mailbox it had, after a pause that grows while it keeps dying.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::prelude::*;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

/// When an actor that keeps dying is given up.
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

/// Every way in which an actor ends.
///
/// A store that is lost is not among them: the writer lives through it, and only its connection ends; see
/// [`StoreLoss`](crate::ledger::StoreLoss).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActorExit {
    /// A handler or a future of it panicked, with this message. The actor starts again.
    Panicked(String),
    /// It panicked more often than the policy allows. The service exits.
    GivenUp,
    /// It was found dead: something got past its guard, and took its mailbox along. The service exits.
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
    /// Requests that were sent to it and that it has not yet taken in hand.
    pub(in crate::actors) queue: AtomicUsize,
    running: AtomicBool,
    policy: RestartPolicy,
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
    /// Whether nothing follows: an actor that is gone for good neither comes back nor ends a second time.
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
    /// How long the actor was away when it last came back.
    pub last_recovery: Option<Duration>,
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
        let in_hand = in_hand.map_or(0, |(requests, _)| requests);
        let queue = self.queue.load(Ordering::Relaxed);
        match ending {
            ActorExit::Stopped => info!(actor = self.name, %ending, in_hand, queue, "an actor ended"),
            _ => error!(actor = self.name, %ending, in_hand, queue, "an actor ended"),
        }
        if ending.ends_the_process() {
            // Nobody listens any more only when the service is ending already.
            let _ = self.lost.send(self.name.clone());
        }
    }

    /// Counts a restart; answers the pause before it, or none when there were too many.
    fn note_restart(&self) -> Option<Duration> {
        let mut history = self.history.lock();
        let now = Instant::now();
        while history.recent.front().is_some_and(|restart| now - *restart > self.policy.window) {
            history.recent.pop_front();
        }
        history.recent.push_back(now);
        history.restarts += 1;
        let recent = history.recent.len();
        if recent > self.policy.restarts_max {
            return None;
        }
        let doublings = u32::try_from(recent - 1).unwrap_or(u32::MAX).min(20);
        Some(self.policy.backoff_min.saturating_mul(1 << doublings).min(self.policy.backoff_max))
    }

    fn note_running(&self) {
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

/// A supervised actor.
pub(in crate::actors) trait SupervisedActor:
    Actor<Context = Context<Self>> + Supervised
{
    fn health(&self) -> &Arc<ActorHealth>;

    /// Takes up work; called when it may, after the pause that a restart costs.
    fn enter(&mut self, ctx: &mut Context<Self>);
}

/// What each actor does in `started`: after a restart it first lets the pause pass, its mailbox held back.
pub(in crate::actors) fn start<R: SupervisedActor>(actor: &mut R, ctx: &mut Context<R>) {
    let health = Arc::clone(actor.health());
    let ended = health.history.lock().ended_at.is_some();
    if !ended {
        take_up(actor, ctx);
        return;
    }
    let Some(pause) = health.note_restart() else {
        health.note_exit(ActorExit::GivenUp);
        ctx.wait(futures::future::pending::<()>().into_actor(actor));
        return;
    };
    warn!(actor = health.name, pause_ms = pause.as_millis() as u64, "an actor restarts");
    ctx.wait(tokio::time::sleep(pause).into_actor(actor).map(|(), actor: &mut R, ctx| take_up(actor, ctx)));
}

fn take_up<R: SupervisedActor>(actor: &mut R, ctx: &mut Context<R>) {
    actor.health().note_running();
    guarded(actor, ctx, R::enter);
}

/// Runs a handler: a panic ends the actor instead of the thread.
pub(in crate::actors) fn guarded<R: SupervisedActor>(
    actor: &mut R,
    ctx: &mut Context<R>,
    handler: impl FnOnce(&mut R, &mut Context<R>),
) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| handler(actor, ctx))) {
        end(actor, ctx, panic);
    }
}

/// Ends a capacity for a panic that a future of it ran into.
pub(in crate::actors) fn end<R: SupervisedActor>(
    actor: &mut R,
    ctx: &mut Context<R>,
    panic: Box<dyn Any + Send>,
) {
    actor.health().note_exit(ActorExit::Panicked(message_of(&*panic)));
    ctx.stop();
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Makes the actor that takes it panic; for demonstrations and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Crash {
    /// At once.
    Now,
    /// At once, and past the guard, which kills the capacity for good.
    PastGuard,
}

impl Crash {
    /// The panic, as the handler of an actor that asks for nothing more.
    pub(in crate::actors) fn strike<R: SupervisedActor>(self, actor: &mut R, ctx: &mut Context<R>) {
        match self {
            Crash::PastGuard => panic!("{CRASH_INJECTED}"),
            Crash::Now => guarded(actor, ctx, |_, _| panic!("{CRASH_INJECTED}")),
        }
    }
}

/// The message of a panic that [`Crash`] brought about.
pub const CRASH_INJECTED: &str = crate::store::CRASHED_IN_APPEND;
