//! What suffers: three nodes on one Postgres behind a proxy, and a service on SQLite, each under load in three
//! namespaces, one of which comes and goes.

use std::{collections::HashMap, path::Path, time::Duration};

use sekali::actors::RestartPolicy;
use tokio::sync::OwnedRwLockWriteGuard;

use crate::{
    consumers::{Consumed, Consumers},
    faults,
    harness::{
        Database, RunningService, Settings,
        database_proxy::DatabaseProxy,
        eventually_within,
        namespaces::{Ledger, Namespaces},
        postgres_server::PostgresServer,
        process::Process,
        random::Random,
        record::{Findings, Tally},
        small_disk::SmallDisk,
    },
};

/// Slow enough that a soak of hours still fits into memory, and its proofs into the time between faults.
const PAUSE_BETWEEN_BATCHES: Duration = Duration::from_millis(25);
/// In each namespace.
const CLUSTER_PRODUCERS: usize = 6;
const SINGLE_PRODUCERS: usize = 4;
/// Within this time after the last fault all must be well again.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(30);
/// A node looks this often for rows of deleted namespaces that another one should have removed.
const SWEEP_TIME_MAX: Duration = Duration::from_secs(180);

/// Of the times that something happens, once it is this.
const PUT_BACK_ONCE_IN: usize = 8;
const COME_AND_GO_ONCE_IN: usize = 2;
const IDS_SENT_AGAIN_AT_ONCE: usize = 500;
/// Enough for what a soak of hours stores.
const DISK_BYTES: u64 = 1 << 30;

pub struct World {
    pub cluster: Cluster,
    pub single: Single,
}

/// Nodes on one Postgres.
pub struct Cluster {
    pub server: PostgresServer,
    pub proxy: DatabaseProxy,
    pub nodes: Vec<Process>,
    /// A node within this process, whose actors can be made to crash.
    pub inside: RunningService,
    pub namespaces: Namespaces,
    consumers: Consumers,
}

/// A service on SQLite.
pub struct Single {
    pub disk: SmallDisk,
    pub database: Database,
    pub node: Process,
    pub namespaces: Namespaces,
    consumers: Consumers,
}

impl World {
    pub async fn start(random: &mut Random) -> Self {
        let [cluster, single] = [(); 2].map(|()| Random::new(random.number()));
        Self { cluster: Cluster::start(cluster).await, single: Single::start(single).await }
    }

    /// Faults meet nodes, their database and the service on SQLite at the same time, and namespaces come and go
    /// meanwhile; answers which.
    pub async fn suffer(&mut self, random: &mut Random) -> Vec<&'static str> {
        let is_put_back = random.within(0..PUT_BACK_ONCE_IN) == 0;
        let mut split = || Random::new(random.number());
        let [mut nodes, mut database, mut single] = [split(), split(), split()];
        if is_put_back {
            let suffer = (self.cluster.put_back(&mut database), self.single.suffer(&mut single));
            let ((), of_single) = tokio::join!(suffer.0, suffer.1);
            return vec!["postgres put back", of_single];
        }
        let Cluster { server, proxy, nodes: processes, inside, namespaces, .. } = &mut self.cluster;
        let places = namespaces.nodes.clone();
        let comes_and_goes = come_and_go_by_chance(namespaces, nodes.within(0..COME_AND_GO_ONCE_IN) == 0);
        let (of_nodes, of_database, of_single, ()) = tokio::join!(
            faults::meet_nodes(processes, inside, &places, &proxy.url, &mut nodes),
            faults::meet_database(server, proxy, &mut database),
            self.single.suffer(&mut single),
            comes_and_goes,
        );
        vec![of_nodes, of_database, of_single]
    }

    /// Waits until all is well, and proves it: what was stored since the last proof, or `all` of it.
    pub async fn prove(&mut self, all: bool) -> Findings {
        let mut findings = self.cluster.prove(all).await;
        findings.extend(self.single.prove(all).await);
        findings
    }

    /// Waits until nothing is left of namespaces that were deleted.
    pub async fn swept(&self) {
        let cluster = Database::at(&self.cluster.server.url);
        for database in [&cluster, &self.single.database] {
            eventually_within(SWEEP_TIME_MAX, "nothing is left of deleted namespaces", async || {
                database.rows_of_deleted().await == 0
            })
            .await;
        }
    }

    /// What the producers of all namespaces came to.
    pub fn tally(&self) -> Tally {
        let mut tally = self.cluster.namespaces.tally();
        tally += self.single.namespaces.tally();
        tally
    }

    /// What readers and workers came to.
    pub fn consumed(&self) -> Consumed {
        let mut consumed = self.cluster.consumers.consumed();
        consumed += self.single.consumers.consumed();
        consumed
    }

    /// How many times a namespace was created.
    pub fn generations(&self) -> usize {
        self.cluster.namespaces.generations + self.single.namespaces.generations
    }

    pub async fn stop(self) {
        let Cluster { namespaces, inside, .. } = self.cluster;
        drop(namespaces);
        let _ = inside.stop().await;
    }
}

