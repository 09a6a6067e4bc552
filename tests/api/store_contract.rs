//! What both engines promise to the actors: one suite, asked of each store directly, beside a model of it.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use proptest::{
    prelude::*,
    test_runner::{Config as ProptestConfig, TestCaseError, TestRunner},
};
use sekali::{
    event::{DedupScope, Digest, Event, Timestamp, parse_batch},
    store::{
        AppendGroup, AppendOutcome, Committed, DEFAULT_NAMESPACE, Head, LedgerKey, LedgerMark, LedgerRecord,
        OpenOptions, PAGE_BYTES_MAX, Page, PageQuery, Store, StoreError, StoreWriter, StoredEvent, StoredId,
        TOPICS_SHOWN_MAX, TopicCount, TopicTotal, Totals, open,
    },
};
use serde_json::{Value, json};
use sqlx::Connection;
use uuid::Uuid;

use crate::harness::{self, Database, ENGINES, Engine, block_on};

const SCOPES: [DedupScope; 2] = [DedupScope::EventId, DedupScope::Topic];

/// A group before it is sent: candidates, of which no two are the same event, and duplicates known by topic.
#[derive(Clone, Debug, Default)]
struct Given {
    events: Vec<Event>,
    known: Vec<String>,
}

impl Given {
    fn of<'a>(ids: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let events = ids.into_iter().map(|(topic, id)| harness::event(topic, id)).collect();
        Self { events: parsed(Value::Array(events)), known: Vec::new() }
    }

    fn known<'a>(mut self, topics: impl IntoIterator<Item = &'a str>) -> Self {
        self.known.extend(topics.into_iter().map(str::to_owned));
        self
    }

    /// The counts by topic in the order in which the topics first occur, as the writer sums them up.
    fn counts(&self) -> Vec<TopicCount<'_>> {
        let mut counts: Vec<TopicCount<'_>> = Vec::new();
        let mut places = HashMap::new();
        let topics = self.events.iter().map(|event| (&**event.topic(), 1, 0));
        for (topic, new_events, duplicates) in topics.chain(self.known.iter().map(|topic| (&**topic, 0, 1))) {
            let place = *places.entry(topic).or_insert(counts.len());
            if place == counts.len() {
                counts.push(TopicCount { topic, new_events: 0, duplicates: 0 });
            }
            counts[place].new_events += new_events;
            counts[place].duplicates += duplicates;
        }
        counts
    }
}

/// Events in request order; they must be valid.
fn parsed(body: Value) -> Vec<Event> {
    match &body {
        Value::Array(events) if events.is_empty() => Vec::new(),
        _ => parse_batch(Bytes::from(body.to_string()), usize::MAX).expect("valid events"),
    }
}

/// What a store must be like after the groups it was given.
struct Model {
    scope: DedupScope,
    head: Head,
    events: Vec<Event>,
    seqs: HashMap<(String, String), u64>,
    topics: Vec<TopicTotal>,
    topic_places: HashMap<String, usize>,
}

impl Model {
    fn new(scope: DedupScope) -> Self {
        Self {
            scope,
            head: Head::default(),
            events: Vec::new(),
            seqs: HashMap::new(),
            topics: Vec::new(),
            topic_places: HashMap::new(),
        }
    }

    fn append(&mut self, given: &Given, writer_id: Uuid, group_no: u64) -> Committed {
        let first_seq = self.head.last_seq + 1;
        for count in given.counts() {
            if !self.topic_places.contains_key(count.topic) {
                self.topic_places.insert(count.topic.to_owned(), self.topics.len());
                self.topics.push(TopicTotal { topic: count.topic.to_owned(), unique: 0, duplicates: 0 });
            }
        }
        let mut repeats = Vec::new();
        for (place, event) in given.events.iter().enumerate() {
            let key = (self.scope.key_topic(event.topic()).to_owned(), event.event_id().to_string());
            let total = &mut self.topics[self.topic_places[&**event.topic()]];
            if let Some(seq) = self.seqs.get(&key) {
                total.duplicates += 1;
                repeats.push((place, *seq));
            } else {
                total.unique += 1;
                self.events.push(event.clone());
                self.seqs.insert(key, self.events.len() as u64);
            }
        }
        for topic in &given.known {
            self.topics[self.topic_places[topic]].duplicates += 1;
        }
        self.head = Head {
            mark: LedgerMark { commit_no: self.head.mark.commit_no + 1, writer_id, group_no },
            last_seq: self.events.len() as u64,
            received: self.head.received + (given.events.len() + given.known.len()) as u64,
            topics_total: self.topics.len() as u64,
        };
        Committed { head: self.head, first_seq, repeats }
    }

    fn totals(&self) -> Totals {
        let shown = &self.topics[self.topics.len().saturating_sub(TOPICS_SHOWN_MAX)..];
        Totals { head: self.head, topics: shown.to_vec() }
    }

    /// The events that `query` matches, each with its `seq`, without regard to bytes, and whether there are more.
    fn page(&self, query: &PageQuery) -> (Vec<(u64, &Event)>, bool) {
        let matches = |(seq, event): &(u64, &Event)| {
            (query.topics.is_empty() || query.topics.iter().any(|topic| *topic == **event.topic()))
                && query.before.is_none_or(|before| *seq < before)
                && query.after.is_none_or(|after| *seq > after)
        };
        let mut found: Vec<(u64, &Event)> = (1..).zip(&self.events).filter(matches).collect();
        if query.after.is_none() {
            found.reverse();
        }
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        (found, more)
    }
}

