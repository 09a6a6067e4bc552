//! The files that are read at the start and again on SIGHUP: keys and certificates.

use std::sync::Arc;

use tokio::sync::Notify;
use tracing::{error, info};

use super::AppError;
use crate::{access::KeyRing, config::Config, http::Certificates};

/// What was read from them last.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) keys: Option<Arc<KeyRing>>,
    pub(super) certificates: Option<Arc<Certificates>>,
}

impl Files {
    /// Reads the files that the settings name.
    pub(super) fn read(config: &Config) -> Result<Self, AppError> {
        let keys = config.api_keys.as_ref().map(KeyRing::open).transpose()?;
        let certificates = config.tls.as_ref().map(|tls| Certificates::open(&tls.certificate, &tls.key));
        Ok(Self { keys: keys.map(Arc::new), certificates: certificates.transpose()?.map(Arc::new) })
    }

    /// Reads them again each time that this is asked for; never ends.
    pub(super) async fn reload(self, asked: Arc<Notify>) {
        loop {
            asked.notified().await;
            self.read_again();
        }
    }

    fn read_again(&self) {
        if self.keys.is_none() && self.certificates.is_none() {
            info!("a hang-up signal changes nothing: there is no file to read again");
        }
        if let Some(keys) = &self.keys {
            match keys.reload() {
                Ok(keys) => info!(keys, "the keys are read again"),
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "the keys stay as they are");
                }
            }
        }
        if let Some(certificates) = &self.certificates {
            match certificates.reload() {
                Ok(()) => info!("the certificate is read again; new connections get it"),
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "the certificate stays as it is");
                }
            }
        }
    }
}
