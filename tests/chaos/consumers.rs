//! Readers of the stream, and workers of a subscription, in `default`. Each reader gets every event once and in order, and
//! each event is acked at least once, by a worker that had it.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    ops::AddAssign,
    sync::{Arc, Mutex},
    time::Duration,
};

use sekali::client::{
    AckResult, Client, ClientError, LeaseAnswer, LogMessage, StreamQuery, WorkLease, in_words,
};
use serde::Deserialize;
use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};

use crate::harness::{
    Database, eventually_within, producers::Nodes, random::Random, record::Findings, stored_ledger::StoredRow,
};

const READERS: usize = 6;
const WORKERS: usize = 4;
const LEASE_SECONDS: u64 = 2;
/// Longer than a lease.
const SLOW_WORK: Duration = Duration::from_secs(3);
/// Of the leases that a worker gets, one is worked on for too long, and one is never acked.
const SLOW_ONCE_IN: usize = 40;
const DROPPED_ONCE_IN: usize = 40;
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// A stream notices after 35 s that its node is silent, and a request after 30 s.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(120);

/// Those of one database.
pub struct Consumers {
    running: Option<Running>,
    generation: usize,
    past: Consumed,
}

/// What consumers came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Consumed {
    pub events_followed: u64,
    pub streams_lost: u64,
    pub events_acked: u64,
    pub acks_fenced: u64,
}

struct Running {
    subscription: String,
    shared: Arc<Shared>,
    /// What is stored up to here was proved before.
    proved_to: u64,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    nodes: Nodes,
    readers: [Mutex<Reader>; READERS],
    work: Mutex<Work>,
    consumed: Mutex<Consumed>,
    findings: Mutex<Findings>,
}

/// What a reader got.
#[derive(Default)]
struct Reader {
    place: u64,
    /// The hashes of the ids of the last events that it got.
    got: Vec<u64>,
}

/// What workers did.
#[derive(Default)]
struct Work {
    /// Events whose ack was taken, or may have been: it had no answer.
    acked: HashSet<u64>,
}

#[derive(Deserialize)]
struct Event {
    seq: u64,
    event_id: String,
}

impl Consumers {
    /// Starts them at the beginning of the log, of a database that nothing has happened to yet.
    pub async fn start(nodes: &Nodes) -> Self {
        let mut consumers = Self { running: None, generation: 0, past: Consumed::default() };
        consumers.start_behind(nodes, 0).await;
        consumers
    }

    async fn start_behind(&mut self, nodes: &Nodes, after: u64) {
        self.generation += 1;
        let name = format!("chaos-{}", self.generation);
        self.running = Some(Running::start(nodes.clone(), name, after).await);
    }

    /// Ends them, since the database is about to be put back: `seq` alone cannot tell a reader of that where others publish
    /// before its node does.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.past += *running.shared.consumed.lock().unwrap();
        }
    }

    pub fn consumed(&self) -> Consumed {
        let mut consumed = self.past;
        if let Some(running) = &self.running {
            consumed += *running.shared.consumed.lock().unwrap();
        }
        consumed
    }

    /// Waits until they have everything, and returns what is wrong; starts them where there are none. To be asked while
    /// nobody publishes and all nodes are well.
    pub async fn prove(&mut self, nodes: &Nodes, database: &Database) -> Findings {
        let ledger = database.ledger("default").await;
        let (_, stored) = ledger.totals().await;
        match &mut self.running {
            Some(running) => {
                let rows = ledger.rows_after(running.proved_to).await;
                running.prove(&rows, stored).await
            }
            None => {
                self.start_behind(nodes, stored).await;
                Findings::default()
            }
        }
    }
}

impl Running {
    async fn start(nodes: Nodes, subscription: String, after: u64) -> Self {
        let settings = json!({
            "after": after,
            "max_leases": WORKERS,
            "lease_seconds": LEASE_SECONDS,
            // Nothing fails for good.
            "max_deliveries": 1_000,
        });
        let created = client(&nodes, 0).create_subscription(&subscription, &settings).await;
        created.expect("a subscription is created where all is well");
        let shared = Arc::new(Shared {
            nodes,
            readers: [(); READERS].map(|()| Mutex::new(Reader { place: after, got: Vec::new() })),
            work: Mutex::default(),
            consumed: Mutex::default(),
            findings: Mutex::default(),
        });
        let readers = (0..READERS).map(|number| tokio::spawn(follow(Arc::clone(&shared), number, after)));
        let workers =
            (0..WORKERS).map(|number| tokio::spawn(work(Arc::clone(&shared), subscription.clone(), number)));
        let tasks = readers.chain(workers).collect();
        Self { subscription, shared, proved_to: after, tasks }
    }

