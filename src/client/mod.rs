//! The HTTP client of the subcommands: asks a running service, and says clearly why there is no answer.

mod link;
mod publish;
mod retry;

use std::{net::IpAddr, time::Duration};

use futures::{Stream, stream};
use reqwest::{Response, StatusCode, Url, header, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub use self::{
    publish::{Again, AnswerDetail, Attempt, Refusal, RefusedEvent},
    retry::{EarlierAttempt, NotPublished, Published, Retries},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Readiness is asked by platforms that count on a quick answer.
const READY_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer that is read: a page with the largest event that a service can be set to take.
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// Largest explanation of a refusal that is read.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// A running service, by its URL. Cloning is cheap and shares the connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
}

impl Client {
    /// A client of the service at `url`, `http` or `https`, which may have a path. Nothing is sent yet.
    pub fn new(url: &str) -> Result<Client, ClientError> {
        let base = parse_base(url)?;
        install_crypto_provider();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sekali/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // The service never redirects; one that does is not the service, and should be named instead.
            .redirect(redirect::Policy::none());
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            // Without this, an image that has no certificates could not even run its health check.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(ClientError::Setup)?;
        Ok(Client { http, base })
    }

    /// The answer to `GET /stats`, as it came: JSON text.
    pub async fn stats(&self) -> Result<String, ClientError> {
        let url = self.endpoint("stats");
        let answer = self.get(url.clone(), REQUEST_TIMEOUT).await?;
        let bytes = read_body(answer, ANSWER_BYTES_MAX).await?;
        let json: Box<RawValue> = parse(&url, &bytes)?;
        Ok(String::from(json.get()))
    }

    /// Whether the service is ready for work, asked with a timeout of 3 s; the error says why it is not.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.get(self.endpoint("readyz"), READY_TIMEOUT).await.map(drop)
    }

    /// The first page that answers `query`.
    pub async fn events_page(&self, query: &PageQuery) -> Result<Page, ClientError> {
        self.page_at(self.page_url(query)).await
    }

    /// All pages that answer `query`, one after the other along their links.
    pub fn pages(&self, query: &PageQuery) -> impl Stream<Item = Result<Page, ClientError>> + '_ {
        stream::try_unfold(Some(self.page_url(query)), async |next| {
            let Some(url) = next else { return Ok(None) };
            let page = self.page_at(url).await?;
            let next = page.next.clone();
            Ok(Some((page, next)))
        })
    }

    async fn page_at(&self, url: Url) -> Result<Page, ClientError> {
        let answer = self.get(url.clone(), REQUEST_TIMEOUT).await?;
        let links = answer.headers().get_all(header::LINK).iter();
        let next = links.filter_map(|value| value.to_str().ok()).find_map(link::next);
        // A link that cannot be followed is an error: taken for the last page, it would hide events.
        let bad_link = |target: &str| ClientError::BadLink { url: shown(&url), target: target.to_owned() };
        let next = next.map(|target| url.join(target).map_err(|_| bad_link(target))).transpose()?;
        let bytes = read_body(answer, ANSWER_BYTES_MAX).await?;
        Ok(Page { events: parse(&url, &bytes)?, next })
    }

    fn page_url(&self, query: &PageQuery) -> Url {
        let mut url = self.endpoint("events");
        let numbers =
            [("limit", query.limit.map(u64::from)), ("before", query.before), ("after", query.after)];
        if let Some(topic) = &query.topic {
            url.query_pairs_mut().append_pair("topic", topic);
        }
        for (name, number) in numbers {
            if let Some(number) = number {
                url.query_pairs_mut().append_pair(name, &number.to_string());
            }
        }
        url
    }

    fn endpoint(&self, path: &str) -> Url {
        self.base.join(path).expect("a base that was checked takes any of our paths")
    }

    async fn get(&self, url: Url, timeout: Duration) -> Result<Response, ClientError> {
        let request = self.http.get(url.clone()).header(header::ACCEPT, "application/json").timeout(timeout);
        let answer = request.send().await.map_err(|error| no_answer(&url, error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refused(answer).await) }
    }
}

/// What to ask `GET /events` for; nothing set asks for the newest events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// Only this topic.
    pub topic: Option<String>,
    /// Events in a page, 1 to 1,000; the service's default is 100.
    pub limit: Option<u32>,
    /// Only events with a lower `seq`.
    pub before: Option<u64>,
    /// Only events with a higher `seq`, and oldest first.
    pub after: Option<u64>,
}

