//! Producers that send on whatever happens, until each event is acknowledged.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::{Client, Database, events, eventually};

const EVENTS_A_BATCH: usize = 5;

/// Several tasks, each with ids of its own, that send each batch again until it is acknowledged.
pub struct Producers {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    client: Mutex<Client>,
    stopping: AtomicBool,
    /// The `seq` that was answered, by id.
    acknowledged: Mutex<HashMap<String, u64>>,
}

impl Producers {
    pub fn start(client: &Client, tasks: usize) -> Self {
        let shared = Arc::new(Shared {
            client: Mutex::new(client.clone()),
            stopping: AtomicBool::new(false),
            acknowledged: Mutex::new(HashMap::new()),
        });
        let tasks = (0..tasks).map(|task| tokio::spawn(produce(Arc::clone(&shared), task))).collect();
        Self { shared, tasks }
    }

    /// Where the service is from now on.
    pub fn turn_to(&self, client: &Client) {
        *self.shared.client.lock().unwrap() = client.clone();
    }

    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// Waits until this many more events are acknowledged.
    pub async fn progress(&self, more: usize) {
        let goal = self.acknowledged() + more;
        eventually("producers get on", async || self.acknowledged() >= goal).await;
    }

    /// Ends the producers, each after an acknowledgement, and checks that all they sent is stored once, where they
    /// were told that it is.
    pub async fn check(self, client: &Client, database: &Database) {
        self.check_with(client, database, &[]).await;
    }

    /// The same where these events were stored beside those of the producers.
    pub async fn check_with(self, client: &Client, database: &Database, others: &[(&str, u64)]) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let mut acknowledged = self.shared.acknowledged.lock().unwrap().clone();
        acknowledged.extend(others.iter().map(|(id, seq)| ((*id).to_owned(), *seq)));
        let stored = client.all_events().await;
        assert_eq!(stored.len(), acknowledged.len(), "each event is stored, and once");
        for event in &stored {
            let id = event["event_id"].as_str().unwrap();
            assert_eq!(
                event["seq"].as_u64(),
                acknowledged.get(id).copied(),
                "{id} is where it was said to be"
            );
        }
        let (received, unique, duplicates) = client.counts().await;
        assert_eq!(unique, stored.len() as u64);
        assert_eq!(received, unique + duplicates);
        database.assert_sound().await;
    }
}

async fn produce(shared: Arc<Shared>, task: usize) {
    for batch in 0.. {
        if shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let ids: Vec<String> =
            (0..EVENTS_A_BATCH).map(|place| format!("task {task} batch {batch} place {place}")).collect();
        let body = events(&format!("task {task}"), ids.iter().map(String::as_str)).to_string();
        let results = acknowledge(&shared, &body).await;
        let mut acknowledged = shared.acknowledged.lock().unwrap();
        for (id, result) in ids.into_iter().zip(results) {
            assert_eq!(result["event_id"].as_str(), Some(id.as_str()));
            assert_eq!(acknowledged.insert(id, result["seq"].as_u64().unwrap()), None);
        }
    }
}

/// Sends the same request until it is answered with 200.
async fn acknowledge(shared: &Shared, body: &str) -> Vec<Value> {
    loop {
        let client = shared.client.lock().unwrap().clone();
        match client.try_publish(body.to_owned()).await {
            Ok(answer) if answer.status == 200 => {
                return answer.json()["results"].as_array().unwrap().clone();
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text);
                assert!(answer.header("retry-after").is_some(), "{}", answer.text);
            }
            Err(_no_answer) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
