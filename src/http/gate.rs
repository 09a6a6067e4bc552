//! Whether requests may pass: not before the store is open, and no more once the service stops.

use std::sync::OnceLock;

use tokio::sync::watch;

use super::problem::Problem;
use crate::service::Service;

/// The service, for the handlers. It is started after the HTTP server and stopped before it.
pub struct Gate {
    service: OnceLock<Service>,
    draining: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { service: OnceLock::new(), draining: watch::Sender::new(false) }
    }
}

impl Gate {
    /// Lets requests pass to this service; the first call counts.
    pub fn open(&self, service: Service) {
        let _ = self.service.set(service);
    }

    /// Lets no further request pass.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// The service, for a request that may pass.
    pub(super) fn pass(&self) -> Result<&Service, Problem> {
        if self.is_draining() {
            return Err(Problem::draining());
        }
        self.service()
            .ok_or_else(|| Problem::unavailable("the service is starting: its database is not there yet"))
    }

    /// The service, if it is there, stopping or not.
    pub(super) fn service(&self) -> Option<&Service> {
        self.service.get()
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the service stops.
    pub(super) async fn draining(&self) {
        // The sender lives as long as this borrow of it.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }
}
