//! Reads the body of a publish: within its size, at a decent pace, and only with capacity for its bytes.

use std::time::Duration;

use actix_web::{HttpRequest, http::header, web};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Limits, gate::Gate, problem::Problem};
use crate::{ledger::BytesPermit, service::Service};

/// Capacity is taken in steps of this size, the first one before the first byte is read: whoever only announces bytes
/// takes little of it from the others.
const CAPACITY_STEP_BYTES: usize = 64 * 1024;
/// The first step for a body that does not tell its size, as a single event in chunks does.
const CAPACITY_UNDECLARED_BYTES: usize = 4 * 1024;
/// A body must come at this pace, once the time for its beginning is over.
const PACE_BYTES_PER_SECOND: usize = 64 * 1024;
/// What is read and thrown away of a refused body: most clients look for the answer only when they have sent all.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// A client that pauses this long may well wait for the answer.
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

/// Reads the whole body, and takes capacity for its bytes.
pub(super) async fn read(
    request: &HttpRequest,
    payload: &mut web::Payload,
    limits: &Limits,
    gate: &Gate,
    service: &Service,
) -> Result<(Bytes, BytesPermit), Problem> {
    let declared = declared_bytes(request);
    if declared.is_some_and(|bytes| bytes > limits.body_bytes_max as u64) {
        return Err(over_limit(limits));
    }
    let ahead =
        declared.map_or(CAPACITY_UNDECLARED_BYTES, |bytes| bytes as usize).clamp(1, CAPACITY_STEP_BYTES);
    service.expect_body(declared.unwrap_or_default())?;
    let permit = service.admit_bytes(ahead.min(limits.body_bytes_max))?;
    let mut body = Body { first: Bytes::new(), rest: BytesMut::new(), permit };
    let reading = body.read(payload, limits);
    tokio::select! {
        biased;
        done = reading => done?,
        () = gate.draining() => return Err(Problem::draining()),
    }
    Ok((body.rest_or_first(), body.permit))
}

fn declared_bytes(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn over_limit(limits: &Limits) -> Problem {
    Problem::too_large(format!("the body is larger than the limit of {} bytes", limits.body_bytes_max))
}

/// What has come so far. A body in one piece is not copied.
struct Body {
    first: Bytes,
    rest: BytesMut,
    permit: BytesPermit,
}

impl Body {
    async fn read(&mut self, payload: &mut web::Payload, limits: &Limits) -> Result<(), Problem> {
        let begun = Instant::now();
        loop {
            let at_pace = Duration::from_secs((self.len() / PACE_BYTES_PER_SECOND) as u64);
            let piece = match timeout_at(begun + limits.body_timeout + at_pace, payload.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => {
                    return Err(Problem::body_cut_off(format!("the body ended early: {error}")));
                }
                Err(_) => {
                    return Err(Problem::body_too_slow(format!(
                        "only {} bytes of the body came within {:?}",
                        self.len(),
                        begun.elapsed()
                    )));
                }
            };
            self.add(piece, limits)?;
        }
    }

    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn add(&mut self, piece: Bytes, limits: &Limits) -> Result<(), Problem> {
        let bytes = self.len() + piece.len();
        if bytes > limits.body_bytes_max {
            return Err(over_limit(limits));
        }
        let held = self.permit.bytes();
        if bytes > held {
            // No body needs capacity beyond the limit, and there may be none to have.
            let step = CAPACITY_STEP_BYTES.min(limits.body_bytes_max - held);
            self.permit.grow((bytes - held).max(step))?;
        }
        if self.len() == 0 {
            self.first = piece;
            return Ok(());
        }
        if self.rest.is_empty() {
            self.rest.reserve(self.permit.bytes().max(bytes));
            self.rest.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&piece);
        Ok(())
    }

    fn rest_or_first(&mut self) -> Bytes {
        if self.rest.is_empty() { std::mem::take(&mut self.first) } else { self.rest.split().freeze() }
    }
}

/// Reads on behind a refusal, within limits: a client that still sends would else lose its connection, and
/// the answer with it.
pub(super) async fn discard(payload: &mut web::Payload) {
    let mut bytes = 0;
    let reading = async {
        while let Ok(Some(Ok(piece))) = timeout(DISCARD_PAUSE_MAX, payload.next()).await {
            bytes += piece.len();
            if bytes > DISCARD_BYTES_MAX {
                return;
            }
        }
    };
    // Whatever is left then costs the client its connection.
    let _ = timeout(DISCARD_TIMEOUT, reading).await;
}

#[cfg(test)]
mod tests {
    use super::is_json;

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
