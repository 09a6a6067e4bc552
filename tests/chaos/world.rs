//! What suffers: three nodes on one Postgres behind a proxy, and a service on SQLite, each under load.

use std::{path::Path, time::Duration};

use sekali::actors::RestartPolicy;

use crate::{
    faults,
    harness::{
        Client, Database, Engine, Service, Settings, database_proxy::DatabaseProxy, eventually_within,
        postgres_server::PostgresServer, process::Process, producers::Producers, random::Random,
        record::Findings,
    },
};

/// Slow enough that a soak of hours still fits into memory, and its proofs into the time between faults.
const PAUSE_BETWEEN_BATCHES: Duration = Duration::from_millis(25);
const CLUSTER_PRODUCERS: usize = 12;
const SINGLE_PRODUCERS: usize = 4;
/// Within this time after the last fault all must be well again.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(30);

pub struct World {
    pub cluster: Cluster,
    pub single: Single,
}

/// Nodes on one Postgres.
pub struct Cluster {
    pub server: PostgresServer,
    pub proxy: DatabaseProxy,
    pub nodes: Vec<Process>,
    /// A node within this process, whose rooms can be made to crash.
    pub inside: Service,
    pub producers: Producers,
    proved_to: u64,
}

/// A service on SQLite.
pub struct Single {
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
        let mut split = || Random::new(random.number());
        let [mut nodes, mut database, mut single] = [split(), split(), split()];
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
        let inside = Service::start(settings).await;
        let clients = [&nodes[0].client, &nodes[1].client, &inside.client];
        let producers = Producers::start_at_pace(&clients, CLUSTER_PRODUCERS, PAUSE_BETWEEN_BATCHES);
        Self { server, proxy, nodes, inside, producers, proved_to: 0 }
    }

    async fn prove(&mut self, all: bool) -> Findings {
        eventually_within(RECOVERY_TIME_MAX, "what was planned has happened", async || {
            self.proxy.planned() == 0
        })
        .await;
        let clients = [&self.nodes[0].client, &self.nodes[1].client, &self.inside.client];
        let database = Database::at(&self.server.url);
        prove(&self.producers, &clients, &database, &mut self.proved_to, all).await
    }
}

impl Single {
    async fn start() -> Self {
        let database = Database::create(Engine::Sqlite).await;
        let node = serve(&database.url).ready().await;
        let producers = Producers::start_at_pace(&[&node.client], SINGLE_PRODUCERS, PAUSE_BETWEEN_BATCHES);
        Self { database, node, producers, proved_to: 0 }
    }

    async fn prove(&mut self, all: bool) -> Findings {
        let Self { database, node, producers, proved_to } = self;
        prove(producers, &[&node.client], database, proved_to, all).await
    }
}

/// A service that listens, and may not be ready yet.
pub fn serve(url: &str) -> Process {
    Process::start(Path::new("/"), &["--database-url", url])
}

async fn prove(
    producers: &Producers,
    clients: &[&Client],
    database: &Database,
    proved_to: &mut u64,
    all: bool,
) -> Findings {
    for client in clients {
        let ready = async || match client.send(client.request("GET", "/readyz")).await {
            Ok(answer) => answer.status == 200,
            Err(_no_answer) => false,
        };
        eventually_within(RECOVERY_TIME_MAX, "each node is ready again", ready).await;
    }
    let paused = tokio::time::timeout(RECOVERY_TIME_MAX, producers.pause()).await;
    let _paused = paused.expect("each producer is answered once all is well");
    let after = if all { 0 } else { *proved_to };
    let findings = producers.findings(clients, database, after).await;
    (_, *proved_to) = database.totals().await;
    findings
}
