-- The ledger, the events, the counters by topic, and the one function that writes them.

-- One row. Whoever holds its lock is the only writer, on any node: commits are serial, and so `seq` has no gap.
-- It is locked and never updated, so that a long snapshot (a backup) leaves no chain of dead versions to walk.
CREATE TABLE sekali.ledger (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    dedup_scope text NOT NULL CHECK (dedup_scope IN ('event-id', 'topic')),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Names compare by their bytes (collation C): what is the same event then depends on no library of the system, whose
-- update could spoil the index that judges it, and comparing is faster.
CREATE TABLE sekali.events (
    seq bigint NOT NULL,
    received_at timestamptz NOT NULL,
    "timestamp" timestamptz NOT NULL,
    payload_bytes integer NOT NULL,
    topic text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    scope_topic text COLLATE "C" NOT NULL, -- the topic in scope `topic`, empty in scope `event-id`
    source text NOT NULL,
    payload json NOT NULL, -- the text that came; jsonb would expand its numbers
    CONSTRAINT events_pkey PRIMARY KEY (seq),
    CONSTRAINT events_identity_key UNIQUE (event_id, scope_topic)
);
CREATE INDEX events_topic_seq_idx ON sekali.events (topic, seq);

-- Counters by topic up to the commit `folded_to` of the newest row of `commits`; what is newer stands there.
CREATE TABLE sekali.topics (
    topic text COLLATE "C" PRIMARY KEY,
    topic_no bigint NOT NULL UNIQUE, -- order of first use, from 1
    unique_events bigint NOT NULL DEFAULT 0,
    duplicate_events bigint NOT NULL DEFAULT 0
);

-- One row a committed group, newest last: running totals, the writer's own number, and the group's counts by
-- topic. Rows are appended and, once folded into `topics` and far from the newest, deleted from the other end.
CREATE TABLE sekali.commits (
    commit_no bigint PRIMARY KEY,
    writer_id uuid NOT NULL,
    group_no bigint NOT NULL,
    first_seq bigint NOT NULL, -- of the group's first new event, where it has one
    last_seq bigint NOT NULL, -- running: also the count of stored events
    received bigint NOT NULL, -- running: unique and duplicate
    topics_total bigint NOT NULL, -- running
    received_at timestamptz NOT NULL,
    topics text[] NOT NULL,
    unique_counts bigint[] NOT NULL,
    duplicate_counts bigint[] NOT NULL,
    new_topics text[] NOT NULL,
    repeat_ordinals bigint[] NOT NULL, -- events of the group that were stored before it, from 1
    repeat_seqs bigint[] NOT NULL,
    folded_to bigint NOT NULL, -- counts of the commits up to here stand in `topics`
    unfolded_counts bigint NOT NULL, -- counts by topic that do not, this commit's among them
    pruned_to bigint NOT NULL, -- the commits up to here are deleted
    CONSTRAINT commits_writer_key UNIQUE (writer_id, group_no)
);

-- Stores one group of events in the caller's transaction, which must be READ COMMITTED: each statement below
-- then sees every commit that was made before the lock was had.
--
-- Events and counts by topic come as parallel arrays. No two events of a group are the same one.
-- `o_status` is one of
--   committed  the group is stored, by this call or by an earlier one with the same writer and number
--   overtaken  a later group of this writer is stored: this call was abandoned, and did nothing
--   restored   the ledger lacks the commit that the caller has seen (`p_seen_…`): nothing was done, and the answer is
--              the newest one
-- Rows that are missing (a TRUNCATE, a trigger or rule that drops them) raise XX001 (data_corrupted) instead.
CREATE FUNCTION sekali.append(
    p_writer_id uuid,
    p_group_no bigint,
    p_seen_commit_no bigint, -- 0: none
    p_seen_writer_id uuid,
    p_seen_group_no bigint,
    p_topics text[],
    p_event_ids text[],
    p_timestamps timestamptz[],
    p_sources text[],
    p_payloads text[],
    p_count_topics text[],
    p_count_new bigint[],
    p_count_duplicates bigint[],
    p_received bigint,
    OUT o_status text,
    OUT o_commit_no bigint,
    OUT o_writer_id uuid,
    OUT o_group_no bigint,
    OUT o_first_seq bigint,
    OUT o_last_seq bigint,
    OUT o_received bigint,
    OUT o_topics_total bigint,
    OUT o_new_topics text[],
    OUT o_repeat_ordinals bigint[],
    OUT o_repeat_seqs bigint[]
)
LANGUAGE plpgsql
-- The session keeps the plans of the statements below from when the tables were empty: without the first of
-- these they may stay sequential scans while the tables grow under them. The second keeps it from planning
-- afresh for each group's arrays, which is a tenth of a small group's time and never finds a better plan.
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    folds_at CONSTANT bigint := 4096;
    -- A commit is kept while it is within both. Neither is a time, since a clock can jump. A retry that comes a
    -- minute later still finds its group: the first is 87 seconds of single events at 3,000 commits/s, the second
    -- four minutes of new events at 140,000/s. The second also bounds the arrays of large groups.
    keeps_commits CONSTANT bigint := 262144;
    keeps_received CONSTANT bigint := 33554432;
    v_by_topic boolean;
    v_last sekali.commits; -- the newest commit
    v_done sekali.commits; -- this writer's commit with this number or a later one
    v_now timestamptz;
    v_existing bigint[];
    v_unique_counts bigint[] := p_count_new;
    v_duplicate_counts bigint[] := p_count_duplicates;
    v_constraint text;
    v_rows bigint;
    v_rows_due bigint;
    v_prune_to bigint;
BEGIN
    SELECT l.dedup_scope = 'topic' INTO STRICT v_by_topic FROM sekali.ledger l WHERE l.id = 1 FOR UPDATE;

    SELECT * INTO v_last FROM sekali.commits c ORDER BY c.commit_no DESC LIMIT 1;
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
        WHERE c.writer_id = p_writer_id AND c.group_no >= p_group_no
        ORDER BY c.group_no DESC LIMIT 1;
        IF FOUND THEN
            PERFORM FROM sekali.events e WHERE e.seq = v_last.last_seq;
            IF NOT FOUND AND v_last.last_seq > 0 THEN
                RAISE data_corrupted USING MESSAGE = format('sekali.events lacks seq %s', v_last.last_seq);
            END IF;
            o_status := CASE v_done.group_no WHEN p_group_no THEN 'committed' ELSE 'overtaken' END;
            o_commit_no := v_done.commit_no;
            o_writer_id := v_done.writer_id;
            o_group_no := v_done.group_no;
            o_first_seq := v_done.first_seq;
            o_last_seq := v_done.last_seq;
            o_received := v_done.received;
            o_topics_total := v_done.topics_total;
            o_new_topics := v_done.new_topics;
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
            WHERE c.commit_no = p_seen_commit_no AND c.writer_id = p_seen_writer_id AND c.group_no = p_seen_group_no
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

    -- An empty group is a probe. A trigger or rule that drops rows must fail it, so one row is inserted and undone.
    -- A row that a CHECK or trigger of the operator refuses shows that it judges, not that it drops.
    IF cardinality(p_count_topics) = 0 THEN
        BEGIN
            INSERT INTO sekali.events
                (seq, received_at, "timestamp", payload_bytes, topic, event_id, scope_topic, source, payload)
            VALUES (v_last.last_seq + 1, now(), now(), 2, 'sekali', 'probe ' || gen_random_uuid(), '', 'sekali', '{}');
            GET DIAGNOSTICS v_rows = ROW_COUNT;
            PERFORM FROM sekali.events e WHERE e.seq = v_last.last_seq + 1;
            IF v_rows <> 1 OR NOT FOUND THEN
                RAISE data_corrupted USING MESSAGE = 'a row that was inserted into sekali.events is not there';
            END IF;
            RAISE raise_exception USING MESSAGE = 'undo';
        EXCEPTION WHEN raise_exception OR check_violation THEN
            NULL;
        END;
    END IF;

    v_now := greatest(clock_timestamp(), v_last.received_at);
    o_first_seq := v_last.last_seq + 1;
    o_new_topics := '{}';
    o_repeat_ordinals := '{}';
    o_repeat_seqs := '{}';

    BEGIN
        INSERT INTO sekali.events
            (seq, received_at, "timestamp", payload_bytes, topic, event_id, scope_topic, source, payload)
        SELECT v_last.last_seq + e.ordinal, v_now, e.moment, octet_length(e.payload), e.topic, e.event_id,
            CASE WHEN v_by_topic THEN e.topic ELSE '' END, e.source, e.payload::json
        FROM unnest(p_topics, p_event_ids, p_timestamps, p_sources, p_payloads)
            WITH ORDINALITY AS e (topic, event_id, moment, source, payload, ordinal);
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        o_last_seq := v_last.last_seq + cardinality(p_event_ids);
    EXCEPTION WHEN unique_violation THEN
        GET STACKED DIAGNOSTICS v_constraint = CONSTRAINT_NAME;
        IF v_constraint <> 'events_identity_key' THEN
            RAISE;
        END IF;
        -- The scalar sub-select cannot become a join: it stays one index look-up an event.
        SELECT array_agg(
            (SELECT s.seq FROM sekali.events s
             WHERE s.event_id = e.event_id AND s.scope_topic = CASE WHEN v_by_topic THEN e.topic ELSE '' END)
            ORDER BY e.ordinal)
        INTO v_existing
        FROM unnest(p_topics, p_event_ids) WITH ORDINALITY AS e (topic, event_id, ordinal);

        SELECT array_agg(r.ordinal ORDER BY r.ordinal), array_agg(r.seq ORDER BY r.ordinal)
        INTO o_repeat_ordinals, o_repeat_seqs
        FROM unnest(v_existing) WITH ORDINALITY AS r (seq, ordinal)
        WHERE r.seq IS NOT NULL;

        INSERT INTO sekali.events
            (seq, received_at, "timestamp", payload_bytes, topic, event_id, scope_topic, source, payload)
        SELECT v_last.last_seq + row_number() OVER (ORDER BY e.ordinal), v_now, e.moment,
            octet_length(e.payload), e.topic, e.event_id, CASE WHEN v_by_topic THEN e.topic ELSE '' END,
            e.source, e.payload::json
        FROM unnest(p_topics, p_event_ids, p_timestamps, p_sources, p_payloads, v_existing)
            WITH ORDINALITY AS e (topic, event_id, moment, source, payload, existing, ordinal)
        WHERE e.existing IS NULL;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        o_last_seq := v_last.last_seq + cardinality(p_event_ids) - cardinality(o_repeat_ordinals);

        -- What proved to be a repeat moves from its topic's new events to its duplicates.
        SELECT array_agg(c.new_events - coalesce(r.repeats, 0) ORDER BY c.ordinal),
            array_agg(c.duplicates + coalesce(r.repeats, 0) ORDER BY c.ordinal)
        INTO v_unique_counts, v_duplicate_counts
        FROM unnest(p_count_topics, p_count_new, p_count_duplicates)
            WITH ORDINALITY AS c (topic, new_events, duplicates, ordinal)
        LEFT JOIN (
            SELECT e.topic, count(*) AS repeats FROM unnest(p_topics, v_existing) AS e (topic, existing)
            WHERE e.existing IS NOT NULL GROUP BY e.topic
        ) r ON r.topic = c.topic;
    END;

    IF v_rows <> o_last_seq - v_last.last_seq THEN
        RAISE data_corrupted USING MESSAGE = format('sekali.events took %s rows of %s', v_rows,
            o_last_seq - v_last.last_seq);
    END IF;
    -- The last event of before must still be there, or repeats are answered for events that are not. The last one of
    -- this group must be there after all triggers. Each is one look-up in the primary key; for a list of both, the plan
    -- made on an empty table scans the index of the topics.
    IF NOT (v_last.last_seq = 0 OR EXISTS (SELECT FROM sekali.events e WHERE e.seq = v_last.last_seq))
        OR NOT (o_last_seq = v_last.last_seq OR EXISTS (SELECT FROM sekali.events e WHERE e.seq = o_last_seq))
    THEN
        RAISE data_corrupted USING MESSAGE = format('sekali.events lacks seq %s or %s', v_last.last_seq, o_last_seq);
    END IF;

    -- Nearly every group uses known topics alone, and looking costs a fifth of trying to add them.
    IF EXISTS (
        SELECT FROM unnest(p_count_topics) AS c (topic)
        WHERE (SELECT t.topic_no FROM sekali.topics t WHERE t.topic = c.topic) IS NULL
    ) THEN
        WITH added AS (
            INSERT INTO sekali.topics (topic, topic_no)
            SELECT c.topic, v_last.topics_total + row_number() OVER (ORDER BY c.ordinal)
            FROM unnest(p_count_topics) WITH ORDINALITY AS c (topic, ordinal)
            WHERE (SELECT t.topic_no FROM sekali.topics t WHERE t.topic = c.topic) IS NULL
            RETURNING topics.topic, topics.topic_no
        )
        SELECT coalesce(array_agg(a.topic ORDER BY a.topic_no), '{}') INTO o_new_topics FROM added a;
        IF EXISTS (
            SELECT FROM unnest(p_count_topics) AS c (topic)
            WHERE (SELECT t.topic_no FROM sekali.topics t WHERE t.topic = c.topic) IS NULL
        ) THEN
            RAISE data_corrupted USING MESSAGE = 'a row that was inserted into sekali.topics is not there';
        END IF;
    END IF;

    v_last.unfolded_counts := v_last.unfolded_counts + cardinality(p_count_topics);
    IF v_last.unfolded_counts >= folds_at THEN
        WITH sums AS (
            SELECT d.topic, sum(d.unique_count) AS unique_events, sum(d.duplicate_count) AS duplicate_events
            FROM sekali.commits c,
                unnest(c.topics, c.unique_counts, c.duplicate_counts) AS d (topic, unique_count, duplicate_count)
            WHERE c.commit_no > v_last.folded_to
            GROUP BY d.topic
        ), updated AS (
            UPDATE sekali.topics t
            SET unique_events = t.unique_events + s.unique_events,
                duplicate_events = t.duplicate_events + s.duplicate_events
            FROM sums s
            WHERE t.topic = s.topic
            RETURNING t.topic
        )
        SELECT (SELECT count(*) FROM updated), (SELECT count(*) FROM sums) INTO v_rows, v_rows_due;
        IF v_rows <> v_rows_due THEN
            RAISE data_corrupted USING MESSAGE = format('sekali.topics took the counts of %s topics of %s', v_rows,
                v_rows_due);
        END IF;

        -- Up to before the first commit to keep. `pruned_to` keeps the scans from the dead entries that a long
        -- snapshot leaves at this end.
        SELECT c.commit_no - 1 INTO v_prune_to FROM sekali.commits c
        WHERE c.commit_no > greatest(v_last.pruned_to, v_last.commit_no - keeps_commits)
            AND c.received > v_last.received - keeps_received
        ORDER BY c.commit_no LIMIT 1;
        v_prune_to := least(v_prune_to, v_last.folded_to);
        IF v_prune_to > v_last.pruned_to THEN
            DELETE FROM sekali.commits c WHERE c.commit_no > v_last.pruned_to AND c.commit_no <= v_prune_to;
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
    o_topics_total := v_last.topics_total + cardinality(o_new_topics);
    INSERT INTO sekali.commits (
        commit_no, writer_id, group_no, first_seq, last_seq, received, topics_total, received_at,
        topics, unique_counts, duplicate_counts, new_topics, repeat_ordinals, repeat_seqs,
        folded_to, unfolded_counts, pruned_to
    ) VALUES (
        o_commit_no, p_writer_id, p_group_no, o_first_seq, o_last_seq, o_received, o_topics_total, v_now,
        p_count_topics, v_unique_counts, v_duplicate_counts, o_new_topics, o_repeat_ordinals, o_repeat_seqs,
        v_last.folded_to, v_last.unfolded_counts, v_last.pruned_to
    );
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows <> 1 THEN
        RAISE data_corrupted USING MESSAGE = 'a row that was inserted into sekali.commits is not there';
    END IF;
END;
$$;
