//! Namespaces, and the database as a whole.

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreError;
use crate::event::{DedupScope, Digester, IDENTITY_KEY_BYTES};

/// The namespace that always exists.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Tells ledgers apart for good. A number alone does not: a restored database gives numbers again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LedgerKey {
    /// The number of its namespace, from 1.
    pub namespace_no: i32,
    /// Random, made with the ledger.
    pub ledger_id: Uuid,
}

/// A ledger as it was created.
#[derive(Clone)]
pub struct LedgerRecord {
    pub key: LedgerKey,
    /// The name of its namespace.
    pub namespace: String,
    /// Which events are the same one.
    pub scope: DedupScope,
    /// Makes the digests that its identities are kept under.
    pub digester: Digester,
}

impl LedgerRecord {
    pub(super) fn new(
        key: LedgerKey,
        namespace: &str,
        scope: DedupScope,
        identity_key: [u8; IDENTITY_KEY_BYTES],
    ) -> Self {
        Self { key, namespace: namespace.to_owned(), scope, digester: Digester::new(scope, &identity_key) }
    }
}

/// Finds ledgers, and closes the database.
#[async_trait]
pub trait ControlStore: Send + Sync {
    /// The ledger of the namespace of this name.
    async fn ledger(&self, namespace: &str) -> Result<Option<LedgerRecord>, StoreError>;

    /// Ends every connection of the readers, and releases the database for the next service. To be called after
    /// the writer's connection is closed; when this returns, no file and no socket of the store is open.
    async fn close(&self);
}
