//! /subscriptions and what is below it.

mod settings;
mod leasing;
mod acking;

use actix_web::{HttpRequest, HttpResponse, http::header, web};

use self::settings::{Shown, change as parse_change, settings as parse_settings, shown_bytes};
pub(super) use self::{
    acking::{ack, parked, retry, seek},
    leasing::lease,
};
use super::{
    Limits,
    fields::Fields,
    gate::Gate,
    metered_body::{MeteredBody, meter},
    namespace,
    peer::peer,
    problem::{self, Problem},
    query::Parameters,
    unread_guard::refuse,
};
use crate::{
    service::Ledger,
    store::{SubscriptionQuery, check_subscription},
};

const LIMIT_MAX: u64 = 1_000;

/// One page of subscriptions by name, with a link to the next one while there is more.
pub(super) async fn list(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(&request, service).await?;
    let query = list_query(&Parameters::parse(request.query_string(), &["prefix", "limit", "after"])?)?;
    let page = ledger.subscriptions(query.clone()).await?;
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    if let Some(last) = page.subscriptions.last().filter(|_| page.more) {
        response.insert_header((header::LINK, next_link(request.path(), &query, &last.name)));
    }
    let bytes = 2 + page.subscriptions.iter().map(shown_bytes).sum::<usize>();
    let permit = service.admit_answer(peer(&request), bytes)?;
    let write = move || {
        let mut json = Vec::with_capacity(bytes);
        let shown: Vec<_> = page.subscriptions.iter().map(Shown::new).collect();
        serde_json::to_writer(&mut json, &shown).expect("strings and numbers serialise");
        json
    };
    Ok(response.body(MeteredBody::build(service, permit, write).await?))
}

/// The subscription of this name.
pub(super) async fn show(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(&request, service).await?;
    let subscription = ledger.subscription(name(&request)?).await?;
    Parameters::parse(request.query_string(), &[])?;
    meter(HttpResponse::Ok().json(Shown::new(&subscription)), service, peer(&request))
}

/// Creates a subscription, or shows the one that is there with these settings.
pub(super) async fn create(
    request: HttpRequest,
    payload: web::Payload,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
) -> HttpResponse {
    with_fields(&request, payload, &gate, &limits, async |ledger, name, fields| {
        let subscribed = ledger.subscribe(name, parse_settings(fields)?).await?;
        Ok(problem::shown(subscribed.is_new).json(Shown::new(&subscribed.subscription)))
    })
    .await
}

/// Changes settings.
pub(super) async fn change(
    request: HttpRequest,
    payload: web::Payload,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
) -> HttpResponse {
    with_fields(&request, payload, &gate, &limits, async |ledger, name, fields| {
        let subscription = ledger.change_subscription(name, parse_change(fields)?).await?;
        Ok(HttpResponse::Ok().json(Shown::new(&subscription)))
    })
    .await
}

/// Deletes a subscription.
pub(super) async fn delete(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let ledger = namespace::ledger(&request, gate.pass()?).await?;
    let name = name(&request)?;
    Parameters::parse(request.query_string(), &[])?;
    ledger.unsubscribe(name).await?;
    Ok(problem::done())
}

/// Answers with what `respond` makes of the body's fields, for the subscription that the path names.
async fn with_fields(
    request: &HttpRequest,
    mut payload: web::Payload,
    gate: &Gate,
    limits: &Limits,
    respond: impl AsyncFnOnce(&Ledger, &str, Fields) -> Result<HttpResponse, Problem>,
) -> HttpResponse {
    let answer = async {
        let service = gate.pass()?;
        let ledger = namespace::ledger(request, service).await?;
        let name = name(request)?;
        let fields = Fields::read(request, &mut payload, service, gate, limits).await?;
        meter(respond(&ledger, name, fields).await?, service, peer(request))
    };
    let answered = answer.await;
    match answered {
        Ok(answer) => answer,
        Err(problem) => refuse(&problem, request, payload, gate).await,
    }
}

/// The name of the subscription that the request is for.
fn name(request: &HttpRequest) -> Result<&str, Problem> {
    let name = request.match_info().get("subscription").unwrap_or_default();
    check_subscription(name).map_err(|fault| {
        Problem::invalid_parameter(format!("the subscription's name {fault}, not {name:?}"))
    })?;
    Ok(name)
}

fn list_query(parameters: &Parameters) -> Result<SubscriptionQuery, Problem> {
    // Each beginning of a name could be a name itself.
    let part_of_name = |parameter: &str| match parameters.text(parameter) {
        None => Ok(String::new()),
        Some(text) => match check_subscription(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(fault) => Err(Problem::invalid_parameter(format!("`{parameter}` {fault}, not {text:?}"))),
        },
    };
    Ok(SubscriptionQuery {
        prefix: part_of_name("prefix")?,
        after: part_of_name("after")?,
        limit: parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_MAX) as usize,
    })
}

/// RFC 8288: the same question, from where this page ended. Names need no escapes.
fn next_link(path: &str, query: &SubscriptionQuery, last: &str) -> String {
    let prefix = if query.prefix.is_empty() { String::new() } else { format!("prefix={}&", query.prefix) };
    format!("<{path}?{prefix}limit={}&after={last}>; rel=\"next\"", query.limit)
}
