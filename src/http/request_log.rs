//! The line of the log for each request, where it is asked for.

use std::time::Instant;

use actix_http::{RequestHead, ResponseHead};
use actix_web::http::Method;
use tracing::info;

/// Bytes of a path that are shown.
const PATH_BYTES_MAX: usize = 256;

/// What is known of a request before it is answered. The query is left out: it may be long, and it may hold what is
/// nobody's business.
pub(super) struct RequestLine {
    method: Method,
    path: String,
    begun: Instant,
}

impl RequestLine {
    pub(super) fn new(head: &RequestHead) -> Self {
        let path = head.uri.path();
        let path = path[..path.floor_char_boundary(PATH_BYTES_MAX)].to_owned();
        Self { method: head.method.clone(), path, begun: Instant::now() }
    }

    /// The answer begins.
    pub(super) fn log(self, answer: &ResponseHead) {
        let (method, path, status) = (self.method.as_str(), &*self.path, answer.status.as_u16());
        let ms = self.begun.elapsed().as_micros() as f64 / 1_000.0;
        info!(method, path, status, ms, "a request is answered");
    }
}
