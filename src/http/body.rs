//! Reads a body: within its size, at a minimum pace, and only with capacity for its bytes.

use std::time::Duration;

use actix_web::{HttpRequest, error::PayloadError, http::header, web};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{gate::Gate, peer::peer, problem::Problem};
use crate::{
    ledger::{BytesPermit, Peer},
    service::Service,
};

/// A body must come at this pace, and may be behind it by the body's timeout.
const PACE_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Longest pause within a body, whatever came before it.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Least room that is made for a body in several pieces.
const ROOM_BYTES_MIN: usize = 64 * 1024;
/// What is read and dropped of a refused body: most clients read the answer only when they have sent all.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// A refused body is read on so much at a time, with pauses: whoever is served comes first.
const DISCARD_TURN_BYTES: usize = 128 * 1024;
const DISCARD_TURN_PAUSE: Duration = Duration::from_millis(1);
/// A client that pauses for this long may wait for the answer.
const DISCARD_PAUSE_MAX: Duration = Duration::from_millis(200);

/// Refuses what is not JSON text as it stands, by its headers.
pub(super) fn check_headers(request: &HttpRequest) -> Result<(), Problem> {
    // A header may stand more than once, and the body must be what all of them say.
    let values =
        |name| request.headers().get_all(name).map(|value| value.to_str().unwrap_or("?").trim().to_owned());
    if let Some(media_type) = values(header::CONTENT_TYPE).find(|media_type| !is_json(media_type)) {
        return Err(Problem::unsupported_media_type(format!(
            "the body's media type is {media_type}; application/json and types ending in +json, in UTF-8, are understood"
        )));
    }
    let understood = |encoding: &str| encoding.is_empty() || encoding.eq_ignore_ascii_case("identity");
    match values(header::CONTENT_ENCODING).find(|encoding| !understood(encoding)) {
        None => Ok(()),
        Some(encoding) => Err(Problem::unsupported_encoding(format!(
            "the body's content encoding is {encoding}; only identity (no encoding) is understood"
        ))),
    }
}

fn is_json(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let essence = parts.next().unwrap_or_default();
    let charset = parts.find_map(|parameter| parameter.strip_prefix("charset=").map(str::to_owned));
    let utf8 =
        charset.is_none_or(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"));
    let json = essence.is_empty()
        || essence == "application/json"
        || essence
            .split_once('/')
            .is_some_and(|(_, subtype)| subtype.len() > 5 && subtype.ends_with("+json"));
    json && utf8
}

/// How large a body may be, and how far it may be behind its pace.
pub(super) struct BodyLimits {
    pub(super) bytes_max: usize,
    pub(super) timeout: Duration,
}

/// The bytes of the body, where its headers tell; a body that is over its limit is refused by them.
pub(super) fn announced(request: &HttpRequest, limits: &BodyLimits) -> Result<Option<u64>, Problem> {
    let bytes = request.headers().get(header::CONTENT_LENGTH);
    let bytes: Option<u64> = bytes.and_then(|bytes| bytes.to_str().ok()?.trim().parse().ok());
    match bytes {
        Some(bytes) if bytes > limits.bytes_max as u64 => Err(over_limit(limits)),
        bytes => Ok(bytes),
    }
}

/// Reads the whole body, and takes capacity for its bytes as they come.
pub(super) async fn read(
    request: &HttpRequest,
    payload: &mut web::Payload,
    limits: &BodyLimits,
    gate: &Gate,
    service: &Service,
) -> Result<(Bytes, BytesPermit), Problem> {
    let bytes_max = announced(request, limits)?.map_or(limits.bytes_max, |bytes| bytes as usize);
    let peer = peer(request);
    let permit = service.body_permit(peer);
    let mut body = Body { bytes_max, first: Bytes::new(), rest: Vec::new(), permit };
    let reading = body.read(payload, limits, service, peer);
    tokio::select! {
        biased;
        done = reading => done?,
        () = gate.draining() => return Err(Problem::draining()),
    }
    Ok(body.into_parts())
}

fn over_limit(limits: &BodyLimits) -> Problem {
    Problem::too_large(format!("the body is larger than the limit of {} bytes", limits.bytes_max))
}

/// What has come so far. A body in one piece is not copied.
struct Body {
    /// Bytes that it can have at most.
    bytes_max: usize,
    first: Bytes,
    rest: Vec<u8>,
    permit: BytesPermit,
}

impl Body {
    async fn read(
        &mut self,
        payload: &mut web::Payload,
        limits: &BodyLimits,
        service: &Service,
        peer: Peer,
    ) -> Result<(), Problem> {
        let begun = Instant::now();
        let mut pace = Pace::new(begun, limits.timeout);
        loop {
            let piece = match timeout_at(pace.next_piece_by(Instant::now()), payload.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(piece)) => piece.map_err(cut_off)?,
                Err(_) => {
                    return Err(Problem::body_too_slow(format!(
                        "only {} bytes of the body came within {:?}",
                        self.len(),
                        begun.elapsed()
                    )));
                }
            };
            let came = Instant::now();
            pace.note(piece.len(), came);
            if self.len() + piece.len() > limits.bytes_max {
                return Err(over_limit(limits));
            }
            let _turn = service.body_turn(peer, self.len(), piece.len()).await;
            pace.note_rest(came.elapsed());
            self.add(piece)?;
        }
    }

    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn add(&mut self, piece: Bytes) -> Result<(), Problem> {
        if self.len() == 0 {
            self.permit.grow(piece.len())?;
            self.first = piece;
            return Ok(());
        }
        let bytes = self.len() + piece.len();
        if bytes > self.rest.capacity() {
            self.make_room(bytes)?;
        }
        self.permit.grow(piece.len())?;
        self.rest.extend_from_slice(&piece);
        Ok(())
    }

    /// Makes room for `bytes` at least. While the bytes move, they take memory twice; but no body is counted as more
    /// than the largest one, so that this always fits.
    fn make_room(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.permit.bytes();
        self.permit.grow(held.min(self.bytes_max.saturating_sub(held)))?;
        let room = (2 * bytes).max(ROOM_BYTES_MIN).min(self.bytes_max).max(bytes);
        self.rest.reserve_exact(room - self.rest.len());
        self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        self.permit.settle(held);
        Ok(())
    }

    fn into_parts(self) -> (Bytes, BytesPermit) {
        let body = if self.rest.is_empty() { self.first } else { self.rest.into() };
        (body, self.permit)
    }
}

