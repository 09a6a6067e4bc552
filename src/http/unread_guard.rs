//! What is left of a request's body when its answer is there.
//!
//! actix-web ends the connection behind such an answer, as long as somebody could still read the rest. Else it
//! reads on and drops what comes in chunks, for as long as it trickles: a connection held for ever.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    middleware::Next,
};
use bytes::Bytes;

/// The body of an answer, which keeps the rest of the request's.
pub(super) struct UnreadGuard {
    answer: BoxBody,
    _unread: Payload,
}

impl UnreadGuard {
    pub(super) fn boxed(answer: BoxBody, unread: Payload) -> BoxBody {
        BoxBody::new(Self { answer, _unread: unread })
    }
}

impl MessageBody for UnreadGuard {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(cx)
    }
}

/// For what expects no body: one that comes all the same is not read.
pub async fn leave_unread(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let unread = request.take_payload();
    let response = next.call(request).await?;
    Ok(response.map_body(|_, answer| UnreadGuard::boxed(answer, unread)))
}
