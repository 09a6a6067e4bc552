-- Subscriptions: named places in a ledger, for consumers that fail and come back, alone or competing.
--
-- Each change locks the row of its subscription and no row of its ledger: consumers do not wait for publishers. What
-- may be done to these rows is decided in one place of the service, for every engine alike.

CREATE TABLE sekali.subscriptions (
    namespace_no integer NOT NULL,
    -- Random: a subscription that is deleted and created again gets another one.
    subscription_no bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    topics text[] NOT NULL, -- names, or beginnings of names with a final *; none for all
    start_after text NOT NULL, -- as it was asked for: now, earliest or a seq
    lease_seconds integer NOT NULL,
    max_leases integer NOT NULL,
    max_deliveries integer NOT NULL,
    partition_by text, -- source or topic, where there are several partitions
    -- For each partition the seq up to which its events were handed out. What is not in `leases` is settled up to there.
    handed_out bigint[] NOT NULL,
    parked_total bigint NOT NULL DEFAULT 0, -- rows in `parked`
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT subscriptions_pkey PRIMARY KEY (namespace_no, name),
    CONSTRAINT subscriptions_number_key UNIQUE (namespace_no, subscription_no)
);

-- Ranges of seq that were handed out and are not settled: leased, or free to be leased again.
CREATE TABLE sekali.leases (
    namespace_no integer NOT NULL,
    subscription_no bigint NOT NULL,
    partition_no integer NOT NULL, -- from 0
    from_seq bigint NOT NULL,
    through_seq bigint NOT NULL,
    middle_seq bigint NOT NULL, -- the last event of the first half; 0 where it is not known
    deliveries integer NOT NULL,
    is_retry boolean NOT NULL, -- an event that was parked
    lease_id uuid, -- null where the range is free
    expires_at timestamptz,
    worker text COLLATE "C",
    CONSTRAINT leases_pkey PRIMARY KEY (namespace_no, subscription_no, partition_no, from_seq)
);

-- Events that failed as often as they may.
CREATE TABLE sekali.parked (
    namespace_no integer NOT NULL,
    subscription_no bigint NOT NULL,
    seq bigint NOT NULL,
    partition_no integer NOT NULL,
    deliveries integer NOT NULL,
    parked_at timestamptz NOT NULL,
    CONSTRAINT parked_pkey PRIMARY KEY (namespace_no, subscription_no, seq)
);