/// Why the body does not go on: its framing is broken, or the client or the network ended it.
fn cut_off(error: PayloadError) -> Problem {
    match error {
        PayloadError::EncodingCorrupted | PayloadError::Overflow => {
            Problem::malformed("the framing of the body is broken")
        }
        error => Problem::body_cut_off(format!("the body ended early: {error}")),
    }
}

/// When a body must go on. Bytes that came early give no credit beyond the body's timeout.
struct Pace {
    deadline: Instant,
    lead_max: Duration,
}

impl Pace {
    fn new(now: Instant, lead_max: Duration) -> Self {
        Self { deadline: now + lead_max, lead_max }
    }

    fn note(&mut self, bytes: usize, now: Instant) {
        let time = Duration::from_micros(bytes as u64 * 1_000_000 / PACE_BYTES_PER_SECOND);
        self.deadline = (self.deadline + time).min(now + self.lead_max);
    }

    /// For so long the client was not waited for.
    fn note_rest(&mut self, time: Duration) {
        self.deadline += time;
    }

    fn next_piece_by(&self, now: Instant) -> Instant {
        self.deadline.min(now + SILENCE_MAX)
    }
}

/// Reads on behind a refusal, within limits: a client that still sends would otherwise lose its connection, and
/// the answer with it.
pub(super) async fn discard(payload: &mut web::Payload) {
    let (mut bytes, mut in_turn) = (0, 0);
    let reading = async {
        while let Ok(Some(Ok(piece))) = timeout(DISCARD_PAUSE_MAX, payload.next()).await {
            bytes += piece.len();
            in_turn += piece.len();
            if bytes > DISCARD_BYTES_MAX {
                return;
            }
            if in_turn >= DISCARD_TURN_BYTES {
                in_turn = 0;
                sleep(DISCARD_TURN_PAUSE).await;
            }
        }
    };
    // A client that sends more than this loses its connection.
    let _ = timeout(DISCARD_TIMEOUT, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fast_body_gets_no_credit_beyond_its_timeout() {
        let begun = Instant::now();
        let lead_max = Duration::from_secs(10);
        let mut pace = Pace::new(begun, lead_max);
        assert_eq!(pace.next_piece_by(begun), begun + SILENCE_MAX);
        pace.note(16 << 20, begun + Duration::from_secs(1));
        assert_eq!(pace.deadline, begun + Duration::from_secs(11));
        for second in 1..20 {
            pace.note(PACE_BYTES_PER_SECOND as usize / 2, begun + Duration::from_secs(second));
        }
        assert_eq!(pace.deadline, begun + Duration::from_millis(11_000 + 19 * 500 - 500));
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        for media_type in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/cloudevents+json",
            "text/x+json; profile=a",
            "",
        ] {
            assert!(is_json(media_type), "{media_type}");
        }
        for media_type in [
            "text/plain",
            "application/x-ndjson",
            "application/xml",
            "application/+json",
            "application/json; charset=utf-16",
        ] {
            assert!(!is_json(media_type), "{media_type}");
        }
    }
}
