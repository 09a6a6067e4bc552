-- Subscriptions: named places in a ledger, for consumers that fail and come back, alone or competing. What may be done
-- to these rows is decided in one place of the service, for every engine alike.

CREATE TABLE subscriptions (
    namespace_no INTEGER NOT NULL,
    -- Random: a subscription that is deleted and created again gets another one.
    subscription_no INTEGER NOT NULL,
    name TEXT NOT NULL,
    topics TEXT NOT NULL, -- JSON: names, or beginnings of names with a final *; none for all
    start_after TEXT NOT NULL, -- as it was asked for: now, earliest or a seq
    lease_seconds INTEGER NOT NULL,
    max_leases INTEGER NOT NULL,
    max_deliveries INTEGER NOT NULL,
    partition_by TEXT, -- source or topic, where there are several partitions
    -- JSON: for each partition the seq up to which its events were handed out. What is not in `leases` is settled up to
    -- there.
    handed_out TEXT NOT NULL,
    parked_total INTEGER NOT NULL DEFAULT 0, -- rows in `parked`
    created_at INTEGER NOT NULL,
    PRIMARY KEY (namespace_no, name),
    UNIQUE (namespace_no, subscription_no)
) STRICT, WITHOUT ROWID;

-- Ranges of seq that were handed out and are not settled: leased, or free to be leased again.
CREATE TABLE leases (
    namespace_no INTEGER NOT NULL,
    subscription_no INTEGER NOT NULL,
    partition_no INTEGER NOT NULL, -- from 0
    from_seq INTEGER NOT NULL,
    through_seq INTEGER NOT NULL,
    middle_seq INTEGER NOT NULL, -- the last event of the first half; 0 where it is not known
    deliveries INTEGER NOT NULL,
    is_retry INTEGER NOT NULL, -- an event that was parked
    lease_id TEXT, -- null where the range is free
    expires_at INTEGER,
    worker TEXT,
    PRIMARY KEY (namespace_no, subscription_no, partition_no, from_seq)
) STRICT, WITHOUT ROWID;

-- Events that failed as often as they may.
CREATE TABLE parked (
    namespace_no INTEGER NOT NULL,
    subscription_no INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    partition_no INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    parked_at INTEGER NOT NULL,
    PRIMARY KEY (namespace_no, subscription_no, seq)
) STRICT, WITHOUT ROWID;
