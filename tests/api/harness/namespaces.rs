//! The namespaces of one database under load: two that stay, and one that is deleted and created again and again.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::OwnedRwLockWriteGuard;

use super::{
    Answer, Client, Database,
    producers::{Load, Nodes, Producers},
    random::Random,
    record::{Findings, Tally},
};

/// The one whose ids belong to their topics.
const BY_TOPIC: &str = "by-topic";
/// The one that comes and goes.
const PASSING: &str = "passing";
/// A creation or a deletion is done within this time after the last fault of a round, which lasts 20 s at most.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// `default`, one with scope `topic`, and one that comes and goes. All have the same ids.
pub struct Namespaces {
    pub nodes: Nodes,
    pub kept: Vec<Ledger>,
    /// The one that comes and goes, where it is there.
    passing: Option<Ledger>,
    /// How many times that one was created.
    pub generations: usize,
    /// Whether an attempt to create or to delete it may be carried out later than its repetition: then it stays as it is.
    is_in_doubt: bool,
    load: Load,
    random: Random,
    /// What producers of deleted ones came to, and what was found about them.
    past: Tally,
    findings: Findings,
}

/// A namespace and its producers.
pub struct Ledger {
    pub producers: Producers,
    /// What is stored up to here was proved before.
    pub proved_to: u64,
}