/// A store of its own, with a writer and the model of what it was given.
struct Bench {
    store: Store,
    ledger: LedgerRecord,
    writer: Box<dyn StoreWriter>,
    writer_id: Uuid,
    group_no: u64,
    model: Model,
    // Declared last: it outlives the connections to it.
    database: Database,
}

impl Bench {
    async fn new(engine: Engine, scope: DedupScope) -> Self {
        let database = Database::create(engine).await;
        let options = OpenOptions { migrate: true, scope: Some(scope), read_connections: 2 };
        let store = open(&database.url, &options).await.unwrap();
        let ledger = ledger_of(&store).await;
        assert_eq!(ledger.scope, scope);
        let writer = store.appends.open_writer().await.unwrap();
        let writer_id = Uuid::new_v4();
        Self { store, ledger, writer, writer_id, group_no: 0, model: Model::new(scope), database }
    }

    fn digest(&self, event: &Event) -> Digest {
        self.ledger.digester.digest(event.topic(), event.event_id())
    }

    async fn reconnect(&mut self) {
        self.writer = self.store.appends.open_writer().await.unwrap();
    }

    /// Sends `given` under this number of this writer, whether or not that was used before.
    async fn send(
        &mut self,
        writer_id: Uuid,
        group_no: u64,
        seen: LedgerMark,
        given: &Given,
    ) -> Result<AppendOutcome, StoreError> {
        let events: Vec<&Event> = given.events.iter().collect();
        let digests: Vec<_> = events.iter().map(|event| self.digest(event)).collect();
        let counts = given.counts();
        let group = AppendGroup {
            ledger: self.ledger.key,
            writer_id,
            group_no,
            topics_max: u32::MAX,
            seen,
            events: &events,
            digests: &digests,
            counts: &counts,
        };
        self.writer.append_all(&[group]).await?.remove(0)
    }

    /// Sends `given` as the next group.
    async fn send_next(&mut self, given: &Given) -> Result<AppendOutcome, StoreError> {
        self.group_no += 1;
        self.send(self.writer_id, self.group_no, self.model.head.mark, given).await
    }

    /// Appends `given`, which must become what the model says.
    async fn append(&mut self, given: &Given) -> Committed {
        let answer = self.send_next(given).await.unwrap();
        let expected = self.model.append(given, self.writer_id, self.group_no);
        assert_eq!(answer, AppendOutcome::Committed(expected.clone()));
        expected
    }

    /// Sends the last group once more, as one does whose answer was lost.
    async fn send_last_again(&mut self, given: &Given) -> AppendOutcome {
        self.send(self.writer_id, self.group_no, self.model.head.mark, given).await.unwrap()
    }

    async fn assert_as_modelled(&self) {
        assert_eq!(self.store.reads.head(&self.ledger).await.unwrap(), self.model.head);
        assert_eq!(self.store.reads.totals(&self.ledger).await.unwrap(), self.model.totals());
        self.database.assert_sound().await;
    }
}

/// The ledger of the one namespace that these tests use.
async fn ledger_of(store: &Store) -> LedgerRecord {
    store.control.ledger(DEFAULT_NAMESPACE).await.unwrap().expect("the namespace default")
}

fn on_both_engines<F: Future<Output = ()>>(scopes: &[DedupScope], test: impl Fn(Bench) -> F) {
    for engine in ENGINES {
        for scope in scopes {
            eprintln!("--- on {engine:?}, scope {scope}");
            block_on(async { test(Bench::new(engine, *scope).await).await });
        }
    }
}

#[test]
fn an_empty_store_has_nothing_and_says_so() {
    on_both_engines(&SCOPES, async |bench| {
        assert_eq!(bench.store.reads.head(&bench.ledger).await.unwrap(), Head::default());
        assert_eq!(bench.store.reads.totals(&bench.ledger).await.unwrap(), Totals::default());
        let query = PageQuery { limit: 10, ..PageQuery::default() };
        assert_eq!(
            bench.store.reads.page(&bench.ledger, &query).await.unwrap(),
            Page { events: Vec::new(), next: None, head: 0 }
        );
        assert_eq!(bench.store.reads.newest_ids(&bench.ledger, u64::MAX, 10).await.unwrap(), Vec::new());
        assert_eq!(bench.store.reads.event(&bench.ledger, "a", Some("t")).await.unwrap(), None);
        bench.assert_as_modelled().await;
    });
}

#[test]
fn new_events_get_consecutive_seqs_from_1_over_all_groups() {
    on_both_engines(&SCOPES, async |mut bench| {
        let committed = bench.append(&Given::of([("t", "a"), ("u", "b"), ("t", "c")])).await;
        assert_eq!((committed.first_seq, committed.head.last_seq), (1, 3));
        assert_eq!(committed.head.topics_total, 2);
        let committed = bench.append(&Given::of([("v", "d")])).await;
        assert_eq!((committed.first_seq, committed.head.last_seq), (4, 4));
        bench.reconnect().await;
        let committed = bench.append(&Given::of([("t", "e"), ("t", "f")])).await;
        assert_eq!((committed.first_seq, committed.head.last_seq, committed.head.mark.commit_no), (5, 6, 3));
        assert_eq!(committed.head.topics_total, 3);
        bench.assert_as_modelled().await;
    });
}

