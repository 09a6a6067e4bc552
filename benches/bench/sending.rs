//! A run of the load generator, in a process of its own.

use std::process::{Command, Stdio};

use super::load::{Measured, UUID_BYTES};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What is sent; by default batches of 1,000 new events over one connection.
#[derive(Clone)]
pub struct Sending {
    pub batch: usize,
    pub connections: usize,
    pub duplicates: f64,
    pub rate: Option<f64>,
    pub events: u64,
    pub seconds_max: f64,
    pub seed: u64,
    /// Pages are read instead of events sent.
    pub reads: bool,
    pub id_bytes: usize,
    /// The key to present.
    pub key: Option<String>,
    /// `default` alone where there are none.
    pub namespaces: Vec<String>,
}

/// More events than any case has time for.
pub const EVENTS_WITHOUT_END: u64 = u64::MAX / 2;

impl Default for Sending {
    fn default() -> Self {
        Self {
            batch: 1_000,
            connections: 1,
            duplicates: 0.0,
            rate: None,
            events: EVENTS_WITHOUT_END,
            seconds_max: 10.0,
            seed: 1,
            reads: false,
            id_bytes: UUID_BYTES,
            key: None,
            namespaces: Vec::new(),
        }
    }
}

impl Sending {
    /// Runs it to its end.
    pub fn to(&self, address: &str) -> Result<Measured> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["load", "--address", address]);
        for (flag, value) in [
            ("--batch", self.batch.to_string()),
            ("--connections", self.connections.to_string()),
            ("--duplicates", self.duplicates.to_string()),
            ("--events", self.events.to_string()),
            ("--seconds-max", self.seconds_max.to_string()),
            ("--seed", self.seed.to_string()),
            ("--id-bytes", self.id_bytes.to_string()),
        ] {
            command.args([flag, &value]);
        }
        if self.reads {
            command.arg("--reads");
        }
        if let Some(rate) = self.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        if let Some(key) = &self.key {
            command.env("SEKALI_KEY", key);
        }
        if !self.namespaces.is_empty() {
            command.args(["--namespace", &self.namespaces.join(",")]);
        }
        let output = command.stderr(Stdio::inherit()).output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
