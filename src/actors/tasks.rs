//! Tasks that run beside the actors, on the runtime that the store's readers belong to.
//!
//! None of them is left alone: a stop ends them all and waits for them, a panic is an answer for whoever waits,
//! and a task that the service cannot do without reports its end as an actor does.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::{runtime::Handle as Runtime, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

/// Starts tasks and ends them; a clone shares them.
#[derive(Clone)]
pub(in crate::actors) struct Tasks {
    runtime: Runtime,
    running: TaskTracker,
    stopping: CancellationToken,
    /// Receives the name of a part that cannot be brought back.
    lost: mpsc::UnboundedSender<String>,
}

impl Tasks {
    /// Tasks of the current runtime.
    pub(in crate::actors) fn new(lost: mpsc::UnboundedSender<String>) -> Self {
        Self {
            runtime: Runtime::current(),
            running: TaskTracker::new(),
            stopping: CancellationToken::new(),
            lost,
        }
    }

    /// Runs `task` to its end, whether or not the result is waited for. The result is `None` if it panicked or if
    /// the service stopped first.
    pub(in crate::actors) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let stopping = self.stopping.clone();
        let task = async move { stopping.run_until_cancelled(task).await };
        self.running.spawn_on(task, &self.runtime).await.ok().flatten()
    }

    /// Runs a task that ends only with the service. Any other end of it ends the service.
    pub(in crate::actors) fn keep_running(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.watch(name, false, task);
    }

    /// Runs a task that may end before the service does. A panic in it ends the service.
    pub(in crate::actors) fn begin(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.watch(name, true, task);
    }

    fn watch(&self, name: &'static str, may_end: bool, task: impl Future<Output = ()> + Send + 'static) {
        let (stopping, lost) = (self.stopping.clone(), self.lost.clone());
        let watched = async move {
            let ended = stopping.run_until_cancelled(AssertUnwindSafe(task).catch_unwind()).await;
            if ended.is_some_and(|end| end.is_err() || !may_end) {
                // Nobody listens any more only when the service is ending already.
                let _ = lost.send(name.to_owned());
                error!(task = name, "a task ended that the service cannot do without");
            }
        };
        self.running.spawn_on(watched, &self.runtime);
    }

    /// Ends all tasks where they wait next, and waits for that; false if they do not end within `timeout`.
    pub(in crate::actors) async fn stop(&self, timeout: Duration) -> bool {
        self.stopping.cancel();
        self.running.close();
        tokio::time::timeout(timeout, self.running.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_panic_is_an_answer_and_a_stop_ends_what_runs() {
        let (lost, _losses) = mpsc::unbounded_channel();
        let tasks = Tasks::new(lost);
        assert_eq!(tasks.run(async { 1 }).await, Some(1));
        assert_eq!(tasks.run(async { panic!("planned") }).await, None::<u8>);
        let waits = tokio::spawn({
            let tasks = tasks.clone();
            async move { tasks.run(std::future::pending::<u8>()).await }
        });
        tokio::task::yield_now().await;
        assert!(tasks.stop(SOON).await);
        assert_eq!(waits.await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_end_of_a_task_that_must_run_is_a_loss_and_its_stop_is_none() {
        let (lost, mut losses) = mpsc::unbounded_channel();
        let tasks = Tasks::new(lost);
        tasks.keep_running("panics", async { panic!("planned") });
        assert_eq!(losses.recv().await.as_deref(), Some("panics"));
        tasks.keep_running("ends", async {});
        assert_eq!(losses.recv().await.as_deref(), Some("ends"));
        tasks.keep_running("runs", std::future::pending());
        assert!(tasks.stop(SOON).await);
        drop(tasks);
        assert_eq!(losses.recv().await, None);
    }
}
