//! A Citus cluster of three nodes: the one that `TEST_CITUS_URL` names by its coordinator, or servers of a test's own where
//! the extension is installed for the local server programs.

use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, postgres::PgConnectOptions};
use uuid::Uuid;

use super::{block_on, eventually, postgres_server::PostgresServer};

const SETTINGS: [&str; 4] = [
    "shared_preload_libraries=citus",
    "wal_level=logical",
    "max_prepared_transactions=200",
    "citus.node_conninfo=sslmode=prefer",
];

/// Its nodes, the coordinator first.
pub struct Cluster {
    nodes: Vec<PgConnectOptions>,
    /// Where they are the test's own: as many.
    pub servers: Vec<PostgresServer>,
}

impl Cluster {
    /// A cluster; `None` where there is none, which is said.
    pub async fn find() -> Option<Self> {
        if let Ok(url) = std::env::var("TEST_CITUS_URL") {
            return Some(Self { nodes: nodes_of(&url).await, servers: Vec::new() });
        }
        if !is_installed() {
            eprintln!(
                "left out: neither is TEST_CITUS_URL given, nor is Citus installed for the programs in PG_BIN"
            );
            return None;
        }
        let starting: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(|| {
                    let mut server = PostgresServer::create().with_settings(&SETTINGS);
                    server.start();
                    server
                })
            })
            .collect();
        let servers: Vec<PostgresServer> =
            starting.into_iter().map(|server| server.join().unwrap()).collect();
        let node = |server: &PostgresServer| server.url.parse::<PgConnectOptions>().unwrap();
        Some(Self { nodes: servers.iter().map(node).collect(), servers })
    }

    /// An empty database on each node, none of which knows the others yet.
    pub async fn database(&self) -> ClusterDatabase {
        let name = format!("sekali_{}", Uuid::new_v4().simple());
        for node in &self.nodes {
            execute(node, &format!("CREATE DATABASE {name}")).await;
        }
        // Citus gives its nodes certificates that cannot be checked.
        let plain = sqlx::postgres::PgSslMode::Disable;
        let nodes: Vec<_> =
            self.nodes.iter().map(|node| node.clone().database(&name).ssl_mode(plain)).collect();
        let urls = nodes.iter().map(|node| node.to_url_lossy().to_string()).collect();
        let owned_by_test = !self.servers.is_empty();
        ClusterDatabase { urls, nodes, admins: self.nodes.clone(), name, goes_with_servers: owned_by_test }
    }
}

/// A database on each node of a cluster; dropping it removes it.
pub struct ClusterDatabase {
    /// One of each node, the coordinator's first.
    pub urls: Vec<String>,
    nodes: Vec<PgConnectOptions>,
    admins: Vec<PgConnectOptions>,
    name: String,
    goes_with_servers: bool,
}

impl ClusterDatabase {
    /// Makes the nodes a cluster.
    pub async fn join(&self) {
        self.create_extension().await;
        self.add_nodes().await;
    }

    pub async fn create_extension(&self) {
        for node in &self.nodes {
            execute(node, "CREATE EXTENSION citus").await;
        }
    }

    pub async fn add_nodes(&self) {
        let place = |node: &PgConnectOptions| format!("'{}', {}", node.get_host(), node.get_port());
        execute(&self.nodes[0], &format!("SELECT citus_set_coordinator_host({})", place(&self.nodes[0])))
            .await;
        for worker in &self.nodes[1..] {
            execute(&self.nodes[0], &format!("SELECT citus_add_node({})", place(worker))).await;
        }
    }

