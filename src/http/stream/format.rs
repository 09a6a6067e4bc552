//! How events, and what is to be said beside them, are written into a stream.

use actix_web::http::header::{self, HeaderMap};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{http::events::write_event, store::StoredEvent};

/// Milliseconds after which a client is to come back. Spread, so that the clients of a node that stops do not all come
/// at once.
const RETRY_MS: std::ops::RangeInclusive<u32> = 1_000..=5_000;

const LINES: [&str; 3] = ["application/x-ndjson", "application/jsonl", "application/ndjson"];

/// The format of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Server-Sent Events.
    Events,
    /// An event a line, under the name that the client knows the format by.
    Lines(&'static str),
}

/// What a stream says beside its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The reader has all up to the newest event.
    CaughtUp,
    /// A filtered reader has all up to this place, which is behind the last event that it got.
    Place,
    /// The database was restored, and ends here.
    Restored,
}

impl Format {
    /// The first format among those that the client accepts; Server-Sent Events for all others.
    pub(super) fn asked_for(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
        let names = accepted.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
        let known = names.map(str::trim).find_map(|name| {
            if name.eq_ignore_ascii_case("text/event-stream") {
                return Some(Self::Events);
            }
            LINES.into_iter().find(|lines| name.eq_ignore_ascii_case(lines)).map(Self::Lines)
        });
        known.unwrap_or(Self::Events)
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines(media_type) => media_type,
        }
    }

    /// The place of the format among those that a chunk keeps.
    pub(super) fn number(self) -> usize {
        match self {
            Self::Events => 0,
            Self::Lines(_) => 1,
        }
    }

    pub(super) fn write(self, bytes: &mut Vec<u8>, event: &StoredEvent) {
        match self {
            Self::Events => {
                bytes.extend_from_slice(format!("id: {}\ndata: ", event.seq).as_bytes());
                write_on_one_line(bytes, event);
                bytes.extend_from_slice(b"\n\n");
            }
            Self::Lines(_) => {
                write_on_one_line(bytes, event);
                bytes.push(b'\n');
            }
        }
    }

    /// The rest of a frame, or the first one of several.
    pub(super) fn first_frame(self, bytes: &[u8]) -> &[u8] {
        let end: &[u8] = match self {
            Self::Events => b"\n\n",
            Self::Lines(_) => b"\n",
        };
        let found = bytes.windows(end.len()).position(|part| part == end);
        &bytes[..found.map_or(bytes.len(), |place| place + end.len())]
    }

    /// `id` is the place that the client comes back to, where it is not the one that it asked for. A line of JSON is always an event, but for a database that was
    /// restored or is damaged: who misses that would wait in vain.
    pub(super) fn notice(self, notice: Notice, id: Option<u64>, head: u64) -> Bytes {
        match (self, notice) {
            (Self::Events, Notice::CaughtUp) => block("caught-up", id, true, &json!({"head": head})),
            (Self::Events, Notice::Place) => block("place", id, false, &json!({"head": head})),
            (Self::Events, Notice::Restored) => block("restored", id, false, &json!({"head": head})),
            (Self::Lines(_), Notice::Restored) => format!("{{\"restored\":{{\"head\":{head}}}}}\n").into(),
            (Self::Lines(_), Notice::CaughtUp | Notice::Place) => Bytes::new(),
        }
    }

    /// What shows that the stream is still there. Some clients deliver an empty message for a block without data, and
    /// none for a comment that is no block.
    pub(super) fn sign_of_life(self) -> Bytes {
        match self {
            Self::Events => Bytes::from_static(b":\n"),
            Self::Lines(_) => Bytes::from_static(b"\n"),
        }
    }

    /// Why a stream ends and would end again: the event behind `after` is damaged.
    pub(super) fn damaged(self, detail: &str, after: u64) -> Bytes {
        let data = json!({"detail": detail, "after": after});
        match self {
            Self::Events => block("damaged", Some(after), false, &data),
            Self::Lines(_) => format!("{}\n", json!({"damaged": data})).into(),
        }
    }

    /// Why a stream ends although the client did not ask for that: it is to come back.
    pub(super) fn unavailable(self, detail: &str) -> Bytes {
        match self {
            Self::Events => block("unavailable", None, true, &json!({"detail": detail})),
            Self::Lines(_) => Bytes::new(),
        }
    }
}

/// A payload has the line breaks that it was sent with, as white space between its parts: a string of JSON has none.
fn write_on_one_line(bytes: &mut Vec<u8>, event: &StoredEvent) {
    let begin = bytes.len();
    write_event(bytes, event);
    for byte in &mut bytes[begin..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// A block with a name. `retry` stands only here: by itself it would be an empty message to some clients.
fn block(name: &str, id: Option<u64>, with_retry: bool, data: &Value) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    let retry = if with_retry { format!("retry: {}\n", fastrand::u32(RETRY_MS)) } else { String::new() };
    format!("event: {name}\n{id}{retry}data: {data}\n\n").into()
}
