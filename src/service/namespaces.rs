//! Namespaces: creating, showing and deleting them, and finding the ledger of one.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tracing::info;

use super::{Ledger, Loaded, READ_TIMEOUT, Service};
use crate::{
    event::DedupScope,
    ledger::{OpenLedger, Overloaded, Peer},
    store::{CreateOutcome, DEFAULT_NAMESPACE, NamespaceInfo, NamespaceQuery, StoreError},
};

/// How long the store may take to create or to delete a namespace; a deletion waits for the append that is under way.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a namespace, or its ledger, did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error("there is no namespace {0}")]
    Absent(String),
    #[error(
        "the namespace {namespace} exists with dedup_scope {kept} and keeps it; {asked} was asked for: leave it out, or choose another name"
    )]
    OtherScope { namespace: String, kept: DedupScope, asked: DedupScope },
    #[error("there are {0} namespaces, and there may not be more: delete one, or raise --namespaces-max")]
    Full(usize),
    #[error("the namespace {DEFAULT_NAMESPACE} always exists, and cannot be deleted")]
    Permanent,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// A namespace that exists.
pub struct Created {
    pub namespace: NamespaceInfo,
    /// Whether it was created by this call.
    pub is_new: bool,
}

/// One page of namespaces.
pub struct NamespacePage {
    pub namespaces: Vec<NamespaceInfo>,
    /// Whether others follow.
    pub more: bool,
}

impl Service {
    /// The ledger of this namespace, which is opened where it is not open yet.
    pub async fn ledger(&self, namespace: &str) -> Result<Ledger, NamespaceError> {
        let open = match self.0.directory.opened(namespace) {
            Some(open) => open,
            // Boxed, as few requests open one, and the room for it would be part of every request.
            None => Box::pin(self.0.directory.get_or_open(namespace, self.open_ledger(namespace))).await?,
        };
        open.note_used();
        Ok(Ledger::new(self.clone(), open))
    }

    async fn open_ledger(&self, namespace: &str) -> Result<Arc<OpenLedger>, NamespaceError> {
        let name = namespace.to_owned();
        let found = self.ask_store(READ_TIMEOUT, async move |store| {
            let Some(record) = store.control.ledger(&name).await? else { return Ok(None) };
            let head = store.reads.head(&record).await?;
            Ok(Some((record, head)))
        });
        let found = match found.await {
            // It was deleted between the two questions.
            Err(StoreError::Gone) => None,
            found => found?,
        };
        let (record, head) = found.ok_or_else(|| NamespaceError::Absent(namespace.to_owned()))?;
        let open = Arc::new(OpenLedger::new(record, head));
        self.0.actors.warm(&open);
        Ok(open)
    }

    /// The namespace of this name.
    pub async fn namespace(&self, name: &str) -> Result<NamespaceInfo, NamespaceError> {
        let asked = name.to_owned();
        let found = self.ask_store(READ_TIMEOUT, async move |store| store.control.namespace(&asked).await);
        found.await?.ok_or_else(|| NamespaceError::Absent(name.to_owned()))
    }

    /// One page of namespaces for `peer`, by name.
    pub async fn namespaces(
        &self,
        query: NamespaceQuery,
        peer: Peer,
    ) -> Result<Loaded<NamespacePage>, NamespaceError> {
        let deadline = Instant::now() + READ_TIMEOUT;
        let place = self.0.large_work.reads.take(Some(peer), deadline).await?;
        let limit = query.limit;
        let page = self.ask_store(deadline - Instant::now(), async move |store| {
            // One more shows whether others follow.
            let query = NamespaceQuery { limit: limit + 1, ..query };
            let mut namespaces = store.control.namespaces(&query).await?;
            let more = namespaces.len() > limit;
            namespaces.truncate(limit);
            Ok(Loaded::new(NamespacePage { namespaces, more }, place))
        });
        Ok(page.await?)
    }

    /// Creates a namespace with this scope, by default `event-id`. One that is there is left as it is.
    pub async fn create_namespace(
        &self,
        name: &str,
        scope: Option<DedupScope>,
    ) -> Result<Created, NamespaceError> {
        let (asked, namespaces_max) = (name.to_owned(), self.0.namespaces_max);
        let outcome = self.ask_store(CHANGE_TIMEOUT, async move |store| {
            let scope = scope.unwrap_or(DedupScope::EventId);
            store.control.create(&asked, scope, namespaces_max).await
        });
        let created = match outcome.await? {
            CreateOutcome::Created(namespace) => {
                info!(namespace = name, scope = namespace.ledger.scope.name(), "the namespace is created");
                Created { namespace, is_new: true }
            }
            CreateOutcome::There(namespace) => Created { namespace, is_new: false },
            CreateOutcome::Full => return Err(NamespaceError::Full(namespaces_max)),
        };
        let ledger = &created.namespace.ledger;
        // Another node may have deleted the one of this name that is open here.
        self.0.directory.remove_others(ledger);
        match scope {
            Some(asked) if asked != ledger.scope => {
                Err(NamespaceError::OtherScope { namespace: name.to_owned(), kept: ledger.scope, asked })
            }
            _ => Ok(created),
        }
    }

    /// Deletes a namespace with all that is in it. Its rows are removed afterwards, little by little.
    pub async fn delete_namespace(&self, name: &str) -> Result<(), NamespaceError> {
        if name == DEFAULT_NAMESPACE {
            return Err(NamespaceError::Permanent);
        }
        let (asked, service) = (name.to_owned(), self.clone());
        let open = self.0.directory.opened(name);
        // All of it within the task, which goes on when nobody waits for it any more.
        let deleted = self.ask_store(CHANGE_TIMEOUT, async move |store| {
            let deleted = store.control.delete(&asked).await;
            // Also where no answer came: it may be done.
            service.0.sweep_wanted.notify_one();
            let deleted = deleted?;
            if let Some(open) = open.filter(|_| deleted) {
                service.note_gone(&open);
            }
            Ok(deleted)
        });
        if !deleted.await? {
            return Err(NamespaceError::Absent(name.to_owned()));
        }
        info!(namespace = name, "the namespace is deleted; its rows are removed from now on");
        Ok(())
    }

    /// The store has this ledger no more: whoever asks for its namespace from now on asks the store.
    pub(super) fn note_gone(&self, ledger: &Arc<OpenLedger>) {
        ledger.note_gone();
        self.0.directory.remove(ledger);
    }
}
