//! The flags of `sekali simulate`.

use std::time::Duration;

use clap::{Args, value_parser};

use super::{
    body::{EVENT_FRAME_BYTES_MAX, PAYLOAD_BYTES_MIN},
    ids::IdKind,
};
use crate::{
    cli::LedgerArgs,
    config::{BODY_BYTES_MAX_DEFAULT, WrongValue, defaults, duration},
};

const RUN_NAME_BYTES_MAX: usize = 64;
/// Each has a connection.
const SUBSCRIBERS_MAX: u32 = 1_000;
const SUBSCRIBER_URLS_MAX: usize = 10;

#[derive(Args)]
pub struct SimulateArgs {
    /// How many events to send, repeats included: 1 to 10000000
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub events: u32,

    /// Share of the events that repeat an earlier one: 0 to 1, at least one event must remain
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = share)]
    pub duplicates: f64,

    /// Events in one request: 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    pub batch: u32,

    /// Connections, each with one request at a time: 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=1_000))]
    pub concurrency: u32,

    /// Topics of the events: 1 to 10000
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = value_parser!(u32).range(1..=10_000))]
    pub topics: u32,

    /// Namespaces that the events are spread over, with the same ids in each: 1 to 1000. More than one are created, as
    /// simulate-SEED-1 and so on, in place of --namespace; they stay
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=1_000))]
    pub namespaces: u32,

    /// Readers that follow the log of each namespace while the run publishes, and must get every event once and in order:
    /// 0 to 1000
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(0..=1_000))]
    pub subscribers: u32,

    /// Where the readers follow the log instead of --url; may be given up to 10 times. They are spread over these, and
    /// one that loses its stream goes on at the next
    #[arg(long = "subscriber-url", value_name = "URL", requires = "subscribers")]
    pub subscriber_urls: Vec<String>,

    /// Kind of the event ids
    #[arg(long, value_name = "KIND", default_value = "uuid4")]
    pub ids: IdKind,

    /// Size of each payload: 26 to 1000000 bytes
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = value_parser!(u32).range(PAYLOAD_BYTES_MIN as i64..=1_000_000))]
    pub payload_bytes: u32,

    /// Requests to send per second, whether or not answers come: up to 1000000; latency counts from the planned
    /// time; 0 sends as fast as answers come
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rate)]
    pub rate: f64,

    /// Decides the order of events and repeats [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Name of the run, which decides topics and ids: the same name and seed send the same events again;
    /// 1 to 64 letters, digits, - and _ [default: random]
    #[arg(long, value_name = "NAME", value_parser = run_name)]
    pub run: Option<String>,

    /// Longest time to retry one request: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = |text: &str| duration("give-up-after", text))]
    pub give_up_after: Duration,

    /// Longest wait for the service to be ready: 1ms to 1h
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = |text: &str| duration("ready-timeout", text))]
    pub ready_timeout: Duration,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// Whether to show no progress.
    #[arg(skip)]
    pub silent: bool,

    #[command(flatten)]
    pub(in crate::cli) ledger: LedgerArgs,
}

impl Default for SimulateArgs {
    fn default() -> Self {
        defaults()
    }
}

impl SimulateArgs {
    /// Whether the flags fit together.
    pub fn check(&self) -> Result<(), WrongValue> {
        // A request must fit into the service's default limit of a body.
        let largest = BODY_BYTES_MAX_DEFAULT / self.batch as usize - EVENT_FRAME_BYTES_MAX;
        if self.payload_bytes as usize > largest {
            let allowed = format!("at most {largest}, so that --batch {} events fit into 16MiB", self.batch);
            return Err(WrongValue::new("payload-bytes", allowed, self.payload_bytes.to_string()));
        }
        if self.namespaces > self.events {
            let allowed = format!("at most the number of events, {}", self.events);
            return Err(WrongValue::new("namespaces", allowed, self.namespaces.to_string()));
        }
        if self.namespaces.saturating_mul(self.subscribers) > SUBSCRIBERS_MAX {
            let allowed = format!("at most {SUBSCRIBERS_MAX} in all namespaces together");
            return Err(WrongValue::new("subscribers", allowed, self.subscribers.to_string()));
        }
        if self.subscriber_urls.len() > SUBSCRIBER_URLS_MAX {
            let allowed = format!("given at most {SUBSCRIBER_URLS_MAX} times");
            return Err(WrongValue::new("subscriber-url", allowed, self.subscriber_urls.len().to_string()));
        }
        Ok(())
    }

    /// The namespaces of the run with this seed.
    pub fn namespace_names(&self, seed: u64) -> Vec<String> {
        match self.namespaces {
            1 => vec![self.ledger.namespace.clone()],
            many => (1..=many).map(|number| format!("simulate-{seed}-{number}")).collect(),
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| *rate == 0.0 || (0.001..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| "it must be a number from 0.001 to 1000000, or 0".to_owned())
}

fn run_name(text: &str) -> Result<String, String> {
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b"-_".contains(&letter);
    match (1..=RUN_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("it must be 1 to 64 letters, digits, - and _".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::simulate::tests::args;

    #[test]
    fn requests_beyond_the_services_limit_are_wrong_usage() {
        assert!(args(&["--batch=16", "--payload-bytes=1000000"]).check().is_ok());
        let wrong = args(&["--batch=17", "--payload-bytes=1000000"]).check().unwrap_err();
        assert!(wrong.to_string().starts_with("--payload-bytes must be at most "), "{wrong}");
    }

    #[test]
    fn more_readers_than_connections_are_wrong_usage() {
        assert!(args(&["--namespaces=10", "--subscribers=100"]).check().is_ok());
        let wrong = args(&["--namespaces=11", "--subscribers=100"]).check().unwrap_err();
        assert!(wrong.to_string().starts_with("--subscribers must be at most 1000 in all"), "{wrong}");
        let urls = ["--subscriber-url=http://host"; 11];
        let wrong = args(&[&["--subscribers=1"], &urls[..]].concat()).check().unwrap_err();
        assert!(wrong.to_string().starts_with("--subscriber-url must be given at most 10"), "{wrong}");
    }

    #[test]
    fn a_namespace_without_an_event_is_wrong_usage() {
        assert!(args(&["--events=3", "--namespaces=3", "--duplicates=0"]).check().is_ok());
        let wrong = args(&["--events=3", "--namespaces=4"]).check().unwrap_err();
        assert!(
            wrong.to_string().starts_with("--namespaces must be at most the number of events, 3"),
            "{wrong}"
        );
    }
}
