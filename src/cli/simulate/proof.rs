//! Reads the stored events back: each planned event is stored once, as it was sent, with the `seq` of its answer, and
//! `seq` has no gap.

use std::{cell::RefCell, pin::pin, time::Duration};

use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{answers::Answers, body::payload, plan::Plan, subscribers::hash};
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
    /// See [`hash`].
    #[serde(skip)]
    hash: u64,
}

/// How to read one namespace.
pub struct Reading<'a> {
    pub namespace: &'a str,
    pub plan: &'a Plan,
    pub client: &'a Client,
    pub give_up_after: Duration,
    /// Of all namespaces.
    pub progress: &'a RefCell<Progress>,
}

impl Reading<'_> {
    /// The last `seq` so far, 0 if nothing is stored. Counts that contradict it are added to the findings of `answers`.
    pub async fn last_seq(&self, answers: &mut Answers) -> Result<u64, ClientError> {
        let ask = async |client: &Client| client.namespace(self.namespace).await;
        let shown = self.client.read_until_answered(self.give_up_after, ask).await?;
        if shown.unique != shown.last_seq
            || shown.unique.checked_add(shown.duplicates) != Some(shown.received)
        {
            answers.findings.wrong("the counts of a namespace do not add up", format!("{shown:?}"));
        }
        Ok(shown.last_seq)
    }

    /// Notes the planned events that are stored before the run.
    pub async fn note_before(&self, answers: &mut Answers) -> Result<(), ClientError> {
        self.each_event_before(answers.last_seq_before, |event| {
            if let Some(number) = self.plan.number(&event.event_id) {
                answers.note_before(number, event.seq);
            }
        })
        .await
    }

    /// Reads all events of the run, and adds to the findings of `answers` what is wrong.
    pub async fn check_events(&self, answers: &mut Answers) -> Result<(), ClientError> {
        let before = answers.last_seq_before;
        if answers.sums.there_before > 0 {
            self.each_event_before(before, |event| self.check_event(event, answers)).await?;
        }
        let last = self.last_seq(answers).await?;
        let query = PageQuery { after: Some(before), before: Some(last + 1), ..PageQuery::default() };
        let mut previous = before;
        self.each_event(query, |event| {
            if event.seq != previous + 1 {
                answers.findings.wrong("seq has a gap", format!("{} follows {previous}", event.seq));
            }
            previous = event.seq;
            self.check_event(event, answers);
            answers.check_followed(event.seq, event.hash);
        })
        .await?;
        if previous != last {
            answers.findings.wrong("seq has a gap", format!("{previous} is the last, and not {last}"));
        }
        Ok(())
    }

    fn check_event(&self, event: &ReadEvent<'_>, answers: &mut Answers) {
        let ReadEvent { seq, topic, event_id: id, timestamp, source, payload: read, .. } = event;
        let plan = self.plan;
        let Some(number) = plan.number(id) else {
            // Others may publish to the namespace; older events of these topics belong to an earlier run of the same name.
            if *seq > answers.last_seq_before && plan.topics.contains(topic) {
                let example = format!("event {id}, seq {seq}");
                answers.findings.wrong("an event is stored that nobody planned", example);
            }
            return;
        };
        answers.note_read_back(number, id, *seq);
        if **source != *plan.source {
            let example = format!("event {id}, seq {seq}, is of {source}");
            answers.findings.wrong("an event is stored that belongs elsewhere", example);
            return;
        }
        // An event of an earlier run has that run's timestamp.
        let as_sent = *topic == plan.topics[plan.topic_of(number)]
            && (**timestamp == *plan.timestamp || !answers.is_of_this_run(number))
            && read.get() == payload(plan, number);
        if !as_sent {
            let example = format!("event {id} is {topic:?}, {timestamp:?}, {read:.100}");
            answers.findings.wrong("an event does not come back as it was sent", example);
        }
    }

    /// Visits every event of the run's topics up to the last one before the run, topic by topic.
    async fn each_event_before(
        &self,
        last: u64,
        mut visit: impl FnMut(&ReadEvent<'_>),
    ) -> Result<(), ClientError> {
        for topic in self.plan.topics.iter() {
            let (topics, after, before) = (vec![topic.clone()], Some(0), Some(last + 1));
            self.each_event(PageQuery { topics, after, before, ..PageQuery::default() }, &mut visit).await?;
        }
        Ok(())
    }

    /// Visits what the pages of `query` hold, in the order of `seq`.
    async fn each_event(
        &self,
        query: PageQuery,
        mut visit: impl FnMut(&ReadEvent<'_>),
    ) -> Result<(), ClientError> {
        let query = PageQuery { limit: Some(PAGE_EVENTS), ..query };
        let mut pages = pin!(self.client.pages(query, self.give_up_after));
        while let Some(page) = pages.try_next().await? {
            for event in &page {
                visit(&parse(event)?);
            }
            self.progress.borrow_mut().advance(page.len() as u64);
        }
        Ok(())
    }
}

fn parse(event: &RawValue) -> Result<ReadEvent<'_>, ClientError> {
    let unreadable = |source| ClientError::Unreadable { url: "/events".to_owned(), source };
    let read = serde_json::from_str(event.get()).map_err(unreadable)?;
    Ok(ReadEvent { hash: hash(event), ..read })
}
