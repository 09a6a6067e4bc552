//! Proves the result: every planned event is read back once, as it was sent, with the `seq` that was answered.

use std::{borrow::Cow, time::Duration};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{answers::Answers, body::write_payload, faults::Faults, plan::Plan};
use crate::{
    cli::progress::Progress,
    client::{Client, ClientError, PageQuery},
};

const PAGE_EVENTS: u32 = 1_000;

/// One stored event, as the service shows it.
#[derive(Deserialize)]
pub struct ReadEvent<'a> {
    pub seq: u64,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// How to read.
pub struct Reading<'a> {
    pub plan: &'a Plan,
    pub client: &'a Client,
    pub give_up_after: Duration,
    /// Whether no progress is shown.
    pub silent: bool,
}

impl Reading<'_> {
    /// The last `seq` that was given so far.
    pub async fn last_seq(&self) -> Result<u64, ClientError> {
        let newest = PageQuery { limit: Some(1), ..PageQuery::default() };
        let page = self
            .client
            .read_until_answered(self.give_up_after, async |client| client.events_page(&newest).await);
        let page = page.await?;
        let Some(event) = page.events.first() else { return Ok(0) };
        Ok(parse(event)?.seq)
    }

    /// Notes what the run's topics hold before anything is sent: a run of this name may have been here.
    pub async fn note_before(&self, answers: &mut Answers<'_>) -> Result<(), ClientError> {
        self.each_event(self.progress("looking for what is there", None), |_, event, _| {
            if let Some(number) = self.plan.number(&event.event_id) {
                answers.note_before(number, event.seq);
            }
        })
        .await
    }

    /// Reads everything back, and notes what is wrong in the answers' faults.
    pub async fn check_events(&self, answers: &mut Answers<'_>) -> Result<(), ClientError> {
        let progress = self.progress("reading back", Some(u64::from(self.plan.unique)));
        let mut order = Faults::default();
        self.each_event(progress, |topic, event, previous| {
            if event.seq <= previous {
                order.add("a page is out of order", || format!("seq {} follows {previous}", event.seq));
            }
            self.check_event(topic, event, answers);
        })
        .await?;
        answers.faults.extend(order);
        Ok(())
    }

    fn progress(&self, doing: &'static str, total: Option<u64>) -> Progress {
        if self.silent { Progress::silent(doing, total) } else { Progress::start(doing, total) }
    }

    fn check_event(&self, topic: usize, event: &ReadEvent<'_>, answers: &mut Answers<'_>) {
        let Some(number) = self.plan.number(&event.event_id) else {
            // What was there before is an earlier run's of the same name.
            if event.seq > answers.last_seq_before {
                let (id, seq) = (&event.event_id, event.seq);
                answers
                    .faults
                    .add("an event is stored that nobody planned", || format!("event {id}, seq {seq}"));
            }
            return;
        };
        answers.note_read_back(number, event.seq);
        if let Some(fault) = self.content_fault(topic, number, event, answers.is_of_this_run(number)) {
            answers.faults.add("an event does not come back as it was sent", || {
                format!("event {}: {fault}", event.event_id)
            });
        }
    }

    fn content_fault(
        &self,
        topic: usize,
        number: u32,
        event: &ReadEvent<'_>,
        of_this_run: bool,
    ) -> Option<String> {
        let planned = &self.plan.topics[self.plan.topic_of(number)];
        if event.topic != *planned || planned != &self.plan.topics[topic] {
            let (found, asked) = (&event.topic, &self.plan.topics[topic]);
            return Some(format!("topic {found:?} was read, {asked:?} asked for, {planned:?} sent"));
        }
        // An event of an earlier run has that run's time.
        if event.source != "simulate" || of_this_run && event.timestamp != self.plan.timestamp {
            return Some(format!("source {:?} and timestamp {:?}", event.source, event.timestamp));
        }
        let mut payload = Vec::new();
        write_payload(self.plan, number, &mut payload);
        let found = event.payload.get();
        (found.as_bytes() != payload && !is_same_json(found, &payload))
            .then(|| format!("the payload is {found:.100}"))
    }

    /// Every event of the run's topics, with its topic's place and the `seq` in front of it.
    async fn each_event(
        &self,
        mut progress: Progress,
        mut visit: impl FnMut(usize, &ReadEvent<'_>, u64),
    ) -> Result<(), ClientError> {
        let by_topic = self.plan.by_topic();
        for (place, topic) in self.plan.topics.iter().enumerate().filter(|(place, _)| by_topic[*place].0 > 0)
        {
            let mut after = 0;
            loop {
                let query = PageQuery {
                    topic: Some(topic.clone()),
                    limit: Some(PAGE_EVENTS),
                    after: Some(after),
                    before: None,
                };
                let page = self
                    .client
                    .read_until_answered(self.give_up_after, async |client| client.events_page(&query).await);
                let page = page.await?;
                let page_after = after;
                for event in &page.events {
                    let event = parse(event)?;
                    visit(place, &event, after);
                    after = event.seq;
                }
                progress.advance(page.events.len() as u64);
                if page.next.is_none() || after <= page_after {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn parse(event: &RawValue) -> Result<ReadEvent<'_>, ClientError> {
    let unreadable = |source| ClientError::Unreadable { url: "/events".to_owned(), source };
    serde_json::from_str(event.get()).map_err(unreadable)
}

/// A store may keep an object in another order than it came.
fn is_same_json(found: &str, sent: &[u8]) -> bool {
    let found: Option<Value> = serde_json::from_str(found).ok();
    found.is_some() && found == serde_json::from_slice(sent).ok()
}
