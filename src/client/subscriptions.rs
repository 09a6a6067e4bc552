//! Subscriptions of a namespace. Their names must be checked before: other texts could lead to other paths.

use std::time::Duration;

use reqwest::{Response, StatusCode, Url, header};
use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::{Value, json, value::RawValue};

use super::{Client, ClientError, error::shown, namespaces::send, read_json};

/// A subscription, as the service shows it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Subscription {
    pub name: String,
    pub topics: Vec<String>,
    pub after: Value,
    pub lease_seconds: u64,
    pub max_leases: u64,
    pub max_deliveries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition_by: Option<String>,
    pub created_at: String,
    pub acked: u64,
    pub head: u64,
    pub lag: u64,
    pub leases: Vec<ShownLease>,
    pub parked: u64,
    pub status: String,
}

/// A lease that a worker holds, without the id by which it is acked.
#[derive(Debug, Deserialize, Serialize)]
pub struct ShownLease {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u64>,
    pub from: u64,
    pub through: u64,
    pub deliveries: u64,
    pub expires_at: String,
}

/// A lease of one's own.
#[derive(Debug, Deserialize)]
pub struct WorkLease {
    /// The id by which it is acked.
    pub lease: String,
    pub from: u64,
    pub through: u64,
    pub deliveries: u64,
    /// Each event's JSON text as it came.
    pub events: Vec<Box<RawValue>>,
}

/// What a worker gets.
#[derive(Debug)]
pub enum LeaseAnswer {
    Leased(WorkLease),
    /// Nothing is left to do.
    Nothing,
    /// Others hold as many leases as there may be.
    FullyLeased,
}

/// What becomes of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckResult {
    Accept,
    Release,
    Renew,
}

/// What an ack came to.
#[derive(Debug, Deserialize)]
pub struct Acked {
    pub acked: u64,
    pub lag: u64,
    /// Whether the lease had expired or was taken over, so that nothing was changed.
    #[serde(skip)]
    pub is_fenced: bool,
}

/// An event that failed as often as it may.
#[derive(Debug, Deserialize)]
pub struct ParkedEvent {
    pub deliveries: u64,
    pub parked_at: String,
    /// The event's JSON text as it came.
    pub event: Box<RawValue>,
}

/// What became of parked events that were to be tried again.
#[derive(Debug, Deserialize)]
pub struct Retried {
    pub retried: u64,
    pub parked: u64,
}

impl Client {
    /// Creates a subscription, unless it is there with these settings already. True if it is new.
    pub async fn create_subscription(
        &self,
        name: &str,
        settings: &Value,
    ) -> Result<(Subscription, bool), ClientError> {
        let request = self.http.put(self.subscription_url(name, ""));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(settings.to_string());
        let answer = send(request, &self.namespace, &[StatusCode::OK, StatusCode::CREATED]).await?;
        let is_new = answer.status() == StatusCode::CREATED;
        Ok((read_json(answer).await?, is_new))
    }

    /// The subscription of this name.
    pub async fn subscription(&self, name: &str) -> Result<Subscription, ClientError> {
        let request = self.http.get(self.subscription_url(name, ""));
        read_json(send(request, &self.namespace, &[StatusCode::OK]).await?).await
    }

    /// All subscriptions whose names begin with `prefix`, by name.
    pub async fn subscriptions(&self, prefix: &str) -> Result<Vec<Subscription>, ClientError> {
        let mut all: Vec<Subscription> = Vec::new();
        loop {
            let mut url = self.in_ledger("subscriptions");
            let after = all.last().map_or("", |last| &last.name);
            for (name, value) in [("prefix", prefix), ("after", after)] {
                if !value.is_empty() {
                    url.query_pairs_mut().append_pair(name, value);
                }
            }
            let answer = send(self.http.get(url.clone()), &self.namespace, &[StatusCode::OK]).await?;
            let page: Vec<Subscription> = read_json(answer).await?;
            let Some(last) = page.last() else { return Ok(all) };
            check_progress(*last.name > *after, &url, &last.name)?;
            all.extend(page);
        }
    }

