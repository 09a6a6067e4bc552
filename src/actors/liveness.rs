//! Finds actors that died in spite of their guards, and a thread of the actors that no longer runs them.
//!
//! It asks nobody but the actors' thread, so that neither a silent store nor a busy actor delays what it finds.

use std::{sync::Arc, time::Duration};

use actix::ArbiterHandle;
use tokio::{
    sync::{
        mpsc,
        oneshot::{self, error::TryRecvError},
    },
    time::{MissedTickBehavior, interval},
};
use tracing::error;

use super::actor_health::{ActorExit, ActorHealth};

const LIVENESS_INTERVAL: Duration = Duration::from_millis(250);
/// How long the actors' thread may be at one message before the service is ended. Looks are counted, not time: a
/// process that was suspended for an hour has missed one.
const THREAD_STUCK_MAX: Duration = Duration::from_secs(30);

/// An actor, and whether its address still leads to it.
pub(super) type ActorConnection = (Arc<ActorHealth>, Box<dyn Fn() -> bool + Send + Sync>);

pub(super) struct Liveness {
    pub(super) actors: Vec<ActorConnection>,
    pub(super) thread: ArbiterHandle,
    /// Receives the name of a part that cannot be brought back.
    pub(super) lost: mpsc::UnboundedSender<String>,
}

impl Liveness {
    /// Looks on until it is ended.
    pub(super) async fn run(self) {
        let mut looks = interval(LIVENESS_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = 0;
        let mut answer = self.ask_thread();
        loop {
            looks.tick().await;
            for (actor, _) in self.actors.iter().filter(|(_, connected)| !connected()) {
                actor.note_exit(ActorExit::Died);
            }
            unanswered += 1;
            if !matches!(answer.try_recv(), Err(TryRecvError::Empty)) {
                unanswered = 0;
                answer = self.ask_thread();
            }
            if LIVENESS_INTERVAL * unanswered > THREAD_STUCK_MAX {
                // Nobody listens any more only when the service is ending already.
                let _ = self.lost.send("thread of the actors".to_owned());
                error!(stuck_s = THREAD_STUCK_MAX.as_secs(), "the thread of the actors does not go on");
                return std::future::pending().await;
            }
        }
    }

    /// A thread that is gone drops the sender, and its actors' addresses with it.
    fn ask_thread(&self) -> oneshot::Receiver<()> {
        let (here, answer) = oneshot::channel();
        self.thread.spawn(async move {
            let _ = here.send(());
        });
        answer
    }
}

#[cfg(test)]
mod tests {
    use actix::{Arbiter, System};

    use super::*;

    #[test]
    fn a_thread_that_does_not_go_on_is_told_as_a_loss() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().start_paused(true).build().unwrap()
        };
        System::with_tokio_rt(runtime).block_on(async {
            let arbiter = Arbiter::new();
            let (free, held) = std::sync::mpsc::channel::<()>();
            arbiter.spawn_fn(move || {
                let _ = held.recv();
            });
            let (lost, mut losses) = mpsc::unbounded_channel();
            let liveness = Liveness { actors: Vec::new(), thread: arbiter.handle(), lost };
            let begun = tokio::time::Instant::now();
            tokio::select! {
                () = liveness.run() => unreachable!("it looks on"),
                part = losses.recv() => assert_eq!(part.as_deref(), Some("thread of the actors")),
            }
            assert!(begun.elapsed() >= THREAD_STUCK_MAX, "{:?}", begun.elapsed());
            drop(free);
            arbiter.stop();
        });
    }
}
