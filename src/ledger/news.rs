//! Tells readers that wait for a ledger's next event that there may be one.

use tokio::sync::watch;

/// The newest `seq` that readers were told of. Costs next to nothing while nobody waits.
#[derive(Default)]
pub struct LedgerNews(watch::Sender<u64>);

/// What one reader waits with.
pub struct NewsReader(watch::Receiver<u64>);

impl LedgerNews {
    /// To be called before the reader looks at the ledger: it is told of all that comes after the call.
    pub fn subscribe(&self) -> NewsReader {
        NewsReader(self.0.subscribe())
    }

    /// Whether somebody waits.
    pub fn has_readers(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Waits until nobody waits.
    pub async fn deserted(&self) {
        self.0.closed().await;
    }

    /// Wakes all readers: the ledger ends at `last_seq`, or is gone.
    pub fn tell(&self, last_seq: u64) {
        if self.has_readers() {
            self.0.send_replace(last_seq);
        }
    }

    /// Wakes all readers if they were not told of as much.
    pub fn tell_if_newer(&self, last_seq: u64) {
        if self.has_readers() {
            self.0.send_if_modified(|told| {
                let is_newer = last_seq > *told;
                *told = last_seq.max(*told);
                is_newer
            });
        }
    }

    /// The newest `seq` that readers were told of.
    pub fn newest(&self) -> u64 {
        *self.0.borrow()
    }

    /// Wakes all readers if they were told of another end than was found by a look, which began when they were told of
    /// `told_before`. A look is older than what was told since: then it counts only if the ledger is longer.
    pub fn tell_found(&self, last_seq: u64, told_before: u64) {
        if self.has_readers() {
            self.0.send_if_modified(|told| {
                let is_news = last_seq > *told || (last_seq < *told && *told == told_before);
                if is_news {
                    *told = last_seq;
                }
                is_news
            });
        }
    }

    /// Notes without waking anybody that a reader who waits has seen the ledger up to here.
    pub fn note_seen(&self, last_seq: u64) {
        self.0.send_if_modified(|told| {
            *told = last_seq.max(*told);
            false
        });
    }
}

impl NewsReader {
    /// Waits until there is something that was not told before, and returns the newest `seq` that was; 0 where the
    /// ledger is gone. To be called while the ledger is held.
    pub async fn told(&mut self) -> u64 {
        // The sender lives as long as the ledger.
        let _ = self.0.changed().await;
        *self.0.borrow_and_update()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_reader_is_told_of_what_comes_after_its_subscription() {
        let news = LedgerNews::default();
        news.tell(1);
        let mut reader = news.subscribe();
        assert!(reader.told().now_or_never().is_none());
        news.tell(2);
        news.tell(3);
        assert!(reader.told().now_or_never().is_some());
        assert!(reader.told().now_or_never().is_none(), "once for both");
    }

    #[test]
    fn what_a_reader_has_seen_already_wakes_nobody() {
        let news = LedgerNews::default();
        let mut reader = news.subscribe();
        news.note_seen(5);
        news.tell_found(5, 5);
        assert!(reader.told().now_or_never().is_none());
        news.tell_found(6, 5);
        assert_eq!(reader.told().now_or_never(), Some(6));
        drop(reader);
        assert!(!news.has_readers());
    }

    #[test]
    fn a_look_takes_nothing_back_that_was_told_after_it_began() {
        let news = LedgerNews::default();
        let mut reader = news.subscribe();
        news.tell(7);
        let told_before = news.newest();
        news.tell(8);
        assert_eq!(reader.told().now_or_never(), Some(8));
        news.tell_found(7, told_before);
        news.note_seen(6);
        assert!(reader.told().now_or_never().is_none());
        assert_eq!(news.newest(), 8);
        // Nothing was told since: the database was restored.
        news.tell_found(5, news.newest());
        assert_eq!(reader.told().now_or_never(), Some(5));
    }
}