impl Cluster {
    async fn start(random: Random) -> Self {
        let mut server = PostgresServer::create();
        server.start();
        let proxy = DatabaseProxy::start(&server.url).await;
        let mut nodes = Vec::new();
        for _ in 0..2 {
            nodes.push(serve(&proxy.url).ready().await);
        }
        let mut settings = Settings::new(Database::at(&proxy.url));
        settings.restarts = RestartPolicy { restarts_max: usize::MAX, ..RestartPolicy::default() };
        let inside = RunningService::start(settings).await;
        let clients = [&nodes[0].client, &nodes[1].client, &inside.client];
        let namespaces = Namespaces::start(&clients, CLUSTER_PRODUCERS, PAUSE_BETWEEN_BATCHES, random).await;
        let consumers = Consumers::start(&namespaces.nodes).await;
        Self { server, proxy, nodes, inside, namespaces, consumers }
    }

    /// The server's data becomes an older copy of itself under the nodes. Producers stand still meanwhile, so that
    /// it is known what that loses; all of it is sent again, and must be called new. The copy has the namespace that
    /// comes and goes as it was, or not at all: it is created anew.
    async fn put_back(&mut self, random: &mut Random) {
        let copying = pause_when_well(&self.namespaces).await;
        self.server.stop();
        self.server.back_up();
        self.server.start();
        drop(copying);
        tokio::time::sleep(random.millis(500..5_000)).await;

        drop(pause_when_well(&self.namespaces).await);
        self.namespaces.settle();
        self.namespaces.delete().await;
        self.consumers.stop();
        let _restoring = pause_when_well(&self.namespaces).await;
        self.server.stop();
        self.server.restore();
        self.server.start();
        let database = Database::at(&self.server.url);
        for ledger in &mut self.namespaces.kept {
            send_again_what_is_lost(ledger, &database).await;
        }
        self.namespaces.delete_unseen().await;
    }

    async fn prove(&mut self, all: bool) -> Findings {
        eventually_within(RECOVERY_TIME_MAX, "what was planned has happened", async || {
            self.proxy.planned() == 0
        })
        .await;
        let _paused = pause_when_well(&self.namespaces).await;
        let database = Database::at(&self.server.url);
        let mut findings = self.namespaces.findings(&database, all).await;
        findings.extend(self.consumers.prove(&self.namespaces.nodes, &database).await);
        findings
    }
}

impl Single {
    async fn start(random: Random) -> Self {
        let disk = SmallDisk::create(DISK_BYTES);
        let database = Database::at(&format!("sqlite://{}", disk.path().join("test.db").display()));
        let node = serve(&database.url).ready().await;
        let namespaces =
            Namespaces::start(&[&node.client], SINGLE_PRODUCERS, PAUSE_BETWEEN_BATCHES, random).await;
        let consumers = Consumers::start(&namespaces.nodes).await;
        Self { disk, database, node, namespaces, consumers }
    }

    async fn suffer(&mut self, random: &mut Random) -> &'static str {
        let Self { disk, database, node, namespaces, .. } = self;
        let places = namespaces.nodes.clone();
        let comes_and_goes = come_and_go_by_chance(namespaces, random.within(0..COME_AND_GO_ONCE_IN) == 0);
        let fault = faults::meet_single(disk, database, node, &places, random);
        tokio::join!(fault, comes_and_goes).0
    }

    async fn prove(&mut self, all: bool) -> Findings {
        let _paused = pause_when_well(&self.namespaces).await;
        let mut findings = self.namespaces.findings(&self.database, all).await;
        findings.extend(self.consumers.prove(&self.namespaces.nodes, &self.database).await);
        findings
    }
}

async fn send_again_what_is_lost(ledger: &mut Ledger, database: &Database) {
    let Ledger { producers, proved_to } = ledger;
    let (_, kept) = producers.totals(database).await;
    *proved_to = kept.min(*proved_to);
    let lost = producers.forget_above(kept);
    let mut by_topic: HashMap<&str, Vec<String>> = HashMap::new();
    for key in &lost {
        // Where an id is one in all topics, it may be given another one.
        let (topic, id) = key.split_once('/').unwrap_or(("again", key));
        by_topic.entry(topic).or_default().push(id.to_owned());
    }
    for (topic, ids) in by_topic {
        for (place, ids) in ids.chunks(IDS_SENT_AGAIN_AT_ONCE).enumerate() {
            producers.publish(place, topic, ids).await;
        }
    }
}

async fn come_and_go_by_chance(namespaces: &mut Namespaces, is_chosen: bool) {
    if is_chosen {
        namespaces.come_and_go().await;
    }
}

/// A service that listens, and may not be ready yet.
pub fn serve(url: &str) -> Process {
    Process::start(Path::new("/"), &["--database-url", url])
}

/// Waits until all is well, and then for the producers.
async fn pause_when_well(namespaces: &Namespaces) -> Vec<OwnedRwLockWriteGuard<()>> {
    for client in namespaces.nodes.all() {
        let ready = async || match client.send(client.request("GET", "/readyz")).await {
            Ok(answer) => answer.status == 200,
            Err(_no_answer) => false,
        };
        eventually_within(RECOVERY_TIME_MAX, "each node is ready again", ready).await;
    }
    let paused = tokio::time::timeout(RECOVERY_TIME_MAX, namespaces.pause()).await;
    paused.expect("each producer is answered once all is well")
}
