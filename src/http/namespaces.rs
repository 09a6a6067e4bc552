//! GET /namespaces, and GET, PUT and DELETE /namespaces/{namespace}.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    Limits,
    body::{self, BodyLimits},
    gate::Gate,
    metered_body::MeteredBody,
    namespace::name,
    peer::peer,
    problem::{self, Problem},
    query::Parameters,
    unread_guard::refuse,
};
use crate::{
    event::{DedupScope, json_text},
    store::{NamespaceInfo, NamespaceQuery, check_namespace},
};

const LIMIT_MAX: u64 = 1_000;
/// Bytes of a settings document.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a namespace's JSON, at most.
const NAMESPACE_BYTES: usize = 320;

/// One page of namespaces by name, with a link to the next one while there is more.
pub(super) async fn list(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let query = list_query(&Parameters::parse(request.query_string(), &["prefix", "limit", "after"])?)?;
    let page = service.namespaces(query.clone(), peer(&request)).await?;
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    if let Some(last) = page.namespaces.last().filter(|_| page.more) {
        response.insert_header((header::LINK, next_link(request.path(), &query, &last.ledger.namespace)));
    }
    let bytes = 2 + page.namespaces.len() * NAMESPACE_BYTES;
    let permit = service.admit_answer(peer(&request), bytes)?;
    let write = move || {
        let mut json = Vec::with_capacity(bytes);
        let shown: Vec<_> = page.namespaces.iter().map(Shown::new).collect();
        serde_json::to_writer(&mut json, &shown).expect("strings and numbers serialise");
        json
    };
    Ok(response.body(MeteredBody::build(service, permit, write).await?))
}

/// The namespace of this name.
pub(super) async fn show(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let namespace = service.namespace(name(&request)?).await?;
    Parameters::parse(request.query_string(), &[])?;
    Ok(HttpResponse::Ok().json(Shown::new(&namespace)))
}

/// Creates a namespace, or shows the one that is there with these settings.
pub(super) async fn create(
    request: HttpRequest,
    mut payload: web::Payload,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
) -> HttpResponse {
    match put(&request, &mut payload, &gate, &limits).await {
        Ok(answer) => answer,
        Err(problem) => refuse(&problem, &request, payload, &gate).await,
    }
}

async fn put(
    request: &HttpRequest,
    payload: &mut web::Payload,
    gate: &Gate,
    limits: &Limits,
) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let name = name(request)?;
    body::check_headers(request)?;
    let limits = BodyLimits { bytes_max: SETTINGS_BYTES_MAX, timeout: limits.body_timeout };
    let (body, _permit) = body::read(request, payload, &limits, gate, service).await?;
    let scope = parse_settings(&body)?;
    Parameters::parse(request.query_string(), &[])?;
    if gate.is_draining() {
        return Err(Problem::draining());
    }
    let created = service.create_namespace(name, scope).await?;
    Ok(problem::shown(created.is_new).json(Shown::new(&created.namespace)))
}

/// Deletes a namespace, whose name is given a second time: nothing brings back what is deleted.
pub(super) async fn delete(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let name = name(&request)?;
    let parameters = Parameters::parse(request.query_string(), &["confirm"])?;
    if parameters.text("confirm") != Some(name) {
        return Err(Problem::invalid_parameter(format!(
            "`confirm` must be the namespace's name: with ?confirm={name} all that is in it is deleted for ever"
        )));
    }
    service.delete_namespace(name).await?;
    Ok(problem::done())
}

/// A namespace as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    dedup_scope: &'static str,
    created_at: String,
    received: u64,
    unique: u64,
    duplicates: u64,
    last_seq: u64,
}

impl<'a> Shown<'a> {
    fn new(namespace: &'a NamespaceInfo) -> Self {
        let NamespaceInfo { ledger, created_at, head } = namespace;
        Self {
            name: &ledger.namespace,
            dedup_scope: ledger.scope.name(),
            created_at: created_at.to_string(),
            received: head.received,
            unique: head.last_seq,
            duplicates: head.received - head.last_seq,
            last_seq: head.last_seq,
        }
    }
}

fn list_query(parameters: &Parameters) -> Result<NamespaceQuery, Problem> {
    // Each beginning of a name could be a name itself.
    let part_of_name = |parameter: &str| match parameters.text(parameter) {
        None => Ok(String::new()),
        Some(text) => match check_namespace(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(fault) => Err(Problem::invalid_parameter(format!("`{parameter}` {fault}, not {text:?}"))),
        },
    };
    Ok(NamespaceQuery {
        prefix: part_of_name("prefix")?,
        after: part_of_name("after")?,
        limit: parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_MAX) as usize,
    })
}

/// RFC 8288: the same question, from where this page ended. Names need no escapes.
fn next_link(path: &str, query: &NamespaceQuery, last: &str) -> String {
    let prefix = if query.prefix.is_empty() { String::new() } else { format!("prefix={}&", query.prefix) };
    format!("<{path}?{prefix}limit={}&after={last}>; rel=\"next\"", query.limit)
}

/// The settings of a namespace, as they may be given.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    dedup_scope: Option<String>,
    retention: Option<IgnoredAny>,
}

/// The scope that the settings ask for. A body without any asks for none.
fn parse_settings(body: &Bytes) -> Result<Option<DedupScope>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    let text = json_text(body)?;
    // An array would be taken for the fields in their order.
    if !text.trim_start().starts_with('{') {
        let detail = r#"the settings must be an object, such as {"dedup_scope":"topic"}"#;
        return Err(Problem::invalid_settings(detail));
    }
    let settings: Settings =
        serde_json::from_str(&text).map_err(|error| Problem::invalid_settings(error.to_string()))?;
    if settings.retention.is_some() {
        let detail = "`retention` cannot be set in this version: all events are kept for ever; leave it out";
        return Err(Problem::invalid_settings(detail));
    }
    let scope = settings.dedup_scope.map(|name| {
        let wrong = |_| format!("`dedup_scope` must be event-id or topic, not {name:?}");
        name.parse().map_err(wrong).map_err(Problem::invalid_settings)
    });
    scope.transpose()
}