    /// Deletes a subscription.
    pub async fn delete_subscription(&self, name: &str) -> Result<(), ClientError> {
        let request = self.http.delete(self.subscription_url(name, ""));
        send(request, &self.namespace, &[StatusCode::NO_CONTENT]).await.map(drop)
    }

    /// Sends a subscription to behind `after`, which is a `seq`, `now` or `earliest`.
    pub async fn seek_subscription(&self, name: &str, after: Value) -> Result<Acked, ClientError> {
        read_json(self.post(name, "/seek", json!({"after": after}), &[StatusCode::OK]).await?).await
    }

    /// All parked events of a subscription, oldest first.
    pub async fn parked(&self, name: &str) -> Result<Vec<ParkedEvent>, ClientError> {
        #[derive(Deserialize)]
        struct Event {
            seq: u64,
        }
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let mut url = self.subscription_url(name, "/parked");
            url.query_pairs_mut().append_pair("after", &after.to_string());
            let answer = send(self.http.get(url.clone()), &self.namespace, &[StatusCode::OK]).await?;
            let page: Vec<ParkedEvent> = read_json(answer).await?;
            let Some(last) = page.last() else { return Ok(all) };
            let Event { seq } = serde_json::from_str(last.event.get())
                .map_err(|source| ClientError::Unreadable { url: shown(&url), source })?;
            check_progress(seq > after, &url, &seq.to_string())?;
            after = seq;
            all.extend(page);
        }
    }

    /// Has the oldest parked events tried again.
    pub async fn retry_parked(&self, name: &str) -> Result<Retried, ClientError> {
        read_json(self.post(name, "/parked/retry", json!({}), &[StatusCode::OK]).await?).await
    }

    /// Leases up to `limit` events; waits up to `wait` for some.
    pub async fn lease(
        &self,
        name: &str,
        limit: u32,
        wait: Duration,
        worker: &str,
    ) -> Result<LeaseAnswer, ClientError> {
        let mut url = self.subscription_url(name, "/lease");
        url.query_pairs_mut()
            .append_pair("limit", &limit.to_string())
            .append_pair("wait", &wait.as_secs().to_string())
            .append_pair("worker", worker);
        let expected = [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::CONFLICT];
        let answer = send(self.http.post(url), &self.namespace, &expected).await?;
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(LeaseAnswer::Nothing),
            StatusCode::CONFLICT => Ok(LeaseAnswer::FullyLeased),
            _ => Ok(LeaseAnswer::Leased(read_json(answer).await?)),
        }
    }

    /// Does with a lease what is said.
    pub async fn ack(&self, name: &str, lease: &str, result: AckResult) -> Result<Acked, ClientError> {
        let result = match result {
            AckResult::Accept => "accept",
            AckResult::Release => "release",
            AckResult::Renew => "renew",
        };
        let expected = [StatusCode::OK, StatusCode::CONFLICT];
        let answer = self.post(name, "/ack", json!({"lease": lease, "result": result}), &expected).await?;
        let is_fenced = answer.status() == StatusCode::CONFLICT;
        Ok(Acked { is_fenced, ..read_json(answer).await? })
    }

    async fn post(
        &self,
        name: &str,
        path: &str,
        body: Value,
        expected: &[StatusCode],
    ) -> Result<Response, ClientError> {
        let request = self.http.post(self.subscription_url(name, path));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        send(request, &self.namespace, expected).await
    }

    fn subscription_url(&self, name: &str, path: &str) -> Url {
        self.in_ledger(&format!("subscriptions/{name}{path}"))
    }
}

/// A page that ends where it began would be asked for without end.
fn check_progress(goes_on: bool, url: &Url, last: &str) -> Result<(), ClientError> {
    if goes_on {
        return Ok(());
    }
    let source = serde_json::Error::custom(format!("a page ends with {last}, not behind the page before"));
    Err(ClientError::Unreadable { url: shown(url), source })
}
