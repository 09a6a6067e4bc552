//! GET /topics.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde::Serialize;

use super::{
    gate::Gate, metered_body::MeteredBody, namespace, peer::peer, problem::Problem, query::Parameters,
};
use crate::{
    event::NAME_BYTES_MAX,
    store::{TopicInfo, TopicQuery},
};

const LIMIT_MAX: u64 = 1_000;
/// Bytes of a topic's JSON beside its name, at most.
const TOPIC_BYTES: usize = 224;

/// One page of topics by name, with a link to the next one while there is more.
pub(super) async fn list(request: HttpRequest, gate: web::Data<Gate>) -> Result<HttpResponse, Problem> {
    let service = gate.pass()?;
    let ledger = namespace::ledger(&request, service).await?;
    let query = list_query(&Parameters::parse(request.query_string(), &["prefix", "limit", "after"])?)?;
    let page = ledger.topics(query.clone()).await?;
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    if let Some(last) = page.topics.last().filter(|_| page.more) {
        response.insert_header((header::LINK, next_link(request.path(), &query, &last.topic)));
    }
    let bytes = 2 + page.topics.iter().map(|topic| TOPIC_BYTES + topic.topic.len()).sum::<usize>();
    let permit = service.admit_answer(peer(&request), bytes)?;
    let write = move || {
        let mut json = Vec::with_capacity(bytes);
        let shown: Vec<_> = page.topics.iter().map(Shown::new).collect();
        serde_json::to_writer(&mut json, &shown).expect("strings and numbers serialise");
        json
    };
    Ok(response.body(MeteredBody::build(service, permit, write).await?))
}

/// A topic as it is shown. What no event of it tells is null.
#[derive(Serialize)]
struct Shown<'a> {
    topic: &'a str,
    unique: u64,
    duplicates: u64,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    last_received_at: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(topic: &'a TopicInfo) -> Self {
        Self {
            topic: &topic.topic,
            unique: topic.unique,
            duplicates: topic.duplicates,
            first_seq: topic.first_seq,
            last_seq: topic.last_seq,
            last_received_at: topic.last_received_at.map(|time| time.to_string()),
        }
    }
}

fn list_query(parameters: &Parameters) -> Result<TopicQuery, Problem> {
    Ok(TopicQuery {
        prefix: part_of_name(parameters, "prefix")?,
        after: part_of_name(parameters, "after")?,
        limit: parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_MAX) as usize,
    })
}

/// A text that a name may begin with, which white space may stand for alone.
fn part_of_name(parameters: &Parameters, parameter: &str) -> Result<String, Problem> {
    let text = parameters.text(parameter).unwrap_or_default();
    let fault = if text.len() > NAME_BYTES_MAX {
        format!("must have at most {NAME_BYTES_MAX} bytes, not {}", text.len())
    } else if text.chars().any(char::is_control) {
        "must not contain a control character".to_owned()
    } else {
        return Ok(text.to_owned());
    };
    Err(Problem::invalid_parameter(format!("`{parameter}` {fault}")))
}

/// RFC 8288: the same question, from where this page ended.
fn next_link(path: &str, query: &TopicQuery, last: &str) -> String {
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    if !query.prefix.is_empty() {
        parameters.append_pair("prefix", &query.prefix);
    }
    parameters.append_pair("limit", &query.limit.to_string()).append_pair("after", last);
    format!("<{path}?{}>; rel=\"next\"", parameters.finish())
}