    /// Registers the workers at addresses that lead a service elsewhere, the first one to the second and that one to
    /// nobody; the nodes find each other by the cluster's own table.
    pub async fn register_elsewhere(&self) {
        let ports = [self.nodes[2].get_port(), 1];
        for (worker, port) in [(1, ports[0]), (2, ports[1])] {
            let place = &self.nodes[worker];
            let (host, is_at) = (place.get_host(), place.get_port());
            let find =
                format!("SELECT nodeid FROM pg_dist_node WHERE nodename = '{host}' AND nodeport = {is_at}");
            let nodeid: i32 = self.value(0, &find).await;
            for node in 0..self.nodes.len() {
                let found =
                    format!("INSERT INTO pg_dist_poolinfo VALUES ({nodeid}, 'host={host} port={is_at}')");
                self.execute(node, &found).await;
            }
            self.execute(0, &format!("SELECT citus_update_node({nodeid}, 'localhost', {port})")).await;
        }
        // The cluster tells its nodes a moment later, and changes no table before.
        eventually("all nodes know the addresses", async || {
            self.value(0, "SELECT bool_and(metadatasynced) FROM pg_dist_node WHERE hasmetadata").await
        })
        .await;
    }

    /// Runs statements on a node.
    pub async fn execute(&self, node: usize, sql: &str) {
        execute(&self.nodes[node], sql).await;
    }

    /// The one value that `sql` selects on a node.
    pub async fn value<T>(&self, node: usize, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let mut connection = self.nodes[node].connect().await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap()
    }

    /// The node that has the ledger of a namespace.
    pub async fn owner(&self, namespace: &str) -> usize {
        // The nodes were added in their order.
        let group: i32 = self
            .value(
                0,
                &format!(
                    "SELECT groupid FROM pg_dist_placement WHERE shardid = get_shard_id_for_distribution_column(
                         'sekali.ledgers', (SELECT namespace_no FROM sekali.namespaces WHERE name = '{namespace}'))"
                ),
            )
            .await;
        group as usize
    }
}

impl Drop for ClusterDatabase {
    fn drop(&mut self) {
        if self.goes_with_servers {
            return;
        }
        let (admins, name) = (self.admins.clone(), self.name.clone());
        let drop_it = move || {
            block_on(async {
                for node in &admins {
                    execute(node, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
                }
            });
        };
        // A runtime must not block in itself, and this may run within one.
        let _ = std::thread::spawn(drop_it).join();
    }
}

/// The node of the cluster at `TEST_CITUS_URL` through which all tests on Postgres are to run, where that is asked for.
pub fn every_database_node() -> Option<usize> {
    std::env::var("TEST_EVERY_DATABASE_ON_NODE").ok()?.parse().ok()
}

async fn nodes_of(url: &str) -> Vec<PgConnectOptions> {
    let given: PgConnectOptions = url.parse().expect("TEST_CITUS_URL is a Postgres URL");
    let mut connection = given.connect().await.expect("the node at TEST_CITUS_URL answers");
    let places: Vec<(String, i32)> = sqlx::query_as(
        "SELECT nodename, nodeport FROM pg_dist_node WHERE noderole = 'primary' ORDER BY groupid",
    )
    .fetch_all(&mut connection)
    .await
    .expect("TEST_CITUS_URL names a database with the extension");
    assert!(places.len() >= 3, "TEST_CITUS_URL names a cluster with fewer than three nodes");
    places.iter().map(|(host, port)| given.clone().host(host).port(*port as u16)).collect()
}

/// Whether the extension is installed for the server programs of the tests.
fn is_installed() -> bool {
    let Ok(bin) = std::env::var("PG_BIN") else { return false };
    let root = Path::new(&bin).parent().map(Path::to_path_buf).unwrap_or_default();
    // Debian keeps a version's files apart, in /usr/share/postgresql/15 for /usr/lib/postgresql/15/bin.
    let of_debian = PathBuf::from(root.display().to_string().replacen("/lib/", "/share/", 1));
    let folders = [root.join("share"), root.join("share/postgresql"), of_debian];
    folders.iter().any(|folder| folder.join("extension/citus.control").exists())
}

async fn execute(node: &PgConnectOptions, sql: &str) {
    let mut connection = node.connect().await.expect("the node answers");
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}
