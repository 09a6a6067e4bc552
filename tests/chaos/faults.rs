//! What happens to them, by chance.

use std::time::Duration;

use sekali::actors::{ActorName, Crash};

use crate::{
    harness::{
        Database, RunningService,
        database_proxy::{APPEND, DatabaseProxy, Fate},
        postgres_server::PostgresServer,
        process::{Process, failure, sekali},
        producers::Nodes,
        random::Random,
        small_disk::SmallDisk,
    },
    world::serve,
};

const SLOW_STATEMENT: Duration = Duration::from_millis(50);

async fn a_while(random: &mut Random, millis: std::ops::Range<usize>) {
    tokio::time::sleep(random.millis(millis)).await;
}

/// One of the nodes on Postgres is killed or frozen, or actors of one crash.
pub async fn meet_nodes(
    nodes: &mut [Process],
    inside: &RunningService,
    places: &Nodes,
    url: &str,
    random: &mut Random,
) -> &'static str {
    let node = random.within(0..nodes.len());
    match random.within(0..4) {
        0 => {
            let died = std::mem::replace(&mut nodes[node], serve(url));
            died.kill();
            places.turn_to(node, &nodes[node].client);
            "a node killed"
        }
        1 => {
            // Away for a while, as a machine that starts again is.
            nodes[node].kill_and_keep();
            a_while(random, 0..5_000).await;
            nodes[node] = serve(url);
            places.turn_to(node, &nodes[node].client);
            "a node killed and away"
        }
        2 => {
            nodes[node].signal("STOP");
            a_while(random, 100..12_000).await;
            nodes[node].signal("CONT");
            "a node frozen"
        }
        _ => {
            let actors = [ActorName::Writer(0), ActorName::Shard(0), ActorName::Shard(1), ActorName::Stats];
            for _ in 0..random.within(1..8) {
                inside.handle.crash(*random.pick(&actors), Crash::Now);
                a_while(random, 0..100).await;
            }
            "actors crashed"
        }
    }
}

/// Something happens to Postgres, or between it and the nodes.
pub async fn meet_database(
    server: &mut PostgresServer,
    proxy: &DatabaseProxy,
    random: &mut Random,
) -> &'static str {
    match random.within(0..8) {
        0 => {
            server.kill();
            a_while(random, 0..5_000).await;
            server.start();
            "postgres killed"
        }
        1 => {
            server.stop();
            server.start();
            "postgres stopped at once"
        }
        2 => {
            server.freeze();
            a_while(random, 100..7_000).await;
            server.thaw();
            "postgres frozen"
        }
        3 => {
            for _ in 0..random.within(1..10) {
                let fate = *random.pick(&[Fate::CutWithin, Fate::CutBehind, Fate::CutAnswer]);
                proxy.plan(APPEND, random.within(0..10), fate);
                a_while(random, 0..300).await;
            }
            "commits cut"
        }
        4 => {
            proxy.plan(APPEND, 0, *random.pick(&[Fate::Silence, Fate::LoseAnswer]));
            a_while(random, 0..1_000).await;
            "a commit's answer lost"
        }
        5 => {
            for _ in 0..random.within(1..10) {
                proxy.cut();
                a_while(random, 0..300).await;
            }
            "all connections cut"
        }
        6 => {
            proxy.fall_silent();
            a_while(random, 100..10_000).await;
            proxy.speak();
            "network silent"
        }
        _ if random.within(0..3) == 0 => {
            proxy.slow_down(SLOW_STATEMENT);
            a_while(random, 500..5_000).await;
            proxy.slow_down(Duration::ZERO);
            "postgres slow"
        }
        _ => {
            let ledger = Database::at(&server.url).hold_ledger().await;
            a_while(random, 100..20_000).await;
            ledger.release().await;
            "ledger held"
        }
    }
}

/// Something happens to the service on SQLite.
pub async fn meet_single(
    disk: &mut SmallDisk,
    database: &Database,
    node: &mut Process,
    places: &Nodes,
    random: &mut Random,
) -> &'static str {
    match random.within(0..5) {
        0 => {
            node.kill_and_keep();
            a_while(random, 0..1_000).await;
            *node = serve(&database.url);
            places.turn_to(0, &node.client);
            "sqlite service killed"
        }
        1 => {
            node.signal("STOP");
            a_while(random, 100..5_000).await;
            node.signal("CONT");
            "sqlite service frozen"
        }
        2 if disk.is_mounted => {
            disk.fill(&[], 0);
            a_while(random, 100..5_000).await;
            disk.free(&[]);
            "sqlite disk full"
        }
        3 => {
            let arguments = ["serve", "--listen", "127.0.0.1:0", "--log-level", "off", "--database-url"];
            let sentence = failure(sekali(&arguments).arg(&database.url), 1);
            assert!(sentence.contains("is in use by another sekali"), "{sentence}");
            "second service on sqlite"
        }
        _ => {
            let ledger = database.hold_ledger().await;
            a_while(random, 100..10_000).await;
            ledger.release().await;
            "sqlite ledger held"
        }
    }
}
