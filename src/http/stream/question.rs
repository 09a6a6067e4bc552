//! What a stream is asked for, and where it begins.

use actix_web::HttpRequest;

use crate::{
    event::CONDITIONS_MAX,
    http::{
        events::{SEQ_MAX, TOPICS_MAX, filter, topics},
        problem::Problem,
        query::Parameters,
    },
    service::{Begin, Interest, Ledger},
};

/// What a client was served last, as EventSource sends it when it comes back.
const LAST_EVENT_ID: &str = "last-event-id";

fn parameters(request: &HttpRequest) -> Result<Parameters, Problem> {
    let lists = [("topic", TOPICS_MAX), ("where", CONDITIONS_MAX)];
    Parameters::parse_lists(request.query_string(), &["after", "last_event_id", "subscription"], &lists)
}

/// What a stream is asked for.
pub(super) struct Question {
    pub(super) interest: Interest,
    pub(super) begin: Begin,
    /// A subscription whose topics and place count.
    pub(super) subscription: Option<String>,
}

impl Question {
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let parameters = parameters(request)?;
        let begin = begin(request, &parameters)?;
        let subscription = parameters.text("subscription").map(str::to_owned);
        for other in ["after", "topic"] {
            if subscription.is_some() && parameters.texts(other).next().is_some() {
                let said =
                    format!("`{other}` must not be given together with `subscription`, which has its own");
                return Err(Problem::invalid_parameter(said));
            }
        }
        let interest =
            Interest { topics: topics(&parameters)?, filter: filter(&parameters)?, ..Interest::default() };
        Ok(Self { interest, begin, subscription })
    }

    /// The same with what the subscription says.
    pub(super) async fn resolved(mut self, ledger: &Ledger) -> Result<(Begin, Interest), Problem> {
        if let Some(name) = self.subscription {
            let subscription = ledger.subscription(&name).await?;
            let patterns = subscription.settings.topics.clone();
            match patterns.is_all() || !patterns.prefixes().is_empty() {
                true => self.interest.patterns = patterns,
                false => self.interest.topics = patterns.names().into_iter().map(str::to_owned).collect(),
            }
            if self.begin == Begin::Now {
                self.begin = Begin::After(subscription.acked);
            }
        }
        Ok((self.begin, self.interest))
    }
}

/// Where to begin. What was served already counts more than what the address says: it says where the client began.
fn begin(request: &HttpRequest, parameters: &Parameters) -> Result<Begin, Problem> {
    let begin = match parameters.text("after") {
        None | Some("now") => Begin::Now,
        Some("earliest") => Begin::After(0),
        Some(text) => Begin::After(seq(text).ok_or_else(|| {
            let said =
                format!("`after` must be now, earliest or a whole number from 0 to {SEQ_MAX}, not {text:?}");
            Problem::invalid_parameter(said)
        })?),
    };
    let wrong = |name: &str, text: &str| {
        let said = format!("`{name}` must be a whole number from 0 to {SEQ_MAX}, not {text:?}");
        Problem::invalid_parameter(said)
    };
    let header = request.headers().get(LAST_EVENT_ID).filter(|value| !value.is_empty());
    if let Some(value) = header {
        let text = String::from_utf8_lossy(value.as_bytes());
        return seq(&text).map(Begin::Served).ok_or_else(|| wrong("Last-Event-ID", &text));
    }
    match parameters.text("last_event_id") {
        Some(text) => seq(text).map(Begin::Served).ok_or_else(|| wrong("last_event_id", text)),
        None => Ok(begin),
    }
}

fn seq(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|seq| is_plain && *seq <= SEQ_MAX)
}
