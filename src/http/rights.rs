//! Who may do what: what each route needs, and whether the key of a request allows it.

use std::sync::Arc;

use actix_http::RequestHead;
use actix_web::{
    Error, HttpMessage, HttpRequest, ResponseError,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};

use super::{namespace, problem::Problem, unread_guard::UnreadGuard};
use crate::{
    access::{Key, KeyRing, Pattern, Scope},
    event::{Event, EventFault},
};

/// What a route needs, where keys are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: the answer tells nothing of what is stored.
    NoKey,
    /// The scope `publish` in the namespace. The handler checks the topics of the events.
    Publish,
    /// The scope `read` in the namespace, for all of it.
    Read,
    /// The scope `read` in the namespace. The answer is about the topics that parameters `topic` name, which a key that is
    /// limited to topics must name.
    ReadTopics,
    /// The scope `read`, for all namespaces.
    ReadService,
    /// The scope `admin` in the namespace, for all of it.
    Admin,
}

impl Needs {
    /// The scope that a key must have; `None` where no key is needed.
    pub(super) fn scope(self) -> Option<Scope> {
        match self {
            Self::NoKey => None,
            Self::Publish => Some(Scope::Publish),
            Self::Read | Self::ReadTopics | Self::ReadService => Some(Scope::Read),
            Self::Admin => Some(Scope::Admin),
        }
    }
}

/// The keys in force, if any are.
#[derive(Clone, Default)]
pub(super) struct Keys(pub(super) Option<Arc<KeyRing>>);

impl Keys {
    /// The key that a request brings; `None` where none is needed.
    pub(super) fn authenticate(&self, head: &RequestHead) -> Result<Option<Arc<Key>>, Problem> {
        let Some(ring) = &self.0 else { return Ok(None) };
        let mut headers = head.headers().get_all(header::AUTHORIZATION);
        let presented = match (headers.next(), headers.next()) {
            (None, _) => None,
            (Some(one), None) => bearer(one.as_bytes()),
            (Some(_), Some(_)) => {
                return Err(Problem::unauthorized("there is more than one header Authorization"));
            }
        };
        let Some(secret) = presented else {
            return Err(Problem::unauthorized("a key is needed here: send it as Authorization: Bearer KEY"));
        };
        ring.find(secret).map(Some).map_err(|denied| Problem::unauthorized(denied.to_string()))
    }
}

/// The key of a request whose answer goes on for long.
pub(super) struct HeldKey(Option<(Arc<KeyRing>, Arc<Key>)>);

impl HeldKey {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let ring = request.app_data::<web::Data<Keys>>().and_then(|keys| keys.0.clone());
        Self(ring.zip(request.extensions().get::<Arc<Key>>().cloned()))
    }

    /// Whether it was neither revoked nor changed, and has not expired.
    pub(super) fn is_in_force(&self) -> bool {
        self.0.as_ref().is_none_or(|(ring, key)| ring.still_has(key))
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| secret.trim_ascii())
}

/// Lets a request pass to its handler whose key allows it. The body of one that does not pass is not read.
pub(super) async fn check(
    needs: Needs,
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let checked = admit(needs, request.request());
    match checked {
        Ok(key) => {
            if let Some(key) = key {
                request.extensions_mut().insert(key);
            }
            next.call(request).await
        }
        Err(problem) => {
            let unread = request.take_payload();
            let refusal = request.into_response(problem.error_response());
            Ok(refusal.map_body(|_, answer| UnreadGuard::boxed(answer, unread)))
        }
    }
}

fn admit(needs: Needs, request: &HttpRequest) -> Result<Option<Arc<Key>>, Problem> {
    let Some(scope) = needs.scope() else { return Ok(None) };
    let keys = request.app_data::<web::Data<Keys>>().expect("the server hands the keys to every route");
    let Some(key) = keys.authenticate(request.head())? else { return Ok(None) };
    if !key.has(scope) {
        return Err(forbidden(&key, &format!("lacks the scope {}", scope.name())));
    }
    if needs == Needs::ReadService {
        return match &key.namespaces {
            None => check_all_topics(&key).map(|()| Some(key)),
            Some(patterns) => {
                let limit = format!("is limited to the namespaces {}, and this is about all", list(patterns));
                Err(forbidden(&key, &limit))
            }
        };
    }
    check_namespace(&key, namespace::name_in_path(request))?;
    match needs {
        Needs::Read | Needs::Admin => check_all_topics(&key)?,
        Needs::ReadTopics => check_named_topics(&key, request.query_string())?,
        Needs::Publish | Needs::NoKey | Needs::ReadService => {}
    }
    Ok(Some(key))
}

fn check_namespace(key: &Key, name: &str) -> Result<(), Problem> {
    match &key.namespaces {
        Some(patterns) if !key.reaches_namespace(name) => {
            let limit =
                format!("is limited to the namespaces {}, and {name:?} is another one", list(patterns));
            Err(forbidden(key, &limit))
        }
        _ => Ok(()),
    }
}

fn check_all_topics(key: &Key) -> Result<(), Problem> {
    match &key.topics {
        None => Ok(()),
        Some(patterns) => Err(forbidden(
            key,
            &format!("is limited to the topics {}, and this is about all", list(patterns)),
        )),
    }
}

fn check_named_topics(key: &Key, query: &str) -> Result<(), Problem> {
    let Some(patterns) = &key.topics else { return Ok(()) };
    let mut is_named = false;
    for (_, topic) in form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "topic") {
        if !key.reaches_topic(&topic) {
            let limit = format!("is limited to the topics {}, and {topic:?} is another one", list(patterns));
            return Err(forbidden(key, &limit));
        }
        is_named = true;
    }
    if is_named {
        return Ok(());
    }
    Err(forbidden(key, &format!("is limited to the topics {}: name topics with ?topic=", list(patterns))))
}

/// Refuses events of topics that the request's key may not publish to; names the first one.
pub(super) fn check_topics_of(request: &HttpRequest, events: &[Event]) -> Result<(), Problem> {
    let extensions = request.extensions();
    let Some(key) = extensions.get::<Arc<Key>>() else { return Ok(()) };
    let Some(patterns) = &key.topics else { return Ok(()) };
    let Some(index) = events.iter().position(|event| !key.reaches_topic(event.topic())) else {
        return Ok(());
    };
    let limit = format!("is limited to the topics {}, and event {index} has another one", list(patterns));
    let fault = EventFault {
        index,
        pointer: "/topic".to_owned(),
        detail: format!("must be one that the key is for, not {:?}", &**events[index].topic()),
    };
    Err(forbidden(key, &limit).about(fault))
}

fn forbidden(key: &Key, why: &str) -> Problem {
    Problem::forbidden(format!("the key {} {why}", key.name))
}

fn list(patterns: &[Pattern]) -> String {
    patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_read_whatever_the_case_of_its_scheme() {
        for value in ["Bearer abc", "bearer abc", "BEARER   abc "] {
            assert_eq!(bearer(value.as_bytes()), Some(&b"abc"[..]), "{value}");
        }
        for value in ["", "Bearer", "Basic abc", "abc"] {
            assert_eq!(bearer(value.as_bytes()), None, "{value}");
        }
    }
}