/// One page of stored events.
#[derive(Debug)]
pub struct Page {
    /// Each event's JSON text, just as it came.
    pub events: Vec<Box<RawValue>>,
    /// Where the next page is, if there is one.
    pub next: Option<Url>,
}

/// Why there is no answer. URLs are shown without their user and password.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL that was given cannot be the service's.
    #[error("--url must be {allowed}, not {given:?}")]
    Url { given: String, allowed: &'static str },
    /// TLS could not be set up on this machine.
    #[error("cannot set up an HTTP client")]
    Setup(#[source] reqwest::Error),
    /// No connection, or it broke off, or it took too long.
    #[error("no answer from {url}")]
    NoAnswer { url: String, source: reqwest::Error },
    /// The service said no; `detail` is its own explanation, or empty.
    #[error("{url} answered {status}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Refused { url: String, status: StatusCode, detail: String },
    /// There are more events, but where is not understood.
    #[error("the next page of {url} is at {target:?}, which is no URL")]
    BadLink { url: String, target: String },
    /// What came is larger than any answer of the service.
    #[error("the answer of {url} is larger than {bytes_max} bytes")]
    TooLarge { url: String, bytes_max: usize },
    /// What came is not what the service answers.
    #[error("the answer of {url} is not what sekali answers")]
    Unreadable { url: String, source: serde_json::Error },
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

/// The first one wins, for the whole process; that another part has installed one already is no fault.
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The whole body, as long as it stays within `bytes_max`.
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

fn parse<T: DeserializeOwned>(url: &Url, bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes).map_err(|source| ClientError::Unreadable { url: shown(url), source })
}

fn no_answer(url: &Url, error: reqwest::Error) -> ClientError {
    ClientError::NoAnswer { url: shown(url), source: error.without_url() }
}

async fn refused(answer: Response) -> ClientError {
    let (url, status) = (shown(answer.url()), answer.status());
    let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let moved = location.map(|target| format!("use {target}"));
    let body = read_body(answer, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let detail = moved.or_else(|| problem_detail(&body)).unwrap_or_default();
    ClientError::Refused { url, status, detail }
}

/// What an RFC 9457 body, or that of a probe, says in words, fit for a terminal.
fn problem_detail(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        title: Option<String>,
        detail: Option<String>,
        /// What the probes say instead.
        reason: Option<String>,
    }
    let problem: Problem = serde_json::from_slice(body).ok()?;
    let words = problem.detail.or(problem.reason).or(problem.title)?;
    Some(words.replace(char::is_control, " "))
}

fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for URLs that have no host, and such a URL has no password either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
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

    /// A server that gives each connection the next answer, and then the request lines that it saw.
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
    async fn pages_are_followed_along_their_links() {
        let (url, server) = canned(&[
            "HTTP/1.1 200 OK\r\nconnection: close\r\nlink: </events?after=2&topic=a>; rel=\"next\"\r\n\r\n[{\"seq\":1},{\"seq\" : 2.0}]",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n[{\"seq\":3}]",
        ]);
        let query = PageQuery { topic: Some("a b&c".to_owned()), after: Some(0), ..PageQuery::default() };
        let client = Client::new(&url).unwrap();
        let pages: Vec<Page> = client.pages(&query).try_collect().await.unwrap();
        let events: Vec<&str> = pages.iter().flat_map(|page| &page.events).map(|event| event.get()).collect();
        assert_eq!(events, [r#"{"seq":1}"#, r#"{"seq" : 2.0}"#, r#"{"seq":3}"#]);
        let asked = server.join().unwrap();
        assert_eq!(asked[0], "GET /events?topic=a+b%26c&after=0 HTTP/1.1");
        assert_eq!(asked[1], "GET /events?after=2&topic=a HTTP/1.1");
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
        let (url, server) = canned(&["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>"]);
        let error = Client::new(&url).unwrap().stats().await.unwrap_err();
        assert!(matches!(error, ClientError::Unreadable { .. }), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn a_wrong_url_is_refused_with_a_sentence() {
        for url in ["localhost:8080", "ftp://host", "http://", "http://host/?a=b", "http://host:99999", ""] {
            assert!(matches!(Client::new(url), Err(ClientError::Url { .. })), "{url}");
        }
        let error = Client::new("htp://u:secret@host").unwrap_err().to_string();
        assert!(error.contains("htp://u:***@host"), "{error}");
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
