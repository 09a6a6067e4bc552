//! The actors over a store that fails on purpose: whatever goes wrong below, the answers agree with a plain model.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use proptest::{
    prelude::*,
    test_runner::{Config as ProptestConfig, TestCaseError, TestRunner},
};
use sekali::{
    actors::{PublishError, RestartPolicy},
    event::{DedupScope, Digester, Event, Outcome, Timestamp, parse_batch},
    request_ids::RequestIds,
    service::{LinesLost, Service, ServiceLimits},
    store::{
        AppendGroup, AppendOutcome, AppendStore, Committed, ControlStore, CreateOutcome, DEFAULT_NAMESPACE,
        GroupResult, Head, LedgerKey, LedgerMark, LedgerRecord, NamespaceInfo, NamespaceQuery, Page,
        PageQuery, ReadStore, Store, StoreError, StoreWriter, StoredEvent, StoredId, Swept, TopicCount,
        TopicInfo, TopicQuery, TopicTotal, Totals,
    },
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness;

/// What goes wrong at one append; each is met once, in the order of the plan, and then nothing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The store is away before it commits.
    Unavailable,
    /// It commits, and the answer is lost.
    AnswerLost,
    /// It takes its time, before the commit.
    Slow,
    /// It takes its time with the answer.
    SlowAnswer,
    /// The connection is lost, and new ones are refused so often.
    Refuses(u8),
    /// The writer panics before the commit.
    PanicBefore,
    /// The writer panics after the commit.
    PanicAfter,
    /// A copy is set aside.
    BackUp,
    /// The database becomes the copy set aside, and grows by so many commits of another node.
    RollBack(u8),
}

/// A database as a plain map and ledger, honest about every group that reaches it.
#[derive(Clone)]
struct Judge {
    scope: DedupScope,
    head: Head,
    events: Vec<Event>,
    seqs: HashMap<Identity, u64>,
    topics: Vec<TopicTotal>,
    /// The last group of each writer, and what it became.
    done: HashMap<Uuid, (u64, Committed)>,
    /// All commits, the first one being number 1.
    commits: Vec<LedgerMark>,
}

/// The one ledger of the database.
fn ledger(scope: DedupScope) -> LedgerRecord {
    LedgerRecord {
        key: LedgerKey { namespace_no: 1, ledger_id: Uuid::from_u128(1) },
        namespace: DEFAULT_NAMESPACE.to_owned(),
        scope,
        digester: Digester::new(scope, &[7; 16]),
    }
}

/// The topic, as far as the scope lets it count, and the id.
type Identity = (String, String);

fn identity(scope: DedupScope, event: &Event) -> Identity {
    (scope.key_topic(event.topic()).to_owned(), event.event_id().to_string())
}

impl Judge {
    fn new(scope: DedupScope) -> Self {
        Self {
            scope,
            head: Head::default(),
            events: Vec::new(),
            seqs: HashMap::new(),
            topics: Vec::new(),
            done: HashMap::new(),
            commits: Vec::new(),
        }
    }

    fn holds(&self, seen: &LedgerMark) -> bool {
        seen.commit_no == 0 || self.commits.get(seen.commit_no as usize - 1) == Some(seen)
    }

    fn append(&mut self, group: &AppendGroup<'_>) -> AppendOutcome {
        if let Some((group_no, committed)) = self.done.get(&group.writer_id) {
            if *group_no == group.group_no {
                return AppendOutcome::Committed(committed.clone());
            }
            if *group_no > group.group_no {
                return AppendOutcome::Overtaken;
            }
        }
        if !self.holds(&group.seen) {
            return AppendOutcome::Restored(self.head);
        }
        let committed = self.store(group);
        self.done.insert(group.writer_id, (group.group_no, committed.clone()));
        AppendOutcome::Committed(committed)
    }

