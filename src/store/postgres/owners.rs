//! Which server has a ledger, and the connections with it. On one Postgres that is the one given. On a Citus cluster it is
//! the node that owns the ledger's shard: what is sent to it directly is ordinary SQL there.
//!
//! What is known of the cluster may be old: a node sends on what is not its own. So nothing waits for reading it anew.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use parking_lot::RwLock;
use sqlx::{FromRow, PgPool};
use tracing::{info, warn};

use super::{
    answered,
    cluster::Cluster,
    connections::{Connections, Role},
    error::open_error,
    lease::Lease,
    session::{Session, check_server},
    url,
};
use crate::store::{LedgerKey, OpenError};

/// What is known of the cluster is read again, where it is used, after this.
const REREAD_AFTER: Duration = Duration::from_secs(3);
/// A node that could not be reached directly is tried again after this.
const RETRY_NODE_AFTER: Duration = Duration::from_secs(30);

/// The shards by the highest hash of each, and the nodes that have them.
const SHARDS: &str = "
    SELECT s.shardmaxvalue::integer AS last_hash, n.nodeid, n.nodename, n.nodeport
    FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_dist_placement p USING (shardid)
    JOIN pg_catalog.pg_dist_node n USING (groupid)
    WHERE s.logicalrelid = to_regclass('sekali.ledgers') AND s.shardmaxvalue IS NOT NULL
        AND p.shardstate = 1 AND n.noderole = 'primary'
    ORDER BY 1";

#[derive(FromRow)]
struct Shard {
    last_hash: i32,
    #[sqlx(flatten)]
    node: Node,
}

/// A node by the number and the address under which the cluster has it.
#[derive(Clone, PartialEq, Eq, Hash, FromRow)]
struct Node {
    nodeid: i32,
    nodename: String,
    nodeport: i32,
}

/// Finds the server for a ledger.
pub(super) struct Owners {
    /// The server that the database URL names.
    given: Arc<Connections>,
    spread: Option<Arc<Spread>>,
}

impl Owners {
    /// Of a database that is one server.
    pub(super) fn one(given: Arc<Connections>) -> Self {
        Self { given, spread: None }
    }

    /// Of a database that is a cluster.
    pub(super) async fn of_cluster(
        given: Arc<Connections>,
        given_nodeid: Option<i32>,
        url: &str,
        read_connections: u32,
    ) -> Self {
        let known = RwLock::new(Known { shards: Vec::new(), read_at: Instant::now() });
        let (nodes, is_reading) = (tokio::sync::Mutex::default(), AtomicBool::new(false));
        let url = url.to_owned();
        let spread =
            Spread { given: given.clone(), given_nodeid, url, read_connections, known, nodes, is_reading };
        spread.reread().await;
        Self { given, spread: Some(Arc::new(spread)) }
    }

    /// The connections for this ledger.
    pub(super) fn of(&self, ledger: LedgerKey) -> Arc<Connections> {
        let Some(spread) = &self.spread else { return Arc::clone(&self.given) };
        let (found, is_old) = {
            let known = spread.known.read();
            (known.owner(ledger.namespace_no).cloned(), known.read_at.elapsed() >= REREAD_AFTER)
        };
        if is_old && !spread.is_reading.swap(true, Ordering::Relaxed) {
            let spread = Arc::clone(spread);
            tokio::spawn(async move { spread.reread().await });
        }
        found.unwrap_or_else(|| Arc::clone(&self.given))
    }

    /// These ledgers by their servers.
    pub(super) fn of_each(&self, ledgers: &[LedgerKey]) -> Vec<(Arc<Connections>, Vec<LedgerKey>)> {
        let mut found: Vec<(Arc<Connections>, Vec<LedgerKey>)> = Vec::new();
        for ledger in ledgers {
            let owner = self.of(*ledger);
            match found.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &owner)) {
                Some((_, of_owner)) => of_owner.push(*ledger),
                None => found.push((owner, vec![*ledger])),
            }
        }
        found
    }

    /// Ends the connections.
    pub(super) async fn close(&self) {
        let nodes = match &self.spread {
            Some(spread) => spread.reached().await,
            None => Vec::new(),
        };
        tokio::join!(self.given.close(), join_all(nodes.iter().map(|node| node.close())));
    }
}

/// A cluster, as far as it is known.
struct Spread {
    given: Arc<Connections>,
    given_nodeid: Option<i32>,
    url: String,
    read_connections: u32,
    known: RwLock<Known>,
    /// The nodes that were tried, with the connections of those that can be reached directly.
    nodes: tokio::sync::Mutex<HashMap<Node, Tried>>,
    is_reading: AtomicBool,
}

struct Known {
    /// Rising by the highest hash. A shard whose node cannot be reached directly has the given one.
    shards: Vec<(i32, Arc<Connections>)>,
    read_at: Instant,
}

impl Known {
    fn owner(&self, namespace_no: i32) -> Option<&Arc<Connections>> {
        let hash = hash_of(namespace_no);
        let place = self.shards.partition_point(|(last_hash, _)| *last_hash < hash);
        self.shards.get(place).map(|(_, node)| node)
    }
}

struct Tried {
    reached: Option<Arc<Connections>>,
    at: Instant,
}