#[test]
fn known_duplicates_are_counted_without_their_events() {
    on_both_engines(&SCOPES, async |mut bench| {
        bench.append(&Given::of([("t", "a")])).await;
        let committed = bench.append(&Given::default().known(["t", "u", "t"])).await;
        assert_eq!((committed.first_seq, committed.head.last_seq, committed.head.received), (2, 1, 4));
        assert_eq!(committed.head.topics_total, 2, "a duplicate counts for the topic that it names");
        bench.append(&Given::of([("u", "b")]).known(["t"])).await;
        bench.assert_as_modelled().await;
        let topics = bench.store.reads.totals(&bench.ledger).await.unwrap().topics;
        let shown: Vec<_> =
            topics.iter().map(|total| (&*total.topic, total.unique, total.duplicates)).collect();
        assert_eq!(shown, [("t", 1, 3), ("u", 1, 1)]);
    });
}

#[test]
fn repeats_are_found_wherever_they_stand_in_a_group() {
    on_both_engines(&SCOPES, async |mut bench| {
        bench.append(&Given::of([("t", "a"), ("u", "b"), ("t", "c"), ("u", "d")])).await;
        let groups: [&[(&str, &str)]; 6] = [
            &[("t", "a"), ("t", "1"), ("u", "2")],
            &[("t", "3"), ("u", "b"), ("u", "4")],
            &[("t", "5"), ("v", "6"), ("t", "c")],
            &[("t", "7"), ("t", "c"), ("u", "8"), ("t", "a"), ("u", "9"), ("u", "d")],
            &[("u", "d"), ("t", "c"), ("u", "b"), ("t", "a")],
            &[("t", "1")],
        ];
        let repeats: [&[(usize, u64)]; 6] = [
            &[(0, 1)],
            &[(1, 2)],
            &[(2, 3)],
            &[(1, 3), (3, 1), (5, 4)],
            &[(0, 4), (1, 3), (2, 2), (3, 1)],
            &[(0, 5)],
        ];
        for (group, repeats) in groups.into_iter().zip(repeats) {
            let committed = bench.append(&Given::of(group.iter().copied()).known(["t"])).await;
            assert_eq!(committed.repeats, repeats);
            bench.assert_as_modelled().await;
        }
    });
}

#[test]
fn the_scope_decides_whether_an_id_in_another_topic_is_a_repeat() {
    on_both_engines(&SCOPES, async |mut bench| {
        bench.append(&Given::of([("t", "a"), ("t", "b")])).await;
        let committed = bench.append(&Given::of([("u", "a"), ("t", "b"), ("u", "c")])).await;
        let stored = match bench.model.scope {
            DedupScope::EventId => {
                assert_eq!(committed.repeats, [(0, 1), (1, 2)]);
                assert_eq!(bench.store.reads.event(&bench.ledger, "a", Some("u")).await.unwrap(), None);
                bench.store.reads.event(&bench.ledger, "a", None).await.unwrap().unwrap()
            }
            DedupScope::Topic => {
                assert_eq!(committed.repeats, [(1, 2)]);
                assert_eq!(
                    bench.store.reads.event(&bench.ledger, "a", Some("u")).await.unwrap().unwrap().seq,
                    3
                );
                bench.store.reads.event(&bench.ledger, "a", Some("t")).await.unwrap().unwrap()
            }
        };
        assert_eq!((stored.seq, &*stored.topic), (1, "t"));
        assert_eq!(committed.head.topics_total, 2);
        bench.assert_as_modelled().await;
    });
}

