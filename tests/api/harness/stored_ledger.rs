//! What is stored in one namespace, read beside the service.

use std::collections::HashMap;

use super::database::{Database, Engine};

/// A namespace of a database.
pub struct StoredLedger<'a> {
    pub(super) database: &'a Database,
    pub(super) namespace: String,
    pub(super) number: i64,
}

/// An event as it lies in the database, without what does not matter to whether it is there.
#[derive(Debug)]
pub struct StoredRow {
    pub seq: u64,
    pub event_id: String,
    pub topic: String,
}

impl StoredLedger<'_> {
    /// What does not hold of what must hold at any time: events, `seq` and totals agree, and no `seq` is missing.
    pub async fn unsound(&self) -> Vec<String> {
        let events = self.rows_of("stored_events");
        let mut unsound = Vec::new();
        let mut must = |what: &str, numbers: &[i64]| {
            if numbers.windows(2).any(|pair| pair[0] != pair[1]) {
                unsound.push(format!("{what}: {numbers:?}"));
            }
        };
        let stored = self.number(&format!("SELECT count(*) FROM {events}")).await;
        let highest = self.number(&format!("SELECT coalesce(max(seq), 0) FROM {events}")).await;
        let ids = format!(
            "SELECT count(*) FROM (
                 SELECT DISTINCT event_id, CASE dedup_scope WHEN 'topic' THEN topic_no END
                 FROM {events} CROSS JOIN {} AS l WHERE l.namespace_no = {}
             ) AS ids",
            self.database.table("ledgers"),
            self.number,
        );
        must("count, highest seq, and different ids", &[stored, highest, self.number(&ids).await]);
        let shown = format!("SELECT count(*) FROM {}", self.view());
        must("events, and those that the view shows", &[stored, self.number(&shown).await]);
        let identities = self.number(&format!("SELECT count(*) FROM {}", self.rows_of("identities"))).await;
        must(
            "events, identities, and those that belong together",
            &[stored, identities, self.paired().await],
        );
        let (received, unique) = self.totals().await;
        must("what is stored, and what the ledger counts", &[stored, unique as i64]);
        let by_topic = self.counts_by_topic();
        let counted =
            |column: &str| format!("SELECT CAST(coalesce(sum({column}), 0) AS bigint) FROM {by_topic}");
        let unique_by_topic = self.number(&counted("unique_events")).await;
        let duplicates_by_topic = self.number(&counted("duplicate_events")).await;
        must("unique events, and their sum by topic", &[unique as i64, unique_by_topic]);
        must("all events, and their sum by topic", &[received as i64, unique_by_topic + duplicates_by_topic]);
        let backwards = format!(
            "SELECT count(*) FROM (SELECT received_at, lag(received_at) OVER (ORDER BY seq) AS earlier
             FROM {events}) AS pairs WHERE received_at < earlier"
        );
        must("received_at never runs backwards", &[0, self.number(&backwards).await]);
        unsound
    }

    /// How many identities belong to a stored event; on Postgres, those with its digest.
    async fn paired(&self) -> i64 {
        let paired = match self.database.engine {
            Engine::Sqlite => {
                "SELECT count(*) FROM identities AS i
                 CROSS JOIN stored_events AS e ON e.place = (i.namespace_no << 40) + i.seq
                 WHERE i.namespace_no ="
            }
            Engine::Postgres => {
                "SELECT count(*) FROM sekali.identities i
                 JOIN sekali.stored_events e ON e.namespace_no = i.namespace_no AND e.seq = i.seq
                 JOIN sekali.topics t ON t.namespace_no = e.namespace_no AND t.topic_no = e.topic_no
                 JOIN sekali.ledgers l ON l.namespace_no = e.namespace_no
                 WHERE i.digest = sekali.digest(l.identity_key, l.dedup_scope, t.topic, e.event_id)
                     AND i.namespace_no ="
            }
        };
        self.number(&format!("{paired} {}", self.number)).await
    }

    /// The counters of each topic, of which newer ones stand in the commits on Postgres.
    fn counts_by_topic(&self) -> String {
        let topics = self.rows_of("topics");
        if self.database.engine == Engine::Sqlite {
            return topics;
        }
        let commits = self.rows_of("commits");
        format!(
            "(SELECT topic_no, unique_events, duplicate_events FROM {topics}
              UNION ALL SELECT d.* FROM (SELECT * FROM {commits} WHERE commit_no >
                  (SELECT folded_to FROM {commits} ORDER BY commit_no DESC LIMIT 1)) c,
                  unnest(c.topic_nos, c.unique_counts, c.duplicate_counts) AS d) AS counted"
        )
    }

    /// What the ledger counts: received and unique.
    pub async fn totals(&self) -> (u64, u64) {
        let totals = match self.database.engine {
            Engine::Sqlite => self.rows_of("ledgers"),
            Engine::Postgres => {
                format!(
                    "(SELECT * FROM {} ORDER BY commit_no DESC LIMIT 1) AS newest",
                    self.rows_of("commits")
                )
            }
        };
        let total = |column: &str| format!("SELECT coalesce(max({column}), 0) FROM {totals}");
        let received = self.number(&total("received")).await;
        (received as u64, self.number(&total("last_seq")).await as u64)
    }

    /// What is stored behind `after`, in order.
    pub async fn rows_after(&self, after: u64) -> Vec<StoredRow> {
        let view = self.view();
        let rows = format!("SELECT seq, event_id, topic FROM {view} WHERE seq > {after} ORDER BY seq");
        let row = |(seq, event_id, topic): (i64, _, _)| StoredRow { seq: seq as u64, event_id, topic };
        self.database.select(&rows).await.into_iter().map(row).collect()
    }

    /// How many events each topic has.
    pub async fn stored_by_topic(&self) -> HashMap<String, u64> {
        let counts = format!("SELECT topic, count(*) FROM {} GROUP BY topic", self.view());
        let count = |(topic, count): (String, i64)| (topic, count as u64);
        self.database.select(&counts).await.into_iter().map(count).collect()
    }

    async fn number(&self, sql: &str) -> i64 {
        self.database.number(sql).await
    }

    /// This namespace's rows of a table.
    fn rows_of(&self, table: &str) -> String {
        let rows =
            format!("SELECT * FROM {} WHERE namespace_no = {}", self.database.table(table), self.number);
        format!("({rows}) AS {table}_of_this")
    }

    /// This namespace's rows of the view of events.
    fn view(&self) -> String {
        let rows =
            format!("SELECT * FROM {} WHERE namespace = '{}'", self.database.table("events"), self.namespace);
        format!("({rows}) AS events_of_this")
    }
}
