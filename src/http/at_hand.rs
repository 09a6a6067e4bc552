//! The request that is answered at the moment: its ids, which its answer, problem documents and the log's lines carry, and
//! what is noted of it on its way.

use std::{cell::Cell, future::Future, rc::Rc};

use actix_http::RequestHead;
use tracing::Span;

use super::request_id;
use crate::request_ids::RequestIds;

tokio::task_local! {
    static CURRENT: Rc<Noted>;
}

/// What is noted of a request.
struct Noted {
    ids: RequestIds,
    route: Cell<Option<&'static str>>,
    problem: Cell<Option<&'static str>>,
}

/// A request; the work for it is done within.
pub(super) struct AtHand(Rc<Noted>);

impl AtHand {
    pub(super) fn new(head: &RequestHead) -> Self {
        Self(Rc::new(Noted { ids: request_id::of(head), route: Cell::new(None), problem: Cell::new(None) }))
    }

    /// Does `work` for the request.
    pub(super) fn sync<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(Rc::clone(&self.0), work)
    }

    /// Does `work` for the request.
    pub(super) fn within<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.0, work)
    }
}

/// The ids of the request; a new id where no request could be read.
pub(super) fn ids() -> RequestIds {
    CURRENT.try_with(|noted| noted.ids.clone()).unwrap_or_else(|_| RequestIds::new(request_id::made(), None))
}

/// What lines of the log about the request that is answered at the moment are written within; none where there is no
/// request.
pub fn request_span() -> Span {
    CURRENT.try_with(|noted| noted.ids.span()).unwrap_or_else(|_| Span::none())
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
