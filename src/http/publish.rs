//! POST /publish.

use actix_web::{HttpRequest, HttpResponse, web};
use bytestring::ByteString;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Limits, at_hand,
    body::{self, BodyLimits},
    gate::Gate,
    metered_body::MeteredBody,
    metrics::Traffic,
    namespace,
    peer::peer,
    preferences::preferences,
    problem::Problem,
    rights::check_topics_of,
    unread_guard::refuse,
};
use crate::event::{Outcome, parse_batch};

/// Bytes of an answer beside its results, and of a result beside its id, at most.
const ANSWER_BYTES: usize = 128;
const RESULT_BYTES: usize = 72;

/// Stores the events of the body and answers what became of each, after the commit.
pub(super) async fn publish(
    request: HttpRequest,
    mut payload: web::Payload,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
    traffic: web::Data<Traffic>,
) -> HttpResponse {
    match store(&request, &mut payload, &gate, &limits, &traffic).await {
        Ok(answer) => answer,
        Err(problem) => refuse(&problem, &request, payload, &gate).await,
    }
}

async fn store(
    request: &HttpRequest,
    payload: &mut web::Payload,
    gate: &Gate,
    limits: &Limits,
    traffic: &Traffic,
) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(request, service).await?;
    body::check_headers(request)?;
    let body_limits = BodyLimits { bytes_max: limits.body_bytes_max, timeout: limits.body_timeout };
    ledger.expect_body(body::announced(request, &body_limits)?.unwrap_or_default())?;
    let (body, bytes) = body::read(request, payload, &body_limits, gate, service).await?;
    // From here on: a body has time limits of its own, and a slow one must leave time for its answer.
    let begun = Instant::now();
    let events_max = limits.batch_events_max;
    let events = service.parse(peer(request), body.len(), move || parse_batch(body, events_max)).await??;
    if gate.is_draining() {
        return Err(Problem::draining());
    }
    check_topics_of(request, &events)?;
    let minimal = preferences(request).any(|preference| preference == "return=minimal");
    // The answer names each event, and the events themselves go to the store.
    let event_ids: Vec<ByteString> =
        if minimal { Vec::new() } else { events.iter().map(|event| event.event_id().clone()).collect() };
    let permit = service.admit_answer(peer(request), answer_bytes(&event_ids))?;
    let time_left = limits.publish_timeout.saturating_sub(begun.elapsed());
    let outcomes = ledger.publish(events, bytes, at_hand::ids(), time_left).await?;
    let answer =
        MeteredBody::build(service, permit, move || answer_json(&outcomes, &event_ids, minimal)).await?;
    traffic.note_publish(begun.elapsed());
    let mut response = HttpResponse::Ok();
    if minimal {
        response.insert_header(("preference-applied", "return=minimal"));
    }
    Ok(response.content_type("application/json").body(answer))
}

#[derive(Serialize)]
struct Answer<'a> {
    accepted: usize,
    unique: usize,
    duplicates: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<EventResult<'a>>>,
}

#[derive(Serialize)]
struct EventResult<'a> {
    event_id: &'a str,
    status: &'static str,
    seq: u64,
}

/// Bytes of the answer that names these events, at most.
fn answer_bytes(event_ids: &[ByteString]) -> usize {
    let escaped = |id: &ByteString| id.len() + id.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    ANSWER_BYTES + event_ids.iter().map(|id| RESULT_BYTES + escaped(id)).sum::<usize>()
}

fn answer_json(outcomes: &[Outcome], event_ids: &[ByteString], minimal: bool) -> Vec<u8> {
    let unique = outcomes.iter().filter(|outcome| outcome.is_stored()).count();
    let results = outcomes.iter().zip(event_ids).map(|(outcome, event_id)| EventResult {
        event_id,
        status: if outcome.is_stored() { "stored" } else { "duplicate" },
        seq: outcome.seq(),
    });
    let answer = Answer {
        accepted: outcomes.len(),
        unique,
        duplicates: outcomes.len() - unique,
        results: (!minimal).then(|| results.collect()),
    };
    let mut json = Vec::with_capacity(answer_bytes(event_ids));
    serde_json::to_writer(&mut json, &answer).expect("strings and numbers serialise");
    json
}
