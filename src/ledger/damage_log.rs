//! Says each damage of the store once in the log, however often readers meet it.

use std::{collections::HashSet, error::Error};

use parking_lot::Mutex;
use tracing::{debug, error};

use crate::store::StoreError;

/// Different messages that are remembered; further ones are logged at debug level only.
const MESSAGES_MAX: usize = 100;

/// The damages that were logged.
#[derive(Default)]
pub struct DamageLog(Mutex<HashSet<String>>);

impl DamageLog {
    /// Logs `cause` at error level the first time, if a repeated read cannot succeed either.
    pub fn note(&self, cause: &StoreError) {
        if !matches!(cause, StoreError::Damaged(_) | StoreError::Broken(_)) {
            return;
        }
        let is_new = {
            let mut messages = self.0.lock();
            let message = cause.source().map_or_else(|| cause.to_string(), ToString::to_string);
            messages.len() < MESSAGES_MAX && messages.insert(message)
        };
        let cause = cause as &dyn Error;
        if is_new {
            error!(error = cause, "the store cannot be read; this is logged once");
        } else {
            debug!(error = cause, "the store still cannot be read");
        }
    }
}
