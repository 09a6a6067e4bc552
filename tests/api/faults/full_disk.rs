//! A disk without space, and with space again.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{is_ready, serve};
use crate::harness::{
    Client, Database, block_on, event, eventually,
    postgres_server::PostgresServer,
    process::{Process, sekali},
    producers::Producers,
    random::Random,
    small_disk::SmallDisk,
};

const RECOVERY_TIME_MAX: Duration = Duration::from_secs(10);
/// Publishes of [`large`] within which there must be no space any more.
const LARGE_EVENTS_MAX: usize = 64;

/// An event of a megabyte that nothing can make smaller.
fn large(event_id: &str) -> String {
    let mut random = Random::new(event_id.len() as u64);
    let text: String = (0..62_500).map(|_| format!("{:016x}", random.number())).collect();
    let mut event = event("large", event_id);
    event["payload"] = json!({"text": text});
    event.to_string()
}

#[test]
fn sqlite_on_a_full_disk_refuses_for_now_reads_on_and_recovers() {
    block_on(async {
        let disk = SmallDisk::create(64 << 20);
        let url = format!("sqlite://{}", disk.path().join("test.db").display());
        // Where the disk is a limit on the size of files, it must be an error to the process and not its end.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
        let serve = sekali(&["serve", "--listen", "127.0.0.1:0", "--database-url", &url]);
        command.arg(serve.get_program()).args(serve.get_args());
        for (name, _) in serve.get_envs() {
            command.env_remove(name);
        }
        let process = Process::spawn(&mut command).ready().await;
        let processes = async || vec![process.id()];
        fills_up_and_recovers(&disk, processes, &process.client, Database::at(&url)).await;
    });
}

#[test]
fn postgres_on_a_full_disk_refuses_for_now_reads_on_and_recovers() {
    block_on(async {
        let disk = SmallDisk::create(256 << 20);
        let mut server = PostgresServer::create_in(disk.path());
        server.start();
        let database = Database::at(&server.url);
        let process = serve(&server.url).await;
        // Leaves space in what is set aside for the write-ahead log: without any, no server goes on.
        database.execute("SELECT pg_switch_wal()").await;
        database.execute("CHECKPOINT").await;
        let processes = async || server.processes();
        fills_up_and_recovers(&disk, processes, &process.client, database).await;
        drop(process);
        drop(server);
    });
}

async fn fills_up_and_recovers<F: Future<Output = Vec<u32>>>(
    disk: &SmallDisk,
    processes: impl Fn() -> F,
    client: &Client,
    database: Database,
) {
    let producers = Producers::start(&[client], 2);
    producers.progress(50).await;
    disk.fill(&processes().await, 17 << 20);
    let mut large_ids = Vec::new();
    loop {
        large_ids.push(format!("large {}", large_ids.len()));
        let answer = client.try_publish(large(large_ids.last().unwrap())).await.unwrap();
        if answer.status == 503 {
            answer.problem(503);
            break;
        }
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(large_ids.len() < LARGE_EVENTS_MAX, "the disk is not full");
    }
    let (before, _) = database.ledger("default").await.totals().await;
    eventually("it is not ready", async || !is_ready(client).await).await;
    assert_eq!(client.get("/livez").await.status, 200);
    assert_eq!(client.events("?limit=10").await.len(), 10, "reads go on");
    assert!(client.stats().await["received"].as_u64().unwrap() >= before);

    disk.free(&processes().await);
    let freed = Instant::now();
    eventually("it is ready again", async || is_ready(client).await).await;
    for id in &large_ids {
        let answer = client.publish(large(id)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let seq = answer.json()["results"][0]["seq"].as_u64().unwrap();
        producers.record().adopt(id, seq);
    }
    assert!(freed.elapsed() < RECOVERY_TIME_MAX, "{:?}", freed.elapsed());
    producers.progress(50).await;
    producers.check(&[client], &database).await;
}
