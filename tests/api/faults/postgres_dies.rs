//! Postgres, killed and frozen under two nodes.

use std::time::{Duration, Instant};

use super::{is_ready, serve};
use crate::harness::{Database, block_on, eventually, postgres_server::PostgresServer, producers::Producers};

const FROZEN: Duration = Duration::from_secs(5);

#[test]
fn a_postgres_that_is_killed_and_one_that_is_frozen_for_five_seconds_lose_nothing() {
    block_on(async {
        let mut server = PostgresServer::create();
        server.start();
        let nodes = [serve(&server.url).await, serve(&server.url).await];
        let clients = [&nodes[0].client, &nodes[1].client];
        let producers = Producers::start(&clients, 4);
        for _ in 0..2 {
            producers.progress(100).await;
            server.kill();
            eventually("a node notices", async || !is_ready(clients[0]).await).await;
            server.start();
        }
        producers.progress(100).await;
        server.freeze();
        let frozen = Instant::now();
        eventually("a node notices", async || !is_ready(clients[1]).await).await;
        assert_eq!(clients[1].get("/livez").await.status, 200);
        tokio::time::sleep(FROZEN.saturating_sub(frozen.elapsed())).await;
        server.thaw();
        for client in clients {
            eventually("each node is ready again", async || is_ready(client).await).await;
        }
        producers.progress(100).await;
        producers.check(&clients, &Database::at(&server.url)).await;
    });
}