#[test]
fn the_first_copy_wins_whatever_a_later_one_carries() {
    on_both_engines(&[DedupScope::EventId], async |mut bench| {
        bench.append(&Given::of([("t", "a")])).await;
        let mut later = harness::event("u", "a");
        later["source"] = json!("another");
        later["payload"] = json!({"another": true});
        later["timestamp"] = json!("1999-01-01T00:00:00Z");
        bench.append(&Given { events: parsed(later), known: Vec::new() }).await;
        let stored = bench.store.reads.event(&bench.ledger, "a", None).await.unwrap().unwrap();
        assert_eq!((&*stored.topic, &*stored.source, &*stored.payload), ("t", "test", r#"{"of":"a"}"#));
        bench.assert_as_modelled().await;
    });
}

#[test]
fn names_are_told_apart_to_the_byte() {
    on_both_engines(&SCOPES, async |mut bench| {
        let longest = "é".repeat(127) + "x";
        let names = [
            "a", "A", "a ", " a", "ä", "a\u{308}", "0", "00", "1e3", "null", "a'b", "a\"b", "a\\b", "%", "_",
            "🦀",
        ];
        let ids: Vec<_> = names.into_iter().chain([longest.as_str()]).collect();
        let committed = bench.append(&Given::of(ids.iter().map(|id| (*id, *id)))).await;
        assert_eq!(committed.repeats, []);
        assert_eq!(committed.head.topics_total, ids.len() as u64);
        bench.append(&Given::of(ids.iter().rev().map(|id| (*id, *id)))).await;
        for (seq, id) in (1..).zip(&ids) {
            let stored = bench.store.reads.event(&bench.ledger, id, Some(id)).await.unwrap().unwrap();
            assert_eq!((stored.seq, &*stored.event_id, &*stored.topic), (seq, *id, *id));
            let query = PageQuery { topics: vec![(*id).to_owned()], limit: 10, ..PageQuery::default() };
            assert_eq!(bench.store.reads.page(&bench.ledger, &query).await.unwrap().events, [stored]);
        }
        bench.assert_as_modelled().await;
    });
}

#[test]
fn no_index_on_names_depends_on_a_collation_that_the_system_may_change() {
    block_on(async {
        let bench = Bench::new(Engine::Postgres, DedupScope::EventId).await;
        let columns = |collation: &str| {
            format!(
                "SELECT count(*) FROM pg_attribute a JOIN pg_index i ON a.attrelid = i.indexrelid
                 JOIN pg_class t ON t.oid = i.indrelid JOIN pg_collation c ON c.oid = a.attcollation
                 WHERE t.relnamespace = 'sekali'::regnamespace AND c.collname {collation}"
            )
        };
        // The names of counters, namespaces, subscriptions and topics; identities are digests.
        assert_eq!(bench.database.number(&columns("= 'C'")).await, 4);
        assert_eq!(bench.database.number(&columns("<> 'C'")).await, 0);
    });
}

#[test]
fn a_group_whose_answer_was_lost_is_answered_alike_and_counted_once() {
    on_both_engines(&SCOPES, async |mut bench| {
        let groups = [
            Given::of([("t", "a"), ("u", "b")]),
            Given::of([("t", "c")]).known(["t", "w"]),
            Given::default().known(["u", "x"]),
            Given::of([("t", "a"), ("t", "d"), ("u", "b"), ("v", "e")]).known(["v"]),
            Given::of([("t", "a")]),
        ];
        for given in &groups {
            let committed = bench.append(given).await;
            for connection in ["the same", "the same", "a new"] {
                if connection == "a new" {
                    bench.reconnect().await;
                }
                let again = bench.send_last_again(given).await;
                assert_eq!(
                    again,
                    AppendOutcome::Committed(committed.clone()),
                    "over {connection} connection"
                );
                bench.assert_as_modelled().await;
            }
        }
    });
}

#[test]
fn a_lost_answer_is_given_again_though_other_writers_committed_meanwhile() {
    block_on(async {
        // Only Postgres serves several nodes.
        let mut bench = Bench::new(Engine::Postgres, DedupScope::EventId).await;
        let lost = Given::of([("t", "a"), ("u", "b")]);
        let committed = bench.append(&lost).await;
        let (writer_id, group_no) = (bench.writer_id, bench.group_no);
        bench.writer_id = Uuid::new_v4();
        bench.append(&Given::of([("t", "a"), ("t", "c")])).await;
        let again = bench.send(writer_id, group_no, committed.head.mark, &lost).await.unwrap();
        assert_eq!(again, AppendOutcome::Committed(committed));
        bench.assert_as_modelled().await;
    });
}

#[test]
fn a_group_that_comes_after_a_later_one_does_nothing() {
    on_both_engines(&SCOPES, async |mut bench| {
        let abandoned = Given::of([("t", "late")]).known(["t"]);
        bench.group_no += 1;
        let abandoned_no = bench.group_no;
        bench.append(&Given::of([("t", "a")])).await;
        bench.append(&Given::of([("t", "b")])).await;
        for _ in 0..2 {
            let answer =
                bench.send(bench.writer_id, abandoned_no, LedgerMark::default(), &abandoned).await.unwrap();
            assert_eq!(answer, AppendOutcome::Overtaken);
            bench.reconnect().await;
        }
        assert_eq!(bench.store.reads.event(&bench.ledger, "late", Some("t")).await.unwrap(), None);
        bench.append(&Given::of([("t", "c")])).await;
        bench.assert_as_modelled().await;
    });
}

#[test]
fn a_ledger_without_the_commit_that_was_seen_is_called_restored_and_left_alone() {
    on_both_engines(&SCOPES, async |mut bench| {
        bench.append(&Given::of([("t", "a"), ("t", "b")])).await;
        let here = bench.model.head.mark;
        let mut missing = vec![
            LedgerMark { commit_no: 2, ..here },
            LedgerMark { group_no: 9, ..here },
            LedgerMark { writer_id: Uuid::new_v4(), ..here },
        ];
        if bench.database.engine == Engine::Postgres {
            // With other nodes the ledger may have grown beyond what it lost; one SQLite file has one service.
            bench.append(&Given::of([("t", "more")])).await;
            bench.append(&Given::default().known(["t"])).await;
            assert!(bench.store.reads.holds(&bench.ledger, &here).await.unwrap());
        }
        let here = bench.model.head.mark;
        let found = bench.model.head;
        missing.push(LedgerMark { commit_no: here.commit_no + 1, ..here });
        for given in [Given::of([("new", "c")]), Given::of([("t", "a")]), Given::default().known(["t"])] {
            for seen in missing.iter().copied() {
                assert!(!bench.store.reads.holds(&bench.ledger, &seen).await.unwrap());
                bench.group_no += 1;
                let answer = bench.send(bench.writer_id, bench.group_no, seen, &given).await.unwrap();
                assert_eq!(answer, AppendOutcome::Restored(found));
                bench.assert_as_modelled().await;
            }
        }
        // With what the ledger says now, the same connection goes on.
        bench.append(&Given::of([("new", "c"), ("t", "a")])).await;
        bench.assert_as_modelled().await;
    });
}

/// As after a restore that gave the number to another namespace, or the end of this one.
#[test]
fn a_number_that_belongs_to_another_ledger_or_to_none_is_gone_and_left_alone() {
    on_both_engines(&[DedupScope::EventId], async |mut bench| {
        bench.append(&Given::of([("t", "a")])).await;
        let here = bench.ledger.key;
        for key in [LedgerKey { ledger_id: Uuid::new_v4(), ..here }, LedgerKey { namespace_no: 7, ..here }] {
            bench.ledger.key = key;
            for given in [Given::of([("t", "b")]), Given::default().known(["t"]), Given::default()] {
                assert_eq!(bench.send_next(&given).await.unwrap(), AppendOutcome::Gone);
            }
            let (reads, ledger) = (&bench.store.reads, &bench.ledger);
            let query = PageQuery { limit: 10, ..PageQuery::default() };
            let gone = [
                reads.page(ledger, &query).await.map(|_| ()),
                reads.event(ledger, "a", None).await.map(|_| ()),
                reads.head(ledger).await.map(|_| ()),
                reads.holds(ledger, &bench.model.head.mark).await.map(|_| ()),
                reads.totals(ledger).await.map(|_| ()),
            ];
            assert!(gone.iter().all(|answer| matches!(answer, Err(StoreError::Gone))), "{gone:?}");
            assert_eq!(reads.newest_ids(ledger, u64::MAX, 10).await.unwrap(), []);
        }
        bench.ledger.key = here;
        bench.append(&Given::of([("t", "b")])).await;
        bench.assert_as_modelled().await;
    });
}

#[test]
fn totals_are_exact_after_thousands_of_groups_and_topics() {
    on_both_engines(&[DedupScope::EventId], async |mut bench| {
        let mut noise = 1_u64;
        let mut below = |limit: u64| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 33) % limit
        };
        for round in 0..2_400 {
            // Few topics at first, then more than are shown, in groups of one event to some dozens.
            let topics = 5 + round;
            let mut ids: Vec<(String, String)> = Vec::new();
            for _ in 0..below(if round % 10 == 0 { 60 } else { 6 }) {
                let (topic, id) = (format!("topic {}", below(topics)), format!("id {}", below(20_000)));
                if !ids.iter().any(|(_, other)| *other == id) {
                    ids.push((topic, id));
                }
            }
            let known: Vec<String> = (0..below(6)).map(|_| format!("topic {}", below(topics))).collect();
            let given = Given::of(ids.iter().map(|(topic, id)| (&**topic, &**id)));
            let given = given.known(known.iter().map(String::as_str));
            let committed = bench.append(&given).await;
            if round % 101 == 0 {
                let again = bench.send_last_again(&given).await;
                assert_eq!(again, AppendOutcome::Committed(committed));
            }
            if round % 400 == 399 {
                bench.assert_as_modelled().await;
                if bench.database.engine == Engine::Postgres {
                    // Many events pass: what is folded may be pruned.
                    let age = "UPDATE sekali.commits SET received = received - 40000000
                               WHERE commit_no < (SELECT max(commit_no) FROM sekali.commits)";
                    bench.database.execute(age).await;
                }
            }
        }
        assert!(bench.model.topics.len() > TOPICS_SHOWN_MAX + 200, "{} topics", bench.model.topics.len());
        bench.assert_as_modelled().await;
        if bench.database.engine == Engine::Postgres {
            let kept = bench.database.number("SELECT count(*) FROM sekali.commits").await;
            assert!((1..2_000).contains(&kept), "{kept} commits are kept of 2,400");
        }
    });
}

