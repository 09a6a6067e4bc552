//! A server that is put back to an older copy of its data while two nodes run on it.

use super::{is_ready, serve};
use crate::harness::{Database, block_on, eventually, postgres_server::PostgresServer, producers::Producers};

#[test]
fn nodes_on_a_server_that_was_put_back_forget_what_it_lost_and_call_nothing_missing_a_duplicate() {
    block_on(async {
        let mut server = PostgresServer::create();
        server.start();
        let database = Database::at(&server.url);
        let nodes = [serve(&server.url).await, serve(&server.url).await];
        let clients = [&nodes[0].client, &nodes[1].client];
        let producers = Producers::start(&clients, 4);
        producers.progress(200).await;
        server.stop();
        server.back_up();
        server.start();
        producers.progress(500).await;

        // What was acknowledged between the copy and the restore is lost with the server's data, and nobody's fault:
        // producers stand still, so that it is known which ids that are.
        let pause = producers.pause().await;
        server.stop();
        server.restore();
        server.start();
        let (_, kept) = database.ledger("default").await.totals().await;
        let lost = producers.forget_above(kept);
        assert!(lost.len() > 400, "{}", lost.len());
        for (node, lost) in lost.chunks(lost.len().div_ceil(2)).enumerate() {
            eventually("the node is ready again", async || is_ready(clients[node]).await).await;
            producers.publish(node, "again", lost).await;
        }
        let missing_and_called_duplicates =
            lost.iter().filter(|id| producers.record().told[*id].stored == 0).count();
        assert_eq!(missing_and_called_duplicates, 0);
        drop(pause);

        producers.progress(200).await;
        for client in clients {
            assert_eq!(client.stats().await["node"]["database_restored"], 1);
        }
        producers.check(&clients, &database).await;
    });
}