    fn store(&mut self, group: &AppendGroup<'_>) -> Committed {
        let first_seq = self.head.last_seq + 1;
        let mut repeats = Vec::new();
        for (place, event) in group.events.iter().enumerate() {
            let identity = identity(self.scope, event);
            match self.seqs.get(&identity) {
                Some(seq) => repeats.push((place, *seq)),
                None => {
                    self.events.push((*event).clone());
                    self.seqs.insert(identity, self.events.len() as u64);
                }
            }
        }
        for count in group.counts {
            let total = self.total(count.topic);
            total.unique += count.new_events;
            total.duplicates += count.duplicates;
            self.head.received += count.new_events + count.duplicates;
        }
        for (place, _) in &repeats {
            let total = self.total(group.events[*place].topic());
            total.unique -= 1;
            total.duplicates += 1;
        }
        self.head.mark = group.mark(self.head.mark.commit_no + 1);
        self.commits.push(self.head.mark);
        self.head.last_seq = self.events.len() as u64;
        self.head.topics_total = self.topics.len() as u64;
        Committed { head: self.head, first_seq, repeats }
    }

    fn total(&mut self, topic: &str) -> &mut TopicTotal {
        let place = self.topics.iter().position(|total| total.topic == topic);
        let place = place.unwrap_or_else(|| {
            self.topics.push(TopicTotal { topic: topic.to_owned(), unique: 0, duplicates: 0 });
            self.topics.len() - 1
        });
        &mut self.topics[place]
    }

    /// Another node commits an event of its own.
    fn grow(&mut self) {
        let name = format!("of another node, {}", self.events.len());
        let body = harness::event("elsewhere", &name).to_string();
        let event = parse_batch(Bytes::from(body), 1).unwrap().remove(0);
        let LedgerRecord { key, digester, .. } = ledger(self.scope);
        self.store(&AppendGroup {
            ledger: key,
            writer_id: Uuid::new_v4(),
            group_no: 1,
            topics_max: 1_000,
            seen: LedgerMark::default(),
            events: &[&event],
            digests: &[digester.digest(event.topic(), event.event_id())],
            counts: &[TopicCount { topic: event.topic(), new_events: 1, duplicates: 0 }],
        });
    }

    fn totals(&self) -> Totals {
        Totals { head: self.head, topics: self.topics.clone() }
    }
}

/// What a group held when its number was first used.
type Contents = (Vec<Identity>, Vec<(String, u64, u64)>);

struct Inside {
    judge: Judge,
    copy: Judge,
    /// The databases that were given up at a roll-back, oldest first.
    past: Vec<Judge>,
    /// The newest commit cannot be asked for.
    heads_fail: bool,
    plan: Vec<Fault>,
    refusals: u8,
    /// More events than these are not stored in time.
    events_in_time: usize,
    /// The sizes of the groups that had more.
    too_large: Vec<usize>,
    /// The contents of each group by its number, of the one writer that there is.
    groups: HashMap<u64, Contents>,
    writer_id: Option<Uuid>,
    /// What the actors did that no store should be asked for.
    breaches: Vec<String>,
}

impl Inside {
    /// Notes where a group breaks the rules of the store's door.
    fn inspect(&mut self, group: &AppendGroup<'_>) {
        let scope = self.judge.scope;
        let identities: Vec<Identity> = group.events.iter().map(|event| identity(scope, event)).collect();
        if identities.iter().collect::<HashSet<_>>().len() < identities.len() {
            self.breaches.push(format!("group {} has an event twice", group.group_no));
        }
        let LedgerRecord { key, digester, .. } = ledger(scope);
        let digest = |event: &&Event| digester.digest(event.topic(), event.event_id());
        if group.ledger != key || !group.events.iter().map(digest).eq(group.digests.iter().copied()) {
            self.breaches.push(format!("group {} has the ledger or digests of another one", group.group_no));
        }
        let mut events_by_topic: HashMap<&str, u64> = HashMap::new();
        for event in group.events {
            *events_by_topic.entry(event.topic()).or_default() += 1;
        }
        let counted: HashMap<&str, u64> = group
            .counts
            .iter()
            .filter(|count| count.new_events > 0)
            .map(|count| (count.topic, count.new_events))
            .collect();
        if events_by_topic != counted {
            self.breaches.push(format!("group {} counts {counted:?} of {events_by_topic:?}", group.group_no));
        }
        if *self.writer_id.get_or_insert(group.writer_id) != group.writer_id {
            self.breaches.push("the writer changed its id".to_owned());
        }
        let count = |count: &TopicCount<'_>| (count.topic.to_owned(), count.new_events, count.duplicates);
        let contents = (identities, group.counts.iter().map(count).collect());
        if self.groups.keys().any(|number| *number > group.group_no) {
            self.breaches.push(format!("group {} comes after a later one", group.group_no));
        }
        if *self.groups.entry(group.group_no).or_insert_with(|| contents.clone()) != contents {
            self.breaches.push(format!("group {} was sent again with other contents", group.group_no));
        }
    }
}

