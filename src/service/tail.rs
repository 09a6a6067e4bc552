//! The end of a ledger that readers follow: what is committed is read once, and then told to all of them.
//!
//! If the news of a commit went to the readers themselves, each would be woken twice: by the news, and when the read is
//! there that the first of them began.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use futures::FutureExt;
use tokio::time::timeout;

use super::{
    Ledger,
    following::{READ_EVENTS, READ_MEMORY, read_chunk},
    shared_reads::ReadKey,
};
use crate::ledger::NewsReader;

/// Whose share of memory such a read takes: the service's own.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// How long those that wait are not told because the store is slow to give what they are to be told of.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

struct Tail {
    ledger: Ledger,
    news: NewsReader,
}

impl Ledger {
    /// What a follower waits with. To be called before it looks at the ledger: it is told of all that comes after.
    pub(super) fn followers_news(&self) -> NewsReader {
        let tail = &self.open.tail;
        let mut is_running = tail.is_running.lock();
        let reader = tail.news.subscribe();
        if !std::mem::replace(&mut *is_running, true) {
            let tail = Tail {
                ledger: Ledger { peer: None, ..self.clone() },
                news: self.open.position.news.subscribe(),
            };
            self.service.0.actors.begin("the tail of a ledger", tail.run());
        }
        reader
    }
}

impl Tail {
    /// Runs for as long as somebody follows the ledger.
    async fn run(mut self) {
        loop {
            let told = tokio::select! {
                told = self.news.told() => told,
                () = self.ledger.open.tail.news.deserted() => {
                    if self.ends() {
                        return;
                    }
                    continue;
                }
            };
            self.read(told).await;
            self.ledger.open.tail.news.tell(told);
        }
    }

    /// Who comes later starts another one.
    fn ends(&self) -> bool {
        let tail = &self.ledger.open.tail;
        let mut is_running = tail.is_running.lock();
        *is_running = tail.news.has_readers();
        !*is_running
    }

    /// Reads for the readers that have everything; whoever does not find what it needs reads it by itself.
    async fn read(&self, told: u64) {
        let tail = &self.ledger.open.tail;
        let after = tail.place();
        if told <= after {
            return tail.go_back_to(told);
        }
        if !tail.has_waiting() {
            return;
        }
        let Ok(permit) = self.ledger.service.admit_piece(OWN.into(), READ_MEMORY) else { return };
        let (epoch, _) = self.ledger.open.position.epoch_begun_at();
        let key = ReadKey { ledger: self.ledger.open.key(), epoch, after, interest: None };
        let reads = &self.ledger.service.0.shared_reads;
        // Another reader's may have been begun before.
        let ledger = self.ledger.clone();
        let read = reads.get(key, || read_chunk(ledger, after, READ_EVENTS, None, permit).boxed());
        if let Ok(Ok((chunk, _))) = timeout(READ_TIMEOUT, read).await {
            tail.note_place(chunk.through);
        }
    }
}
