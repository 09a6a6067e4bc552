-- The namespaces, their ledgers, the events and the counters by topic. Times are microseconds since
-- 1970-01-01T00:00:00Z. Every key begins with `namespace_no`, and every statement names it.

-- The last number that was given to a namespace.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    last_no INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, last_no) VALUES ('namespace', 0);

-- A namespace that is being deleted has no name any more: its name is free, and its rows are removed step by step.
CREATE TABLE namespaces (
    namespace_no INTEGER PRIMARY KEY,
    name TEXT UNIQUE,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'deleting')),
    dedup_scope TEXT NOT NULL CHECK (dedup_scope IN ('event-id', 'topic')),
    created_at INTEGER NOT NULL,
    CHECK ((name IS NULL) = (state = 'deleting'))
) STRICT;

-- A ledger: its running totals, and what its writer's last group became, so that a lost answer can be given again.
-- `ledger_id` is random: a number that a restored file gives again belongs to another ledger.
CREATE TABLE ledgers (
    namespace_no INTEGER PRIMARY KEY,
    ledger_id BLOB NOT NULL CHECK (length(ledger_id) = 16),
    dedup_scope TEXT NOT NULL CHECK (dedup_scope IN ('event-id', 'topic')),
    identity_key BLOB NOT NULL CHECK (length(identity_key) = 16),
    commit_no INTEGER NOT NULL DEFAULT 0,
    last_seq INTEGER NOT NULL DEFAULT 0, -- also the count of stored events
    received INTEGER NOT NULL DEFAULT 0, -- unique and duplicate
    topics_total INTEGER NOT NULL DEFAULT 0,
    received_at INTEGER NOT NULL DEFAULT 0,
    writer_id BLOB NOT NULL DEFAULT (zeroblob(16)),
    group_no INTEGER NOT NULL DEFAULT 0,
    first_seq INTEGER NOT NULL DEFAULT 1,
    repeats TEXT NOT NULL DEFAULT '[]' -- JSON: [[ordinal from 0, seq], …]
) STRICT;

-- The judge of what is new. `digest` is the first half of SHA-256 over the ledger's `identity_key`, the length of the
-- topic (one byte; 0 in scope `event-id`), the topic (in scope `topic`) and the event id.
CREATE TABLE identities (
    namespace_no INTEGER NOT NULL,
    digest BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (namespace_no, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE topics (
    namespace_no INTEGER NOT NULL,
    topic TEXT NOT NULL,
    topic_no INTEGER NOT NULL, -- order of first use, from 1
    unique_events INTEGER NOT NULL,
    duplicate_events INTEGER NOT NULL,
    PRIMARY KEY (namespace_no, topic),
    UNIQUE (namespace_no, topic_no)
) STRICT, WITHOUT ROWID;

-- For people and programs there is the view `events`. `place` is `namespace_no` and `seq` in one number (2^40 each), so
-- that the table needs no second index: it finds an event by it, and keeps those of one namespace together.
CREATE TABLE stored_events (
    place INTEGER PRIMARY KEY,
    topic_no INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    source TEXT NOT NULL,
    payload TEXT NOT NULL,
    namespace_no INTEGER NOT NULL GENERATED ALWAYS AS (place >> 40) VIRTUAL,
    seq INTEGER NOT NULL GENERATED ALWAYS AS (place & 1099511627775) VIRTUAL
) STRICT;
CREATE INDEX stored_events_topic_idx ON stored_events (namespace_no, topic_no);

CREATE VIEW events AS
SELECT n.name AS namespace, e.seq, t.topic, e.event_id, e.timestamp, e.source, e.payload, e.received_at
FROM stored_events AS e
JOIN topics AS t ON t.namespace_no = e.namespace_no AND t.topic_no = e.topic_no
JOIN namespaces AS n ON n.namespace_no = e.namespace_no AND n.state = 'open';
