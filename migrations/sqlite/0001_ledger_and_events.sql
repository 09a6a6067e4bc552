-- The ledger, the events and the counters by topic. Times are microseconds since 1970-01-01T00:00:00Z.

-- One row: the running totals, and what the writer's last group became, so that a lost answer can be given again.
CREATE TABLE ledger (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    dedup_scope TEXT NOT NULL CHECK (dedup_scope IN ('event-id', 'topic')),
    commit_no INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0, -- also the count of stored events
    received INTEGER NOT NULL DEFAULT 0, -- unique and duplicate
    topics_total INTEGER NOT NULL DEFAULT 0,
    received_at INTEGER NOT NULL DEFAULT 0,
    writer_id BLOB NOT NULL DEFAULT (zeroblob(16)),
    group_no INTEGER NOT NULL DEFAULT 0,
    first_seq INTEGER NOT NULL DEFAULT 1,
    new_topics TEXT NOT NULL DEFAULT '[]', -- JSON: ["topic", …]
    repeats TEXT NOT NULL DEFAULT '[]' -- JSON: [[ordinal from 0, seq], …]
) STRICT;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    event_id TEXT NOT NULL,
    scope_topic TEXT NOT NULL, -- the topic in scope `topic`, empty in scope `event-id`
    timestamp INTEGER NOT NULL,
    source TEXT NOT NULL,
    payload TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    UNIQUE (event_id, scope_topic)
) STRICT;
CREATE INDEX events_topic_seq_idx ON events (topic, seq);

CREATE TABLE topics (
    topic TEXT PRIMARY KEY,
    topic_no INTEGER NOT NULL UNIQUE, -- order of first use, from 1
    unique_events INTEGER NOT NULL,
    duplicate_events INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
