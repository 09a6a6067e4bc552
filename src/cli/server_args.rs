//! The running service that a subcommand asks, and the namespace in it.

use std::{ffi::OsString, path::Path};

use clap::Args;

use super::CliError;
use crate::{
    client::{ApiKey, Authorities, Client, Credentials},
    config::WrongValue,
    store::{DEFAULT_NAMESPACE, check_namespace},
};

/// The running service to ask.
#[derive(Args)]
pub(super) struct ServerArgs {
    /// The running service, http or https
    #[arg(
        long,
        env = "SEKALI_URL",
        hide_env_values = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub(super) url: String,

    /// The key to be let in with, or @ and a file that holds it: other users of this machine see arguments, and do not
    /// see SEKALI_KEY
    #[arg(long, env = "SEKALI_KEY", hide_env_values = true, value_name = "KEY|@FILE")]
    key: Option<String>,

    /// Certificates of the authorities that the service is known by, PEM [default: those of the system]
    #[arg(long, env = "SEKALI_CA", hide_env_values = true, value_name = "FILE")]
    ca: Option<OsString>,
}

impl ServerArgs {
    pub(super) fn client(&self) -> Result<Client, CliError> {
        self.client_at(&self.url)
    }

    /// A client of another address, which is let in and known in the same way.
    pub(super) fn client_at(&self, url: &str) -> Result<Client, CliError> {
        // docker compose hands on settings without a value as empty ones.
        let key = self.key.as_deref().filter(|key| !key.is_empty());
        let key = key.map(|key| match key.strip_prefix('@') {
            Some(path) => ApiKey::read(Path::new(path)),
            None => ApiKey::parse(key),
        });
        let ca = self.ca.as_deref().filter(|path| !path.is_empty()).map(Path::new);
        let authorities = ca.map(Authorities::read).transpose()?;
        Ok(Client::with(url, Credentials { key: key.transpose()?, authorities })?)
    }
}

/// The namespace of a running service to ask.
#[derive(Args)]
pub(super) struct LedgerArgs {
    #[command(flatten)]
    pub(super) server: ServerArgs,

    /// The namespace that holds the events: 1 to 63 of a-z, 0-9 and -
    #[arg(
        long,
        env = "SEKALI_NAMESPACE",
        hide_env_values = true,
        value_name = "NAME",
        default_value = DEFAULT_NAMESPACE
    )]
    pub(super) namespace: String,
}

impl LedgerArgs {
    pub(super) fn client(&self) -> Result<Client, CliError> {
        check_namespace(&self.namespace).map_err(|_| {
            let allowed = "1 to 63 of a-z, 0-9 and -, first a letter or a digit";
            WrongValue::new("namespace", allowed, &self.namespace)
        })?;
        Ok(self.server.client()?.in_namespace(&self.namespace))
    }
}
