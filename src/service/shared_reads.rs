//! Reads of readers that follow a ledger. Those at one place share one read, and what was read for as long as one of them
//! has it; the newest pieces are kept for those that come a moment later.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::{
    event::Filter,
    ledger::{Chunk, Epoch},
    store::{LedgerKey, StoredEvent, TopicPatterns},
};

/// Bytes of pieces that are kept although no reader has them.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Places of pieces that nobody has any more are cleared when there are so many.
const SWEEP_CELLS_MIN: usize = 256;

/// Which events a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interest {
    /// None for all.
    pub topics: Vec<String>,
    pub patterns: TopicPatterns,
    pub filter: Filter,
}

/// What one read is for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ReadKey {
    pub(super) ledger: LedgerKey,
    /// What was read before the database was found to be restored is not for readers that come after it.
    pub(super) epoch: Epoch,
    /// Everything behind this `seq`.
    pub(super) after: u64,
    /// Only what is wanted; `None` for all.
    pub(super) interest: Option<Arc<Interest>>,
}

/// A piece that is read, or about to be.
type Cell = OnceCell<Arc<Chunk>>;

#[derive(Default)]
pub(super) struct SharedReads(Mutex<State>);

#[derive(Default)]
struct State {
    cells: HashMap<ReadKey, Weak<Cell>>,
    sweep_at: usize,
    kept: VecDeque<(Arc<Cell>, usize)>,
    kept_bytes: usize,
}

impl Interest {
    /// Whether every event is wanted.
    pub fn is_all(&self) -> bool {
        self.topics.is_empty() && self.patterns.is_all() && self.filter.is_empty()
    }

    /// Whether the store can read what is wanted, and nothing else.
    pub(super) fn can_be_read_alone(&self) -> bool {
        !self.is_all() && self.patterns.is_all()
    }

    /// Whether this event is wanted.
    pub fn wants(&self, event: &StoredEvent) -> bool {
        (self.topics.is_empty() || self.topics.contains(&event.topic))
            && self.patterns.include(&event.topic)
            && self.filter.passes(&event.shown())
    }
}

impl SharedReads {
    /// Whether a piece for `key` is there, or being read.
    pub(super) fn has(&self, key: &ReadKey) -> bool {
        self.0.lock().cells.get(key).is_some_and(|cell| cell.strong_count() > 0)
    }

    /// The piece for `key`, where it was read already.
    pub(super) fn at_hand(&self, key: &ReadKey) -> Option<Arc<Chunk>> {
        let cell = self.0.lock().cells.get(key)?.upgrade()?;
        cell.get().cloned()
    }

    /// The piece for `key`, read by `read` where no other reader has begun to. Also whether this call has read it: what
    /// another one has read may be older than this call.
    pub(super) async fn get<'a, E>(
        &self,
        key: ReadKey,
        read: impl FnOnce() -> BoxFuture<'a, Result<Chunk, E>>,
    ) -> Result<(Arc<Chunk>, bool), E> {
        let cell = self.0.lock().cell(&key);
        let mut is_own = false;
        let init = async || {
            let chunk = read().await?;
            is_own = true;
            let mut state = self.0.lock();
            if chunk.through > key.after {
                state.keep(&cell, Chunk::memory(&chunk.events));
            } else {
                // There was nothing, which soon is not true any more.
                state.cells.remove(&key);
            }
            Ok(Arc::new(chunk))
        };
        let chunk = cell.get_or_try_init(init).await.cloned()?;
        Ok((chunk, is_own))
    }

    /// Forgets what was read of a ledger: the database was restored.
    pub(super) fn forget(&self, ledger: LedgerKey) {
        self.0.lock().cells.retain(|key, _| key.ledger != ledger);
    }
}

impl State {
    fn cell(&mut self, key: &ReadKey) -> Arc<Cell> {
        if let Some(cell) = self.cells.get(key).and_then(Weak::upgrade) {
            return cell;
        }
        if self.cells.len() >= self.sweep_at.max(SWEEP_CELLS_MIN) {
            self.cells.retain(|_, cell| cell.strong_count() > 0);
            self.sweep_at = 2 * self.cells.len();
        }
        let cell = Arc::new(Cell::new());
        self.cells.insert(key.clone(), Arc::downgrade(&cell));
        cell
    }

    fn keep(&mut self, cell: &Arc<Cell>, bytes: usize) {
        if bytes > KEPT_BYTES_MAX {
            return;
        }
        self.kept_bytes += bytes;
        self.kept.push_back((Arc::clone(cell), bytes));
        while self.kept_bytes > KEPT_BYTES_MAX {
            let Some((_, bytes)) = self.kept.pop_front() else { return };
            self.kept_bytes -= bytes;
        }
    }
}