    async fn prove(&mut self, rows: &[StoredRow], stored: u64) -> Findings {
        let shared = &*self.shared;
        let has_all = async || {
            let is_there = |reader: &Mutex<Reader>| reader.lock().unwrap().place >= stored;
            shared.readers.iter().all(is_there) || shared.findings.lock().unwrap().count() > 0
        };
        eventually_within(CATCH_UP_TIME_MAX, "each reader gets all that is stored", has_all).await;
        let is_done = async || match client(&shared.nodes, 0).subscription(&self.subscription).await {
            Ok(subscription) => subscription.lag == 0 && subscription.leases.is_empty(),
            Err(_no_answer) => false,
        };
        eventually_within(CATCH_UP_TIME_MAX, "each event is acked", is_done).await;
        let mut findings = std::mem::take(&mut *shared.findings.lock().unwrap());
        for (number, reader) in shared.readers.iter().enumerate() {
            let got = std::mem::take(&mut reader.lock().unwrap().got);
            if !got.iter().copied().eq(rows.iter().map(|row| hash(&row.event_id))) {
                findings.wrong(format!(
                    "reader {number} got {} events, and not the {} that are stored behind {}",
                    got.len(),
                    rows.len(),
                    self.proved_to
                ));
            }
        }
        let acked = std::mem::take(&mut shared.work.lock().unwrap().acked);
        for row in rows.iter().filter(|row| !acked.contains(&row.seq)) {
            findings.losses.push(format!("{row:?} was settled in {} and acked by nobody", self.subscription));
        }
        self.proved_to = stored;
        findings
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn wrong(&self, what: String) {
        self.findings.lock().unwrap().wrong(what);
    }

    fn note(&self, change: impl FnOnce(&mut Consumed)) {
        change(&mut self.consumed.lock().unwrap());
    }
}

/// The client of the node that has this number at the moment.
fn client(nodes: &Nodes, number: usize) -> Client {
    Client::new(nodes.one(number).url()).expect("the URL of a node")
}

/// Reads on through every loss, each time at the next node.
async fn follow(shared: Arc<Shared>, number: usize, after: u64) {
    let query = StreamQuery { after: Some(after.to_string()), ..StreamQuery::default() };
    let mut address = number;
    let mut reader = client(&shared.nodes, address).follow(query);
    loop {
        match reader.next().await {
            Ok(LogMessage::Event(event)) => {
                let event: Event = serde_json::from_str(event.get()).expect("an event");
                let mut reader = shared.readers[number].lock().unwrap();
                if event.seq != reader.place + 1 {
                    shared.wrong(format!("reader {number} got seq {} behind {}", event.seq, reader.place));
                }
                reader.place = event.seq;
                reader.got.push(hash(&event.event_id));
                shared.note(|consumed| consumed.events_followed += 1);
            }
            Ok(LogMessage::CaughtUp { .. }) => {}
            Ok(LogMessage::Restored { head }) => {
                shared.wrong(format!("reader {number} is told of a restore to {head} that never was"));
            }
            Ok(LogMessage::Lost(_)) => {
                shared.note(|consumed| consumed.streams_lost += 1);
                address += 1;
                reader.go_on_at(&client(&shared.nodes, address));
            }
            Err(error) => return shared.wrong(format!("reader {number}: {}", in_words(&error))),
        }
    }
}

/// Leases and acks, now and then too late or never.
async fn work(shared: Arc<Shared>, subscription: String, number: usize) {
    let mut random = Random::new(number as u64);
    let mut address = number;
    loop {
        address += 1;
        let limit = random.within(1..200) as u32;
        let wait = Duration::from_secs(1);
        let leased = client(&shared.nodes, address).lease(&subscription, limit, wait, "chaos").await;
        let lease = match leased {
            Ok(LeaseAnswer::Leased(lease)) => lease,
            Ok(_) => continue,
            Err(error) if error.is_retryable() => {
                sleep(RETRY_PAUSE).await;
                continue;
            }
            Err(error) => return shared.wrong(format!("a lease of {subscription}: {}", in_words(&error))),
        };
        match random.within(0..SLOW_ONCE_IN + DROPPED_ONCE_IN) {
            0 => continue,
            1 => sleep(SLOW_WORK).await,
            _ => {}
        }
        if let Err(error) = ack(&shared, &subscription, &lease, &mut address).await {
            return shared.wrong(format!("an ack of {subscription}: {}", in_words(&error)));
        }
    }
}

/// Acks until there is an answer. One that was fenced has acked nothing: somebody else must.
async fn ack(
    shared: &Shared,
    subscription: &str,
    lease: &WorkLease,
    address: &mut usize,
) -> Result<(), ClientError> {
    let mut is_in_doubt = false;
    loop {
        let answer = client(&shared.nodes, *address).ack(subscription, &lease.lease, AckResult::Accept).await;
        match answer {
            Ok(acked) => {
                if !acked.is_fenced || is_in_doubt {
                    shared.work.lock().unwrap().acked.extend(lease.from..=lease.through);
                }
                shared.note(|consumed| match acked.is_fenced {
                    true => consumed.acks_fenced += 1,
                    false => consumed.events_acked += lease.events.len() as u64,
                });
                return Ok(());
            }
            Err(error) if error.is_retryable() => {
                is_in_doubt = true;
                *address += 1;
                sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl AddAssign for Consumed {
    fn add_assign(&mut self, more: Self) {
        self.events_followed += more.events_followed;
        self.streams_lost += more.streams_lost;
        self.events_acked += more.events_acked;
        self.acks_fenced += more.acks_fenced;
    }
}
