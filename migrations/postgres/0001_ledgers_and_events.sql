-- The namespaces, their ledgers, and the one function that appends to a ledger.
--
-- Every key begins with `namespace_no`, and every statement names it: on a Citus cluster the tables are distributed
-- by it, and a statement then goes to one node.

-- The last number that was given to a namespace. A row, since the workers of a Citus cluster have no sequences.
CREATE TABLE sekali.counters (
    name text COLLATE "C" PRIMARY KEY,
    last_no integer NOT NULL
);
INSERT INTO sekali.counters (name, last_no) VALUES ('namespace', 0);

-- A namespace that is being deleted has no name any more: its name is free, and its rows are removed step by step.
CREATE TABLE sekali.namespaces (
    namespace_no integer PRIMARY KEY,
    name text COLLATE "C" UNIQUE,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'deleting')),
    dedup_scope text NOT NULL CHECK (dedup_scope IN ('event-id', 'topic')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((name IS NULL) = (state = 'deleting'))
);

-- Whoever holds the lock of a ledger's row is its only writer, on any node: its commits are serial, and so `seq` has
-- no gap. The row is locked and never updated, so that a long snapshot (a backup) leaves no chain of dead versions.
-- `ledger_id` is random: a number that a restored database gives again belongs to another ledger.
CREATE TABLE sekali.ledgers (
    namespace_no integer PRIMARY KEY,
    ledger_id uuid NOT NULL,
    dedup_scope text NOT NULL CHECK (dedup_scope IN ('event-id', 'topic')),
    identity_key bytea NOT NULL CHECK (octet_length(identity_key) = 16)
);

-- The judge of what is new. `digest` is the first half of SHA-256 over the ledger's `identity_key`, the length of the
-- topic (one byte; 0 in scope `event-id`), the topic (in scope `topic`) and the event id.
CREATE TABLE sekali.identities (
    seq bigint NOT NULL,
    namespace_no integer NOT NULL,
    digest uuid NOT NULL,
    CONSTRAINT identities_pkey PRIMARY KEY (namespace_no, digest)
);

-- Counters by topic up to the commit `folded_to` of the newest row of `commits`; what is newer stands there.
-- Names compare by their bytes (collation C): no library of the system, and no update of one, decides what is equal.
CREATE TABLE sekali.topics (
    namespace_no integer NOT NULL,
    topic_no integer NOT NULL, -- order of first use, from 1
    unique_events bigint NOT NULL DEFAULT 0,
    duplicate_events bigint NOT NULL DEFAULT 0,
    topic text COLLATE "C" NOT NULL,
    CONSTRAINT topics_pkey PRIMARY KEY (namespace_no, topic),
    CONSTRAINT topics_topic_no_key UNIQUE (namespace_no, topic_no)
);

-- For people and programs there is the view `sekali.events`.
CREATE TABLE sekali.stored_events (
    namespace_no integer NOT NULL,
    topic_no integer NOT NULL,
    seq bigint NOT NULL,
    received_at timestamptz NOT NULL,
    "timestamp" timestamptz NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    source text NOT NULL,
    payload text NOT NULL, -- the JSON text that came; jsonb would expand its numbers
    CONSTRAINT stored_events_pkey PRIMARY KEY (namespace_no, seq)
);
CREATE INDEX stored_events_topic_idx ON sekali.stored_events (namespace_no, topic_no, seq);

-- One row a committed group, newest last: running totals, the writer's own number, and the group's counts by
-- topic. Rows are appended and, once folded into `topics` and far from the newest, deleted from the other end.
CREATE TABLE sekali.commits (
    namespace_no integer NOT NULL,
    commit_no bigint NOT NULL,
    writer_id uuid NOT NULL,
    group_no bigint NOT NULL,
    first_seq bigint NOT NULL, -- of the group's first new event, where it has one
    last_seq bigint NOT NULL, -- running: also the count of stored events
    received bigint NOT NULL, -- running: unique and duplicate
    topics_total integer NOT NULL, -- running
    received_at timestamptz NOT NULL,
    topic_nos integer[] NOT NULL,
    unique_counts bigint[] NOT NULL,
    duplicate_counts bigint[] NOT NULL,
    repeat_ordinals bigint[] NOT NULL, -- events of the group that were stored before it, from 1
    repeat_seqs bigint[] NOT NULL,
    folded_to bigint NOT NULL, -- counts of the commits up to here stand in `topics`
    unfolded_counts bigint NOT NULL, -- counts by topic that do not, this commit's among them
    pruned_to bigint NOT NULL, -- the commits up to here are deleted
    CONSTRAINT commits_pkey PRIMARY KEY (namespace_no, commit_no),
    CONSTRAINT commits_writer_key UNIQUE (namespace_no, writer_id, group_no)
);

