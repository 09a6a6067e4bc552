//! The request that is answered at the moment: its id, which its answer, problem documents and the log's lines carry, and
//! what is noted of it on its way.

use std::{cell::Cell, future::Future, rc::Rc};

use actix_http::RequestHead;
use tracing::{Instrument, Span, error_span};

use super::request_id::{RequestId, trace_parent};

tokio::task_local! {
    static CURRENT: Rc<Noted>;
}

/// What is noted of a request.
struct Noted {
    id: RequestId,
    route: Cell<Option<&'static str>>,
    problem: Cell<Option<&'static str>>,
}

/// A request; the work for it is done within.
pub(super) struct AtHand {
    noted: Rc<Noted>,
    span: Span,
}

impl AtHand {
    pub(super) fn new(head: &RequestHead) -> Self {
        let id = RequestId::of(head);
        let request_id = id.as_str();
        // The level of a span decides with which levels of the log it is shown: with all of them.
        let span = match trace_parent(head) {
            Some((trace_id, parent_id)) => error_span!("request", request_id, trace_id, parent_id),
            None => error_span!("request", request_id),
        };
        Self { noted: Rc::new(Noted { id, route: Cell::new(None), problem: Cell::new(None) }), span }
    }

    /// Does `work` for the request.
    pub(super) fn sync<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(Rc::clone(&self.noted), || self.span.in_scope(work))
    }

    /// Does `work` for the request.
    pub(super) fn within<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.noted, work.instrument(self.span))
    }
}

/// The id of the request; a new one where no request could be read.
pub(super) fn id() -> RequestId {
    CURRENT.try_with(|noted| noted.id.clone()).unwrap_or_else(|_| RequestId::new())
}

/// Notes the route that the request took.
pub(super) fn note_route(route: &'static str) {
    let _ = CURRENT.try_with(|noted| noted.route.set(Some(route)));
}

/// The route that the request took, if it found one.
pub(super) fn route() -> Option<&'static str> {
    CURRENT.try_with(|noted| noted.route.get()).ok().flatten()
}

/// Notes the kind of problem that the request is answered with.
pub(super) fn note_problem(problem: &'static str) {
    let _ = CURRENT.try_with(|noted| noted.problem.set(Some(problem)));
}

/// The kind of problem that the request is answered with, if it is.
pub(super) fn problem() -> Option<&'static str> {
    CURRENT.try_with(|noted| noted.problem.get()).ok().flatten()
}
