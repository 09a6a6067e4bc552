//! What consumers of a subscription say: POST …/ack, …/seek and …/parked/retry; and GET …/parked.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{
    fully_leased, name,
    settings::{SEQ_MAX, place},
    with_fields,
};
use crate::{
    http::{
        Limits,
        events::{json_bytes, write_event},
        fields::{Fields, whole},
        gate::Gate,
        metered_body::MeteredBody,
        namespace,
        peer::peer,
        problem::Problem,
        query::Parameters,
    },
    store::{AckOutcome, ParkedInfo, RETRIES_MAX, Verdict},
};

const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;
/// About as many bytes as a parked event has beside the event, or in its place.
const PARKED_BYTES: usize = 192;

/// Does with a lease what its worker says, or moves a reader without leases on.
pub(crate) async fn ack(
    request: HttpRequest,
    payload: web::Payload,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
) -> HttpResponse {
    with_fields(&request, payload, &gate, &limits, async |ledger, name, fields| {
        let outcome = match parse_ack(fields)? {
            Ack::Lease(lease, verdict) => ledger.settle(name, lease, verdict).await?,
            Ack::MoveOnTo(through) => ledger.move_on_to(name, through).await?,
        };
        acked(outcome)
    })
    .await
}

/// Goes to another place.
pub(crate) async fn seek(
    request: HttpRequest,
    payload: web::Payload,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
) -> HttpResponse {
    with_fields(&request, payload, &gate, &limits, async |ledger, name, fields| {
        acked(ledger.seek(name, place(fields)?).await?)
    })
    .await
}

/// Has parked events tried again.
pub(crate) async fn retry(
    request: HttpRequest,
    payload: web::Payload,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
) -> HttpResponse {
    with_fields(&request, payload, &gate, &limits, async |ledger, name, mut fields| {
        let seqs = fields.list("seqs", RETRIES_MAX, "seqs of parked events", |value| {
            whole(value).filter(|seq| *seq <= SEQ_MAX)
        });
        fields.finish()?;
        let retried = ledger.retry_parked(name, seqs).await?;
        Ok(HttpResponse::Ok().json(Retried { retried: retried.retried, parked: retried.parked }))
    })
    .await
}

/// One page of parked events, with a link to the next one while there are more.
pub(crate) async fn parked(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(&request, service).await?;
    let name = name(&request)?;
    let parameters = Parameters::parse(request.query_string(), &["limit", "after"])?;
    let limit = parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT) as usize;
    let after = parameters.number("after", 0..=SEQ_MAX)?.unwrap_or(0);
    let page = ledger.parked(name, after, limit).await?;
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    if let Some(last) = page.events.last().filter(|_| page.more) {
        let link = format!("<{}?limit={limit}&after={}>; rel=\"next\"", request.path(), last.seq);
        response.insert_header((header::LINK, link));
    }
    let bytes_of = |parked: &ParkedInfo| {
        PARKED_BYTES + parked.event.as_ref().map_or(0, |event| json_bytes(std::slice::from_ref(event)))
    };
    let bytes = 2 + page.events.iter().map(bytes_of).sum::<usize>();
    let permit = service.admit_answer(peer(&request), bytes)?;
    let write = move || parked_json(&page.events, bytes);
    Ok(response.body(MeteredBody::build(service, permit, write).await?))
}

fn parked_json(parked: &[ParkedInfo], bytes: usize) -> Vec<u8> {
    let mut json = Vec::with_capacity(bytes);
    json.push(b'[');
    for (place, parked) in parked.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        let ParkedInfo { seq, deliveries, parked_at, event } = parked;
        let about = format!("{{\"deliveries\":{deliveries},\"parked_at\":\"{parked_at}\",\"event\":");
        json.extend_from_slice(about.as_bytes());
        match event {
            Ok(event) => write_event(&mut json, event),
            Err(damage) => {
                let damaged = json!({"seq": seq, "damage": damage.to_string()});
                json.extend_from_slice(damaged.to_string().as_bytes());
            }
        }
        json.push(b'}');
    }
    json.push(b']');
    json
}

enum Ack {
    Lease(Uuid, Verdict),
    MoveOnTo(u64),
}

fn parse_ack(mut fields: Fields) -> Result<Ack, Problem> {
    let lease = fields.take("lease");
    let id = lease.as_ref().and_then(|lease| lease.as_str()?.parse::<Uuid>().ok());
    if lease.is_some() && id.is_none() {
        fields.fault("/lease", "must be the text that came as `lease`");
    }
    let through = fields.number("through", 0..=SEQ_MAX);
    let results = [
        ("accept", Verdict::Accept { through }),
        ("release", Verdict::Release),
        ("reject", Verdict::Reject),
        ("renew", Verdict::Renew),
    ];
    let result = fields.word("result", &results);
    let is_part = matches!(result, None | Some(Verdict::Accept { .. }));
    if through.is_some() && !is_part {
        fields.fault("/through", "can be given with the result accept alone");
    }
    if lease.is_none() && through.is_none() {
        fields.fault("/lease", "must be given, or `through` without one by a reader that holds none");
    }
    fields.finish()?;
    // Without a lease there is a place, else there was a fault.
    Ok(match id {
        Some(id) => Ack::Lease(id, result.unwrap_or(Verdict::Accept { through })),
        None => Ack::MoveOnTo(through.unwrap_or_default()),
    })
}

#[derive(Serialize)]
struct Acked {
    acked: u64,
    lag: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct Retried {
    retried: u64,
    parked: u64,
}

fn acked(outcome: AckOutcome) -> Result<HttpResponse, Problem> {
    match outcome {
        AckOutcome::Done { acked, head, expires_at } => {
            let expires_at = expires_at.map(|time| time.to_string());
            Ok(HttpResponse::Ok().json(Acked { acked, lag: head.saturating_sub(acked), expires_at }))
        }
        AckOutcome::Fenced { acked, head } => Err(Problem::fenced(acked, head.saturating_sub(acked))),
        AckOutcome::Beyond { through } => Err(Problem::invalid_field(
            "/through",
            format!("must be at most {through}: there is nothing behind it to ack"),
        )),
        AckOutcome::Leased(leases) => Err(fully_leased(&leases, |held, by| {
            format!("{held} leases are held{by}: ack them by their ids, or seek")
        })),
    }
}
