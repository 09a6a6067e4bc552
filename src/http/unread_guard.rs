//! What is left of a request's body when its answer is there.
//!
//! actix-web ends the connection behind such an answer, as long as somebody could still read the rest. Else it
//! reads on and drops what comes in chunks, for as long as it trickles: a connection held for ever.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse, ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use bytes::Bytes;

use super::{body, gate::Gate, metered_body::meter, peer::peer, problem::Problem};

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

/// Refuses a request whose body may not be read to its end.
pub(super) async fn refuse(
    problem: &Problem,
    request: &HttpRequest,
    mut payload: web::Payload,
    gate: &Gate,
) -> HttpResponse {
    if problem.reads_on() {
        body::discard(&mut payload).await;
    }
    let refusal = problem.error_response();
    let refusal = match gate.service() {
        Some(service) => meter(refusal, service, peer(request)),
        None => Ok(refusal),
    };
    let unread = payload.into_inner();
    refusal
        .unwrap_or_else(|problem| problem.error_response())
        .map_body(|_, answer| UnreadGuard::boxed(answer, unread))
}
