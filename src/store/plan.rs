//! How a page is read: the range of `seq` that its query comes to, and the way to the events in it.
//!
//! A query of several topics, or with times, needs a survey of the ledger first. Events are only ever added, so a page
//! up to the head that the survey saw is the same in every later snapshot: the two statements answer as one.

use super::{Page, PageQuery, StoredEvent, rows::to_sql};

/// A page looks through so many `seq` at most where it searches among the events of other topics.
const SCAN_MAX: u64 = 20_000;

/// What a query is planned by.
pub(super) struct Survey {
    /// The newest `seq`.
    pub head: u64,
    /// For each of [`PageQuery::times`], the events that were received before it.
    pub received_before: Vec<u64>,
    /// For each topic of the query that is known, its stored events.
    pub topic_events: Vec<u64>,
}

/// The range to read, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PagePlan<'a> {
    pub oldest_first: bool,
    /// Events lie behind this, and before the other.
    pub after: u64,
    pub before: u64,
    pub limit: usize,
    pub topics: TopicPlan<'a>,
    /// Where the search ends without having reached the end of what was asked for.
    edge: Option<u64>,
    /// The head that the survey saw.
    head: Option<u64>,
}

/// How the events of the right topics are found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TopicPlan<'a> {
    /// Every event is one, so that the range has no gaps.
    All,
    /// In the index of this topic.
    One(&'a str),
    /// In the index of each topic up to the limit, and the first ones of all of these.
    Each(&'a [String]),
    /// By looking at each event of the range.
    Scan(&'a [String]),
}

impl<'a> PagePlan<'a> {
    /// The plan of a query that needs no survey.
    pub(super) fn direct(query: &'a PageQuery) -> Self {
        Self {
            oldest_first: query.after.is_some(),
            after: query.after.unwrap_or(0),
            before: query.before.unwrap_or(u64::MAX),
            limit: query.limit,
            topics: query.topics.first().map_or(TopicPlan::All, |topic| TopicPlan::One(topic)),
            edge: None,
            head: None,
        }
    }

    pub(super) fn surveyed(query: &'a PageQuery, survey: &Survey) -> Self {
        let direct = Self::direct(query);
        let mut received_before = survey.received_before.iter().copied();
        let since = query.since.and_then(|_| received_before.next()).unwrap_or(0);
        let until = query.until.and_then(|_| received_before.next()).unwrap_or(u64::MAX);
        let plan = Self {
            after: direct.after.max(since),
            before: direct.before.min(until.saturating_add(1)).min(survey.head + 1),
            head: Some(survey.head),
            ..direct
        };
        match &query.topics[..] {
            [] | [_] => plan,
            topics if is_rare(query.limit, survey) => Self { topics: TopicPlan::Each(topics), ..plan },
            topics => Self { topics: TopicPlan::Scan(topics), ..plan }.cut(),
        }
    }

    /// The same for as many `seq` as may be looked through.
    fn cut(self) -> Self {
        if self.before.saturating_sub(self.after) <= SCAN_MAX + 1 {
            return self;
        }
        if self.oldest_first {
            let edge = self.after + SCAN_MAX;
            Self { before: edge + 1, edge: Some(edge), ..self }
        } else {
            let edge = self.before - SCAN_MAX;
            Self { after: edge - 1, edge: Some(edge), ..self }
        }
    }

    /// The range as the engines take it.
    pub(super) fn range(&self) -> (i64, i64) {
        (to_sql(self.after), to_sql(self.before))
    }

    pub(super) fn direction(&self) -> &'static str {
        if self.oldest_first { "ASC" } else { "DESC" }
    }

    /// The page of these events as it was read at `head`; it `is_cut` where a limit left others out.
    pub(super) fn page(&self, events: Vec<StoredEvent>, is_cut: bool, head: u64) -> Page {
        let head = self.head.unwrap_or(head);
        let cut_off = events.last().filter(|_| is_cut).map(|event| event.seq);
        let edge = if self.topics == TopicPlan::All { self.dense_edge(head) } else { self.edge };
        Page { next: cut_off.or(edge), events, head }
    }

    /// Where a page of all events ends, if the range goes on: as `seq` has no gaps, it has as many as its limit.
    fn dense_edge(&self, head: u64) -> Option<u64> {
        let newest = head.min(self.before.saturating_sub(1));
        let limit = self.limit as u64;
        let goes_on = newest.saturating_sub(self.after) > limit;
        goes_on.then(|| if self.oldest_first { self.after + limit } else { newest - limit + 1 })
    }
}

/// Whether to look each topic up costs no more rows than to look at every event until the page is full, if the events
/// of the topics lay evenly among the others.
fn is_rare(limit: usize, survey: &Survey) -> bool {
    let wanted = limit as u64 + 1;
    let looked_up: u64 = survey.topic_events.iter().map(|events| (*events).min(wanted)).sum();
    let matching: u64 = survey.topic_events.iter().sum();
    let scanned = wanted.saturating_mul(survey.head).checked_div(matching).unwrap_or(u64::MAX);
    looked_up <= scanned.min(SCAN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|name| name.to_string()).collect()
    }

    fn query(topics: usize, after: Option<u64>) -> PageQuery {
        PageQuery { topics: names(topics), after, limit: 100, ..PageQuery::default() }
    }

    fn survey(head: u64, topic_events: &[u64]) -> Survey {
        Survey { head, received_before: Vec::new(), topic_events: topic_events.to_vec() }
    }

    #[test]
    fn rare_topics_are_looked_up_and_frequent_ones_are_searched_for() {
        for (head, topic_events, rare) in [
            (0, vec![], true),
            (10_000_000, vec![10, 0], true),
            (10_000_000, vec![1_000_000, 1_000_000], true),
            (1_000, vec![500, 500], false),
            (10_000_000, vec![5_000_000; 2], false),
            (10_000_000, vec![100_000; 100], false),
            (10_000_000, vec![101; 100], true),
        ] {
            assert_eq!(is_rare(100, &survey(head, &topic_events)), rare, "{head} {topic_events:?}");
        }
        // As many as the longest page could ask for are never all looked up.
        assert!(!is_rare(1_000, &survey(1_000_000_000, &[1_000_000; 100])));
    }

    #[test]
    fn a_search_ends_early_and_goes_on_where_it_ended() {
        let frequent = [50_000; 2];
        let (newest, oldest) = (query(2, None), query(2, Some(7)));
        let plan = PagePlan::surveyed(&newest, &survey(100_000, &frequent));
        assert_eq!((plan.after, plan.before, plan.edge), (80_000, 100_001, Some(80_001)));
        let plan = PagePlan::surveyed(&oldest, &survey(100_000, &frequent));
        assert_eq!((plan.after, plan.before, plan.edge), (7, 20_008, Some(20_007)));
        let last = PageQuery { after: Some(80_000), ..query(2, None) };
        let plan = PagePlan::surveyed(&last, &survey(100_000, &frequent));
        assert_eq!((plan.after, plan.before, plan.edge), (80_000, 100_001, None));
    }

    #[test]
    fn times_narrow_the_range_and_none_reaches_beyond_the_head() {
        let time = Some(crate::event::Timestamp::from_unix_micros(0).unwrap());
        let plan = |query: &PageQuery, received_before: &[u64]| {
            let survey = Survey { received_before: received_before.to_vec(), ..survey(10, &[]) };
            let plan = PagePlan::surveyed(query, &survey);
            (plan.after, plan.before, plan.oldest_first)
        };
        let both = PageQuery { since: time, until: time, ..query(0, None) };
        assert_eq!(plan(&both, &[3, 7]), (3, 8, false));
        let since = PageQuery { since: time, after: Some(5), ..query(1, None) };
        assert_eq!(plan(&since, &[3]), (5, 11, true));
        let until = PageQuery { until: time, before: Some(9), ..query(0, None) };
        assert_eq!(plan(&until, &[0]), (0, 1, false));
        assert_eq!(plan(&until, &[10]), (0, 9, false));
    }
}
