//! What parsing a large body costs that is refused, the address pays back that sent it: its next large bodies rest for much
//! longer than it took. So nobody keeps a core busy with bodies that come to nothing.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use ipnet::IpNet;
use tokio::time::{Instant, sleep_until};

use crate::ledger::Peer;

/// Smaller bodies neither rest nor are a reason to.
const RESTING_BODY_BYTES: usize = 64 * 1024;
/// The rest behind a refused body, in times of what parsing it took: one after the other they get a tenth of a core.
const REFUSED_REST: u32 = 9;
/// No rest ends later than this: whoever sent a body by mistake hardly notices.
const REST_MAX: Duration = Duration::from_secs(2);

/// Until when the large bodies of each address rest.
pub(super) struct Rests {
    until: DashMap<Peer, Instant>,
    /// Addresses that speak for many clients, and never rest.
    exempt: Arc<[IpNet]>,
}

impl Rests {
    pub(super) fn new(exempt: Arc<[IpNet]>) -> Self {
        Self { until: DashMap::new(), exempt }
    }

    /// Waits where the body of `peer`, of which so many bytes have come and `more` are to be taken, becomes a large one.
    pub(super) async fn wait(&self, peer: Peer, bytes: usize, more: usize) {
        if bytes > RESTING_BODY_BYTES || bytes + more <= RESTING_BODY_BYTES {
            return;
        }
        // Meanwhile other bodies of the address may have been parsed.
        while let Some(until) = self.of(peer) {
            sleep_until(until).await;
        }
    }

    /// Notes what parsing a body of `bytes` took, which was refused.
    pub(super) fn note_refused(&self, peer: Peer, bytes: usize, took: Duration) {
        if bytes <= RESTING_BODY_BYTES || peer.is_in(&self.exempt) {
            return;
        }
        let now = Instant::now();
        self.until.retain(|_, until| *until > now);
        let mut until = self.until.entry(peer).or_insert(now);
        *until = (*until + took * REFUSED_REST).min(now + REST_MAX);
    }

    fn of(&self, peer: Peer) -> Option<Instant> {
        let until = *self.until.get(&peer)?;
        (until > Instant::now()).then_some(until)
    }
}
