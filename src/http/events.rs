//! GET /events and GET /events/{event_id}.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use percent_encoding::percent_decode_str;

use super::{
    gate::Gate, metered_body::MeteredBody, namespace, peer::peer, problem::Problem, query::Parameters,
};
use crate::{
    event::{DedupScope, check_name},
    service::{Ledger, Loaded, Service},
    store::{PageQuery, StoredEvent},
};

const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;
/// The newest committed `seq` when the page was read: what a reader lags behind is one subtraction.
const HEAD: &str = "sekali-head";
/// Bytes of an event's JSON beside its names and its payload.
const EVENT_BYTES: usize = 192;
/// The highest number that a `seq` can have, in every store.
const SEQ_MAX: u64 = i64::MAX as u64;

/// One page of events, with a link to the next one while there is more; or the event with one id as an array.
pub(super) async fn page(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(&request, service).await?;
    let parameters =
        Parameters::parse(request.query_string(), &["topic", "limit", "before", "after", "event_id"])?;
    if let Some(event_id) = parameters.text("event_id") {
        return event_as_page(&request, service, &ledger, &parameters, event_id).await;
    }
    let query = page_query(&parameters)?;
    let page = ledger.page(query.clone()).await?;
    let mut response = HttpResponse::Ok();
    response.content_type("application/json").insert_header((HEAD, page.head));
    if let Some(last) = page.events.last().filter(|_| page.more) {
        response.insert_header((header::LINK, next_link(request.path(), query, last.seq)));
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
    if let Some(other) = ["limit", "before", "after"].into_iter().find(|name| parameters.text(name).is_some())
    {
        return Err(Problem::invalid_parameter(format!(
            "`{other}` must not be given together with `event_id`"
        )));
    }
    check_name(event_id).map_err(|fault| Problem::invalid_parameter(format!("`event_id` {fault}")))?;
    let found = find(ledger, Some(event_id.to_owned()), topic_of(parameters)?).await?;
    let permit = service.admit_answer(peer(request), json_bytes(one_or_none(&found)))?;
    let body = MeteredBody::build(service, permit, move || page_json(one_or_none(&found))).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

fn one_or_none(found: &Option<Loaded<StoredEvent>>) -> &[StoredEvent] {
    found.as_deref().map_or(&[], std::slice::from_ref)
}

/// The event with one id.
pub(super) async fn event(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(&request, service).await?;
    let parameters = Parameters::parse(request.query_string(), &["topic"])?;
    let topic = topic_of(&parameters)?;
    let found = find(&ledger, event_id_in(namespace::path_within(&request)), topic).await?;
    let Some(event) = found else { return Err(Problem::not_found("no event with this id is stored")) };
    let bytes = json_bytes(std::slice::from_ref(&*event));
    let permit = service.admit_answer(peer(&request), bytes)?;
    let write = move || {
        let mut json = Vec::with_capacity(bytes);
        write_event(&mut json, &event);
        json
    };
    let body = MeteredBody::build(service, permit, write).await?;
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

fn page_query(parameters: &Parameters) -> Result<PageQuery, Problem> {
    Ok(PageQuery {
        topic: topic_of(parameters)?,
        before: parameters.number("before", 0..=SEQ_MAX)?,
        after: parameters.number("after", 0..=SEQ_MAX)?,
        limit: parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT) as usize,
    })
}

fn topic_of(parameters: &Parameters) -> Result<Option<String>, Problem> {
    let Some(topic) = parameters.text("topic") else { return Ok(None) };
    check_name(topic).map_err(|fault| Problem::invalid_parameter(format!("`topic` {fault}")))?;
    Ok(Some(topic.to_owned()))
}

/// RFC 8288: the same question, from where this page ended.
fn next_link(path: &str, query: PageQuery, last_seq: u64) -> String {
    let (before, after) = match query.after {
        Some(_) => (query.before, Some(last_seq)),
        None => (Some(last_seq), None),
    };
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    if let Some(topic) = &query.topic {
        parameters.append_pair("topic", topic);
    }
    parameters.append_pair("limit", &query.limit.to_string());
    for (name, seq) in [("before", before), ("after", after)] {
        if let Some(seq) = seq {
            parameters.append_pair(name, &seq.to_string());
        }
    }
    format!("<{path}?{}>; rel=\"next\"", parameters.finish())
}

/// About as many bytes as the JSON of these events has.
fn json_bytes(events: &[StoredEvent]) -> usize {
    let names = |event: &StoredEvent| event.topic.len() + event.event_id.len() + event.source.len();
    2 + events.iter().map(|event| EVENT_BYTES + names(event) + event.payload.len()).sum::<usize>()
}

fn page_json(events: &[StoredEvent]) -> Vec<u8> {
    let mut json = Vec::with_capacity(json_bytes(events));
    json.push(b'[');
    for (place, event) in events.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        write_event(&mut json, event);
    }
    json.push(b']');
    json
}

/// Written by hand, since a payload is JSON text already and goes out to the letter.
fn write_event(json: &mut Vec<u8>, event: &StoredEvent) {
    json.extend_from_slice(format!("{{\"seq\":{},\"topic\":", event.seq).as_bytes());
    write_string(json, &event.topic);
    json.extend_from_slice(b",\"event_id\":");
    write_string(json, &event.event_id);
    json.extend_from_slice(format!(",\"timestamp\":\"{}\",\"source\":", event.timestamp).as_bytes());
    write_string(json, &event.source);
    json.extend_from_slice(b",\"payload\":");
    json.extend_from_slice(event.payload.as_bytes());
    json.extend_from_slice(format!(",\"received_at\":\"{}\"}}", event.received_at).as_bytes());
}

fn write_string(json: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(json, text).expect("a string is written to memory");
}
