//! The body of an answer, which keeps its capacity until the client has taken it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
};
use bytes::Bytes;

use super::problem::Problem;
use crate::{
    ledger::{BytesPermit, Peer, SMALL_ANSWER_BYTES},
    service::Service,
};

/// Handed out in pieces: a connection asks for the next one when most of the last one is sent. So the capacity is
/// given back only when the client has read nearly all, and what a connection holds beyond it is small.
const PIECE_BYTES: usize = 16 * 1024;

/// Bytes to send, piece by piece.
pub(super) struct Pieces(Bytes);

/// Bytes to send, and the capacity for them.
pub(super) struct MeteredBody {
    rest: Pieces,
    _permit: BytesPermit,
}

impl Pieces {
    pub(super) fn of(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }
}

impl MeteredBody {
    /// Builds an answer for whose estimated size `permit` was taken, without holding up the requests of others.
    pub(super) async fn build(
        service: &Service,
        permit: BytesPermit,
        write: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> Result<Self, Problem> {
        let body = service.build(permit.bytes(), write).await?;
        Ok(Self::new(body.into(), permit))
    }

    pub(super) fn new(body: Bytes, mut permit: BytesPermit) -> Self {
        let counted = if body.len() <= SMALL_ANSWER_BYTES { 0 } else { body.len() };
        permit.settle(counted);
        Self { rest: Pieces(body), _permit: permit }
    }
}

/// Takes capacity for an answer that is there already, as a refusal with many faults is. It was built in one go on a
/// thread that serves HTTP, so there are never more of them without capacity than such threads.
pub(super) fn meter(response: HttpResponse, service: &Service, peer: Peer) -> Result<HttpResponse, Problem> {
    let BodySize::Sized(bytes) = response.body().size() else { return Ok(response) };
    let permit = service.admit_answer(peer, bytes as usize)?;
    Ok(response.map_body(|_, body| match body.try_into_bytes() {
        Ok(body) => BoxBody::new(MeteredBody::new(body, permit)),
        Err(body) => body,
    }))
}

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let length = self.0.len().min(PIECE_BYTES);
        Poll::Ready((length > 0).then(|| Ok(self.0.split_to(length))))
    }
}

impl MessageBody for MeteredBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.rest.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Pin::new(&mut self.rest).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::poll_fn};

    use super::*;

    #[test]
    fn a_large_body_is_handed_out_in_small_pieces() {
        let whole: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        let mut pieces = Pieces::of(whole.clone());
        let mut come = Vec::new();
        while let Some(piece) = poll_fn(|cx| Pin::new(&mut pieces).poll_next(cx)).now_or_never().unwrap() {
            let piece = piece.unwrap();
            assert!((1..=PIECE_BYTES).contains(&piece.len()), "{}", piece.len());
            come.extend_from_slice(&piece);
        }
        assert_eq!(come, whole);
    }
}