#[test]
fn one_group_may_use_more_topics_than_are_shown() {
    on_both_engines(&[DedupScope::EventId], async |mut bench| {
        let names: Vec<String> = (0..6_000).map(|number| format!("n{number}")).collect();
        let wide = Given::of(names.iter().map(|name| (&**name, &**name)));
        let committed = bench.append(&wide).await;
        assert_eq!(committed.head.topics_total, 6_000);
        bench.append(&Given::of([("n1", "again"), ("n2", "n2")]).known(["n5999"])).await;
        let begun = Instant::now();
        bench.append(&wide.clone().known(["n5998"])).await;
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "as if each topic took a look at all: {:?}",
            begun.elapsed()
        );
        bench.append(&Given::of([("last", "last")])).await;
        bench.assert_as_modelled().await;
    });
}

#[test]
fn everything_is_still_there_when_the_database_is_opened_again() {
    on_both_engines(&SCOPES, async |mut bench| {
        bench.append(&Given::of([("t", "a"), ("u", "b")]).known(["t"])).await;
        let Bench { store, ledger: LedgerRecord { key, .. }, writer, model, database, .. } = bench;
        drop(writer);
        store.control.close().await;
        drop(store);
        let options = OpenOptions { migrate: false, scope: None, read_connections: 1 };
        let store = open(&database.url, &options).await.unwrap();
        let (ledger, writer) = (ledger_of(&store).await, store.appends.open_writer().await.unwrap());
        let writer_id = Uuid::new_v4();
        let mut bench = Bench { store, ledger, writer, writer_id, group_no: 0, model, database };
        assert_eq!(bench.ledger.key, key);
        assert_eq!(bench.ledger.scope, bench.model.scope);
        bench.assert_as_modelled().await;
        bench.append(&Given::of([("t", "a"), ("u", "c")])).await;
        bench.assert_as_modelled().await;
    });
}

