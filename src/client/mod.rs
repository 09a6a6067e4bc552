//! The HTTP client of the subcommands: asks a running service, with the retries that a producer owes.

mod answers;
mod credentials;
mod error;
mod namespaces;
mod pages;
mod retry;
mod stream;
mod subscriptions;

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use reqwest::{Response, StatusCode, Url, header, redirect};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use self::{
    answers::{EventResult, EventStatus, Page, PublishAnswer, Stats, TopicCounts, WrongAnswer},
    credentials::{ApiKey, Authorities, Credentials},
    error::{ClientError, Refusal, RefusedEvent, in_words},
    namespaces::Namespace,
    pages::PageQuery,
    retry::{EarlierAttempt, Published, Retries},
    stream::{LogMessage, LogReader, StreamQuery},
    subscriptions::{
        AckResult, Acked, LeaseAnswer, ParkedEvent, Retried, ShownLease, Subscription, WorkLease,
    },
};
use self::{
    error::{no_answer, refused, shown},
    namespaces::DEFAULT_NAMESPACE,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Platforms that ask for readiness expect a quick answer.
const READY_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer that is read: a page with the largest event that a service can be set to accept.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// A running service, by its URL, and one of its namespaces. Cloning is cheap and shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    namespace: String,
}

impl Client {
    /// A client of the service at `url`, `http` or `https`, which may have a path. Nothing is sent yet.
    pub fn new(url: &str) -> Result<Client, ClientError> {
        Self::with(url, Credentials::default())
    }

    /// The same, with what it takes to be let in and to know the service.
    pub fn with(url: &str, credentials: Credentials) -> Result<Client, ClientError> {
        let base = parse_base(url)?;
        install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sekali/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // The service never redirects; an address that does is another server, and is named.
            .redirect(redirect::Policy::none());
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if let Some(key) = credentials.key {
            builder = builder.default_headers([(header::AUTHORIZATION, key.0)].into_iter().collect());
        }
        if let Some(authorities) = credentials.authorities {
            builder = builder.tls_certs_only(authorities.0);
        } else if base.scheme() == "http" {
            // Without this the health check fails in an image that has no certificates.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Client { http, base, namespace: DEFAULT_NAMESPACE.to_owned() })
    }

    /// The same service, of which events and counts are those of this namespace.
    pub fn in_namespace(self, namespace: &str) -> Client {
        Client { namespace: namespace.to_owned(), ..self }
    }

    /// Publishes `body`, once.
    pub async fn publish(&self, body: Bytes) -> Result<PublishAnswer, ClientError> {
        let url = self.in_ledger("publish");
        let request = self.http.post(url.clone()).header(header::CONTENT_TYPE, "application/json");
        let answer = request.body(body).send().await.map_err(|error| no_answer(&url, error))?;
        read_json(self.succeeded(answer).await?).await
    }

    /// The counts of the service.
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        read_json(self.get(self.in_ledger("stats"), REQUEST_TIMEOUT).await?).await
    }

    /// The answer to `GET /stats` as it came.
    pub async fn stats_json(&self) -> Result<Box<RawValue>, ClientError> {
        read_json(self.get(self.in_ledger("stats"), REQUEST_TIMEOUT).await?).await
    }

    /// Whether the service is ready for work, asked with a timeout of 3 s; the error says why it is not.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.get(self.endpoint("readyz"), READY_TIMEOUT).await.map(drop)
    }

    /// What each namespace has; `default` has it at the root.
    fn in_ledger(&self, path: &str) -> Url {
        match self.namespace.as_str() {
            DEFAULT_NAMESPACE => self.endpoint(path),
            name => self.endpoint(&format!("namespaces/{name}/{path}")),
        }
    }

    fn endpoint(&self, path: &str) -> Url {
        self.base.join(path).expect("a checked base can be joined with any of our paths")
    }

    async fn get(&self, url: Url, timeout: Duration) -> Result<Response, ClientError> {
        let request = self.http.get(url.clone()).header(header::ACCEPT, "application/json").timeout(timeout);
        self.succeeded(request.send().await.map_err(|error| no_answer(&url, error))?).await
    }

    /// An answer with the status 200; any other status is an error.
    async fn succeeded(&self, answer: Response) -> Result<Response, ClientError> {
        with_status(answer, &[StatusCode::OK], &self.namespace).await
    }
}