CREATE VIEW sekali.events AS
SELECT n.name AS namespace, e.seq, t.topic, e.event_id, e."timestamp", e.source, e.payload::json AS payload,
    e.received_at
FROM sekali.stored_events e
JOIN sekali.topics t ON t.namespace_no = e.namespace_no AND t.topic_no = e.topic_no
JOIN sekali.namespaces n ON n.namespace_no = e.namespace_no AND n.state = 'open';

-- The digest of an identity, as the service computes it.
CREATE FUNCTION sekali.digest(p_identity_key bytea, p_scope text, p_topic text, p_event_id text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN encode(substring(sha256(
    p_identity_key
    || CASE WHEN p_scope = 'topic' THEN set_byte('\x00', 0, octet_length(p_topic)) || convert_to(p_topic, 'UTF8')
       ELSE '\x00' END
    || convert_to(p_event_id, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid;

-- The row of `sekali.events` with this id, by an index look-up; in a namespace of scope `topic` of this topic. It does not
-- depend on the view, which Citus drops and makes again where it changes how a table is distributed.
CREATE FUNCTION sekali.find(p_namespace text, p_event_id text, p_topic text DEFAULT NULL)
RETURNS TABLE (
    namespace text, seq bigint, topic text, event_id text, "timestamp" timestamptz, source text, payload json,
    received_at timestamptz
)
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_ledger sekali.ledgers;
    v_seq bigint;
    v_namespace_no integer;
BEGIN
    SELECT n.namespace_no INTO v_namespace_no FROM sekali.namespaces n WHERE n.name = p_namespace;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no namespace %', p_namespace USING ERRCODE = 'undefined_object';
    END IF;
    SELECT * INTO v_ledger FROM sekali.ledgers l WHERE l.namespace_no = v_namespace_no;
    IF v_ledger.dedup_scope = 'topic' AND p_topic IS NULL THEN
        RAISE EXCEPTION 'the dedup scope of namespace % is topic: give the topic as well', p_namespace
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
    SELECT i.seq INTO v_seq FROM sekali.identities i
    WHERE i.namespace_no = v_namespace_no
        AND i.digest = sekali.digest(v_ledger.identity_key, v_ledger.dedup_scope, p_topic, p_event_id);
    RETURN QUERY
    SELECT p_namespace, e.seq, t.topic, e.event_id, e."timestamp", e.source, e.payload::json, e.received_at
    FROM sekali.stored_events e
    JOIN sekali.topics t ON t.namespace_no = e.namespace_no AND t.topic_no = e.topic_no
    WHERE e.namespace_no = v_namespace_no AND t.namespace_no = v_namespace_no AND e.seq = v_seq
        AND e.event_id = p_event_id AND (p_topic IS NULL OR t.topic = p_topic);
END;
$$;

-- Stores one group of events in the caller's transaction, which must be READ COMMITTED: each statement below
-- then sees every commit that was made before the lock was had.
--
-- Events and counts by topic come as parallel arrays; `p_topic_places` are places in `p_count_topics`, from 1. No two
-- events of a group are the same one.
-- `o_status` is one of
--   committed  the group is stored, by this call or by an earlier one with the same writer and number
--   overtaken  a later group of this writer is stored: this call was abandoned, and did nothing
--   restored   the ledger lacks the commit that the caller has seen (`p_seen_…`): nothing was done, and the answer is
--              the newest one
--   gone       the number belongs to another ledger, or to none: nothing was done
--   topics     the ledger would have more than `p_topics_max` topics: nothing was done
-- Rows that are missing (a TRUNCATE, a trigger or rule that drops them) raise XX001 (data_corrupted) instead.
--
-- Arrays are unnested in the select list, which costs a tenth less than in FROM. On a Citus cluster a call goes as a
-- whole to the node that owns the ledger, from any node.
CREATE FUNCTION sekali.append(
    p_namespace_no integer,
    p_ledger_id uuid,
    p_writer_id uuid,
    p_group_no bigint,
    p_seen_commit_no bigint, -- 0: none
    p_seen_writer_id uuid,
    p_seen_group_no bigint,
    p_digests uuid[],
    p_topic_places integer[],
    p_event_ids text[],
    p_timestamps timestamptz[],
    p_sources text[],
    p_payloads text[],
    p_count_topics text[],
    p_count_new bigint[],
    p_count_duplicates bigint[],
    p_received bigint,
    p_topics_max integer,
    OUT o_status text,
    OUT o_commit_no bigint,
    OUT o_writer_id uuid,
    OUT o_group_no bigint,
    OUT o_first_seq bigint,
    OUT o_last_seq bigint,
    OUT o_received bigint,
    OUT o_topics_total bigint,
    OUT o_repeat_ordinals bigint[],
    OUT o_repeat_seqs bigint[]
)
LANGUAGE plpgsql
-- The session keeps the plans of the statements below from when the tables were empty: without this they may stay
-- sequential scans while the tables grow under them.
SET enable_seqscan = off
AS $$
DECLARE
    folds_at CONSTANT bigint := 4096;
    -- A commit is kept while it is within both. Neither is a time, since a clock can jump. A retry that comes a
    -- minute later still finds its group: the first is 87 seconds of single events at 3,000 commits/s, the second
    -- four minutes of new events at 140,000/s. The second also bounds the arrays of large groups.
    keeps_commits CONSTANT bigint := 262144;
    keeps_received CONSTANT bigint := 33554432;
    v_ledger_id uuid;
    v_last sekali.commits; -- the newest commit
    v_done sekali.commits; -- this writer's commit with this number or a later one
    v_now timestamptz;
    v_events bigint := cardinality(p_event_ids);
    v_topic_nos integer[];
    v_existing bigint[];
    v_new bigint[]; -- the ordinals of the events that are new
    v_unique_counts bigint[] := p_count_new;
    v_duplicate_counts bigint[] := p_count_duplicates;
    v_constraint text;
    v_rows bigint;
    v_rows_due bigint;
    v_prune_to bigint;
BEGIN
    SELECT l.ledger_id INTO v_ledger_id FROM sekali.ledgers l WHERE l.namespace_no = p_namespace_no FOR UPDATE;
    IF v_ledger_id IS DISTINCT FROM p_ledger_id THEN
        o_status := 'gone';
        RETURN;
    END IF;

    SELECT * INTO v_last FROM sekali.commits c
    WHERE c.namespace_no = p_namespace_no ORDER BY c.commit_no DESC LIMIT 1;
    IF NOT FOUND THEN
        v_last.commit_no := 0;
        v_last.last_seq := 0;
        v_last.received := 0;
        v_last.topics_total := 0;
        v_last.folded_to := 0;
        v_last.unfolded_counts := 0;
        v_last.pruned_to := 0;
    END IF;

    -- A writer's numbers only rise: where the newest commit is its own with a lower one, this one is new.
    IF v_last.writer_id IS DISTINCT FROM p_writer_id OR v_last.group_no >= p_group_no THEN
        SELECT * INTO v_done FROM sekali.commits c
        WHERE c.namespace_no = p_namespace_no AND c.writer_id = p_writer_id AND c.group_no >= p_group_no
        ORDER BY c.group_no DESC LIMIT 1;
        IF FOUND THEN
            PERFORM FROM sekali.stored_events e WHERE e.namespace_no = p_namespace_no AND e.seq = v_last.last_seq;
            IF NOT FOUND AND v_last.last_seq > 0 THEN
                RAISE data_corrupted USING MESSAGE = format('sekali.stored_events lacks seq %s', v_last.last_seq);
            END IF;
            o_status := CASE v_done.group_no WHEN p_group_no THEN 'committed' ELSE 'overtaken' END;
            o_commit_no := v_done.commit_no;
            o_writer_id := v_done.writer_id;
            o_group_no := v_done.group_no;
            o_first_seq := v_done.first_seq;
            o_last_seq := v_done.last_seq;
            o_received := v_done.received;
            o_topics_total := v_done.topics_total;
            o_repeat_ordinals := v_done.repeat_ordinals;
            o_repeat_seqs := v_done.repeat_seqs;
            RETURN;
        END IF;
    END IF;

    -- Without another node's commits in between, what the caller has seen is the newest one.
    IF (v_last.commit_no, v_last.writer_id, v_last.group_no)
            IS DISTINCT FROM (p_seen_commit_no, p_seen_writer_id, p_seen_group_no)
        AND p_seen_commit_no > 0
        AND NOT EXISTS (
            SELECT FROM sekali.commits c
            WHERE c.namespace_no = p_namespace_no AND c.commit_no = p_seen_commit_no
                AND c.writer_id = p_seen_writer_id AND c.group_no = p_seen_group_no
        )
    THEN
        o_status := 'restored';
        o_commit_no := v_last.commit_no;
        o_writer_id := v_last.writer_id;
        o_group_no := v_last.group_no;
        o_last_seq := v_last.last_seq;
        o_received := v_last.received;
        o_topics_total := v_last.topics_total;
        RETURN;
    END IF;

    -- The last event of before must still be there, and so must identities, or events are answered for that are not.
    -- Each is one look-up in a primary key.
    IF v_last.last_seq > 0 AND NOT (
        EXISTS (SELECT FROM sekali.stored_events e
                WHERE e.namespace_no = p_namespace_no AND e.seq = v_last.last_seq)
        AND EXISTS (SELECT FROM sekali.identities i WHERE i.namespace_no = p_namespace_no LIMIT 1))
    THEN
        RAISE data_corrupted USING MESSAGE = format('sekali.stored_events lacks seq %s, or sekali.identities is empty',
            v_last.last_seq);
    END IF;

    -- An empty group is a probe. A trigger or rule that drops rows must fail it, so one event is inserted and undone.
    -- A row that a CHECK or trigger of the operator refuses shows that it judges, not that it drops.
    IF cardinality(p_count_topics) = 0 THEN
        DECLARE
            v_digest CONSTANT uuid := gen_random_uuid();
        BEGIN
            INSERT INTO sekali.identities (namespace_no, digest, seq)
            VALUES (p_namespace_no, v_digest, v_last.last_seq + 1);
            GET DIAGNOSTICS v_rows = ROW_COUNT;
            INSERT INTO sekali.stored_events
                (namespace_no, topic_no, seq, received_at, "timestamp", event_id, source, payload)
            VALUES (p_namespace_no, 0, v_last.last_seq + 1, now(), now(), 'sekali probe', 'sekali', '{}');
            GET DIAGNOSTICS v_rows_due = ROW_COUNT;
            IF v_rows <> 1 OR v_rows_due <> 1
                OR NOT EXISTS (SELECT FROM sekali.identities i
                               WHERE i.namespace_no = p_namespace_no AND i.digest = v_digest)
                OR NOT EXISTS (SELECT FROM sekali.stored_events e
                               WHERE e.namespace_no = p_namespace_no AND e.seq = v_last.last_seq + 1)
            THEN
                RAISE data_corrupted USING MESSAGE = 'a row that was inserted into sekali.stored_events or sekali.identities is not there';
            END IF;
            RAISE raise_exception USING MESSAGE = 'undo';
        EXCEPTION WHEN raise_exception OR check_violation THEN
            NULL;
        END;
    END IF;

    v_now := greatest(clock_timestamp(), v_last.received_at);
    o_first_seq := v_last.last_seq + 1;
    o_topics_total := v_last.topics_total;
    o_repeat_ordinals := '{}';
    o_repeat_seqs := '{}';

    -- Each topic's number. Nearly every group uses known topics alone.
    v_topic_nos := ARRAY(
        SELECT (SELECT t.topic_no FROM sekali.topics t WHERE t.namespace_no = p_namespace_no AND t.topic = c.topic)
        FROM unnest(p_count_topics) WITH ORDINALITY AS c (topic, ordinal) ORDER BY c.ordinal);
    IF array_position(v_topic_nos, NULL) IS NOT NULL THEN
        o_topics_total := v_last.topics_total + cardinality(array_positions(v_topic_nos, NULL));
        IF o_topics_total > p_topics_max THEN
            o_status := 'topics';
            RETURN;
        END IF;
        INSERT INTO sekali.topics (namespace_no, topic, topic_no)
        SELECT p_namespace_no, c.topic, v_last.topics_total + row_number() OVER (ORDER BY c.ordinal)
        FROM unnest(p_count_topics, v_topic_nos) WITH ORDINALITY AS c (topic, topic_no, ordinal)
        WHERE c.topic_no IS NULL;
        v_topic_nos := ARRAY(
            SELECT (SELECT t.topic_no FROM sekali.topics t WHERE t.namespace_no = p_namespace_no AND t.topic = c.topic)
            FROM unnest(p_count_topics) WITH ORDINALITY AS c (topic, ordinal) ORDER BY c.ordinal);
        IF array_position(v_topic_nos, NULL) IS NOT NULL THEN
            RAISE data_corrupted USING MESSAGE = 'a row that was inserted into sekali.topics is not there';
        END IF;
    END IF;

    IF v_events > 0 THEN
        BEGIN
            INSERT INTO sekali.identities (namespace_no, digest, seq)
            SELECT p_namespace_no, unnest(p_digests), generate_series(v_last.last_seq + 1, v_last.last_seq + v_events);
            GET DIAGNOSTICS v_rows = ROW_COUNT;
        EXCEPTION WHEN unique_violation THEN
            GET STACKED DIAGNOSTICS v_constraint = CONSTRAINT_NAME;
            -- A shard of Citus adds its number to the name.
            IF NOT starts_with(v_constraint, 'identities_pkey') THEN
                RAISE;
            END IF;
            -- The scalar sub-select cannot become a join: it stays one index look-up an event.
            v_existing := ARRAY(
                SELECT (SELECT i.seq FROM sekali.identities i
                        WHERE i.namespace_no = p_namespace_no AND i.digest = e.digest)
                FROM unnest(p_digests) WITH ORDINALITY AS e (digest, ordinal) ORDER BY e.ordinal);
            SELECT coalesce(array_agg(r.ordinal ORDER BY r.ordinal) FILTER (WHERE r.seq IS NOT NULL), '{}'),
                coalesce(array_agg(r.seq ORDER BY r.ordinal) FILTER (WHERE r.seq IS NOT NULL), '{}'),
                coalesce(array_agg(r.ordinal ORDER BY r.ordinal) FILTER (WHERE r.seq IS NULL), '{}')
            INTO o_repeat_ordinals, o_repeat_seqs, v_new
            FROM unnest(v_existing) WITH ORDINALITY AS r (seq, ordinal);
            v_events := cardinality(v_new);
            INSERT INTO sekali.identities (namespace_no, digest, seq)
            SELECT p_namespace_no, p_digests[unnest(v_new)],
                generate_series(v_last.last_seq + 1, v_last.last_seq + v_events);
            GET DIAGNOSTICS v_rows = ROW_COUNT;

            -- What proved to be a repeat moves from its topic's new events to its duplicates.
            SELECT array_agg(c.new_events - coalesce(r.repeats, 0) ORDER BY c.ordinal),
                array_agg(c.duplicates + coalesce(r.repeats, 0) ORDER BY c.ordinal)
            INTO v_unique_counts, v_duplicate_counts
            FROM unnest(p_count_new, p_count_duplicates) WITH ORDINALITY AS c (new_events, duplicates, ordinal)
            LEFT JOIN (
                SELECT p_topic_places[o] AS place, count(*) AS repeats FROM unnest(o_repeat_ordinals) AS o GROUP BY 1
            ) r ON r.place = c.ordinal;
        END;
        IF v_rows <> v_events THEN
            RAISE data_corrupted USING MESSAGE = format('sekali.identities took %s rows of %s', v_rows, v_events);
        END IF;

        IF v_new IS NULL THEN
            INSERT INTO sekali.stored_events
                (namespace_no, topic_no, seq, received_at, "timestamp", event_id, source, payload)
            SELECT p_namespace_no, v_topic_nos[unnest(p_topic_places)],
                generate_series(v_last.last_seq + 1, v_last.last_seq + v_events), v_now, unnest(p_timestamps),
                unnest(p_event_ids), unnest(p_sources), unnest(p_payloads);
        ELSE
            INSERT INTO sekali.stored_events
                (namespace_no, topic_no, seq, received_at, "timestamp", event_id, source, payload)
            SELECT p_namespace_no, v_topic_nos[p_topic_places[unnest(v_new)]],
                generate_series(v_last.last_seq + 1, v_last.last_seq + v_events), v_now, p_timestamps[unnest(v_new)],
                p_event_ids[unnest(v_new)], p_sources[unnest(v_new)], p_payloads[unnest(v_new)];
        END IF;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        IF v_rows <> v_events THEN
            RAISE data_corrupted USING MESSAGE = format('sekali.stored_events took %s rows of %s', v_rows, v_events);
        END IF;
        -- The last event of this group must be there after all triggers, and so must its last identity, new or not.
        IF v_events > 0 AND NOT EXISTS (
                SELECT FROM sekali.stored_events e
                WHERE e.namespace_no = p_namespace_no AND e.seq = v_last.last_seq + v_events)
            OR NOT EXISTS (
                SELECT FROM sekali.identities i
                WHERE i.namespace_no = p_namespace_no AND i.digest = p_digests[cardinality(p_digests)])
        THEN
            RAISE data_corrupted USING MESSAGE = format('sekali.stored_events lacks seq %s, or its identity is missing',
                v_last.last_seq + v_events);
        END IF;
    END IF;
    o_last_seq := v_last.last_seq + v_events;

    v_last.unfolded_counts := v_last.unfolded_counts + cardinality(p_count_topics);
    IF v_last.unfolded_counts >= folds_at THEN
        WITH sums AS (
            SELECT d.topic_no, sum(d.unique_count) AS unique_events, sum(d.duplicate_count) AS duplicate_events
            FROM sekali.commits c,
                unnest(c.topic_nos, c.unique_counts, c.duplicate_counts) AS d (topic_no, unique_count, duplicate_count)
            WHERE c.namespace_no = p_namespace_no AND c.commit_no > v_last.folded_to
            GROUP BY d.topic_no
        ), updated AS (
            UPDATE sekali.topics t
            SET unique_events = t.unique_events + s.unique_events,
                duplicate_events = t.duplicate_events + s.duplicate_events
            FROM sums s
            WHERE t.namespace_no = p_namespace_no AND t.topic_no = s.topic_no
            RETURNING t.topic_no
        )
        SELECT (SELECT count(*) FROM updated), (SELECT count(*) FROM sums) INTO v_rows, v_rows_due;
        IF v_rows <> v_rows_due THEN
            RAISE data_corrupted USING MESSAGE = format('sekali.topics took the counts of %s topics of %s', v_rows,
                v_rows_due);
        END IF;

        -- Up to before the first commit to keep. `pruned_to` keeps the scans from the dead entries that a long
        -- snapshot leaves at this end.
        SELECT c.commit_no - 1 INTO v_prune_to FROM sekali.commits c
        WHERE c.namespace_no = p_namespace_no
            AND c.commit_no > greatest(v_last.pruned_to, v_last.commit_no - keeps_commits)
            AND c.received > v_last.received - keeps_received
        ORDER BY c.commit_no LIMIT 1;
        v_prune_to := least(v_prune_to, v_last.folded_to);
        IF v_prune_to > v_last.pruned_to THEN
            DELETE FROM sekali.commits c
            WHERE c.namespace_no = p_namespace_no AND c.commit_no > v_last.pruned_to AND c.commit_no <= v_prune_to;
            v_last.pruned_to := v_prune_to;
        END IF;

        v_last.folded_to := v_last.commit_no;
        v_last.unfolded_counts := cardinality(p_count_topics);
    END IF;

    o_status := 'committed';
    o_writer_id := p_writer_id;
    o_group_no := p_group_no;
    o_commit_no := v_last.commit_no + 1;
    o_received := v_last.received + p_received;
    INSERT INTO sekali.commits (
        namespace_no, commit_no, writer_id, group_no, first_seq, last_seq, received, topics_total, received_at,
        topic_nos, unique_counts, duplicate_counts, repeat_ordinals, repeat_seqs,
        folded_to, unfolded_counts, pruned_to
    ) VALUES (
        p_namespace_no, o_commit_no, p_writer_id, p_group_no, o_first_seq, o_last_seq, o_received, o_topics_total,
        v_now, v_topic_nos, v_unique_counts, v_duplicate_counts, o_repeat_ordinals, o_repeat_seqs,
        v_last.folded_to, v_last.unfolded_counts, v_last.pruned_to
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows <> 1 THEN
        RAISE data_corrupted USING MESSAGE = 'a row that was inserted into sekali.commits is not there';
    END IF;
END;
$$;

-- Without this, a session plans each statement of the function afresh for each group's arrays, which is a tenth of a
-- small group's time and never finds a better plan. Citus can plan no such function.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus') THEN
        ALTER FUNCTION sekali.append SET plan_cache_mode = force_generic_plan;
    END IF;
END;
$$;