#[test]
fn a_payload_comes_back_to_the_letter() {
    on_both_engines(&[DedupScope::EventId], async |mut bench| {
        let deep = format!("{}{{}}{}", r#"{"a":"#.repeat(63), "}".repeat(63));
        let digits = format!(r#"{{"a":0.{}}}"#, "1234567890".repeat(99));
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000_000));
        let payloads = [
            "{}",
            "{ }",
            "{\n\t\"a\" : [ 1 , 2 ]\r\n}",
            r#"{"b":1,"a":2,"a":3}"#,
            r#"{"a":1.0,"b":-0,"c":1E+2,"d":1.7e308,"e":0.1000000000000000000000001,"f":123456789012345678901234567890}"#,
            r#"{"a":"\u00e9\ud83e\udd80\/\\u0000\n","é":"é🦀","":null}"#,
            r#"{"a":"'$1 %s ; DROP TABLE events --"}"#,
            &deep,
            &digits,
            &long,
        ];
        let events: Vec<String> = (0..)
            .zip(payloads)
            .map(|(id, payload)| {
                format!(
                    r#"{{"topic":"t","event_id":"{id}","timestamp":"2026-01-01T00:00:00Z","source":"s","payload":{payload}}}"#
                )
            })
            .collect();
        let events = parse_batch(Bytes::from(format!("[{}]", events.join(","))), 100).unwrap();
        bench.append(&Given { events, known: Vec::new() }).await;
        let query = PageQuery { after: Some(0), limit: 100, ..PageQuery::default() };
        let page = bench.store.reads.page(&bench.ledger, &query).await.unwrap();
        for (id, (stored, payload)) in page.events.iter().zip(payloads).enumerate() {
            assert_eq!(stored.payload, payload);
            let alone = bench.store.reads.event(&bench.ledger, &id.to_string(), None).await.unwrap().unwrap();
            assert_eq!(alone, *stored);
        }
        assert_eq!((page.events.len(), page.next), (payloads.len(), None));
    });
}

#[test]
fn times_from_year_1_to_year_9999_come_back_to_the_microsecond() {
    on_both_engines(&[DedupScope::EventId], async |mut bench| {
        let times = [
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00.000001Z",
            "1582-10-10T12:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "1970-01-01T00:00:00Z",
            "1999-12-31T23:59:59.500000Z",
            "2026-02-28T23:59:59.123456Z",
            "9999-12-31T23:59:59.999999Z",
        ];
        let mut events = Vec::new();
        for time in times {
            let mut event = harness::event("t", time);
            event["timestamp"] = json!(time);
            events.push(event);
        }
        bench.append(&Given { events: parsed(Value::Array(events)), known: Vec::new() }).await;
        for time in times {
            let stored = bench.store.reads.event(&bench.ledger, time, None).await.unwrap().unwrap();
            assert_eq!(stored.timestamp, Timestamp::parse(time).unwrap());
        }
    });
}

#[test]
fn received_at_is_the_time_of_the_append() {
    on_both_engines(&[DedupScope::EventId], async |mut bench| {
        let micros = || {
            let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            i64::try_from(elapsed.as_micros()).unwrap()
        };
        let begun = micros();
        bench.append(&Given::of([("t", "a"), ("t", "b")])).await;
        let ended = micros();
        let query = PageQuery { limit: 10, ..PageQuery::default() };
        let events = bench.store.reads.page(&bench.ledger, &query).await.unwrap().events;
        assert_eq!(events[0].received_at, events[1].received_at, "one value a group");
        assert!((begun..=ended).contains(&events[0].received_at.unix_micros()));
    });
}

#[test]
fn a_page_ends_at_its_limit_in_bytes_and_holds_at_least_one_event() {
    on_both_engines(&[DedupScope::EventId], async |mut bench| {
        let third = PAGE_BYTES_MAX / 3 - 1_000;
        for (id, bytes) in [third, third, third, third, PAGE_BYTES_MAX + 1, 10].into_iter().enumerate() {
            let mut event = harness::event("t", &id.to_string());
            event["payload"] = json!({"a": "x".repeat(bytes)});
            bench.append(&Given { events: parsed(event), known: Vec::new() }).await;
        }
        type Expected<'a> = (Option<u64>, Option<u64>, &'a [u64], bool);
        let pages: [Expected<'_>; 7] = [
            (None, None, &[6], true),
            (Some(6), None, &[5], true),
            (Some(5), None, &[4, 3, 2], true),
            (Some(2), None, &[1], false),
            (None, Some(0), &[1, 2, 3], true),
            (None, Some(3), &[4], true),
            (None, Some(5), &[6], false),
        ];
        for (before, after, seqs, more) in pages {
            let query = PageQuery { before, after, limit: 100, ..PageQuery::default() };
            let page = bench.store.reads.page(&bench.ledger, &query).await.unwrap();
            let found: Vec<u64> = page.events.iter().map(|event| event.seq).collect();
            assert_eq!((&*found, page.next), (seqs, found.last().copied().filter(|_| more)), "{query:?}");
        }
    });
}

