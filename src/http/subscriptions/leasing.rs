//! POST /subscriptions/{name}/lease.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde::Serialize;

use super::{fully_leased, name};
use crate::{
    event::check_name,
    http::{
        Limits,
        events::{json_bytes, page_json},
        gate::Gate,
        metered_body::{MeteredBody, meter},
        namespace,
        peer::{hung_up, peer},
        problem::{self, Problem},
        query::Parameters,
    },
    service::{Lease, LeaseAnswer},
    store::{LeaseInfo, Leased, Verdict},
};

const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;
/// Seconds that a worker may ask to wait.
const WAIT_SECONDS_MAX: u64 = 60;
/// Bytes of a lease beside its events, at most.
const LEASE_BYTES: usize = 256;

/// Leases events, or waits for some. Where the worker hangs up meanwhile, what it would get is given back.
pub(crate) async fn lease(
    request: HttpRequest,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
) -> Result<HttpResponse, Problem> {
    tokio::select! {
        biased;
        () = hung_up(&request) => Ok(problem::done()),
        answer = lease_for(&request, &gate, &limits) => answer,
    }
}

async fn lease_for(request: &HttpRequest, gate: &Gate, limits: &Limits) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(request, service).await?;
    let name = name(request)?;
    let parameters = Parameters::parse(request.query_string(), &["limit", "wait", "worker"])?;
    let limit = parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT) as usize;
    let wait = Duration::from_secs(parameters.number("wait", 0..=WAIT_SECONDS_MAX)?.unwrap_or(0));
    let worker = worker(&parameters)?;
    let wait = wait.min(limits.wait_max);
    let Lease { offered, events } =
        match ledger.lease_within(name, limit, worker, wait, gate.draining()).await? {
            LeaseAnswer::Lease(lease) => lease,
            LeaseAnswer::Nothing => return Ok(problem::done()),
            LeaseAnswer::FullyLeased(leases) => {
                return meter(all_leased(&leases).error_response(), service, peer(request));
            }
        };
    let bytes = LEASE_BYTES + json_bytes(&events);
    let permit = match service.admit_answer(peer(request), bytes) {
        Ok(permit) => permit,
        Err(overloaded) => {
            offered.give_back(Verdict::Withdraw).await;
            return Err(overloaded.into());
        }
    };
    let leased = offered.leased().clone();
    let write = move || lease_json(&leased, page_json(&events));
    let body = MeteredBody::build(service, permit, write).await?;
    offered.taken();
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// What the worker calls itself.
fn worker(parameters: &Parameters) -> Result<Option<String>, Problem> {
    let Some(worker) = parameters.text("worker") else { return Ok(None) };
    check_name(worker).map_err(|fault| Problem::invalid_parameter(format!("`worker` {fault}")))?;
    Ok(Some(worker.to_owned()))
}

fn all_leased(leases: &[LeaseInfo]) -> Problem {
    fully_leased(leases, |held, by| {
        format!(
            "all {held} leases that there may be at once are held{by}: ask with ?wait=, or raise max_leases"
        )
    })
}

/// A lease as its worker gets it, without its events.
#[derive(Serialize)]
struct Head<'a> {
    lease: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<usize>,
    from: u64,
    through: u64,
    deliveries: u32,
    expires_at: String,
}

fn lease_json(leased: &Leased, events: Vec<u8>) -> Vec<u8> {
    let head = Head {
        lease: &leased.lease.to_string(),
        partition: leased.partition,
        from: leased.from,
        through: leased.through,
        deliveries: leased.deliveries,
        expires_at: leased.expires_at.to_string(),
    };
    let mut json = serde_json::to_vec(&head).expect("strings and numbers serialise");
    json.pop();
    json.extend_from_slice(b",\"events\":");
    json.extend_from_slice(&events);
    json.push(b'}');
    json
}