/// A store in memory that fails by plan.
#[derive(Clone)]
struct FaultyStore(Arc<Mutex<Inside>>);

impl FaultyStore {
    fn new(scope: DedupScope, plan: &[Fault]) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            judge: Judge::new(scope),
            copy: Judge::new(scope),
            past: Vec::new(),
            heads_fail: false,
            plan: plan.iter().rev().copied().collect(),
            refusals: 0,
            events_in_time: usize::MAX,
            too_large: Vec::new(),
            groups: HashMap::new(),
            writer_id: None,
            breaches: Vec::new(),
        })))
    }

    fn inside<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn judge(&self) -> Judge {
        self.inside(|inside| inside.judge.clone())
    }

    /// How often the database has been rolled back.
    fn generation(&self) -> usize {
        self.inside(|inside| inside.past.len())
    }
}

fn away() -> StoreError {
    StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()))
}

#[async_trait]
impl AppendStore for FaultyStore {
    fn groups_max(&self) -> usize {
        1
    }

    fn connections_max(&self) -> Option<usize> {
        None
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        self.inside(|inside| match inside.refusals.checked_sub(1) {
            Some(left) => {
                inside.refusals = left;
                Err(away())
            }
            None => Ok(()),
        })?;
        Ok(Box::new(FaultyWriter { store: self.clone(), in_order: AtomicBool::new(true) }))
    }
}

#[async_trait]
impl ReadStore for FaultyStore {
    async fn page(&self, _ledger: &LedgerRecord, _query: &PageQuery) -> Result<Page, StoreError> {
        unreachable!("nobody reads pages here")
    }

    async fn topics(
        &self,
        _ledger: &LedgerRecord,
        _query: &TopicQuery,
    ) -> Result<Vec<TopicInfo>, StoreError> {
        unreachable!("nobody lists topics here")
    }

    async fn last_seqs(&self, _ledgers: &[LedgerKey]) -> Result<HashMap<LedgerKey, Option<u64>>, StoreError> {
        unreachable!("nobody waits here")
    }

    async fn event(
        &self,
        _ledger: &LedgerRecord,
        event_id: &str,
        topic: Option<&str>,
    ) -> Result<Option<StoredEvent>, StoreError> {
        let judge = self.judge();
        let key = (judge.scope.key_topic(topic.unwrap_or_default()).to_owned(), event_id.to_owned());
        Ok(judge.seqs.get(&key).map(|seq| {
            let event = &judge.events[*seq as usize - 1];
            StoredEvent {
                seq: *seq,
                topic: event.topic().to_string(),
                event_id: event.event_id().to_string(),
                timestamp: event.timestamp(),
                source: event.source().to_string(),
                payload: event.payload().to_string(),
                received_at: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
            }
        }))
    }

    async fn head(&self, _ledger: &LedgerRecord) -> Result<Head, StoreError> {
        if self.inside(|inside| inside.heads_fail) {
            return Err(away());
        }
        Ok(self.judge().head)
    }

    async fn holds(&self, _ledger: &LedgerRecord, seen: &LedgerMark) -> Result<bool, StoreError> {
        Ok(self.judge().holds(seen))
    }

