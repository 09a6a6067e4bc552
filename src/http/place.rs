//! An address and what can be done there. Each method says what it needs of a key; without that none can be added.

use actix_web::{
    FromRequest, Handler, Responder, Route,
    body::BoxBody,
    dev::{AppService, HttpServiceFactory, ServiceRequest},
    http::Method,
    middleware::{Next, from_fn},
    web,
};
use tracing::{Instrument, Span};

use super::{
    at_hand,
    problem::Problem,
    rights::{self, Needs},
    unread_guard::leave_unread,
};

/// An address, with the methods that it knows.
pub(super) struct Place {
    path: &'static str,
    methods: Vec<(Method, Needs, Route)>,
}

impl Place {
    pub(super) fn at(path: &'static str) -> Self {
        Self { path, methods: Vec::new() }
    }

    /// The address as it is written in the table of routes.
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    /// The methods, each with what it needs of a key.
    pub(super) fn needs(&self) -> impl Iterator<Item = (&Method, Needs)> {
        self.methods.iter().map(|(method, needs, _)| (method, *needs))
    }

    /// GET and HEAD, which bring no body.
    pub(super) fn get<F, Args>(self, needs: Needs, handler: F) -> Self
    where
        F: Handler<Args> + Copy,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.without_body(Method::GET, needs, handler).without_body(Method::HEAD, needs, handler)
    }

    pub(super) fn post<F, Args>(self, needs: Needs, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.with_body(Method::POST, needs, handler)
    }

    /// POST that brings no body.
    pub(super) fn post_without_body<F, Args>(self, needs: Needs, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.without_body(Method::POST, needs, handler)
    }

    pub(super) fn put<F, Args>(self, needs: Needs, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.with_body(Method::PUT, needs, handler)
    }

    /// DELETE, which brings no body.
    pub(super) fn delete<F, Args>(self, needs: Needs, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.without_body(Method::DELETE, needs, handler)
    }

    /// Any further method, whose handler reads the body.
    pub(super) fn with_body<F, Args>(mut self, method: Method, needs: Needs, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let route = web::method(method.clone()).to(handler);
        self.methods.push((method, needs, needing(self.path, needs, route)));
        self
    }

    fn without_body<F, Args>(mut self, method: Method, needs: Needs, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let route = unread(web::method(method.clone()).to(handler));
        self.methods.push((method, needs, needing(self.path, needs, route)));
        self
    }
}

impl HttpServiceFactory for Place {
    fn register(self, config: &mut AppService) {
        let methods: Vec<&str> = self.methods.iter().map(|(method, ..)| method.as_str()).collect();
        let allow = methods.join(", ");
        let resource = self
            .methods
            .into_iter()
            .fold(web::resource(self.path), |resource, (.., route)| resource.route(route));
        resource.default_service(other_methods(allow)).register(config);
    }
}

/// The answer to every address that there is not.
pub(super) fn nowhere() -> Route {
    unread(web::to(|| async { Err::<String, _>(Problem::not_found("there is no such address")) }))
}

/// The answer to every method but those that are allowed.
fn other_methods(allow: String) -> Route {
    unread(web::to(move || {
        let problem = Problem::method_not_allowed(allow.clone());
        async move { Err::<String, _>(problem) }
    }))
}

/// A route that expects no body.
fn unread(route: Route) -> Route {
    route.wrap(from_fn(leave_unread))
}

/// The route of `path` for requests that are allowed it.
fn needing(path: &'static str, needs: Needs, route: Route) -> Route {
    route.wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
        at_hand::note_route(path);
        // What an administrator does is logged where it is done.
        let span = if needs == Needs::Admin { at_hand::request_span() } else { Span::none() };
        rights::check(needs, request, next).instrument(span)
    }))
}
