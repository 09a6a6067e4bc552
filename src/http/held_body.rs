//! The body of a large answer, which keeps its room until the client has taken it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use crate::actors::BytesPermit;

/// Handed out in pieces: the connection asks for the next one when most of the last one is sent, and so the
/// room is given back only when the client has read nearly all.
const PIECE_BYTES: usize = 32 * 1024;

pub(super) struct HeldBody {
    rest: Bytes,
    _room: BytesPermit,
}

impl HeldBody {
    pub(super) fn new(body: Vec<u8>, room: BytesPermit) -> Self {
        Self { rest: body.into(), _room: room }
    }
}

impl MessageBody for HeldBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready((length > 0).then(|| Ok(self.rest.split_to(length))))
    }
}
