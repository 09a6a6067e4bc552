//! The writer on a Citus cluster: each group goes to the node that owns its ledger.

use std::sync::Arc;

use async_trait::async_trait;

use super::{error::store_error, owners::Owners, writer::call_append};
use crate::store::{AppendGroup, GroupResult, StoreError, StoreWriter};

/// Takes a connection with the owner for each group. Connections stay open for all writers.
pub(super) struct ClusterWriter {
    pub(super) owners: Arc<Owners>,
}

#[async_trait]
impl StoreWriter for ClusterWriter {
    async fn append_all(&mut self, groups: &[AppendGroup<'_>]) -> Result<Vec<GroupResult>, StoreError> {
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            let owner = self.owners.of(group.ledger);
            let answer = owner.append(async |connection| call_append(connection, group).await).await?;
            results.push(answer.into_outcome(group).map_err(store_error));
        }
        Ok(results)
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
