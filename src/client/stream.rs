//! Following the log: a stream that is taken up again behind its last event, on whatever node answers.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::{Response, StatusCode, header};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::{Client, ClientError, error::no_answer, in_words, with_status};

/// The service shows every 10 s that a stream is still there.
const SILENCE_MAX: Duration = Duration::from_secs(35);
/// Longer than any stream, since a limit on the whole answer would end it.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// The pause before a stream is taken up again, where the service names none.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Which part of the log to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamQuery {
    /// None for all.
    pub topics: Vec<String>,
    /// `/pointer=value` each.
    pub conditions: Vec<String>,
    /// `now`, `earliest` or a `seq`.
    pub after: Option<String>,
    /// Begin where this subscription has settled everything, with its topics.
    pub subscription: Option<String>,
}

/// What a stream brings.
#[derive(Debug)]
pub enum LogMessage {
    /// An event, as the service shows it.
    Event(Box<RawValue>),
    /// There is nothing newer for now.
    CaughtUp { head: u64 },
    /// The database was restored to an older copy, which ends here.
    Restored { head: u64 },
    /// The connection was lost, for this reason; the next call takes it up again.
    Lost(String),
}

/// A reader of the log, from one connection to the next.
pub struct LogReader {
    client: Client,
    query: StreamQuery,
    response: Option<Response>,
    buffer: BytesMut,
    block: Block,
    /// Everything up to here was read.
    place: Option<u64>,
    retry_pause: Duration,
    was_lost: bool,
}

/// The lines of a block so far.
#[derive(Default)]
struct Block {
    name: String,
    id: Option<u64>,
    data: String,
}

#[derive(Deserialize)]
struct Notice {
    #[serde(default)]
    head: u64,
    #[serde(default)]
    detail: String,
}

impl Client {
    /// Follows the log. Nothing is sent yet.
    pub fn follow(&self, query: StreamQuery) -> LogReader {
        LogReader {
            client: self.clone(),
            query,
            response: None,
            buffer: BytesMut::new(),
            block: Block::default(),
            place: None,
            retry_pause: RETRY_PAUSE,
            was_lost: false,
        }
    }

    async fn stream(&self, query: &StreamQuery, place: Option<u64>) -> Result<Response, ClientError> {
        let mut url = self.in_ledger("stream");
        let topics = query.topics.iter().map(|topic| ("topic", topic));
        let conditions = query.conditions.iter().map(|condition| ("where", condition));
        let after = query.after.iter().map(|after| ("after", after));
        let subscription = query.subscription.iter().map(|name| ("subscription", name));
        for (name, value) in topics.chain(conditions).chain(after).chain(subscription) {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.http.get(url.clone()).header(header::ACCEPT, "text/event-stream");
        if let Some(place) = place {
            request = request.header("last-event-id", place);
        }
        let answer = request.timeout(STREAM_TIMEOUT).send().await.map_err(|error| no_answer(&url, error))?;
        with_status(answer, &[StatusCode::OK], &self.namespace).await
    }
}

impl LogReader {
    /// Takes up the next stream at this address, behind the last event that came from any.
    pub fn go_on_at(&mut self, client: &Client) {
        self.client = client.clone();
    }

    /// The next message. An error is one that does not pass by itself.
    pub async fn next(&mut self) -> Result<LogMessage, ClientError> {
        loop {
            while let Some(line) = self.line() {
                if let Some(message) = self.take_line(&line)? {
                    return Ok(message);
                }
            }
            let Some(response) = &mut self.response else {
                if let Some(message) = self.connect().await? {
                    return Ok(message);
                }
                continue;
            };
            let why = match timeout(SILENCE_MAX, response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    self.buffer.extend_from_slice(&bytes);
                    continue;
                }
                Ok(Ok(None)) => "the service ended the stream".to_owned(),
                Ok(Err(error)) => in_words(&error),
                Err(_) => "the service is silent".to_owned(),
            };
            return Ok(self.lose(why));
        }
    }

    async fn connect(&mut self) -> Result<Option<LogMessage>, ClientError> {
        if self.was_lost {
            sleep(self.retry_pause).await;
        }
        match self.client.stream(&self.query, self.place).await {
            Ok(response) => self.response = Some(response),
            Err(error) if error.is_retryable() => return Ok(Some(self.lose(in_words(&error)))),
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn lose(&mut self, why: String) -> LogMessage {
        self.response = None;
        self.buffer.clear();
        self.block = Block::default();
        self.was_lost = true;
        LogMessage::Lost(why)
    }

    fn line(&mut self) -> Option<String> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let line = self.buffer.split_to(end + 1);
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    /// Takes a line of the stream; an empty one ends a block.
    fn take_line(&mut self, line: &str) -> Result<Option<LogMessage>, ClientError> {
        if line.is_empty() {
            let block = std::mem::take(&mut self.block);
            self.place = block.id.or(self.place);
            return self.take_block(block);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.block.name),
            "id" => self.block.id = value.parse().ok(),
            "data" => self.block.data.push_str(value),
            "retry" => self.retry_pause = value.parse().map_or(RETRY_PAUSE, Duration::from_millis),
            _ => {}
        }
        Ok(None)
    }

    fn take_block(&mut self, block: Block) -> Result<Option<LogMessage>, ClientError> {
        if block.name.is_empty() {
            return Ok(RawValue::from_string(block.data).ok().map(LogMessage::Event));
        }
        let notice = serde_json::from_str(&block.data).unwrap_or(Notice { head: 0, detail: String::new() });
        Ok(match block.name.as_str() {
            "caught-up" => Some(LogMessage::CaughtUp { head: notice.head }),
            "restored" => Some(LogMessage::Restored { head: notice.head }),
            "unavailable" => Some(self.lose(notice.detail)),
            "damaged" => return Err(ClientError::Damaged(notice.detail)),
            _ => None,
        })
    }
}
