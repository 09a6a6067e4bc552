//! A plain HTTP client, and events to send.

use std::{net::SocketAddr, sync::Once};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// Asks one service. A clone shares its connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// Stands before the paths of events and counts; empty for `default`.
    prefix: String,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, base: format!("http://{address}"), prefix: String::new() }
    }

    /// Where the service is.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The same service, of which events and counts are those of this namespace.
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { prefix: format!("/namespaces/{namespace}"), ..self.clone() }
    }

    /// GET, whatever comes back.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.base))).await.unwrap()
    }

    /// POST /publish with this body as JSON; an error where there is no answer.
    pub async fn try_publish(&self, body: impl Into<reqwest::Body>) -> Result<Answer, reqwest::Error> {
        let path = format!("{}/publish", self.prefix);
        let request = self.request("POST", &path).header("content-type", "application/json");
        self.send(request.body(body)).await
    }

    /// POST /publish with this body as JSON.
    pub async fn publish(&self, body: impl ToString) -> Answer {
        self.try_publish(body.to_string()).await.unwrap()
    }

    /// Publishes events that must be accepted; answers the `results`.
    pub async fn publish_ok(&self, body: impl ToString) -> Vec<Value> {
        let answer = self.publish(body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["results"].as_array().unwrap().clone()
    }

    /// Creates a namespace with the default settings.
    pub async fn create_namespace(&self, name: &str) {
        let answer = self.send(self.request("PUT", &format!("/namespaces/{name}"))).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    /// Publishes events that must be accepted into a namespace.
    pub async fn publish_in(&self, namespace: &str, body: impl ToString) {
        let request = self.request("POST", &format!("/namespaces/{namespace}/publish"));
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = self.send(request).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }

    /// A request to be changed before it is sent with [`send`](Self::send).
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.base))
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// GET /stats, which must answer.
    pub async fn stats(&self) -> Value {
        let answer = self.get(&format!("{}/stats", self.prefix)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// `received`, `unique_processed` and `duplicate_dropped`.
    pub async fn counts(&self) -> (u64, u64, u64) {
        let stats = self.stats().await;
        let count = |name: &str| stats[name].as_u64().unwrap();
        (count("received"), count("unique_processed"), count("duplicate_dropped"))
    }

    /// GET /events with this query string, which must answer.
    pub async fn events(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("{}/events{query}", self.prefix)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json().as_array().unwrap().clone()
    }

    /// Every stored event, oldest first, page by page along the links.
    pub async fn all_events(&self) -> Vec<Value> {
        self.events_after(0).await
    }

    /// Every event stored behind `after`, the same way.
    pub async fn events_after(&self, after: u64) -> Vec<Value> {
        let mut events = Vec::new();
        let mut path = format!("{}/events?after={after}&limit=1000", self.prefix);
        loop {
            let answer = self.get(&path).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            events.extend(answer.json().as_array().unwrap().iter().cloned());
            match answer.next_link() {
                Some(next) => path = next,
                None => return events,
            }
        }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// This answer as the problem document that every refusal is; `retryable` must follow from the status.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", shortened(&self.text));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["retryable"], [408, 429, 502, 503, 504].contains(&status), "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
        let request_id = problem["request_id"].as_str();
        assert!(request_id.is_some() && request_id == self.header("x-request-id"), "{problem}");
        assert_eq!(self.header("retry-after").is_some(), problem["retryable"] == true, "{problem}");
        problem
    }

    /// The path of `Link: <…>; rel="next"`.
    pub fn next_link(&self) -> Option<String> {
        let link = self.header("link")?;
        let (target, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(rest, "; rel=\"next\"");
        Some(target.to_owned())
    }

    /// The pointers of `errors`, each behind its index.
    pub fn faults(&self) -> Vec<(u64, String)> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        let place =
            |error: &Value| (error["index"].as_u64().unwrap(), error["pointer"].as_str().unwrap().to_owned());
        errors.iter().map(place).collect()
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(1_000).collect()
}

/// A valid event.
pub fn event(topic: &str, event_id: &str) -> Value {
    json!({
        "topic": topic,
        "event_id": event_id,
        "timestamp": "2026-06-18T12:00:00.123456Z",
        "source": "test",
        "payload": {"of": event_id},
    })
}

/// A batch of valid events.
pub fn events<'a>(topic: &str, event_ids: impl IntoIterator<Item = &'a str>) -> Value {
    json!({"events": event_ids.into_iter().map(|event_id| event(topic, event_id)).collect::<Vec<_>>()})
}
