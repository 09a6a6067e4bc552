//! Producers that send on whatever happens, until each event is acknowledged.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedRwLockWriteGuard, RwLock},
    task::JoinHandle,
};

use super::{
    Answer, Client, Database, events, eventually,
    proof::Proof,
    random::Random,
    record::{Findings, Record},
};

const NEW_EVENTS_A_BATCH: usize = 5;
/// Before an attempt is repeated; short, so that a fault is met by many.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Producers that send the same ids, each to the next node.
const PRODUCERS_A_STREAM: usize = 2;

/// Several tasks that send each batch again until it is acknowledged. They go by twos, which send the same ids, to
/// two nodes where there are two; and each batch repeats an id of its own and one of long ago.
pub struct Producers {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    nodes: Mutex<Vec<Client>>,
    record: Mutex<Record>,
    /// Read by each task while a batch of it is under way.
    under_way: Arc<RwLock<()>>,
    pause_between: Duration,
}

impl Producers {
    /// `tasks` producers that take turns on the nodes.
    pub fn start(nodes: &[&Client], tasks: usize) -> Self {
        Self::start_at_pace(nodes, tasks, Duration::ZERO)
    }

    /// The same, with a pause after each batch.
    pub fn start_at_pace(nodes: &[&Client], tasks: usize, pause_between: Duration) -> Self {
        let shared = Arc::new(Shared {
            nodes: Mutex::new(nodes.iter().map(|client| (*client).clone()).collect()),
            record: Mutex::default(),
            under_way: Arc::default(),
            pause_between,
        });
        let tasks = (0..tasks).map(|task| tokio::spawn(produce(Arc::clone(&shared), task))).collect();
        Self { shared, tasks }
    }

    /// Where the node is from now on.
    pub fn turn_to(&self, node: usize, client: &Client) {
        self.shared.nodes.lock().unwrap()[node] = client.clone();
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record.lock().unwrap()
    }

    pub fn acknowledged(&self) -> usize {
        self.record().told.len()
    }

    /// Waits until this many more events are acknowledged.
    pub async fn progress(&self, more: usize) {
        let goal = self.acknowledged() + more;
        eventually("producers get on", async || self.acknowledged() >= goal).await;
    }

    /// Waits until each producer's batch is acknowledged; none begins another one before the answer is dropped.
    pub async fn pause(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.shared.under_way).write_owned().await
    }

    /// Forgets all that was told of what is stored above `seq`, for a database that lost it; answers those ids.
    pub fn forget_above(&self, seq: u64) -> Vec<String> {
        self.record().forget_above(seq)
    }

    /// Publishes these ids beside the producers, until they are acknowledged.
    pub async fn publish(&self, node: usize, topic: &str, ids: &[String]) {
        acknowledge(&self.shared, node, topic, ids).await;
    }

    /// What is wrong with the events stored behind `after`; to be asked while the producers pause.
    pub async fn findings(&self, nodes: &[&Client], database: &Database, after: u64) -> Findings {
        Proof { nodes, database, after }.findings(&self.shared.record).await
    }

    /// Ends the producers, each after an acknowledgement, and proves that all is as they were told.
    pub async fn check(self, nodes: &[&Client], database: &Database) {
        let _pause = self.pause().await;
        self.findings(nodes, database, 0).await.assert_none();
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn produce(shared: Arc<Shared>, task: usize) {
    let stream = task / PRODUCERS_A_STREAM;
    let topic = format!("stream {stream}");
    let mut random = Random::new(task as u64);
    for batch in 0.. {
        {
            let _under_way = shared.under_way.read().await;
            let mut ids: Vec<String> =
                (0..NEW_EVENTS_A_BATCH).map(|place| format!("{stream}-{batch}-{place}")).collect();
            ids.push(format!("{stream}-{}-{}", random.within(0..batch + 1), random.within(0..2)));
            ids.push(ids[0].clone());
            let turn = random.within(0..ids.len());
            ids.rotate_left(turn);
            acknowledge(&shared, task, &topic, &ids).await;
        }
        tokio::time::sleep(shared.pause_between).await;
    }
}

/// Sends the same request until it is answered with 200.
async fn acknowledge(shared: &Shared, task: usize, topic: &str, ids: &[String]) {
    let body = events(topic, ids.iter().map(String::as_str)).to_string();
    let begun = Instant::now();
    for attempt in 0.. {
        let client = {
            let nodes = shared.nodes.lock().unwrap();
            nodes[task % nodes.len()].clone()
        };
        shared.record.lock().unwrap().events_attempted += ids.len() as u64;
        let sent = Instant::now();
        let answer = client.try_publish(body.clone()).await;
        if note(&mut shared.record.lock().unwrap(), ids, answer, attempt > 0, [begun, sent]) {
            return;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Notes what became of an attempt; true where it is acknowledged.
fn note(
    record: &mut Record,
    ids: &[String],
    answer: Result<Answer, reqwest::Error>,
    in_doubt: bool,
    [begun, sent]: [Instant; 2],
) -> bool {
    record.longest_attempt = record.longest_attempt.max(sent.elapsed());
    match answer {
        Ok(answer) if answer.status == 200 => {
            let results = answer.json()["results"].as_array().cloned().unwrap_or_default();
            record.acknowledge(ids, &results, in_doubt);
            record.requests += 1;
            record.longest_outage = record.longest_outage.max(begun.elapsed());
            return true;
        }
        Ok(answer) if answer.status == 503 && answer.header("retry-after").is_some() => {}
        Ok(answer) => record.findings.wrong(format!("{}: {}", answer.status, answer.text)),
        Err(_no_answer) => {}
    }
    record.retries += 1;
    false
}