    async fn totals(&self, _ledger: &LedgerRecord) -> Result<Totals, StoreError> {
        Ok(self.judge().totals())
    }

    async fn newest_ids(
        &self,
        _ledger: &LedgerRecord,
        before: u64,
        limit: usize,
    ) -> Result<Vec<StoredId>, StoreError> {
        let judge = self.judge();
        let newest_first = (1..=judge.events.len() as u64).rev().filter(|seq| *seq < before).take(limit);
        let stored = newest_first.map(|seq| (seq, &judge.events[seq as usize - 1]));
        let id = |(seq, event): (u64, &Event)| StoredId {
            seq,
            topic: event.topic().to_string(),
            event_id: event.event_id().to_string(),
        };
        Ok(stored.map(id).collect())
    }
}

#[async_trait]
impl ControlStore for FaultyStore {
    async fn ledger(&self, namespace: &str) -> Result<Option<LedgerRecord>, StoreError> {
        Ok((namespace == DEFAULT_NAMESPACE).then(|| ledger(self.judge().scope)))
    }

    async fn namespace(&self, _namespace: &str) -> Result<Option<NamespaceInfo>, StoreError> {
        unreachable!("nobody asks for it")
    }

    async fn namespaces(&self, _query: &NamespaceQuery) -> Result<Vec<NamespaceInfo>, StoreError> {
        unreachable!("nobody asks for them")
    }

    async fn create(
        &self,
        _namespace: &str,
        _scope: DedupScope,
        _namespaces_max: usize,
    ) -> Result<CreateOutcome, StoreError> {
        unreachable!("nobody creates one")
    }

    async fn delete(&self, _namespace: &str) -> Result<bool, StoreError> {
        unreachable!("nobody deletes one")
    }

    async fn sweep(&self, _rows_max: usize) -> Result<Swept, StoreError> {
        Ok(Swept::default())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) -> bool {
        true
    }
}

struct FaultyWriter {
    store: FaultyStore,
    /// Not after an error, after which nobody may use it again.
    in_order: AtomicBool,
}

