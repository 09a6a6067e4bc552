//! The server as a node of a Citus cluster.
//!
//! Any node serves: it knows which node has which rows, and sends statements on. Only the schema is changed on one node
//! alone, the coordinator.

use std::time::Duration;

use sqlx::{FromRow, PgConnection};

use super::{answered, error::open_error, session::Session, url};
use crate::store::OpenError;

/// The first one that is tried; older ones lack some of what is called here, or differ in it.
const VERSION_MIN: u32 = 12;
/// How long all nodes together may take to tell their settings. One that hangs is asked again at the next start.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(3);

/// Settings of sessions do not reach a node to which a call is sent on: its own must do.
const UNSUITABLE_SETTINGS: &str = "
    SELECT nodename, nodeport, result FROM run_command_on_all_nodes($$
        SELECT coalesce((SELECT name || ' = ' || setting FROM pg_catalog.pg_settings
                         WHERE name = 'synchronous_commit' AND setting = 'off'
                            OR name = 'default_transaction_isolation' AND setting <> 'read committed' LIMIT 1), '')
    $$) JOIN pg_catalog.pg_dist_node USING (nodeid) WHERE success AND result <> ''";

const NODES: &str = "
    SELECT nodeid, nodename, nodeport, groupid = 0 AS is_coordinator,
        groupid = (SELECT groupid FROM pg_catalog.pg_dist_local_group) AS is_here
    FROM pg_catalog.pg_dist_node WHERE noderole = 'primary' AND isactive ORDER BY nodeid";

/// A cluster, seen from one of its nodes.
pub(super) struct Cluster {
    nodes: Vec<Node>,
}

#[derive(FromRow)]
struct Node {
    nodeid: i32,
    nodename: String,
    nodeport: i32,
    is_coordinator: bool,
    is_here: bool,
}

impl Cluster {
    /// The cluster that the server is a node of; `None` where it is by itself, with or without the extension.
    pub(super) async fn find(connection: &mut PgConnection) -> Result<Option<Self>, OpenError> {
        let extension: Option<String> =
            sqlx::query_scalar("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'citus'")
                .fetch_optional(&mut *connection)
                .await
                .map_err(open_error)?;
        let Some(version) = extension else { return Ok(None) };
        let nodes: Vec<Node> = sqlx::query_as(NODES).fetch_all(connection).await.map_err(open_error)?;
        if nodes.iter().all(|node| node.is_coordinator) {
            return Ok(None);
        }
        check_version(&version)?;
        let cluster = Self { nodes };
        cluster.coordinator()?;
        Ok(Some(cluster))
    }

    fn coordinator(&self) -> Result<&Node, OpenError> {
        self.nodes.iter().find(|node| node.is_coordinator).ok_or_else(|| {
            OpenError::Unsuitable(
                "the Citus cluster's nodes do not know their coordinator: run SELECT citus_set_coordinator_host('HOST', PORT) on it, with the address at which the workers reach it".to_owned(),
            )
        })
    }

    /// A connection to the coordinator of the database that `url` names; `None` where that is the coordinator already.
    pub(super) async fn connect_coordinator(&self, url: &str) -> Result<Option<PgConnection>, OpenError> {
        let coordinator = self.coordinator()?;
        if coordinator.is_here {
            return Ok(None);
        }
        let port = u16::try_from(coordinator.nodeport).unwrap_or_default();
        let options = url::connect_options_at(url, &coordinator.nodename, port)?;
        let connected = Session::opening(&options).connect().await.map_err(open_error);
        let mut connection = connected.map_err(|error| coordinator.is_away(error))?;
        let there = answered(Self::find(&mut connection)).await?;
        if there.is_none_or(|there| there.here() != Some(coordinator.nodeid) || !there.is_same(self)) {
            return Err(OpenError::Unsuitable(format!(
                "the server at {} is another one than the coordinator of the Citus cluster, which is registered under that address: run `sekali migrate` with a URL of the coordinator",
                coordinator.address()
            )));
        }
        Ok(Some(connection))
    }

    /// Whether it is the same cluster, seen from whichever node.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&Node, &Node)| {
            (one.nodeid, &one.nodename, one.nodeport) == (other.nodeid, &other.nodename, other.nodeport)
        };
        self.nodes.len() == other.nodes.len() && self.nodes.iter().zip(&other.nodes).all(same)
    }

    /// The node from which it is seen.
    pub(super) fn here(&self) -> Option<i32> {
        self.nodes.iter().find(|node| node.is_here).map(|node| node.nodeid)
    }
}

impl Node {
    fn address(&self) -> String {
        format!("{}:{}", self.nodename, self.nodeport)
    }

    /// What to do where the coordinator cannot be reached.
    fn is_away(&self, error: OpenError) -> OpenError {
        if !error.is_transient() {
            return error;
        }
        OpenError::NodeAway(format!(
            "the schema must be changed on the Citus cluster's coordinator, which does not answer at {}, where it is registered: start it, or run `sekali migrate` with a URL at which it can be reached from here",
            self.address()
        ))
    }
}

/// Refuses settings of nodes that cannot keep what is promised. Nodes that do not answer are left out. The connection is
/// of no further use where the time ran out.
pub(super) async fn check_settings(connection: &mut PgConnection) -> Result<(), OpenError> {
    let asked = sqlx::query_as(UNSUITABLE_SETTINGS).fetch_optional(connection);
    let Ok(found) = tokio::time::timeout(SETTINGS_TIMEOUT, asked).await else { return Ok(()) };
    let found: Option<(String, i32, String)> = found.map_err(open_error)?;
    match found {
        None => Ok(()),
        Some((host, port, setting)) => Err(OpenError::Unsuitable(format!(
            "the node {host}:{port} of the Citus cluster runs with {setting}, with which events that were acknowledged could be lost or appends fail: set synchronous_commit to on and default_transaction_isolation to read committed there"
        ))),
    }
}

fn check_version(extension: &str) -> Result<(), OpenError> {
    let major =
        extension.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|text| text.parse().ok());
    if major.is_some_and(|major: u32| major >= VERSION_MIN) {
        return Ok(());
    }
    Err(OpenError::Unsuitable(format!(
        "sekali needs Citus {VERSION_MIN} or newer to run on a cluster; this database has {extension}: install a newer one on all nodes and run ALTER EXTENSION citus UPDATE on each"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_first_number() {
        assert!(
            check_version("13.2-1").is_ok() && check_version("12.0-1").is_ok() && check_version("14").is_ok()
        );
        for old in ["11.3-1", "9.5-3", ""] {
            assert!(check_version(old).unwrap_err().to_string().contains("Citus 12 or newer"), "{old}");
        }
    }
}