/// The URL that the paths are joined to: with a host, without a query, ending in a slash.
fn parse_base(text: &str) -> Result<Url, ClientError> {
    let wrong = |allowed| ClientError::Url { given: crate::redact::redacted(text), allowed };
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(wrong("a URL that begins with http:// or https://"));
    }
    let mut url = Url::parse(text).map_err(|_| wrong("a URL such as http://127.0.0.1:8080"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("a URL without a query or a fragment"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Sets the provider for the whole process, unless another part has set one already.
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The whole body, up to `bytes_max`.
async fn read_body(mut answer: Response, bytes_max: usize) -> Result<Vec<u8>, ClientError> {
    let url = answer.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| no_answer(&url, error))? {
        if body.len() + chunk.len() > bytes_max {
            return Err(ClientError::TooLarge { url: shown(&url), bytes_max });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

async fn read_json<T: DeserializeOwned>(answer: Response) -> Result<T, ClientError> {
    let url = shown(answer.url());
    let body = read_body(answer, ANSWER_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|source| ClientError::Unreadable { url, source })
}

/// An answer about `namespace` with one of these statuses; any other status is an error.
async fn with_status(
    answer: Response,
    expected: &[StatusCode],
    namespace: &str,
) -> Result<Response, ClientError> {
    if expected.contains(&answer.status()) { Ok(answer) } else { Err(refused(answer, namespace).await) }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    use futures::TryStreamExt;

    use super::*;

    /// A server that gives each connection the next answer, and returns the request lines.
    fn canned(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = move || {
            let answer_one = |answer: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                stream.write_all(answer.as_bytes()).unwrap();
                head[0].clone()
            };
            answers.iter().map(answer_one).collect()
        };
        (url, thread::spawn(serve))
    }

    #[tokio::test]
    async fn pages_go_on_after_the_last_seq_until_one_is_empty() {
        let (url, server) = canned(&[
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[{\"seq\":1},{\"seq\" : 2, \"a\":2.0}]",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[{\"seq\":3}]",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[]",
        ]);
        let query = PageQuery { topics: vec!["a b&c".to_owned()], after: Some(0), ..PageQuery::default() };
        let client = Client::new(&url).unwrap();
        let pages: Vec<Page> = client.pages(query, Duration::ZERO).try_collect().await.unwrap();
        let events: Vec<&str> = pages.iter().flatten().map(|event| event.get()).collect();
        assert_eq!(events, [r#"{"seq":1}"#, r#"{"seq" : 2, "a":2.0}"#, r#"{"seq":3}"#]);
        let asked = server.join().unwrap();
        assert_eq!(asked[0], "GET /events?topic=a+b%26c&after=0 HTTP/1.1");
        assert_eq!(asked[1], "GET /events?topic=a+b%26c&after=2 HTTP/1.1");
    }

    #[tokio::test]
    async fn a_page_that_comes_again_and_again_is_an_error() {
        let (url, server) = canned(&[
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[{\"seq\":1}]",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[{\"seq\":1}]",
        ]);
        let query = PageQuery { after: Some(0), ..PageQuery::default() };
        let client = Client::new(&url).unwrap();
        let pages: Result<Vec<Page>, _> = client.pages(query, Duration::ZERO).try_collect().await;
        assert!(matches!(pages, Err(ClientError::Unreadable { .. })));
        server.join().unwrap();
    }

    #[tokio::test]
    async fn namespaces_are_listed_until_a_page_is_empty_and_a_page_that_goes_back_is_an_error() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        let page = |name: &str| {
            let counts = r#""created_at":"","received":0,"unique":0,"duplicates":0,"last_seq":0"#;
            format!(r#"{HEAD}[{{"name":"{name}","dedup_scope":"topic",{counts}}}]"#)
        };
        let leak = |answer: String| -> &'static str { answer.leak() };
        let answers = [page("shop-1"), page("shop-2"), format!("{HEAD}[]")].map(leak);
        let (url, server) = canned(Box::leak(Box::new(answers)));
        let listed = Client::new(&url).unwrap().namespaces("shop-").await.unwrap();
        assert_eq!(listed.iter().map(|namespace| &*namespace.name).collect::<Vec<_>>(), ["shop-1", "shop-2"]);
        let asked = server.join().unwrap();
        assert_eq!(asked[2], "GET /namespaces?prefix=shop-&after=shop-2 HTTP/1.1");

        let (url, server) = canned(Box::leak(Box::new([page("b"), page("a")].map(leak))));
        let error = Client::new(&url).unwrap().namespaces("").await.unwrap_err();
        assert!(matches!(error, ClientError::Unreadable { .. }), "{error}");
        server.join().unwrap();
    }

    #[tokio::test]
    async fn a_refusal_shows_what_the_problem_says() {
        let (url, server) = canned(&["HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n\
             {\"title\":\"not ready\",\"detail\":\"the store\\nis away\"}"]);
        let error = Client::new(&url).unwrap().ready().await.unwrap_err();
        let expected = format!("{url}/readyz answered 503 Service Unavailable: the store is away");
        assert_eq!(error.to_string(), expected);
        server.join().unwrap();
    }

    #[tokio::test]
    async fn something_else_on_the_port_is_called_so() {
        const PAGE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>";
        let (url, server) = canned(&[PAGE, PAGE]);
        let client = Client::new(&url).unwrap();
        let error = client.stats().await.unwrap_err();
        assert!(matches!(error, ClientError::Unreadable { .. }), "{error}");
        let error = client.publish_until_answered(&Bytes::new(), Duration::ZERO, &Retries::default()).await;
        assert!(in_words(&error.unwrap_err()).contains("is not what sekali answers: expected value"));
        server.join().unwrap();
    }

    #[test]
    fn a_wrong_url_is_refused_with_a_sentence() {
        for url in ["localhost:8080", "ftp://host", "http://", "http://host/?a=b", "http://host:99999", ""] {
            assert!(matches!(Client::new(url), Err(ClientError::Url { .. })), "{url}");
        }
        let error = Client::new("htp://u:secret@host").unwrap_err().to_string();
        assert!(error.contains("(URL not shown)"), "{error}");
    }

    #[test]
    fn a_path_in_front_is_kept() {
        for base in ["https://host/sekali", "https://host/sekali/"] {
            let client = Client::new(base).unwrap();
            assert_eq!(client.endpoint("stats").as_str(), "https://host/sekali/stats");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (url, is) in [("http://localhost", true), ("http://[::1]:80", true), ("http://10.0.0.1", false)] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), is, "{url}");
        }
    }
}
