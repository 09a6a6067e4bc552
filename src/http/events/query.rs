//! The parameters of GET /events, and the link to the next page.

use std::time::Duration;

use actix_web::HttpRequest;

use crate::{
    event::{CONDITIONS_MAX, Condition, Filter, Timestamp, check_name},
    http::{preferences::preferences, problem::Problem, query::Parameters},
    store::{PAGE_BYTES_MAX, PageQuery},
};

/// The parameters of a page that one event by its id cannot have.
pub(super) const PAGE_ALONE: [&str; 7] = ["limit", "before", "after", "since", "until", "where", "wait"];

const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;
/// Topics of one page.
pub(in crate::http) const TOPICS_MAX: usize = 100;
/// Seconds that a reader may ask to wait.
const WAIT_SECONDS_MAX: u64 = 60;
/// The highest number that a `seq` can have, in every store.
pub(in crate::http) const SEQ_MAX: u64 = i64::MAX as u64;

/// Reads the query string of a page, or of an event by its id.
pub(super) fn page_parameters(query: &str) -> Result<Parameters, Problem> {
    let once = ["limit", "before", "after", "since", "until", "wait", "event_id"];
    Parameters::parse_lists(query, &once, &[("topic", TOPICS_MAX), ("where", CONDITIONS_MAX)])
}

pub(super) fn page_query(parameters: &Parameters) -> Result<PageQuery, Problem> {
    Ok(PageQuery {
        topics: topics(parameters)?,
        before: parameters.number("before", 0..=SEQ_MAX)?,
        after: parameters.number("after", 0..=SEQ_MAX)?,
        since: time(parameters, "since")?,
        until: time(parameters, "until")?,
        limit: parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT) as usize,
        bytes_max: PAGE_BYTES_MAX,
    })
}

/// The topics that are asked for; none for all.
pub(in crate::http) fn topics(parameters: &Parameters) -> Result<Vec<String>, Problem> {
    parameters.texts("topic").map(topic).collect()
}

/// What the events must hold.
pub(in crate::http) fn filter(parameters: &Parameters) -> Result<Filter, Problem> {
    let wrong = |fault| Problem::invalid_parameter(format!("`where` {fault}"));
    let conditions = parameters.texts("where").map(|text| Condition::parse(text).map_err(wrong));
    Ok(Filter::new(conditions.collect::<Result<_, _>>()?))
}

/// How long a reader waits for an event at most.
pub(super) struct Wait {
    pub time: Duration,
    /// Whether it is a preference, which the answer tells about.
    pub is_preferred: bool,
}

/// The parameter counts more than a preference, which is no error whatever it is.
pub(super) fn wait(request: &HttpRequest, parameters: &Parameters) -> Result<Wait, Problem> {
    if let Some(seconds) = parameters.number("wait", 0..=WAIT_SECONDS_MAX)? {
        return Ok(Wait { time: Duration::from_secs(seconds), is_preferred: false });
    }
    let seconds = preferences(request).find_map(|preference| preference.strip_prefix("wait=")?.parse().ok());
    Ok(match seconds {
        Some(seconds) => {
            Wait { time: Duration::from_secs(WAIT_SECONDS_MAX.min(seconds)), is_preferred: true }
        }
        None => Wait { time: Duration::ZERO, is_preferred: false },
    })
}

fn time(parameters: &Parameters, name: &str) -> Result<Option<Timestamp>, Problem> {
    let wrong = |fault| Problem::invalid_parameter(format!("`{name}` {fault}"));
    parameters.text(name).map(|text| Timestamp::parse(text).map_err(wrong)).transpose()
}

/// The one topic that an event is looked for in.
pub(super) fn topic_of(parameters: &Parameters) -> Result<Option<String>, Problem> {
    let mut topics = parameters.texts("topic");
    match (topics.next(), topics.next()) {
        (_, Some(_)) => Err(Problem::invalid_parameter("`topic` must not be given twice for one event")),
        (topic_of_event, None) => topic_of_event.map(topic).transpose(),
    }
}

fn topic(name: &str) -> Result<String, Problem> {
    check_name(name).map_err(|fault| Problem::invalid_parameter(format!("`topic` {fault}")))?;
    Ok(name.to_owned())
}

/// RFC 8288: the same question, from where this page ended.
pub(super) fn next_link(path: &str, query: &PageQuery, filter: &Filter, seq: u64) -> String {
    let query = query.goes_on_at(seq);
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    for topic in &query.topics {
        parameters.append_pair("topic", topic);
    }
    for (name, time) in [("since", query.since), ("until", query.until)] {
        if let Some(time) = time {
            parameters.append_pair(name, &time.to_string());
        }
    }
    for condition in filter.conditions() {
        parameters.append_pair("where", &condition.to_string());
    }
    parameters.append_pair("limit", &query.limit.to_string());
    for (name, seq) in [("before", query.before), ("after", query.after)] {
        if let Some(seq) = seq {
            parameters.append_pair(name, &seq.to_string());
        }
    }
    format!("<{path}?{}>; rel=\"next\"", parameters.finish())
}