#[test]
fn a_group_that_the_database_cannot_keep_is_rejected_and_leaves_nothing() {
    on_both_engines(&SCOPES, async |mut bench| {
        let poisons: &[&str] = match bench.database.engine {
            Engine::Sqlite => {
                &["CREATE TRIGGER poison BEFORE INSERT ON stored_events WHEN NEW.source = 'poison'
                 BEGIN SELECT RAISE(ABORT, 'this event cannot be kept'); END"]
            }
            Engine::Postgres => &[
                // Class 23, and not the unique key that is the judge.
                "ALTER TABLE sekali.stored_events ADD CONSTRAINT poison CHECK (source <> 'poison')",
                // Class 22, as text that the server cannot keep.
                "ALTER TABLE sekali.stored_events DROP CONSTRAINT poison;
                 CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'poison' USING ERRCODE = '22P05'; END $$;
                 CREATE TRIGGER poison BEFORE INSERT ON sekali.stored_events FOR EACH ROW
                 WHEN (NEW.source = 'poison') EXECUTE FUNCTION poison()",
            ],
        };
        bench.append(&Given::of([("t", "a")])).await;
        let mut poisonous = harness::event("poisoned", "poison");
        poisonous["source"] = json!("poison");
        for poison in poisons {
            bench.database.execute(poison).await;
            // Alone, between new events, and behind a repeat, where the usual path has failed already.
            for others in [&[][..], &[("new", "b")], &[("t", "a"), ("new", "b")]] {
                let mut given = Given::of(others.iter().copied()).known(["counted", "t"]);
                given.events.extend(parsed(poisonous.clone()));
                let refused = bench.send_next(&given).await;
                assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
                bench.assert_as_modelled().await;
                bench.reconnect().await;
            }
        }
        assert_eq!(bench.store.reads.event(&bench.ledger, "poison", Some("poisoned")).await.unwrap(), None);
        bench.append(&Given::of([("t", "a"), ("new", "b")]).known(["t"])).await;
        bench.assert_as_modelled().await;
    });
}

#[test]
fn a_database_that_another_one_keeps_locked_is_unavailable_until_it_lets_go() {
    on_both_engines(&[DedupScope::EventId], async |mut bench| {
        bench.append(&Given::of([("t", "a")])).await;
        let given = Given::of([("t", "a"), ("t", "b")]);
        let waited = Instant::now();
        let answer = match bench.database.engine {
            Engine::Sqlite => {
                let mut other = sqlx::SqliteConnection::connect(&bench.database.url).await.unwrap();
                let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
                let answer = bench.send_next(&given).await;
                lock.rollback().await.unwrap();
                answer
            }
            Engine::Postgres => {
                let mut other = sqlx::PgConnection::connect(&bench.database.url).await.unwrap();
                let mut lock = other.begin().await.unwrap();
                sqlx::query("SELECT ledger_id FROM sekali.ledgers FOR UPDATE")
                    .execute(&mut *lock)
                    .await
                    .unwrap();
                let answer = bench.send_next(&given).await;
                lock.rollback().await.unwrap();
                answer
            }
        };
        match bench.database.engine {
            Engine::Sqlite => assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}"),
            Engine::Postgres => assert!(matches!(answer, Err(StoreError::Locked(_))), "{answer:?}"),
        }
        assert!(waited.elapsed() < Duration::from_secs(6), "gave up after {:?}", waited.elapsed());
        bench.assert_as_modelled().await;
        bench.reconnect().await;
        let answer = bench.send_last_again(&given).await;
        let expected = bench.model.append(&given, bench.writer_id, bench.group_no);
        assert_eq!(answer, AppendOutcome::Committed(expected));
        bench.assert_as_modelled().await;
    });
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    AppendOutcome(Vec<(u8, u8)>, Vec<u8>),
    SendLastAgain,
    Reconnect,
}

fn histories() -> impl Strategy<Value = (DedupScope, Vec<Step>)> {
    let identities = prop::collection::vec((0..4_u8, 0..40_u8), 0..12);
    let step = prop_oneof![
        8 => (identities, prop::collection::vec(0..5_u8, 0..4))
            .prop_map(|(identities, known)| Step::AppendOutcome(identities, known)),
        2 => Just(Step::SendLastAgain),
        1 => Just(Step::Reconnect),
    ];
    (prop::sample::select(SCOPES.to_vec()), prop::collection::vec(step, 1..24))
}

async fn live_through(bench: &mut Bench, steps: &[Step]) {
    let scope = bench.model.scope;
    let mut last = None;
    for step in steps {
        match step {
            Step::AppendOutcome(identities, known) => {
                let mut seen = std::collections::HashSet::new();
                let names: Vec<_> =
                    identities.iter().map(|(t, id)| (format!("t{t}"), format!("e{id}"))).collect();
                let ids = names.iter().map(|(topic, id)| (&**topic, &**id));
                let given = Given::of(ids.filter(|(topic, id)| seen.insert((scope.key_topic(topic), *id))));
                let known: Vec<String> = known.iter().map(|topic| format!("t{topic}")).collect();
                let given = given.known(known.iter().map(String::as_str));
                let committed = bench.append(&given).await;
                last = Some((given, committed));
            }
            Step::SendLastAgain => {
                if let Some((given, committed)) = &last {
                    assert_eq!(
                        bench.send_last_again(given).await,
                        AppendOutcome::Committed(committed.clone())
                    );
                }
            }
            Step::Reconnect => bench.reconnect().await,
        }
    }
}