#[async_trait]
impl StoreWriter for FaultyWriter {
    async fn append_all(&mut self, groups: &[AppendGroup<'_>]) -> Result<Vec<GroupResult>, StoreError> {
        let [group] = groups else { unreachable!("one group at a time was asked for") };
        let answer = self.try_append(group).await;
        self.in_order.store(answer.is_ok(), Ordering::Relaxed);
        answer.map(|outcome| vec![Ok(outcome)])
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl FaultyWriter {
    async fn try_append(&self, group: &AppendGroup<'_>) -> Result<AppendOutcome, StoreError> {
        let in_order = self.in_order.load(Ordering::Relaxed);
        let fault = self.store.inside(|inside| {
            inside.inspect(group);
            if !in_order {
                inside.breaches.push("a connection was used after an error".to_owned());
            }
            inside.plan.pop().unwrap_or(Fault::None)
        });
        match fault {
            Fault::Unavailable => return Err(away()),
            Fault::Refuses(times) => {
                self.store.inside(|inside| inside.refusals = times);
                return Err(away());
            }
            Fault::Slow => tokio::time::sleep(Duration::from_millis(5)).await,
            Fault::PanicBefore => panic!("planned, before the commit"),
            Fault::BackUp => self.store.inside(|inside| inside.copy = inside.judge.clone()),
            Fault::RollBack(foreign_commits) => self.store.inside(|inside| {
                if inside.copy.head.mark.commit_no < inside.judge.head.mark.commit_no {
                    let past = std::mem::replace(&mut inside.judge, inside.copy.clone());
                    inside.past.push(past);
                    (0..foreign_commits).for_each(|_| inside.judge.grow());
                }
            }),
            Fault::None | Fault::AnswerLost | Fault::SlowAnswer | Fault::PanicAfter => {}
        }
        if group.events.iter().any(|event| **event.source() == *POISON) {
            let fault = std::io::Error::other("the poison");
            return Err(StoreError::Rejected(sqlx::Error::Encode(Box::new(fault))));
        }
        let too_large = self.store.inside(|inside| {
            let too_large = group.events.len() > inside.events_in_time;
            inside.too_large.extend(too_large.then_some(group.events.len()));
            too_large
        });
        if too_large {
            return Err(StoreError::TimedOut(Duration::from_secs(8)));
        }
        let answer = self.store.inside(|inside| inside.judge.append(group));
        match fault {
            Fault::AnswerLost => return Err(away()),
            Fault::SlowAnswer => tokio::time::sleep(Duration::from_millis(5)).await,
            Fault::PanicAfter => panic!("planned, after the commit"),
            _ => {}
        }
        Ok(answer)
    }
}

/// The source of events that the store refuses.
const POISON: &str = "poison";

/// Topic and id of an event; ids from `POISON_FROM` on are poison.
type Name = (u8, u8);
const IDS: u8 = 30;
const POISON_FROM: u8 = 28;

#[derive(Clone, Debug)]
struct Case {
    scope: DedupScope,
    shards: usize,
    window_ids: usize,
    group_events_max: usize,
    plan: Vec<Fault>,
    /// The batches of each publisher, one after the other.
    publishers: Vec<Vec<Vec<Name>>>,
}

fn cases(faults: impl Strategy<Value = Fault> + 'static) -> impl Strategy<Value = Case> {
    let batch = prop::collection::vec((0..3_u8, 0..IDS), 1..8);
    let publisher = prop::collection::vec(batch, 1..14);
    let plan = prop::collection::vec(prop_oneof![2 => Just(Fault::None), 3 => faults], 0..24);
    (
        prop::sample::select(vec![DedupScope::EventId, DedupScope::Topic]),
        1..=4_usize,
        prop::sample::select(vec![0, 8, 64]),
        prop::sample::select(vec![1, 6, 40, 1_000]),
        plan,
        prop::collection::vec(publisher, 1..6),
    )
        .prop_map(|(scope, shards, window_ids, group_events_max, plan, publishers)| Case {
            scope,
            shards,
            window_ids,
            group_events_max,
            plan,
            publishers,
        })
}

/// One attempt at publishing one batch.
struct Attempt {
    events: Vec<Event>,
    result: Result<Vec<Outcome>, PublishError>,
    /// Roll-backs before it began and after it was answered.
    generations: (usize, usize),
}

impl Attempt {
    fn is_poisoned(&self) -> bool {
        self.events.iter().any(|event| **event.source() == *POISON)
    }
}

fn events_of(batch: &[Name]) -> Vec<Event> {
    let event = |(topic, id): &Name| {
        let mut event = harness::event(&format!("t{topic}"), &format!("e{id}"));
        if *id >= POISON_FROM {
            event["source"] = json!(POISON);
        }
        event
    };
    let body = Value::Array(batch.iter().map(event).collect());
    parse_batch(Bytes::from(body.to_string()), usize::MAX).unwrap()
}

/// Publishes each batch until it is stored or refused for good.
async fn publish_all(actors: Service, store: FaultyStore, batches: Vec<Vec<Name>>) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for batch in batches {
        loop {
            let events = events_of(&batch);
            let begun = store.generation();
            let ledger = actors.ledger(DEFAULT_NAMESPACE).await.unwrap();
            let bytes = actors.body_permit(IpAddr::from([127, 0, 0, 1]).into());
            let result =
                ledger.publish(events.clone(), bytes, RequestIds::default(), Duration::from_secs(30)).await;
            // Planned panics may meet one request again and again, which then looks as if it were their cause.
            let settled = matches!(result, Ok(_) | Err(PublishError::Refused(_) | PublishError::Quarantined));
            attempts.push(Attempt { events, result, generations: (begun, store.generation()) });
            if settled {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    attempts
}

fn service_limits(case: &Case, store_patience: Duration) -> ServiceLimits {
    ServiceLimits {
        waits_max: 1,
        streams_max: 1,
        shards: case.shards,
        window_ids: case.window_ids,
        write_connections: 2,
        batch_events_max: 10_000,
        namespaces_max: 1,
        topics_max: 1_000,
        metrics_namespaces_max: 1_000,
        events_in_flight_max: 10_000,
        bytes_in_flight_max: 1_000_000,
        body_bytes_max: 1_000_000,
        peer_share_exempt: Vec::new(),
        group_events_max: case.group_events_max,
        group_bytes_max: 1_000_000,
        store_patience,
        restarts: RestartPolicy {
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(2),
            restarts_max: usize::MAX,
            ..RestartPolicy::default()
        },
    }
}

fn start(store: &FaultyStore, limits: ServiceLimits) -> Service {
    let engine = Arc::new(store.clone());
    let whole = Store {
        appends: engine.clone(),
        reads: engine.clone(),
        control: engine,
        news: None,
        progress: Arc::new(harness::no_subscriptions::NoSubscriptions),
    };
    Service::start(whole, limits, LinesLost::default()).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs a case; answers every attempt, and the counters as the actors show them in the end.
fn run(case: &Case, store: &FaultyStore, store_patience: Duration) -> (Vec<Attempt>, Totals) {
    let limits = service_limits(case, store_patience);
    actix_rt::System::with_tokio_rt(runtime).block_on(async {
        let actors = start(store, limits);
        let publishers: Vec<_> = case
            .publishers
            .iter()
            .map(|batches| tokio::spawn(publish_all(actors.clone(), store.clone(), batches.clone())))
            .collect();
        let mut attempts = Vec::new();
        for publisher in publishers {
            attempts.extend(publisher.await.unwrap());
        }
        // Permits come back a moment after the answer, with the last hand on the request.
        harness::eventually("all permits are back", async || {
            let report = actors.node();
            (report.events_in_flight, report.bytes_in_flight) == (0, 0)
        })
        .await;
        let report = actors.ledger(DEFAULT_NAMESPACE).await.unwrap().report().await.unwrap();
        let totals = (*report.totals).clone();
        drop(report);
        actors.stop().await;
        (attempts, totals)
    })
}

/// What holds whatever went wrong.
fn assert_answers_agree(attempts: &[Attempt], store: &FaultyStore) {
    let (past, present, breaches) =
        store.inside(|inside| (inside.past.clone(), inside.judge.clone(), inside.breaches.clone()));
    assert_eq!(breaches, Vec::<String>::new());
    let databases: Vec<&Judge> = past.iter().chain([&present]).collect();
    for attempt in attempts {
        match &attempt.result {
            Ok(outcomes) => {
                assert!(!attempt.is_poisoned(), "poison was acknowledged");
                assert_eq!(outcomes.len(), attempt.events.len());
                let (first, last) = attempt.generations;
                let agrees = |database: &&Judge| {
                    let seq = |event: &Event| database.seqs.get(&identity(database.scope, event)).copied();
                    let mut pairs = attempt.events.iter().zip(outcomes);
                    pairs.all(|(event, outcome)| seq(event) == Some(outcome.seq()))
                };
                assert!(
                    databases[first..=last].iter().any(agrees),
                    "{outcomes:?} is told of {:?}, which is not so",
                    attempt.events
                );
                let stored: Vec<u64> = outcomes
                    .iter()
                    .filter(|outcome| outcome.is_stored())
                    .map(|outcome| outcome.seq())
                    .collect();
                assert!(stored.is_sorted_by(|seq, next| *next == seq + 1), "{stored:?} of one request");
            }
            Err(PublishError::Refused(_)) => assert!(attempt.is_poisoned(), "a good request was refused"),
            Err(_) => {}
        }
    }
    assert!(present.events.iter().all(|event| **event.source() != *POISON));
    assert_eq!(present.head.last_seq, present.topics.iter().map(|total| total.unique).sum::<u64>());
}

/// How often each identity was answered "stored", and which may have been stored by an attempt whose answer
/// was lost.
fn stored_answers(attempts: &[Attempt], scope: DedupScope) -> (HashMap<Identity, usize>, HashSet<Identity>) {
    let mut stored: HashMap<Identity, usize> = HashMap::new();
    let mut in_doubt = HashSet::new();
    for attempt in attempts {
        match &attempt.result {
            Ok(outcomes) => {
                for (event, outcome) in attempt.events.iter().zip(outcomes) {
                    *stored.entry(identity(scope, event)).or_default() += usize::from(outcome.is_stored());
                }
            }
            Err(PublishError::Refused(_)) => {}
            Err(_) => in_doubt.extend(attempt.events.iter().map(|event| identity(scope, event))),
        }
    }
    (stored, in_doubt)
}

fn received_in<'a>(attempts: impl IntoIterator<Item = &'a Attempt>) -> u64 {
    attempts.into_iter().map(|attempt| attempt.events.len() as u64).sum()
}

fn check(cases: u32, strategy: impl Strategy<Value = Case>, case_holds: impl Fn(&Case)) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&strategy, |case| {
        case_holds(&case);
        Ok::<(), TestCaseError>(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn what_the_actors_try_again_themselves_is_neither_counted_twice_nor_called_a_duplicate() {
    let faults = prop_oneof![
        2 => Just(Fault::Unavailable),
        4 => Just(Fault::AnswerLost),
        2 => Just(Fault::Slow),
        2 => Just(Fault::SlowAnswer),
        1 => (1..3_u8).prop_map(Fault::Refuses),
    ];
    check(40, cases(faults), |case| {
        let store = FaultyStore::new(case.scope, &case.plan);
        let (attempts, totals) = run(case, &store, Duration::from_secs(20));
        assert_answers_agree(&attempts, &store);
        let judge = store.judge();
        assert_eq!(totals, judge.totals());

        let (stored, in_doubt) = stored_answers(&attempts, case.scope);
        assert!(in_doubt.is_empty(), "nobody had to try again");
        assert!(stored.values().all(|answers| *answers == 1), "each id was stored once: {stored:?}");
        let acknowledged: HashSet<&Identity> = stored.keys().collect();
        assert_eq!(judge.seqs.keys().collect::<HashSet<_>>(), acknowledged);
        let acknowledged = attempts.iter().filter(|attempt| attempt.result.is_ok());
        assert_eq!(judge.head.received, received_in(acknowledged));
    });
}

#[test]
fn poison_alone_is_refused_and_the_rest_of_its_group_is_stored() {
    check(16, cases(Just(Fault::Slow)), |case| {
        // Everything waits behind the first append, and so falls into few groups.
        let case = Case { group_events_max: 1_000, ..case.clone() };
        let store = FaultyStore::new(case.scope, &case.plan);
        let (attempts, totals) = run(&case, &store, Duration::from_secs(20));
        assert_answers_agree(&attempts, &store);
        assert_eq!(totals, store.judge().totals());
        for attempt in &attempts {
            let refused = matches!(attempt.result, Err(PublishError::Refused(_)));
            assert_eq!(attempt.is_poisoned(), refused, "{:?}", attempt.result);
        }
    });
}

#[test]
fn what_publishers_try_again_is_stored_once_though_the_writer_dies_and_the_store_stays_away() {
    let faults = prop_oneof![
        2 => Just(Fault::Unavailable),
        2 => Just(Fault::AnswerLost),
        1 => (1..4_u8).prop_map(Fault::Refuses),
        1 => Just(Fault::Slow),
        2 => Just(Fault::PanicBefore),
        2 => Just(Fault::PanicAfter),
    ];
    check(40, cases(faults), |case| {
        let store = FaultyStore::new(case.scope, &case.plan);
        let (attempts, totals) = run(case, &store, Duration::from_millis(25));
        assert_answers_agree(&attempts, &store);
        let judge = store.judge();
        assert_eq!(totals, judge.totals());

        let (stored, in_doubt) = stored_answers(&attempts, case.scope);
        for (identity, answers) in &stored {
            assert!(judge.seqs.contains_key(identity), "{identity:?} was acknowledged and is not there");
            let told_once = *answers == 1 || *answers == 0 && in_doubt.contains(identity);
            assert!(told_once, "{identity:?} was called stored {answers} times");
        }
        for identity in judge.seqs.keys() {
            assert!(stored.contains_key(identity) || in_doubt.contains(identity));
        }
        let acknowledged = received_in(attempts.iter().filter(|attempt| attempt.result.is_ok()));
        let sent = received_in(attempts.iter().filter(|attempt| !attempt.is_poisoned()));
        assert!((acknowledged..=sent).contains(&judge.head.received));
    });
}

#[test]
fn groups_that_the_store_does_not_take_in_time_become_smaller() {
    let one_by_one = |publisher: u8| vec![vec![(0, publisher)]];
    let case = Case {
        scope: DedupScope::EventId,
        shards: 2,
        window_ids: 64,
        group_events_max: 64,
        // The others gather behind the first one.
        plan: vec![Fault::Slow],
        publishers: (0..POISON_FROM).map(one_by_one).collect(),
    };
    let store = FaultyStore::new(case.scope, &case.plan);
    store.inside(|inside| inside.events_in_time = 3);
    let (attempts, totals) = run(&case, &store, Duration::from_millis(10));
    assert_answers_agree(&attempts, &store);
    assert_eq!(totals.head.last_seq, u64::from(POISON_FROM));
    let sizes = store.inside(|inside| inside.too_large.clone());
    assert!(sizes.first().is_some_and(|size| *size > 5), "the first ones were far too large: {sizes:?}");
    // Halved down to 3 or less, and then up by 2 as long as that is enough.
    let halved = || sizes.iter().skip_while(|size| **size > 5);
    assert!(halved().all(|size| *size <= 5), "groups grew large again: {sizes:?}");
}

#[test]
fn after_a_roll_back_nothing_that_is_missing_is_called_a_duplicate() {
    let faults = prop_oneof![
        2 => Just(Fault::BackUp),
        3 => (0..6_u8).prop_map(Fault::RollBack),
        1 => Just(Fault::AnswerLost),
        1 => Just(Fault::Slow),
        1 => Just(Fault::SlowAnswer),
    ];
    check(150, cases(faults), |case| {
        let store = FaultyStore::new(case.scope, &case.plan);
        let (attempts, totals) = run(case, &store, Duration::from_secs(20));
        // Each answer is right about the database of its time; what a roll-back took away is stored anew.
        assert_answers_agree(&attempts, &store);
        assert_eq!(totals, store.judge().totals());
    });
}

#[test]
fn ids_that_warmed_a_window_and_were_rolled_back_are_not_called_duplicates() {
    let names: Vec<Name> = (0..20).map(|id| (0, id)).collect();
    let case = Case {
        scope: DedupScope::EventId,
        shards: 2,
        window_ids: 1_000,
        group_events_max: 1_000,
        plan: Vec::new(),
        publishers: vec![vec![names.clone()]],
    };
    for foreign_commits in [0, 1, 50] {
        let store = FaultyStore::new(case.scope, &case.plan);
        run(&case, &store, Duration::from_secs(20));
        // The next service.
        store.inside(|inside| {
            inside.writer_id = None;
            inside.groups.clear();
        });
        actix_rt::System::with_tokio_rt(runtime).block_on(async {
            let actors = start(&store, service_limits(&case, Duration::from_secs(20)));
            actors.ledger(DEFAULT_NAMESPACE).await.unwrap();
            harness::eventually("the windows are warm", async || {
                let report = actors.node();
                report.shards.iter().map(|(_, window_ids)| window_ids).sum::<usize>() == names.len()
            })
            .await;
            // The append itself has to notice.
            store.inside(|inside| {
                inside.heads_fail = true;
                inside.judge = inside.copy.clone();
                (0..foreign_commits).for_each(|_| inside.judge.grow());
            });
            let attempts = publish_all(actors.clone(), store.clone(), vec![names.clone()]).await;
            actors.stop().await;
            assert_answers_agree(&attempts, &store);
        });
    }
}
