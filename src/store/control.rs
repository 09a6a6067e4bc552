//! Namespaces, and the database as a whole.

use async_trait::async_trait;
use uuid::Uuid;

use super::{Head, StoreError};
use crate::event::{DedupScope, Digester, IDENTITY_KEY_BYTES, Timestamp};

/// The namespace that always exists, and cannot be deleted.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Longest name of a namespace, in bytes.
const NAMESPACE_BYTES_MAX: usize = 63;

/// Whether `name` may be the name of a namespace; else the sentence that says why not.
pub fn check_namespace(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let has_bad = name.bytes().any(|byte| !is_plain(byte) && byte != b'-');
    if name.is_empty() || name.len() > NAMESPACE_BYTES_MAX {
        Err(format!("must have 1 to {NAMESPACE_BYTES_MAX} characters"))
    } else if has_bad {
        Err("must consist of a-z, 0-9 and -".to_owned())
    } else if name.starts_with('-') {
        Err("must begin with a letter or a digit".to_owned())
    } else {
        Ok(())
    }
}

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

/// A namespace as it is shown.
#[derive(Clone)]
pub struct NamespaceInfo {
    pub ledger: LedgerRecord,
    pub created_at: Timestamp,
    /// Its newest commit, in the same snapshot.
    pub head: Head,
}

/// Which namespaces to list: those whose names begin with `prefix` and are behind `after`. Names compare by their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceQuery {
    pub prefix: String,
    pub after: String,
    pub limit: usize,
}

/// What became of a namespace that was to be created.
#[derive(Clone)]
pub enum CreateOutcome {
    /// It is new.
    Created(NamespaceInfo),
    /// One of that name is there, whatever its scope.
    There(NamespaceInfo),
    /// There are as many namespaces as may be.
    Full,
}

/// What a step of [`ControlStore::sweep`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows of events, identities, topics and commits that it removed.
    pub rows: u64,
    /// Whether another step may find something to do. What another node works on at the moment is left to it.
    pub more: bool,
}

/// Creates, finds and deletes namespaces, asks whether the database answers, and closes it.
#[async_trait]
pub trait ControlStore: Send + Sync {
    /// The ledger of the namespace of this name.
    async fn ledger(&self, namespace: &str) -> Result<Option<LedgerRecord>, StoreError>;

    /// The namespace of this name.
    async fn namespace(&self, namespace: &str) -> Result<Option<NamespaceInfo>, StoreError>;

    /// One page of namespaces, ordered by name, in one snapshot.
    async fn namespaces(&self, query: &NamespaceQuery) -> Result<Vec<NamespaceInfo>, StoreError>;

    /// Creates a namespace with an empty ledger, if that makes no more than `namespaces_max` of them; `default` counts,
    /// and those that are being deleted do not. A repeated call finds it [`There`](CreateOutcome::There).
    async fn create(
        &self,
        namespace: &str,
        scope: DedupScope,
        namespaces_max: usize,
    ) -> Result<CreateOutcome, StoreError>;

    /// Takes name and ledger from a namespace, both or none: whoever appends or reads then gets
    /// [`Gone`](StoreError::Gone). Its rows are left to [`sweep`](Self::sweep).
    ///
    /// False if there is none of that name, and for `default`.
    async fn delete(&self, namespace: &str) -> Result<bool, StoreError>;

    /// Removes up to `rows_max` rows of a namespace that is being deleted, in one short transaction; its last trace where
    /// that was all. Several nodes may do so at once, and it may end at any time: what is left to do stands in the tables.
    async fn sweep(&self, rows_max: usize) -> Result<Swept, StoreError>;

    /// Whether the database answers, and is the one that was opened. Waits for no reader.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Ends every connection but the writer's, and releases the database for the next service. To be called after the
    /// writer's connection is closed; when this returns, no file and no socket of the store is open.
    ///
    /// Whether the database is left as it should be: of SQLite one file that holds everything, unless another program has it
    /// open.
    async fn close(&self) -> bool;
}
