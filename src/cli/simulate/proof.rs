//! Reads the stored events back: each planned event is stored once, as it was sent, with the `seq` of its answer.

use std::{pin::pin, time::Duration};

use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{answers::Answers, body::payload, plan::Plan};
use crate::{
    cli::progress::Progress,
    client::{Client, ClientError, PageQuery},
};

const PAGE_EVENTS: u32 = 1_000;

/// One stored event, as the service shows it.
#[derive(Deserialize)]
struct ReadEvent<'a> {
    seq: u64,
    topic: String,
    event_id: String,
    timestamp: String,
    source: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// How to read.
pub struct Reading<'a> {
    pub plan: &'a Plan,
    pub client: &'a Client,
    pub give_up_after: Duration,
    /// Whether to show no progress.
    pub silent: bool,
}

impl Reading<'_> {
    /// The last `seq` so far, 0 if nothing is stored.
    pub async fn last_seq(&self) -> Result<u64, ClientError> {
        let newest = PageQuery { limit: Some(1), ..PageQuery::default() };
        let ask = async |client: &Client| client.page(&newest).await;
        let page = self.client.read_until_answered(self.give_up_after, ask).await?;
        page.first().map_or(Ok(0), |event| Ok(parse(event)?.seq))
    }

    /// Notes the planned events that are stored before the run.
    pub async fn note_before(&self, answers: &mut Answers) -> Result<(), ClientError> {
        let progress = Progress::start("looking for earlier events", None, self.silent);
        self.each_event(progress, |_, event| {
            if let Some(number) = self.plan.number(&event.event_id) {
                answers.note_before(number, event.seq);
            }
        })
        .await
    }

    /// Reads all events of the run's topics, and adds to the faults of `answers` what is wrong.
    pub async fn check_events(&self, answers: &mut Answers) -> Result<(), ClientError> {
        let progress = Progress::start("reading back", Some(u64::from(self.plan.unique)), self.silent);
        let mut previous = (0, 0);
        self.each_event(progress, |topic, event| {
            if (topic, event.seq) <= previous {
                let example = format!("seq {} follows {}", event.seq, previous.1);
                answers.faults.add("a page is out of order", example);
            }
            previous = (topic, event.seq);
            self.check_event(topic, event, answers);
        })
        .await
    }

    fn check_event(&self, topic: usize, event: &ReadEvent<'_>, answers: &mut Answers) {
        let (id, seq) = (&event.event_id, event.seq);
        let Some(number) = self.plan.number(id) else {
            // Older events belong to an earlier run with the same name.
            if seq > answers.last_seq_before {
                answers
                    .faults
                    .add("an event is stored that nobody planned", format!("event {id}, seq {seq}"));
            }
            return;
        };
        answers.note_read_back(number, id, seq);
        // An event of an earlier run has that run's timestamp.
        let as_sent = self.plan.topic_of(number) == topic
            && event.topic == self.plan.topics[topic]
            && event.source == "simulate"
            && (event.timestamp == self.plan.timestamp || !answers.is_of_this_run(number))
            && event.payload.get() == payload(self.plan, number);
        if !as_sent {
            let ReadEvent { topic, timestamp, source, payload, .. } = event;
            let example = format!("event {id} is {topic:?}, {timestamp:?}, {source:?}, {payload:.100}");
            answers.faults.add("an event does not come back as it was sent", example);
        }
    }

    /// Visits every event of the run's topics, with its topic's place, in the order of `seq` within each topic.
    async fn each_event(
        &self,
        mut progress: Progress,
        mut visit: impl FnMut(usize, &ReadEvent<'_>),
    ) -> Result<(), ClientError> {
        let planned = self.plan.by_topic();
        for (place, topic) in
            self.plan.topics.iter().enumerate().filter(|(place, _)| planned[*place].unique > 0)
        {
            let (topics, limit) = (vec![topic.clone()], Some(PAGE_EVENTS));
            let query = PageQuery { topics, limit, after: Some(0), ..PageQuery::default() };
            let mut pages = pin!(self.client.pages(query, self.give_up_after));
            while let Some(page) = pages.try_next().await? {
                for event in &page {
                    visit(place, &parse(event)?);
                }
                progress.advance(page.len() as u64);
            }
        }
        Ok(())
    }
}

fn parse(event: &RawValue) -> Result<ReadEvent<'_>, ClientError> {
    let unreadable = |source| ClientError::Unreadable { url: "/events".to_owned(), source };
    serde_json::from_str(event.get()).map_err(unreadable)
}