impl Namespaces {
    /// Starts `tasks` producers in each.
    pub async fn start(nodes: &[&Client], tasks: usize, pause_between: Duration, random: Random) -> Self {
        let nodes = Nodes::new(nodes);
        let default = Load {
            namespace: "default".to_owned(),
            is_by_topic: false,
            topics: String::new(),
            tasks,
            pause_between,
        };
        let by_topic = Load { namespace: BY_TOPIC.to_owned(), is_by_topic: true, ..default.clone() };
        let load = Load { namespace: PASSING.to_owned(), ..default.clone() };
        let mut namespaces = Self {
            nodes,
            kept: Vec::new(),
            passing: None,
            generations: 0,
            is_in_doubt: false,
            load,
            random,
            past: Tally::default(),
            findings: Findings::default(),
        };
        namespaces.put(BY_TOPIC, r#"{"dedup_scope":"topic"}"#).await;
        for load in [default, by_topic] {
            namespaces.kept.push(Ledger::start(&namespaces.nodes, load));
        }
        namespaces.create().await;
        namespaces
    }

    /// Deletes the passing one, where it is there, and creates it again; the one or the other is left out for as long as
    /// an earlier attempt is in doubt.
    pub async fn come_and_go(&mut self) {
        self.delete().await;
        self.create().await;
    }

    /// Deletes the passing one under its producers. Each of them is told so; none of it is under way then.
    pub async fn delete(&mut self) {
        if self.is_in_doubt {
            return;
        }
        let Some(mut ledger) = self.passing.take() else { return };
        ledger.producers.expect_deletion();
        self.delete_unseen().await;
        let gone = tokio::time::timeout(CHANGE_TIME_MAX, ledger.producers.gone()).await;
        if gone.is_err() {
            let refusal = ledger.producers.record().last_refusal.clone();
            panic!(
                "waited in vain: each producer is told that the namespace is gone; the last was told {refusal}"
            );
        }
        self.past += ledger.producers.record().tally();
        self.findings.extend(std::mem::take(&mut ledger.producers.record().findings));
    }

    /// Deletes the passing one that nobody knows, where the database was put back.
    pub async fn delete_unseen(&mut self) {
        let path = format!("/namespaces/{PASSING}?confirm={PASSING}");
        self.change("DELETE", &path, "", &[204, 404]).await;
    }

    /// Creates the passing one. It must be empty on each node, whatever the ones before it held.
    async fn create(&mut self) {
        if self.is_in_doubt || self.passing.is_some() {
            return;
        }
        self.put(PASSING, "").await;
        self.generations += 1;
        for node in 0..self.nodes.all().len() {
            self.check_that_it_is_empty(node).await;
        }
        let topics = format!("generation {} ", self.generations);
        self.passing = Some(Ledger::start(&self.nodes, Load { topics, ..self.load.clone() }));
    }

    async fn put(&mut self, namespace: &str, settings: &'static str) {
        self.change("PUT", &format!("/namespaces/{namespace}"), settings, &[200, 201]).await;
    }

    /// Asks one node or another until the answer is one of these statuses.
    async fn change(&mut self, method: &str, path: &str, body: &'static str, statuses: &[u16]) {
        let begun = Instant::now();
        loop {
            let node = self.nodes.one(self.random.within(0..1_000));
            let request = node.request(method, path).header("content-type", "application/json").body(body);
            match node.send(request).await {
                Ok(answer) if statuses.contains(&answer.status) => return,
                Ok(answer) if is_unavailable(&answer) => {}
                Ok(answer) => {
                    let found = format!("{method} {path} is answered {}: {}", answer.status, answer.text);
                    return self.findings.wrong(found);
                }
                Err(_no_answer) => {}
            }
            self.is_in_doubt = true;
            assert!(begun.elapsed() < CHANGE_TIME_MAX, "waited in vain: {method} {path}");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn check_that_it_is_empty(&mut self, node: usize) {
        let begun = Instant::now();
        for path in ["stats", "events"] {
            let answer = loop {
                // It may be another one by now, at another place.
                let node = self.nodes.one(node);
                let path = format!("/namespaces/{PASSING}/{path}");
                match node.send(node.request("GET", &path)).await {
                    // A node may still have the one before open.
                    Ok(answer) if is_unavailable(&answer) => {}
                    Ok(answer) => break answer,
                    Err(_no_answer) => {}
                }
                assert!(begun.elapsed() < CHANGE_TIME_MAX, "waited in vain: a new namespace is read");
                tokio::time::sleep(RETRY_PAUSE).await;
            };
            let is_empty = answer.status == 200
                && match path {
                    "stats" => answer.json()["received"] == 0,
                    _ => answer.json() == json!([]),
                };
            if !is_empty {
                let (generation, text) = (self.generations, &answer.text);
                self.findings.wrong(format!("{path} of the new generation {generation} is {text:.1000}"));
            }
        }
    }

    /// Waits until each producer's batch is acknowledged; none begins another one before the answer is dropped.
    pub async fn pause(&self) -> Vec<OwnedRwLockWriteGuard<()>> {
        let mut paused = Vec::new();
        for ledger in self.kept.iter().chain(&self.passing) {
            paused.push(ledger.producers.pause().await);
        }
        paused
    }

    /// What is wrong with what was stored since the last proof, or with `all` of it; to be asked while the producers
    /// pause and all nodes are well.
    pub async fn findings(&mut self, database: &Database, all: bool) -> Findings {
        let nodes = self.nodes.all();
        let nodes: Vec<&Client> = nodes.iter().collect();
        let mut findings = std::mem::take(&mut self.findings);
        if self.passing.is_none() && !self.is_in_doubt {
            for node in &nodes {
                let answer = node.get(&format!("/namespaces/{PASSING}/stats")).await;
                if answer.status != 404 {
                    findings.wrong(format!("a namespace that is deleted is answered {}", answer.text));
                }
            }
        }
        for ledger in self.kept.iter_mut().chain(&mut self.passing) {
            let after = if all { 0 } else { ledger.proved_to };
            findings.extend(ledger.producers.findings(&nodes, database, after).await);
            ledger.proved_to = ledger.producers.totals(database).await.1;
        }
        self.settle();
        findings
    }

    /// Notes that nodes and database answer, and what was under way has ended.
    pub fn settle(&mut self) {
        self.is_in_doubt = false;
    }

    /// What all producers came to.
    pub fn tally(&self) -> Tally {
        let mut tally = self.past;
        for ledger in self.kept.iter().chain(&self.passing) {
            tally += ledger.producers.record().tally();
        }
        tally
    }
}

impl Ledger {
    fn start(nodes: &Nodes, load: Load) -> Self {
        Self { producers: Producers::start_load(nodes, load), proved_to: 0 }
    }
}

fn is_unavailable(answer: &Answer) -> bool {
    answer.status == 503 && answer.header("retry-after").is_some()
}
