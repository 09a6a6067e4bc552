//! A reader of GET /stream, as EventSource reads it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::Client;

/// What the next message takes at most.
const AT_MOST: Duration = Duration::from_secs(15);

/// A block of a stream.
#[derive(Debug)]
pub struct Message {
    /// Empty for an event of the log.
    pub name: String,
    pub id: Option<u64>,
    pub retry: Option<u64>,
    pub data: Value,
}

/// A stream that is being read.
pub struct Stream {
    response: reqwest::Response,
    buffer: String,
    /// The last id that came.
    pub last_id: Option<u64>,
    /// Comments so far.
    pub comments: usize,
}

impl Stream {
    /// Begins to read `path`, which must be answered as a stream.
    pub async fn open(client: &Client, path: &str) -> Self {
        Self::try_open(client, path, None).await.unwrap()
    }

    /// Comes back behind the last id.
    pub async fn resume(client: &Client, path: &str, last_id: u64) -> Self {
        Self::try_open(client, path, Some(last_id)).await.unwrap()
    }

    pub async fn try_open(client: &Client, path: &str, last_id: Option<u64>) -> Result<Self, reqwest::Error> {
        let mut request = client.request("GET", path).header("accept", "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id.to_string());
        }
        Ok(Self { last_id, ..Self::of(request.send().await?) })
    }

    /// The stream that a request was answered with.
    pub fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { response, buffer: String::new(), last_id: None, comments: 0 }
    }

    /// The next block; `None` where the stream has ended, in whatever way.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            while self.buffer.starts_with(':') {
                let Some(end) = self.buffer.find('\n') else { break };
                self.comments += 1;
                self.buffer.drain(..=end);
            }
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let message = message(&block);
                self.last_id = message.id.or(self.last_id);
                return Some(message);
            }
            let chunk = timeout(AT_MOST, self.response.chunk()).await.expect("nothing comes");
            let chunk = chunk.ok().flatten()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event of the log; notices are passed over.
    pub async fn event(&mut self) -> Option<Value> {
        loop {
            let message = self.next().await?;
            if message.name.is_empty() {
                assert_eq!(message.id, message.data["seq"].as_u64());
                return Some(message.data);
            }
        }
    }

    /// The `seq` of so many events.
    pub async fn seqs(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::with_capacity(count);
        while seqs.len() < count {
            seqs.push(self.event().await.expect("the stream ended")["seq"].as_u64().unwrap());
        }
        seqs
    }

    /// Reads on to the notice of this name.
    pub async fn notice(&mut self, name: &str) -> Message {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("the stream ended without {name}"));
            if message.name == name {
                return message;
            }
        }
    }
}

/// Both formats of a stream bring the events before this damaged one, and end with what is wrong with it.
pub async fn assert_ends_at_damage(client: &Client, seq: u64, reason: &str) {
    let is_named = |damage: &Value| {
        assert_eq!(damage["after"], seq - 1, "{damage}");
        let detail = damage["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("the event with seq {seq} cannot be read")), "{detail}");
        assert!(detail.contains(reason), "{detail}");
    };
    let before: Vec<u64> = (1..seq).collect();
    let mut stream = Stream::open(client, "/stream?after=0").await;
    assert_eq!(stream.seqs(before.len()).await, before);
    let notice = stream.notice("damaged").await;
    assert_eq!((notice.id, notice.retry), (Some(seq - 1), None));
    is_named(&notice.data);
    assert!(stream.next().await.is_none());

    let lines = client.request("GET", "/stream?after=0").header("accept", "application/x-ndjson");
    let answer = timeout(AT_MOST, lines.send()).await.expect("the stream ends").unwrap();
    let text = timeout(AT_MOST, answer.text()).await.expect("the stream ends").unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, events) = lines.split_last().unwrap();
    assert_eq!(events.iter().map(|event| event["seq"].as_u64().unwrap()).collect::<Vec<_>>(), before);
    is_named(&last["damaged"]);
}

fn message(block: &str) -> Message {
    let field = |name: &str| {
        let mut lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let first = lines.next();
        assert_eq!(lines.next(), None, "{name} stands twice: {block}");
        first
    };
    let number = |name: &str| field(name).map(|text| text.parse().unwrap());
    let data = field("data").unwrap_or_else(|| panic!("a block without data: {block:?}"));
    Message {
        name: field("event").unwrap_or_default().to_owned(),
        id: number("id"),
        retry: number("retry"),
        data: serde_json::from_str(data).unwrap(),
    }
}
