//! Whether one ledger takes writes. A ledger that is damaged or locked is no failure of the database: other ledgers go
//! on, and so does readiness.

use std::error::Error;

use parking_lot::Mutex;
use tracing::{debug, error, info};

use crate::store::StoreError;

/// Shared by the writer and the handle.
#[derive(Default)]
pub struct LedgerHealth {
    trouble: Mutex<Option<String>>,
}

impl LedgerHealth {
    /// Notes that a write failed for the ledger's sake. The same trouble is logged once.
    pub fn note_trouble(&self, namespace: &str, cause: &StoreError) {
        let message = cause.to_string();
        let is_new = self.trouble.lock().replace(message.clone()) != Some(message);
        let cause = cause as &dyn Error;
        if is_new {
            error!(namespace, error = cause, "the namespace cannot be written");
        } else {
            debug!(namespace, error = cause, "the namespace still cannot be written");
        }
    }

    /// Notes that the ledger took a write.
    pub fn note_taken(&self, namespace: &str) {
        if self.trouble.lock().take().is_some() {
            info!(namespace, "the namespace takes writes again");
        }
    }

    /// Why it did not take the last write, where it did not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
}
