//! The body of a large answer, which keeps its capacity until the client has taken it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use crate::ledger::BytesPermit;

/// Handed out in pieces: the connection asks for the next one when most of the last one is sent, and so the
/// capacity is given back only when the client has read nearly all.
const PIECE_BYTES: usize = 32 * 1024;

pub(super) struct MeteredBody {
    rest: Bytes,
    _permit: BytesPermit,
}

impl MeteredBody {
    pub(super) fn new(body: Vec<u8>, permit: BytesPermit) -> Self {
        Self { rest: body.into(), _permit: permit }
    }
}

impl MessageBody for MeteredBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready((length > 0).then(|| Ok(self.rest.split_to(length))))
    }
}