async fn assert_reads_as_modelled(bench: &Bench) {
    let Bench { store, ledger, model, .. } = bench;
    let end = model.events.len() as u64;
    let topics: [&[&str]; 7] =
        [&[], &["t0"], &["unknown"], &["t1", "t0"], &["t0", "unknown"], &["t1", "t2", "t3"], &["x", "y"]];
    for topics in topics {
        for before in [None, Some(1), Some(end * 2 / 3 + 1)] {
            for after in [None, Some(0), Some(end / 3)] {
                for limit in [1, 4, 1_000] {
                    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
                    let query = PageQuery { topics, before, after, limit, ..PageQuery::default() };
                    let page = store.reads.page(ledger, &query).await.unwrap();
                    let (expected, more) = model.page(&query);
                    assert_eq!(page.events.len(), expected.len(), "{query:?}");
                    let last = expected.last().map(|(seq, _)| *seq);
                    assert_eq!(page.next, last.filter(|_| more), "{query:?}");
                    assert_eq!(page.head, end, "{query:?}");
                    for (stored, (seq, event)) in page.events.iter().zip(expected) {
                        assert_is(stored, seq, event);
                    }
                }
            }
        }
    }
    for (seq, event) in (1..).zip(&model.events) {
        let stored = store.reads.event(ledger, event.event_id(), Some(event.topic())).await.unwrap().unwrap();
        assert_is(&stored, seq, event);
    }
    for (before, limit) in [(u64::MAX, 1_000), (end, 5), (end / 2 + 1, 3), (1, 10)] {
        let query = PageQuery { before: Some(before), limit, ..PageQuery::default() };
        let (expected, _) = model.page(&query);
        let identity = |(seq, event): (u64, &Event)| StoredId {
            seq,
            topic: event.topic().to_string(),
            event_id: event.event_id().to_string(),
        };
        let expected: Vec<StoredId> = expected.into_iter().map(identity).collect();
        assert_eq!(store.reads.newest_ids(ledger, before, limit).await.unwrap(), expected);
    }
}

fn assert_is(stored: &StoredEvent, seq: u64, event: &Event) {
    assert_eq!(stored.seq, seq);
    assert_eq!((&*stored.topic, &*stored.event_id), (&**event.topic(), &**event.event_id()));
    assert_eq!((&*stored.source, stored.timestamp), (&**event.source(), event.timestamp()));
    assert_eq!(&*stored.payload, &**event.payload());
}

#[test]
fn reads_agree_with_a_model_after_any_history() {
    for engine in ENGINES {
        eprintln!("--- on {engine:?}");
        let config = ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() };
        let run = TestRunner::new(config).run(&histories(), |(scope, steps)| {
            block_on(async {
                let mut bench = Bench::new(engine, scope).await;
                live_through(&mut bench, &steps).await;
                bench.assert_as_modelled().await;
                assert_reads_as_modelled(&bench).await;
            });
            Ok::<(), TestCaseError>(())
        });
        run.unwrap();
    }
}

/// The session plans its statements while the tables are small, and nobody analyses them as they grow.
#[test]
fn a_table_that_grew_in_one_session_is_still_looked_up_by_its_index() {
    block_on(async {
        // A scan takes several times as long.
        const BOUND: Duration = Duration::from_millis(20);
        let mut bench = Bench::new(Engine::Postgres, DedupScope::EventId).await;
        for table in ["identities", "stored_events", "topics", "commits"] {
            let quiet = format!("ALTER TABLE sekali.{table} SET (autovacuum_enabled = off)");
            bench.database.execute(&quiet).await;
        }
        // Analysed while they are a page each: a scan is the cheapest plan then, and enough calls make it stay.
        for round in 0..20 {
            bench.append(&Given::of([("t", "a"), ("u", "b"), ("t", &format!("first {round}"))])).await;
            if round == 5 {
                bench.database.execute("VACUUM ANALYZE").await;
            }
        }
        for round in 0..25 {
            // Each group brings 200 topics of its own, so that their table grows to 5,000.
            let names: Vec<_> = (0..8_000)
                .map(|number| (format!("topic {round} {}", number % 200), format!("id {round} {number}")))
                .collect();
            bench.append(&Given::of(names.iter().map(|(topic, id)| (&**topic, &**id)))).await;
        }
        assert!(bench.model.events.len() > 200_000 && bench.model.topics.len() > 5_000);

        let mut usual = Vec::new();
        let mut exceptions = Vec::new();
        let mut topic_look_ups = Vec::new();
        for round in 0..11 {
            let (old, new) = (format!("id 7 {}", round * 500), format!("new {round}"));
            let taken = |begun: Instant| begun.elapsed();
            let begun = Instant::now();
            bench.append(&Given::of([("t", &*new)])).await;
            usual.push(taken(begun));
            let begun = Instant::now();
            bench.append(&Given::of([("topic 7 0", &*old)])).await;
            exceptions.push(taken(begun));
            let topics: Vec<String> = (0..20).map(|topic| format!("topic {round} {topic}")).collect();
            let known = Given::default().known(topics.iter().map(String::as_str));
            let begun = Instant::now();
            bench.append(&known).await;
            topic_look_ups.push(taken(begun));
        }
        for (path, times) in [("usual", usual), ("exception", exceptions), ("topics", topic_look_ups)] {
            let median = median_of(times);
            eprintln!("{path}: {median:?}");
            assert!(median < BOUND, "the {path} path takes {median:?}");
        }
        bench.assert_as_modelled().await;
    });
}

fn median_of(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