impl Spread {
    /// Reads where the shards are from the node given, or from the first of the others that answers.
    async fn reread(&self) {
        let others = self.reached().await;
        for server in [&self.given].into_iter().chain(&others) {
            let Ok(Some((cluster, shards))) = answered(read(&server.head_pool)).await else { continue };
            let mut nodes = self.nodes.lock().await;
            let mut found = Vec::with_capacity(shards.len());
            for Shard { last_hash, node } in shards {
                found.push((last_hash, self.reach(&mut nodes, node, &cluster).await));
            }
            self.known.write().shards = found;
            break;
        }
        self.known.write().read_at = Instant::now();
        self.is_reading.store(false, Ordering::Relaxed);
    }

    async fn reached(&self) -> Vec<Arc<Connections>> {
        self.nodes.lock().await.values().filter_map(|tried| tried.reached.clone()).collect()
    }

    /// The connections with a node, or with the one given where it cannot be reached directly, which is said once.
    async fn reach(
        &self,
        nodes: &mut HashMap<Node, Tried>,
        node: Node,
        cluster: &Cluster,
    ) -> Arc<Connections> {
        let last = nodes.get(&node);
        let is_known =
            last.is_some_and(|last| last.reached.is_some() || last.at.elapsed() < RETRY_NODE_AFTER);
        if !is_known {
            let is_first = last.is_none();
            let address = node.address();
            let reached = match self.connect(&node, cluster).await {
                Ok(reached) => {
                    if !is_first {
                        info!(node = address, "the node of the Citus cluster is reached directly now");
                    }
                    Some(Arc::new(reached))
                }
                Err(error) => {
                    if is_first {
                        warn!(
                            node = address,
                            error = &error as &dyn std::error::Error,
                            "the node of the Citus cluster cannot be reached directly at the address under which it is registered; what is for it goes through the node of the database URL, which costs more"
                        );
                    }
                    None
                }
            };
            nodes.insert(node.clone(), Tried { reached, at: Instant::now() });
        }
        let reached = nodes.get(&node).and_then(|tried| tried.reached.clone());
        reached.unwrap_or_else(|| Arc::clone(&self.given))
    }

    /// Connections with a node, once it has proved to be that one.
    async fn connect(&self, node: &Node, cluster: &Cluster) -> Result<Connections, OpenError> {
        let given = url::connect_options(&self.url)?;
        let options = match u16::try_from(node.nodeport) {
            // The way that was given leads to it, whatever its registered address is.
            _ if self.given_nodeid == Some(node.nodeid) => given,
            Ok(port) => url::connect_options_at(&self.url, &node.nodename, port)?,
            Err(_) => return Err(OpenError::Unsuitable(format!("{} is no port", node.nodeport))),
        };
        let mut connection = Session::reader(&options).connect().await.map_err(open_error)?;
        let checked = answered(async {
            let server = check_server(&mut connection).await?;
            let there = Cluster::find(&mut connection).await?;
            Ok(there
                .filter(|there| there.here() == Some(node.nodeid) && there.is_same(cluster))
                .map(|_| server))
        });
        match checked.await? {
            Some(server) => Ok(Connections::new(&options, server, self.read_connections, Role::Owner)),
            None => Err(OpenError::Unsuitable("another server is at that address".to_owned())),
        }
    }
}

impl Node {
    fn address(&self) -> String {
        format!("{}:{}", self.nodename, self.nodeport)
    }
}

/// The cluster as a server sees it; `None` where the server is in none any more.
async fn read(pool: &PgPool) -> Result<Option<(Cluster, Vec<Shard>)>, OpenError> {
    let mut lease = Lease::take(pool).await.map_err(open_error)?;
    let cluster = Cluster::find(lease.connection()).await?;
    let shards = match &cluster {
        Some(_) => sqlx::query_as(SHARDS).fetch_all(lease.connection()).await.map_err(open_error)?,
        None => Vec::new(),
    };
    lease.give_back();
    Ok(cluster.map(|cluster| (cluster, shards)))
}

/// The hash by which Citus distributes an integer: that of Postgres, `hashint4`, which is the same in every version, since
/// partitions on disk depend on it.
fn hash_of(number: i32) -> i32 {
    let start = 0x9e37_79b9_u32.wrapping_add(4).wrapping_add(3_923_095);
    let (mut a, mut b, mut c) = (start.wrapping_add(number as u32), start, start);
    let mix = |mixed: &mut u32, other: u32, bits: u32| {
        *mixed = (*mixed ^ other).wrapping_sub(other.rotate_left(bits));
    };
    mix(&mut c, b, 14);
    mix(&mut a, c, 11);
    mix(&mut b, a, 25);
    mix(&mut c, b, 16);
    mix(&mut a, c, 4);
    mix(&mut b, a, 14);
    mix(&mut c, b, 24);
    c as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `SELECT worker_hash(number)` says on a node.
    #[test]
    fn the_hash_is_the_servers() {
        let hashes = [
            (1, -1_905_060_026),
            (2, 1_134_484_726),
            (7, -978_793_473),
            (100, 108_199_381),
            (65_536, 32_085_720),
            (-1, 385_747_274),
        ];
        for (number, hash) in hashes {
            assert_eq!(hash_of(number), hash, "{number}");
        }
    }
}
