//! What suffers: three nodes on one Postgres behind a proxy, and a service on SQLite, each under load.

use std::{path::Path, time::Duration};

use sekali::actors::RestartPolicy;
use tokio::sync::OwnedRwLockWriteGuard;

use crate::{
    faults,
    harness::{
        Client, Database, RunningService, Settings, database_proxy::DatabaseProxy, eventually_within,
        postgres_server::PostgresServer, process::Process, producers::Producers, random::Random,
        record::Findings, small_disk::SmallDisk,
    },
};

/// Slow enough that a soak of hours still fits into memory, and its proofs into the time between faults.
const PAUSE_BETWEEN_BATCHES: Duration = Duration::from_millis(25);
const CLUSTER_PRODUCERS: usize = 12;
const SINGLE_PRODUCERS: usize = 4;
/// Within this time after the last fault all must be well again.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(30);

/// Of the times that something happens, once it is this.
const PUT_BACK_ONCE_IN: usize = 8;
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
    pub producers: Producers,
    proved_to: u64,
}

/// A service on SQLite.
pub struct Single {
    pub disk: SmallDisk,
    pub database: Database,
    pub node: Process,
    pub producers: Producers,
    proved_to: u64,
}

impl World {
    pub async fn start() -> Self {
        Self { cluster: Cluster::start().await, single: Single::start().await }
    }

    /// Faults meet nodes, their database and the service on SQLite at the same time; answers which.
    pub async fn suffer(&mut self, random: &mut Random) -> Vec<&'static str> {
        let is_put_back = random.within(0..PUT_BACK_ONCE_IN) == 0;
        let mut split = || Random::new(random.number());
        let [mut nodes, mut database, mut single] = [split(), split(), split()];
        if is_put_back {
            let suffer =
                (self.cluster.put_back(&mut database), faults::meet_single(&mut self.single, &mut single));
            let ((), of_single) = tokio::join!(suffer.0, suffer.1);
            return vec!["postgres put back", of_single];
        }
        let Cluster { server, proxy, nodes: processes, inside, producers, .. } = &mut self.cluster;
        let (of_nodes, of_database, of_single) = tokio::join!(
            faults::meet_nodes(processes, inside, producers, &proxy.url, &mut nodes),
            faults::meet_database(server, proxy, &mut database),
            faults::meet_single(&mut self.single, &mut single),
        );
        vec![of_nodes, of_database, of_single]
    }

    /// Waits until all is well, and proves it: what was stored since the last proof, or `all` of it.
    pub async fn prove(&mut self, all: bool) -> Findings {
        let mut findings = self.cluster.prove(all).await;
        findings.extend(self.single.prove(all).await);
        findings
    }

    pub async fn stop(self) {
        let Cluster { producers, inside, .. } = self.cluster;
        drop(producers);
        let _ = inside.stop().await;
    }
}

impl Cluster {
    async fn start() -> Self {
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
        let producers = Producers::start_at_pace(&clients, CLUSTER_PRODUCERS, PAUSE_BETWEEN_BATCHES);
        Self { server, proxy, nodes, inside, producers, proved_to: 0 }
    }

    /// The server's data becomes an older copy of itself under the nodes. Producers stand still meanwhile, so that
    /// it is known what that loses; all of it is sent again, and must be called new.
    async fn put_back(&mut self, random: &mut Random) {
        let copying = self.pause_when_well().await;
        self.server.stop();
        self.server.back_up();
        self.server.start();
        drop(copying);
        tokio::time::sleep(random.millis(500..5_000)).await;

        let _restoring = self.pause_when_well().await;
        self.server.stop();
        self.server.restore();
        self.server.start();
        let (_, kept) = Database::at(&self.server.url).totals().await;
        self.proved_to = self.proved_to.min(kept);
        let lost = self.producers.forget_above(kept);
        for (place, ids) in lost.chunks(IDS_SENT_AGAIN_AT_ONCE).enumerate() {
            self.producers.publish(place % self.clients().len(), "again", ids).await;
        }
    }

    fn clients(&self) -> [&Client; 3] {
        [&self.nodes[0].client, &self.nodes[1].client, &self.inside.client]
    }

    async fn pause_when_well(&self) -> OwnedRwLockWriteGuard<()> {
        pause_when_well(&self.producers, &self.clients()).await
    }

    async fn prove(&mut self, all: bool) -> Findings {
        eventually_within(RECOVERY_TIME_MAX, "what was planned has happened", async || {
            self.proxy.planned() == 0
        })
        .await;
        let _paused = self.pause_when_well().await;
        let database = Database::at(&self.server.url);
        let after = if all { 0 } else { self.proved_to };
        let findings = self.producers.findings(&self.clients(), &database, after).await;
        (_, self.proved_to) = database.totals().await;
        findings
    }
}

impl Single {
    async fn start() -> Self {
        let disk = SmallDisk::create(DISK_BYTES);
        let database = Database::at(&format!("sqlite://{}", disk.path().join("test.db").display()));
        let node = serve(&database.url).ready().await;
        let producers = Producers::start_at_pace(&[&node.client], SINGLE_PRODUCERS, PAUSE_BETWEEN_BATCHES);
        Self { disk, database, node, producers, proved_to: 0 }
    }

    async fn prove(&mut self, all: bool) -> Findings {
        let client = &self.node.client;
        let _paused = pause_when_well(&self.producers, &[client]).await;
        let after = if all { 0 } else { self.proved_to };
        let findings = self.producers.findings(&[client], &self.database, after).await;
        (_, self.proved_to) = self.database.totals().await;
        findings
    }
}

/// A service that listens, and may not be ready yet.
pub fn serve(url: &str) -> Process {
    Process::start(Path::new("/"), &["--database-url", url])
}

/// Waits until all is well, and then for the producers.
async fn pause_when_well(producers: &Producers, clients: &[&Client]) -> OwnedRwLockWriteGuard<()> {
    for client in clients {
        let ready = async || match client.send(client.request("GET", "/readyz")).await {
            Ok(answer) => answer.status == 200,
            Err(_no_answer) => false,
        };
        eventually_within(RECOVERY_TIME_MAX, "each node is ready again", ready).await;
    }
    let paused = tokio::time::timeout(RECOVERY_TIME_MAX, producers.pause()).await;
    paused.expect("each producer is answered once all is well")
}
