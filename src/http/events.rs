//! GET /events and GET /events/{event_id}.

mod query;
mod json;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use percent_encoding::percent_decode_str;

use self::query::{Wait, next_link, page_parameters, page_query, topic_of, wait};
pub(super) use self::{
    json::{event_bytes, event_json, json_bytes, page_json, write_event},
    query::{SEQ_MAX, TOPICS_MAX, filter, topics},
};
use super::{
    Limits,
    gate::Gate,
    metered_body::MeteredBody,
    namespace,
    peer::{hung_up, peer},
    problem::Problem,
    query::Parameters,
};
use crate::{
    event::{DedupScope, check_name},
    service::{Ledger, Loaded, Service},
    store::StoredEvent,
};

/// The newest committed `seq` when the page was read: what a reader lags behind is one subtraction.
const HEAD: &str = "sekali-head";

/// One page of events, with a link to the next one while there is more; or the event with one id as an array.
pub(super) async fn page(
    request: HttpRequest,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(&request, service).await?;
    let parameters = page_parameters(request.query_string())?;
    if let Some(event_id) = parameters.text("event_id") {
        return event_as_page(&request, service, &ledger, &parameters, event_id).await;
    }
    let (query, filter) = (page_query(&parameters)?, filter(&parameters)?);
    let Wait { time, is_preferred } = wait(&request, &parameters)?;
    let time = time.min(limits.wait_max);
    let stop = async {
        tokio::select! {
            () = gate.draining() => {}
            // Its place is for those that still wait.
            () = hung_up(&request) => {}
        }
    };
    let page = ledger.page_within(query.clone(), filter.clone(), time, stop).await?;
    let mut response = HttpResponse::Ok();
    response.content_type("application/json").insert_header((HEAD, page.head));
    if is_preferred {
        response.insert_header(("preference-applied", format!("wait={}", time.as_secs())));
        response.insert_header((header::VARY, "prefer"));
    }
    if let Some(seq) = page.next {
        response.insert_header((header::LINK, next_link(request.path(), &query, &filter, seq)));
    }
    let permit = service.admit_answer(peer(&request), json_bytes(&page.events))?;
    Ok(response.body(MeteredBody::build(service, permit, move || page_json(&page.events)).await?))
}

/// An array of one event or none, for the ids that clients cannot send in a path, as `.` and `..`.
async fn event_as_page(
    request: &HttpRequest,
    service: &Service,
    ledger: &Ledger,
    parameters: &Parameters,
    event_id: &str,
) -> Result<HttpResponse, Problem> {
    if let Some(other) = query::PAGE_ALONE.into_iter().find(|name| parameters.text(name).is_some()) {
        return Err(Problem::invalid_parameter(format!(
            "`{other}` must not be given together with `event_id`"
        )));
    }
    check_name(event_id).map_err(|fault| Problem::invalid_parameter(format!("`event_id` {fault}")))?;
    let found = find(ledger, Some(event_id.to_owned()), topic_of(parameters)?).await?;
    let permit = service.admit_answer(peer(request), found.as_deref().map_or(0, event_bytes))?;
    let found = found.map(Loaded::into_value);
    let write = move || found.map_or_else(|| b"[]".to_vec(), |event| event_json("[", event, "]"));
    let body = MeteredBody::build(service, permit, write).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// The event with one id.
pub(super) async fn event(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(&request, service).await?;
    let parameters = Parameters::parse(request.query_string(), &["topic"])?;
    let topic = topic_of(&parameters)?;
    let found = find(&ledger, event_id_in(namespace::path_within(&request)), topic).await?;
    let Some(event) = found else { return Err(Problem::not_found("no event with this id is stored")) };
    let permit = service.admit_answer(peer(&request), event_bytes(&event))?;
    let event = event.into_value();
    let body = MeteredBody::build(service, permit, move || event_json("", event, "")).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// The event with this id, if there can be one.
async fn find(
    ledger: &Ledger,
    event_id: Option<String>,
    topic: Option<String>,
) -> Result<Option<Loaded<StoredEvent>>, Problem> {
    if ledger.scope() == DedupScope::Topic && topic.is_none() {
        return Err(Problem::invalid_parameter(
            "`topic` must be given: in this namespace an event is known by its topic and its event_id",
        ));
    }
    match event_id.filter(|event_id| check_name(event_id).is_ok()) {
        Some(event_id) => Ok(ledger.event(event_id, topic).await?),
        None => Ok(None),
    }
}

/// From the path as it came: an id may hold any character, a slash among them.
fn event_id_in(path: &str) -> Option<String> {
    let encoded = path.strip_prefix("/events/")?;
    percent_decode_str(encoded).decode_utf8().ok().map(|event_id| event_id.into_owned())
}
