//! Pages of events.

use std::time::Duration;

use futures::{Stream, stream};
use reqwest::{Response, Url, header};
use serde::de::Error as _;

use super::{Client, ClientError, Page, REQUEST_TIMEOUT, answers::seq_of, error::shown, read_json};

/// What to ask `GET /events` for; nothing set asks for the newest events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// Only these topics.
    pub topics: Vec<String>,
    /// Events in a page, 1 to 1,000; the service's default is 100.
    pub limit: Option<u32>,
    /// Only events with a lower `seq`.
    pub before: Option<u64>,
    /// Only events with a higher `seq`, and oldest first.
    pub after: Option<u64>,
    /// Only events received at this time or later.
    pub since: Option<String>,
    /// Only events received before this time.
    pub until: Option<String>,
    /// Only events that read so, `/pointer=value` each.
    pub conditions: Vec<String>,
}

impl Client {
    /// The page that answers `query`. Where the service ended it early, it goes on until the page is full or there are
    /// no more events.
    pub async fn page(&self, query: &PageQuery) -> Result<Page, ClientError> {
        const SERVICE_LIMIT: u32 = 100;
        let limit = query.limit.unwrap_or(SERVICE_LIMIT);
        let (mut page, mut next) = self.part_of_page(query).await?;
        while let Some(seq) = next.filter(|_| page.len() < limit as usize && query.may_end_early()) {
            let rest = PageQuery { limit: Some(limit - page.len() as u32), ..query.goes_on_at(seq) };
            let (more, after) = self.part_of_page(&rest).await?;
            page.extend(more);
            next = after;
        }
        Ok(page)
    }

    /// All events with a `seq` above `query.after`, page by page, oldest first. Each page is asked for again
    /// until `give_up_after` is over.
    pub fn pages(
        &self,
        query: PageQuery,
        give_up_after: Duration,
    ) -> impl Stream<Item = Result<Page, ClientError>> + '_ {
        stream::try_unfold(query, move |mut query| async move {
            let ask = async |client: &Client| client.part_of_page(&query).await;
            let (page, next) = self.read_until_answered(give_up_after, ask).await?;
            let last = page.last().map(|last| self.readable(seq_of(last))).transpose()?;
            let Some(seq) = next.or(last) else { return Ok(None) };
            query.after = Some(self.seq_after(query.after, seq)?);
            Ok(Some((page, query)))
        })
    }

    /// What one answer holds, and where to go on if there may be more.
    async fn part_of_page(&self, query: &PageQuery) -> Result<(Page, Option<u64>), ClientError> {
        let answer = self.get(self.page_url(query), REQUEST_TIMEOUT).await?;
        let next = self.next_seq(&answer, if query.after.is_some() { "after" } else { "before" });
        Ok((read_json(answer).await?, next))
    }

    /// The place in `Link: <…?after=17>; rel="next"`.
    fn next_seq(&self, answer: &Response, place: &str) -> Option<u64> {
        let link = answer.headers().get(header::LINK)?.to_str().ok()?;
        let (target, _) = link.strip_prefix('<')?.split_once(">; rel=\"next\"")?;
        let target: Url = self.base.join(target).ok()?;
        let (_, seq) = target.query_pairs().find(|(name, _)| name == place)?;
        seq.parse().ok()
    }

    /// A page that ends where it began would be asked for without end.
    fn seq_after(&self, before: Option<u64>, seq: u64) -> Result<u64, ClientError> {
        self.readable(match Some(seq) > before {
            true => Ok(seq),
            false => {
                Err(serde_json::Error::custom(format!("a page ends with seq {seq}, not after {before:?}")))
            }
        })
    }

    fn readable<T>(&self, read: Result<T, serde_json::Error>) -> Result<T, ClientError> {
        read.map_err(|source| ClientError::Unreadable { url: shown(&self.in_ledger("events")), source })
    }

    fn page_url(&self, query: &PageQuery) -> Url {
        let mut url = self.in_ledger("events");
        let number = |number: u64| number.to_string();
        let topics = query.topics.iter().map(|topic| ("topic", Some(topic.clone())));
        let conditions = query.conditions.iter().map(|condition| ("where", Some(condition.clone())));
        let others = [
            ("since", query.since.clone()),
            ("until", query.until.clone()),
            ("limit", query.limit.map(|limit| number(limit.into()))),
            ("before", query.before.map(number)),
            ("after", query.after.map(number)),
        ];
        for (name, value) in topics.chain(conditions).chain(others) {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, &value);
            }
        }
        url
    }
}

impl PageQuery {
    /// Whether the service may end its page before it is full, though there are more events.
    fn may_end_early(&self) -> bool {
        self.topics.len() > 1 || !self.conditions.is_empty()
    }

    fn goes_on_at(&self, seq: u64) -> Self {
        match self.after {
            Some(_) => Self { after: Some(seq), ..self.clone() },
            None => Self { before: Some(seq), ..self.clone() },
        }
    }
}
