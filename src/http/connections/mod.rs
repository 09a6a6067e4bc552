//! The client connections: how many there may be, and how long each may take for what it does.
//!
//! - [`connection`]: what is known of one connection, and its deadlines.
//! - [`stream`]: its bytes, and [`transport`]: the socket or TLS that carries them.
//! - [`own_answers`]: the answers that the HTTP library gives by itself.
//! - [`table`]: which connections there are, and which one makes way for another.

mod connection;
mod own_answers;
mod stream;
mod table;
mod transport;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tracing::info;

pub(super) use self::{connection::Connection, stream::ClientStream};
use self::{
    connection::{Clock, Cut, Patience},
    table::Table,
};
use super::Certificates;
use crate::ledger::Peer;

/// Deadlines are checked this often, so a connection ends at most about this long after its time.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// The same while the service stops.
const DRAIN_SWEEP_INTERVAL: Duration = Duration::from_millis(25);
/// What was closed is logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Connections beyond the limits that are kept for probes.
const RESERVE_MAX: usize = 64;

/// How many connections for probes there are beyond so many.
pub(super) fn reserve(connections_max: usize) -> usize {
    connections_max.min(RESERVE_MAX)
}

/// The client connections of all workers.
pub(super) struct Connections {
    clock: Clock,
    idle_timeout: Duration,
    share_exempt: Vec<IpNet>,
    table: Mutex<Table>,
    draining: AtomicBool,
    /// Told when a drain begins.
    drain: Notify,
    /// Told when the last connection ends.
    emptied: Notify,
    closed: Closed,
}

/// What was closed or refused.
#[derive(Default)]
struct Closed {
    malformed: AtomicU64,
    slow_heads: AtomicU64,
    unread_answers: AtomicU64,
    made_way: AtomicU64,
    refused: AtomicU64,
}

/// The connections at one moment.
#[derive(Debug)]
pub(super) struct ConnectionsReport {
    pub(super) open: usize,
    pub(super) max: usize,
    /// What was closed or refused, by the reason.
    pub(super) closed: [(&'static str, u64); 5],
}

impl Connections {
    /// For at most `connections_max` connections, of which the peers at `share_exempt` may have more than half.
    pub(super) fn new(connections_max: usize, share_exempt: Vec<IpNet>, idle_timeout: Duration) -> Self {
        let clock = Clock::start();
        Self {
            clock,
            idle_timeout,
            share_exempt,
            table: Mutex::new(Table::new(connections_max, clock)),
            draining: AtomicBool::new(false),
            drain: Notify::new(),
            emptied: Notify::new(),
            closed: Closed::default(),
        }
    }

    /// Takes a new connection in; `None` if it has to be closed at once.
    pub(super) fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        certificates: Option<&Certificates>,
    ) -> Option<ClientStream> {
        // Without an address the client is gone already.
        let address = stream.peer_addr().ok()?.ip().to_canonical();
        let is_exempt = self.share_exempt.iter().any(|network| network.contains(&address));
        let (connection, closed) = self.table.lock().admit(Peer::from(address), is_exempt);
        self.closed.made_way.fetch_add(closed, Relaxed);
        let Some(connection) = connection else {
            self.closed.refused.fetch_add(1, Relaxed);
            return None;
        };
        let tls = certificates.map(Certificates::acceptor);
        Some(ClientStream::new(stream, tls, connection, Arc::clone(self)))
    }

    /// Closes idle connections at once from now on, and those whose clients do not take their answers soon.
    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.drain.notify_one();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Waits until there is none left, for `limit` at most.
    pub(super) async fn emptied(&self, limit: Duration) {
        let emptied = self.emptied.notified();
        if !self.table.lock().is_empty() {
            let _ = timeout(limit, emptied).await;
        }
    }

    /// Closes connections whose time is over; never ends. While `are_streams_scarce`, others wait for memory that streams
    /// hold.
    pub(super) async fn sweep(self: Arc<Self>, are_streams_scarce: impl Fn() -> bool) {
        let mut logged = Instant::now();
        let mut told = [0; 5];
        loop {
            let interval = if self.is_draining() { DRAIN_SWEEP_INTERVAL } else { SWEEP_INTERVAL };
            tokio::select! {
                () = sleep(interval) => {}
                () = self.drain.notified() => {}
            }
            self.cut_overdue(are_streams_scarce());
            if logged.elapsed() >= LOG_INTERVAL {
                self.closed.log_since(&mut told);
                logged = Instant::now();
            }
        }
    }

    fn cut_overdue(&self, streams_keep_pace: bool) {
        let (idle_timeout, draining) = (self.idle_timeout, self.is_draining());
        let (now_ms, patience) =
            (self.clock.now_ms(), Patience { idle_timeout, draining, streams_keep_pace });
        for connection in self.table.lock().all() {
            match connection.cut_overdue(now_ms, patience) {
                Some(Cut::SlowHead) => self.closed.slow_heads.fetch_add(1, Relaxed),
                Some(Cut::UnreadAnswer) => self.closed.unread_answers.fetch_add(1, Relaxed),
                _ => continue,
            };
        }
    }

    fn remove(&self, connection: &Connection) {
        let mut table = self.table.lock();
        table.remove(connection);
        if table.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    pub(super) fn report(&self) -> ConnectionsReport {
        let (open, max) = self.table.lock().size();
        ConnectionsReport { open, max, closed: self.closed.report() }
    }

    /// Counts a request that cannot be read.
    pub(super) fn count_malformed(&self) {
        self.closed.malformed.fetch_add(1, Relaxed);
    }
}

impl Closed {
    fn report(&self) -> [(&'static str, u64); 5] {
        [
            ("malformed", &self.malformed),
            ("slow_head", &self.slow_heads),
            ("unread_answer", &self.unread_answers),
            ("made_way", &self.made_way),
            ("refused", &self.refused),
        ]
        .map(|(reason, count)| (reason, count.load(Relaxed)))
    }

    /// One line for all that came since `told`: clients decide how many there are.
    fn log_since(&self, told: &mut [u64; 5]) {
        let counts = self.report().map(|(_, count)| count);
        let [malformed, slow_heads, unread_answers, made_way, refused] =
            std::array::from_fn(|reason| counts[reason] - told[reason]);
        if counts != *told {
            info!(malformed, slow_heads, unread_answers, made_way, refused, "closed client connections");
        }
        *told = counts;
    }
}
