//! GET /stream: the log as it grows, as Server-Sent Events or as lines of JSON.
//!
//! A browser's EventSource gives up for ever when it gets any other status than 200. So what may be different a moment later
//! is told within a stream that ends at once.

mod body;
mod format;
mod question;
mod turns;

use std::sync::Arc;

use actix_http::RequestHead;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{ConnectionType, Method, Version, header},
    web,
};

use self::{body::StreamBody, format::Format, question::Question};
use super::{connections::Connection, gate::Gate, namespace, peer::peer, problem::Problem, rights::HeldKey};

/// A proxy that buffers answers would hold a stream back.
const NO_BUFFERING: (&str, &str) = ("x-accel-buffering", "no");

/// Follows the log of a namespace.
pub(super) async fn stream(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let format = Format::asked_for(request.headers());
    match open(&request, gate, format).await {
        Ok(body) => Ok(ended_by_its_connection(&request, answer(format).body(body))),
        Err(problem) => unavailable(format, &problem).ok_or(problem),
    }
}

/// What a request for Server-Sent Events gets that no handler takes; `None` for any other request.
pub(super) fn refusal(request: &RequestHead, problem: &Problem) -> Option<HttpResponse> {
    let path = request.uri.path();
    let named = path.strip_prefix("/namespaces/").and_then(|rest| rest.strip_suffix("/stream"));
    let is_stream = path == "/stream" || named.is_some_and(|name| !name.contains('/'));
    let is_get = [Method::GET, Method::HEAD].contains(&request.method);
    if is_stream && is_get { unavailable(Format::asked_for(request.headers()), problem) } else { None }
}

/// What may be different a moment later, told within a stream that ends at once.
fn unavailable(format: Format, problem: &Problem) -> Option<HttpResponse> {
    let is_told_within = format == Format::Events && problem.is_retryable();
    is_told_within.then(|| answer(format).body(format.unavailable(&problem.to_string())))
}

async fn open(request: &HttpRequest, gate: web::Data<Gate>, format: Format) -> Result<StreamBody, Problem> {
    let question = Question::of(request)?;
    let service = gate.pass()?;
    let ledger = namespace::ledger(request, service).await?;
    if request.method() == Method::HEAD {
        return Ok(StreamBody::empty(format));
    }
    let (begin, interest) = question.resolved(&ledger).await?;
    let follower = ledger.follow(begin, interest, peer(request)).await?;
    let connection = request.conn_data::<Arc<Connection>>().cloned();
    Ok(StreamBody::new(follower, format, gate, HeldKey::of(request), connection))
}

/// A client of HTTP/1.0 does not know chunks: its stream ends where the connection ends.
fn ended_by_its_connection(request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    if request.version() < Version::HTTP_11 {
        let head = response.head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    response
}

fn answer(format: Format) -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer.content_type(format.media_type()).insert_header(NO_BUFFERING);
    answer.insert_header((header::VARY, "accept"));
    answer
}
