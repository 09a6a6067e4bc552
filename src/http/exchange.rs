//! What every request and every answer has in common, whatever the route.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_http::{ConnectionType, Payload, Request, RequestHead, Response};
use actix_web::{
    ResponseError,
    body::{BodySize, BoxBody, MessageBody},
    error::PayloadError,
    http::header::{self, HeaderName, HeaderValue},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream::unfold};

use super::{
    at_hand,
    connections::{Connection, Connections},
    cors::{self, allowed_origin, is_preflight},
    foreign_origin::is_foreign,
    metrics::Traffic,
    problem::{self, Problem},
    request_id,
    rights::Keys,
    routes::PROBES,
    stream,
    unread_guard::UnreadGuard,
};
use crate::origin::{Origin, Scheme};

const NO_STORE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
const NO_SNIFF: (HeaderName, HeaderValue) =
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// What all requests are held to.
pub(super) struct Rules {
    /// The pages of other origins that may change something.
    pub(super) cors_origins: Vec<Origin>,
    /// How the service itself is reached.
    pub(super) scheme: Scheme,
    pub(super) keys: Keys,
    pub(super) traffic: Traffic,
    pub(super) connections: Arc<Connections>,
    /// Whether each request is a line of the log.
    pub(super) log_requests: bool,
}

/// Prepares a request for its handler, or gives the answer that it gets instead.
pub(super) fn begin(request: &mut Request, rules: &Rules) -> Result<(), Response<BoxBody>> {
    let connection = request.conn_data::<Arc<Connection>>().cloned();
    if let Some(connection) = &connection {
        connection.request_begins(declared_bytes(request.head()));
        if connection.is_beyond_limits() && !PROBES.contains(&request.path()) {
            let problem = Problem::too_many_connections();
            return Err(match stream::refusal(request.head(), &problem) {
                Some(notice) => keep_unread(request, notice.into()),
                None => refuse(request, &problem),
            });
        }
        if is_foreign(request.head(), &rules.cors_origins, rules.scheme, connection.is_on_loopback()) {
            // Who has no key is told that first.
            let problem = rules.keys.authenticate(request.head()).err();
            return Err(refuse(request, &problem.unwrap_or_else(Problem::foreign_origin)));
        }
    }
    if is_preflight(request.head()) && allowed_origin(request.head(), &rules.cors_origins).is_some() {
        let mut answer: Response<BoxBody> = problem::done().into();
        cors::allow_request(answer.headers_mut());
        return Err(keep_unread(request, answer));
    }
    match connection {
        Some(connection) if is_chunked(request.head()) => tell_broken_chunks(request, connection, rules),
        _ if asks_for_websocket(request.head()) => end_at_declared_length(request),
        _ => {}
    }
    Ok(())
}

/// Gives an answer what all answers have, and notes when it begins and ends. `page` is the origin that may read it.
pub(super) fn finish(
    mut response: Response<BoxBody>,
    connection: Option<Arc<Connection>>,
    page: Option<HeaderValue>,
    rules: &Rules,
) -> Response<BoxBody> {
    let is_beyond_limits = connection.as_ref().is_some_and(|connection| connection.is_beyond_limits());
    let head = response.head_mut();
    // The files of the page say themselves how long they may be kept.
    if !head.headers().contains_key(header::CACHE_CONTROL) {
        head.headers_mut().insert(NO_STORE.0, NO_STORE.1);
    }
    head.headers_mut().insert(NO_SNIFF.0, NO_SNIFF.1);
    head.headers_mut().insert(request_id::HEADER, request_id::header_value(&at_hand::ids()));
    if let Some(origin) = page {
        cors::allow_reading(head.headers_mut(), origin);
    }
    if is_beyond_limits || rules.connections.is_draining() {
        head.set_connection_type(ConnectionType::Close);
    }
    let Some(connection) = connection else { return response };
    connection.answer_begins(head.connection_type() == ConnectionType::Close);
    if response.body().size() == BodySize::Stream {
        connection.stream_begins();
    }
    response.map_body(|_, body| BoxBody::new(AnswerBody { body, connection }))
}

/// The body stays unread, and the connection ends.
fn refuse(request: &mut Request, problem: &Problem) -> Response<BoxBody> {
    keep_unread(request, problem.error_response().into())
}

fn keep_unread(request: &mut Request, answer: Response<BoxBody>) -> Response<BoxBody> {
    let unread = request.take_payload();
    answer.map_body(|_, body| UnreadGuard::boxed(body, unread))
}

/// The bytes of a request's head and body, as a client writes them that wastes none; `None` if the body does not tell.
fn declared_bytes(head: &RequestHead) -> Option<i64> {
    if is_chunked(head) {
        return None;
    }
    let uri = &head.uri;
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let line = head.method.as_str().len() + scheme + authority + path + "  HTTP/1.1\r\n".len();
    let headers =
        head.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    let bytes = line + headers.sum::<usize>() + "\r\n".len();
    Some((bytes as i64).saturating_add(content_length(head)))
}

fn content_length(head: &RequestHead) -> i64 {
    let length = head.headers().get(header::CONTENT_LENGTH);
    length.and_then(|length| length.to_str().ok()?.trim().parse().ok()).unwrap_or(0)
}

fn is_chunked(head: &RequestHead) -> bool {
    head.headers().contains_key(header::TRANSFER_ENCODING)
}

/// The HTTP library gives the same error for broken chunks as for a client that is gone; here they differ.
fn tell_broken_chunks(request: &mut Request, connection: Arc<Connection>, rules: &Rules) {
    let connections = Arc::clone(&rules.connections);
    let body = request.take_payload().map(move |piece| match piece {
        Err(PayloadError::Incomplete(_)) if !connection.has_ended() => {
            connections.count_malformed();
            Err(PayloadError::EncodingCorrupted)
        }
        piece => piece,
    });
    replace_body(request, body);
}

fn replace_body(request: &mut Request, body: impl Stream<Item = Result<Bytes, PayloadError>> + 'static) {
    let body: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(body);
    *request.payload() = Payload::Stream { payload: body };
}

/// The HTTP library takes what follows such a head for another protocol, which never ends.
fn asks_for_websocket(head: &RequestHead) -> bool {
    head.headers()
        .get_all(header::UPGRADE)
        .any(|upgrade| upgrade.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// Here no other protocol is spoken, so the body is what its length says. The connection ends with the answer.
fn end_at_declared_length(request: &mut Request) {
    let left = content_length(request.head());
    let whole = request.take_payload();
    let body = unfold((whole, left), |(mut whole, left)| async move {
        if left <= 0 {
            return None;
        }
        let piece = whole.next().await?.map(|mut piece| {
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            piece
        });
        let taken = piece.as_ref().map_or(0, |piece| piece.len() as i64);
        Some((piece, (whole, left - taken)))
    });
    replace_body(request, body);
}

/// The body of an answer. Its end is the end of the answer.
struct AnswerBody {
    body: BoxBody,
    connection: Arc<Connection>,
}

impl MessageBody for AnswerBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        // A stream would find out only when it next has something to send, and keep its place until then. The HTTP
        // library polls an answer whenever it has read from the connection, so that no waker is needed.
        if self.body.size() == BodySize::Stream && self.connection.has_ended() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_next(cx)
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.connection.answer_produced();
    }
}
