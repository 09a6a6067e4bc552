//! Producers that send on whatever happens, until each event is acknowledged.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
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

/// Where the nodes are at the moment. Clones share it.
#[derive(Clone)]
pub struct Nodes(Arc<Mutex<Vec<Client>>>);

/// What producers send, and where.
#[derive(Clone)]
pub struct Load {
    pub namespace: String,
    /// Whether an id belongs to its topic there. Then each topic has the same ids.
    pub is_by_topic: bool,
    /// Stands before the name of each topic.
    pub topics: String,
    pub tasks: usize,
    /// After each batch.
    pub pause_between: Duration,
}

struct Shared {
    nodes: Nodes,
    load: Load,
    record: Mutex<Record>,
    /// Read by each task while a batch of it is under way.
    under_way: Arc<RwLock<()>>,
    /// Whether the namespace is about to be deleted.
    may_be_gone: AtomicBool,
}

impl Nodes {
    pub fn new(nodes: &[&Client]) -> Self {
        Self(Arc::new(Mutex::new(nodes.iter().map(|client| (*client).clone()).collect())))
    }

    /// Where the node is from now on.
    pub fn turn_to(&self, node: usize, client: &Client) {
        self.0.lock().unwrap()[node] = client.clone();
    }

    /// One of them; each number has one.
    pub fn one(&self, number: usize) -> Client {
        let nodes = self.0.lock().unwrap();
        nodes[number % nodes.len()].clone()
    }

    pub fn all(&self) -> Vec<Client> {
        self.0.lock().unwrap().clone()
    }
}

impl Producers {
    /// `tasks` producers that take turns on the nodes.
    pub fn start(nodes: &[&Client], tasks: usize) -> Self {
        Self::start_at_pace(nodes, tasks, Duration::ZERO)
    }

    /// The same, with a pause after each batch.
    pub fn start_at_pace(nodes: &[&Client], tasks: usize, pause_between: Duration) -> Self {
        let (namespace, topics) = ("default".to_owned(), String::new());
        let load = Load { namespace, is_by_topic: false, topics, tasks, pause_between };
        Self::start_load(&Nodes::new(nodes), load)
    }

    pub fn start_load(nodes: &Nodes, load: Load) -> Self {
        let (tasks, is_by_topic) = (load.tasks, load.is_by_topic);
        let shared = Arc::new(Shared {
            nodes: nodes.clone(),
            load,
            record: Mutex::new(Record { is_by_topic, ..Record::default() }),
            under_way: Arc::default(),
            may_be_gone: AtomicBool::new(false),
        });
        let tasks = (0..tasks).map(|task| tokio::spawn(produce(Arc::clone(&shared), task))).collect();
        Self { shared, tasks }
    }

    /// Where the node is from now on.
    pub fn turn_to(&self, node: usize, client: &Client) {
        self.shared.nodes.turn_to(node, client);
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

    /// Lets each producer end when it is told that its namespace is gone, which is no finding from now on.
    pub fn expect_deletion(&self) {
        self.shared.may_be_gone.store(true, Ordering::SeqCst);
    }

    /// Waits until each producer was told so: then nothing of theirs is under way any more.
    pub async fn gone(&mut self) {
        for task in self.tasks.drain(..) {
            task.await.expect("a producer does not panic");
        }
    }

    /// Forgets all that was told of what is stored above `seq`, for a database that lost it; answers what it was
    /// known by.
    pub fn forget_above(&self, seq: u64) -> Vec<String> {
        self.record().forget_above(seq)
    }

    /// Publishes these ids beside the producers, until they are acknowledged.
    pub async fn publish(&self, node: usize, topic: &str, ids: &[String]) {
        acknowledge(&self.shared, node, topic, ids).await;
    }

    /// What their namespace counts in the database: received and unique.
    pub async fn totals(&self, database: &Database) -> (u64, u64) {
        database.ledger(&self.shared.load.namespace).await.totals().await
    }

    /// What is wrong with the events stored behind `after`; to be asked while the producers pause.
    pub async fn findings(&self, nodes: &[&Client], database: &Database, after: u64) -> Findings {
        let namespace = &self.shared.load.namespace;
        let nodes: Vec<Client> = nodes.iter().map(|node| node.in_namespace(namespace)).collect();
        let ledger = &database.ledger(namespace).await;
        Proof { nodes: &nodes, ledger, after }.findings(&self.shared.record).await
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
    let Load { topics, is_by_topic, pause_between, .. } = &shared.load;
    let topic = format!("{topics}stream {stream}");
    let stream = if *is_by_topic { 0 } else { stream };
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
            if !acknowledge(&shared, task, &topic, &ids).await {
                return;
            }
        }
        tokio::time::sleep(*pause_between).await;
    }
}

/// Sends the same request until it is answered with 200; false where the namespace is gone.
async fn acknowledge(shared: &Shared, task: usize, topic: &str, ids: &[String]) -> bool {
    let body = events(topic, ids.iter().map(String::as_str)).to_string();
    let begun = Instant::now();
    for attempt in 0.. {
        let client = shared.nodes.one(task).in_namespace(&shared.load.namespace);
        shared.record.lock().unwrap().events_attempted += ids.len() as u64;
        let sent = Instant::now();
        let answer = client.try_publish(body.clone()).await;
        let is_gone = shared.may_be_gone.load(Ordering::SeqCst)
            && answer.as_ref().is_ok_and(|answer| answer.status == 404);
        if is_gone {
            return false;
        }
        if note(&mut shared.record.lock().unwrap(), (topic, ids), answer, attempt > 0, [begun, sent]) {
            return true;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    unreachable!("attempts do not end")
}

/// Notes what became of an attempt; true where it is acknowledged.
fn note(
    record: &mut Record,
    (topic, ids): (&str, &[String]),
    answer: Result<Answer, reqwest::Error>,
    in_doubt: bool,
    [begun, sent]: [Instant; 2],
) -> bool {
    record.longest_attempt = record.longest_attempt.max(sent.elapsed());
    match answer {
        Ok(answer) if answer.status == 200 => {
            let results = answer.json()["results"].as_array().cloned().unwrap_or_default();
            record.acknowledge_of(topic, ids, &results, in_doubt);
            record.requests += 1;
            record.longest_outage = record.longest_outage.max(begun.elapsed());
            return true;
        }
        Ok(answer) => {
            record.last_refusal = format!("{}: {}", answer.status, answer.text);
            if answer.status != 503 || answer.header("retry-after").is_none() {
                record.findings.wrong(record.last_refusal.clone());
            }
        }
        Err(no_answer) => record.last_refusal = no_answer.to_string(),
    }
    record.retries += 1;
    false
}
