//! A store that makes its writer panic on demand: for demonstrations and tests of the supervision.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::{AppendGroup, AppendStore, GroupResult, Store, StoreError, StoreWriter};

/// How long after its start an append is interrupted: it has reached the store by then, and few have ended.
const CRASH_AFTER: Duration = Duration::from_micros(200);

/// The message of the panic.
pub const CRASHED_IN_APPEND: &str = "crash injected";

/// Makes a store panic in the middle of one append, once armed; a clone arms the same one.
#[derive(Clone, Default)]
pub struct CrashTrigger(Arc<AtomicBool>);

impl CrashTrigger {
    /// The next append that is under way for a moment panics.
    pub fn arm(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// A store that passes each call on to `store`, and crashes when this is armed.
    pub fn watch(&self, store: Store) -> Store {
        let appends = CrashingAppends { appends: store.appends, trigger: self.clone() };
        Store { appends: Arc::new(appends), ..store }
    }

    fn is_armed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

struct CrashingAppends {
    appends: Arc<dyn AppendStore>,
    trigger: CrashTrigger,
}

struct CrashingWriter {
    writer: Box<dyn StoreWriter>,
    trigger: CrashTrigger,
}

#[async_trait]
impl StoreWriter for CrashingWriter {
    async fn append_all(&mut self, groups: &[AppendGroup<'_>]) -> Result<Vec<GroupResult>, StoreError> {
        let append = self.writer.append_all(groups);
        if !self.trigger.is_armed() || groups.iter().all(AppendGroup::is_probe) {
            return append.await;
        }
        let begun = Instant::now();
        // tokio's timers have a resolution of a millisecond, and most appends end before that.
        let moment = async {
            while begun.elapsed() < CRASH_AFTER {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            outcome = append => outcome,
            () = moment => {
                self.trigger.0.store(false, Ordering::Release);
                panic!("{CRASHED_IN_APPEND}");
            }
        }
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.writer.close().await
    }
}

#[async_trait]
impl AppendStore for CrashingAppends {
    fn groups_max(&self) -> usize {
        self.appends.groups_max()
    }

    fn connections_max(&self) -> Option<usize> {
        self.appends.connections_max()
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let writer = self.appends.open_writer().await?;
        Ok(Box::new(CrashingWriter { writer, trigger: self.trigger.clone() }))
    }
}
