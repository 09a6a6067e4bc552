//! How actors that panic are restarted, and when they are given up.
//!
//! `actix::Supervisor` restarts an actor only when its context stops; a panic that reaches it would take the actor
//! and its mailbox for good. So every handler runs [`guarded`]: a panic becomes a stop, and the actor starts
//! again with the mailbox that it had, after a pause that doubles while it keeps panicking.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use tracing::warn;

use super::actor_health::{ActorExit, ActorHealth};

/// When an actor that keeps panicking is given up.
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    /// Pause before the first restart; it doubles with each further one within `window`.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Restarts within `window` beyond which the service gives up and exits.
    pub restarts_max: usize,
    /// How far back restarts count.
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

impl RestartPolicy {
    /// The pause before a restart that is the `recent`th within the window; `None` if that is one too many.
    fn pause(&self, recent: usize) -> Option<Duration> {
        if recent > self.restarts_max {
            return None;
        }
        let doublings = u32::try_from(recent.saturating_sub(1)).unwrap_or(u32::MAX).min(20);
        Some(self.backoff_min.saturating_mul(1 << doublings).min(self.backoff_max))
    }
}

/// A supervised actor.
pub(in crate::actors) trait SupervisedActor:
    Actor<Context = Context<Self>> + Supervised
{
    fn health(&self) -> &Arc<ActorHealth>;

    /// Begins work; called at the start, and after the pause of a restart.
    fn enter(&mut self, _ctx: &mut Context<Self>) {}
}

/// What each actor does in `started`. After a restart it first waits for the pause to end; messages wait as well.
pub(in crate::actors) fn start<R: SupervisedActor>(actor: &mut R, ctx: &mut Context<R>) {
    let health = Arc::clone(actor.health());
    if !health.has_ended() {
        take_up(actor, ctx);
        return;
    }
    let Some(pause) = health.policy.pause(health.note_restart()) else {
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

/// Ends an actor after a panic in a future of it.
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
    /// At once, and outside of the guard, which ends the actor for good.
    PastGuard,
}

impl Crash {
    /// The whole handler of this message.
    pub(in crate::actors) fn strike<R: SupervisedActor>(self, actor: &mut R, ctx: &mut Context<R>) {
        match self {
            Crash::PastGuard => panic!("{CRASH_INJECTED}"),
            Crash::Now => guarded(actor, ctx, |_, _| panic!("{CRASH_INJECTED}")),
        }
    }
}

/// The message of a panic that [`Crash`] causes.
pub const CRASH_INJECTED: &str = crate::store::CRASHED_IN_APPEND;
