-- The first schema: the tables of docs/log-format.md with PostgreSQL's types, and the functions that change them.
-- Names carry no schema: everything lies where the connection's search_path says. Texts are compared by code point
-- (COLLATE "C"), as every store does. A migration, once released, is never edited.

CREATE TABLE log (
    shard        integer NOT NULL,
    position     bigint  NOT NULL,
    tenant       text    COLLATE "C" NOT NULL,
    execution    text    COLLATE "C" NOT NULL,
    sequence     bigint  NOT NULL,
    event_count  integer NOT NULL,
    input_id     text    COLLATE "C" NOT NULL,
    kind         text    COLLATE "C" NOT NULL,
    now_us       bigint  NOT NULL,
    payload      bytea   NOT NULL,
    events       bytea   NOT NULL,
    payload_blob text    COLLATE "C",
    format       integer NOT NULL,
    checksum     bigint  NOT NULL,
    CONSTRAINT log_pkey PRIMARY KEY (execution, sequence),
    CONSTRAINT log_input UNIQUE (execution, input_id),
    CONSTRAINT log_position UNIQUE (shard, position)
);
-- Nothing is updated or deleted here, so only inserts tell when the visibility map and the statistics are old.
ALTER TABLE log SET (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02);

-- Each step rewrites its execution's row: room on the page keeps the new version beside the old one, and out of the
-- indexes, as long as neither `wake_at_us`, `active`, `status` nor `finished_us` changes.
CREATE TABLE executions (
    id          text    COLLATE "C" NOT NULL,
    tenant      text    COLLATE "C" NOT NULL,
    shard       integer NOT NULL,
    workflow    text    COLLATE "C" NOT NULL,
    version     text    COLLATE "C" NOT NULL,
    definition  text    COLLATE "C" NOT NULL,
    status      text    COLLATE "C" NOT NULL,
    run         integer NOT NULL,
    sequence    bigint  NOT NULL,
    wake_at_us  bigint,
    active      boolean NOT NULL,
    created_us  bigint  NOT NULL,
    updated_us  bigint  NOT NULL,
    finished_us bigint,
    priority    integer NOT NULL,
    parent      text    COLLATE "C",
    summary     bytea   NOT NULL,
    CONSTRAINT executions_pkey PRIMARY KEY (id)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX executions_wake ON executions (shard, wake_at_us) WHERE wake_at_us IS NOT NULL;
CREATE INDEX executions_active ON executions (shard) WHERE active;
CREATE INDEX executions_unfinished ON executions (shard) WHERE finished_us IS NULL;
CREATE INDEX executions_tenant ON executions (tenant, created_us, id);
CREATE INDEX executions_created ON executions (created_us, id);
CREATE INDEX executions_status ON executions (status, created_us, id);
CREATE INDEX executions_workflow ON executions (workflow, created_us);
CREATE INDEX executions_started ON executions (to_timestamp(created_us::double precision / 1000000));

-- 65 rows, each rewritten by every append that moves it: pages nearly empty, and swept all the time.
CREATE TABLE shards (
    shard    integer NOT NULL,
    fence    bigint  NOT NULL,
    position bigint  NOT NULL,
    owner    text    COLLATE "C" NOT NULL,
    CONSTRAINT shards_pkey PRIMARY KEY (shard)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_cost_delay = 0);

-- A queue: rows come and go, so the table is swept by their number and not by its size.
CREATE TABLE inbox (
    id        bigserial NOT NULL,
    execution text   COLLATE "C" NOT NULL,
    input_id  text   COLLATE "C" NOT NULL,
    tenant    text   COLLATE "C" NOT NULL,
    shard     integer NOT NULL,
    kind      text   COLLATE "C" NOT NULL,
    payload   bytea  NOT NULL,
    posted_us bigint NOT NULL,
    CONSTRAINT inbox_pkey PRIMARY KEY (id),
    CONSTRAINT inbox_input UNIQUE (execution, input_id)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
        autovacuum_vacuum_insert_threshold = -1);
CREATE INDEX inbox_shard ON inbox (shard, id);

CREATE TABLE blobs (
    tenant     text   COLLATE "C" NOT NULL,
    hash       text   COLLATE "C" NOT NULL,
    content    bytea  NOT NULL,
    written_us bigint NOT NULL,
    CONSTRAINT blobs_pkey PRIMARY KEY (tenant, hash)
);
CREATE INDEX blobs_written ON blobs (written_us);

CREATE TABLE snapshots (
    execution  text    COLLATE "C" NOT NULL,
    sequence   bigint  NOT NULL,
    run        integer NOT NULL,
    state      bytea   NOT NULL,
    created_us bigint  NOT NULL,
    format     integer NOT NULL,
    checksum   bigint  NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (execution, sequence)
);

CREATE TABLE counters (
    tenant text   COLLATE "C" NOT NULL,
    key    text   COLLATE "C" NOT NULL,
    value  bigint NOT NULL,
    CONSTRAINT counters_pkey PRIMARY KEY (tenant, key)
) WITH (fillfactor = 20);

CREATE TABLE cursors (
    name     text    COLLATE "C" NOT NULL,
    shard    integer NOT NULL,
    position bigint  NOT NULL,
    CONSTRAINT cursors_pkey PRIMARY KEY (name, shard)
) WITH (fillfactor = 20);

CREATE TABLE models (
    name  text    COLLATE "C" NOT NULL,
    key   text    COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    value bytea   NOT NULL,
    CONSTRAINT models_pkey PRIMARY KEY (name, key, shard)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- Each replica rewrites its row every second or so.
CREATE TABLE replicas (
    id             text    COLLATE "C" NOT NULL,
    name           text    COLLATE "C" NOT NULL,
    bus            text    COLLATE "C" NOT NULL,
    version        text    COLLATE "C" NOT NULL,
    format         integer NOT NULL,
    started_us     bigint  NOT NULL,
    lease_until_us bigint  NOT NULL,
    draining       boolean NOT NULL,
    details        bytea   NOT NULL,
    CONSTRAINT replicas_pkey PRIMARY KEY (id)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE tenants (
    tenant     text   COLLATE "C" NOT NULL,
    created_us bigint NOT NULL,
    CONSTRAINT tenants_pkey PRIMARY KEY (tenant)
);
INSERT INTO tenants (tenant, created_us) VALUES ('default', 0);

-- Which workflows executions were ever created of: what they are listed by without a look at each execution.
CREATE TABLE definitions (
    tenant      text   COLLATE "C" NOT NULL,
    workflow    text   COLLATE "C" NOT NULL,
    version     text   COLLATE "C" NOT NULL,
    definition  text   COLLATE "C" NOT NULL,
    workflow_id uuid   NOT NULL,
    created_us  bigint NOT NULL,
    CONSTRAINT definitions_pkey PRIMARY KEY (tenant, workflow, version, definition)
);
CREATE INDEX definitions_workflow_id ON definitions (workflow_id);

CREATE TABLE meta (
    key   text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    CONSTRAINT meta_pkey PRIMARY KEY (key)
);
-- `format`: what rows may be written in. `oldest_schema`: a Podium that knows at least this revision may use the tables.
INSERT INTO meta (key, value) VALUES
    ('created_us', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text),
    ('format', '1'),
    ('oldest_schema', '0001');

-- What attempts log: bounded, and not worth a sync. It is empty after a crash of the server.
CREATE UNLOGGED TABLE attempt_logs (
    id        bigserial NOT NULL,
    execution text   COLLATE "C" NOT NULL,
    task      text   COLLATE "C" NOT NULL,
    attempt   text   COLLATE "C" NOT NULL,
    at_us     bigint NOT NULL,
    level     text   COLLATE "C" NOT NULL,
    text      text   COLLATE "C" NOT NULL,
    CONSTRAINT attempt_logs_pkey PRIMARY KEY (id)
);
CREATE INDEX attempt_logs_execution ON attempt_logs (execution, id);
CREATE INDEX attempt_logs_attempt ON attempt_logs (attempt, id);

-- The clock that counts for leases.
CREATE FUNCTION podium_now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- Inputs into the inbox, in their order, unless they are there or in the log already; returns which were written.
-- Ids are given in the order of the inputs, rows are written in the order of the unique key: two who post the same
-- inputs wait for each other and never in a circle.
CREATE FUNCTION podium_post_1(
    p_execution text[], p_input_id text[], p_tenant text[], p_shard integer[], p_kind text[], p_payload bytea[],
    p_posted_us bigint[]
) RETURNS SETOF bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT nextval('inbox_id_seq') AS id, sorted.*
        FROM (SELECT * FROM unnest(p_execution, p_input_id, p_tenant, p_shard, p_kind, p_payload, p_posted_us)
                            WITH ORDINALITY AS each (execution, input_id, tenant, shard, kind, payload, posted_us, nth)
              ORDER BY nth) AS sorted
        WHERE NOT EXISTS (SELECT 1 FROM log
                          WHERE log.execution = sorted.execution AND log.input_id = sorted.input_id)
    ), written AS (
        INSERT INTO inbox (id, execution, input_id, tenant, shard, kind, payload, posted_us)
        SELECT id, execution, input_id, tenant, shard, kind, payload, posted_us FROM given
        ORDER BY execution, input_id, id
        ON CONFLICT (execution, input_id) DO NOTHING
        RETURNING id
    )
    SELECT given.nth FROM written JOIN given USING (id);
END
$$;

-- Blobs, each once; those that are there have their age renewed.
CREATE FUNCTION podium_put_1(p_tenant text[], p_hash text[], p_content bytea[], p_written_us bigint[])
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO blobs (tenant, hash, content, written_us)
    SELECT DISTINCT ON (tenant, hash) tenant, hash, content, written_us
    FROM unnest(p_tenant, p_hash, p_content, p_written_us) AS each (tenant, hash, content, written_us)
    ORDER BY tenant, hash, written_us DESC
    ON CONFLICT (tenant, hash) DO UPDATE SET written_us = excluded.written_us
    WHERE blobs.written_us < excluded.written_us;
END
$$;

-- A whole append in one statement, which is its transaction. Locks are taken in one order: the shards' rows ascending,
-- what the shards guard, counters, blobs, inbox. It refuses with an SQLSTATE of its own, in the order of the guards:
-- PD001 a fence or position, PD002 a sequence, PD003 a limit; an input that is there already is a unique_violation, 23505.
-- A column that may not be null holds one value where it is the same for all rows; one that may be null, none where all
-- are null. So what nearly always is the same costs nothing.
CREATE FUNCTION podium_append_1(
    -- of each shard its fence, and the positions before and after (null where only the fence is asked)
    s_shard integer[], s_fence bigint[], s_before bigint[], s_after bigint[],
    -- executions that must not exist
    c_id text[], c_tenant text[], c_shard integer[], c_workflow text[], c_version text[], c_definition text[],
    c_status text[], c_run integer[], c_sequence bigint[], c_wake_at_us bigint[], c_active boolean[],
    c_created_us bigint[], c_updated_us bigint[], c_finished_us bigint[], c_priority integer[], c_parent text[],
    c_summary bytea[],
    -- workflows that were not seen before
    d_tenant text[], d_workflow text[], d_version text[], d_definition text[], d_workflow_id uuid[],
    -- executions that move
    m_id text[], m_expected bigint[], m_version text[], m_definition text[], m_status text[], m_run integer[],
    m_sequence bigint[], m_wake_at_us bigint[], m_active boolean[], m_updated_us bigint[], m_finished_us bigint[],
    m_priority integer[], m_summary bytea[],
    -- the log
    l_shard integer[], l_position bigint[], l_tenant text[], l_execution text[], l_sequence bigint[],
    l_event_count integer[], l_input_id text[], l_kind text[], l_now_us bigint[], l_payload bytea[], l_events bytea[],
    l_payload_blob text[], l_format integer[], l_checksum bigint[],
    drained bigint[],
    n_tenant text[], n_key text[], n_delta bigint[], n_limit bigint[],
    b_tenant text[], b_hash text[], b_content bytea[], b_written_us bigint[],
    i_execution text[], i_input_id text[], i_tenant text[], i_shard integer[], i_kind text[], i_payload bytea[],
    i_posted_us bigint[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    found_rows bigint;
    change record;
    counted bigint;
BEGIN
    IF cardinality(s_shard) > 0 THEN
        PERFORM FROM shards WHERE shard = ANY (s_shard) ORDER BY shard FOR NO KEY UPDATE;
        PERFORM FROM unnest(s_shard, s_fence, s_before) AS asked (shard, fence, before)
        WHERE NOT EXISTS (SELECT 1 FROM shards
                          WHERE shards.shard = asked.shard AND shards.fence = asked.fence
                            AND shards.position = coalesce(asked.before, shards.position));
        IF FOUND THEN
            RAISE EXCEPTION 'a fence or a position has moved' USING ERRCODE = 'PD001';
        END IF;
        UPDATE shards SET position = asked.after
        FROM unnest(s_shard, s_after) AS asked (shard, after)
        WHERE shards.shard = asked.shard AND asked.after IS NOT NULL;
    END IF;

    IF cardinality(m_id) > 0 THEN
        UPDATE executions
        SET version = coalesce(moved.version, m_version[1]), definition = coalesce(moved.definition, m_definition[1]),
            status = coalesce(moved.status, m_status[1]), run = coalesce(moved.run, m_run[1]),
            sequence = moved.sequence, wake_at_us = moved.wake_at_us, active = coalesce(moved.active, m_active[1]),
            updated_us = coalesce(moved.updated_us, m_updated_us[1]), finished_us = moved.finished_us,
            priority = coalesce(moved.priority, m_priority[1]), summary = coalesce(moved.summary, m_summary[1])
        FROM unnest(m_id, m_expected, m_version, m_definition, m_status, m_run, m_sequence, m_wake_at_us, m_active,
                    m_updated_us, m_finished_us, m_priority, m_summary)
             AS moved (id, expected, version, definition, status, run, sequence, wake_at_us, active, updated_us,
                       finished_us, priority, summary)
        WHERE executions.id = moved.id AND executions.sequence = moved.expected;
        GET DIAGNOSTICS found_rows = ROW_COUNT;
        IF found_rows <> cardinality(m_id) THEN
            RAISE EXCEPTION 'an execution has moved on' USING ERRCODE = 'PD002';
        END IF;
    END IF;
    IF cardinality(c_id) > 0 THEN
        INSERT INTO executions (id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us,
                                active, created_us, updated_us, finished_us, priority, parent, summary)
        SELECT id, coalesce(tenant, c_tenant[1]), shard, coalesce(workflow, c_workflow[1]),
               coalesce(version, c_version[1]), coalesce(definition, c_definition[1]), coalesce(status, c_status[1]),
               coalesce(run, c_run[1]), sequence, wake_at_us, coalesce(active, c_active[1]),
               coalesce(created_us, c_created_us[1]), coalesce(updated_us, c_updated_us[1]), finished_us,
               coalesce(priority, c_priority[1]), parent, coalesce(summary, c_summary[1])
        FROM unnest(c_id, c_tenant, c_shard, c_workflow, c_version, c_definition, c_status, c_run, c_sequence,
                    c_wake_at_us, c_active, c_created_us, c_updated_us, c_finished_us, c_priority, c_parent, c_summary)
             AS created (id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
                         created_us, updated_us, finished_us, priority, parent, summary)
        ON CONFLICT (id) DO NOTHING;
        GET DIAGNOSTICS found_rows = ROW_COUNT;
        IF found_rows <> cardinality(c_id) THEN
            RAISE EXCEPTION 'an execution is there already' USING ERRCODE = 'PD002';
        END IF;
    END IF;

    IF cardinality(l_shard) > 0 THEN
        INSERT INTO log (shard, position, tenant, execution, sequence, event_count, input_id, kind, now_us, payload,
                         events, payload_blob, format, checksum)
        SELECT shard, position, coalesce(tenant, l_tenant[1]), execution, sequence,
               coalesce(event_count, l_event_count[1]), input_id, coalesce(kind, l_kind[1]),
               coalesce(now_us, l_now_us[1]), payload, events, payload_blob, coalesce(format, l_format[1]), checksum
        FROM unnest(l_shard, l_position, l_tenant, l_execution, l_sequence, l_event_count, l_input_id, l_kind, l_now_us,
                    l_payload, l_events, l_payload_blob, l_format, l_checksum)
             AS each (shard, position, tenant, execution, sequence, event_count, input_id, kind, now_us, payload, events,
                      payload_blob, format, checksum);
    END IF;
    IF cardinality(drained) > 0 THEN
        DELETE FROM inbox WHERE id = ANY (drained);
    END IF;

    FOR change IN
        SELECT * FROM unnest(n_tenant, n_key, n_delta, n_limit) WITH ORDINALITY AS each (tenant, key, delta, most, nth)
        ORDER BY tenant COLLATE "C", key COLLATE "C", nth
    LOOP
        INSERT INTO counters AS counter (tenant, key, value) VALUES (change.tenant, change.key, change.delta)
        ON CONFLICT (tenant, key) DO UPDATE SET value = counter.value + excluded.value
        RETURNING value INTO counted;
        IF change.delta > 0 AND counted > change.most THEN
            RAISE EXCEPTION 'a counter is at its limit' USING ERRCODE = 'PD003';
        END IF;
    END LOOP;
    IF cardinality(d_workflow) > 0 THEN
        INSERT INTO definitions (tenant, workflow, version, definition, workflow_id, created_us)
        SELECT tenant, workflow, version, definition, workflow_id, podium_now_us()
        FROM unnest(d_tenant, d_workflow, d_version, d_definition, d_workflow_id)
             AS each (tenant, workflow, version, definition, workflow_id)
        ORDER BY tenant COLLATE "C", workflow COLLATE "C", version COLLATE "C", definition COLLATE "C"
        ON CONFLICT DO NOTHING;
    END IF;
    IF cardinality(b_hash) > 0 THEN
        PERFORM podium_put_1(b_tenant, b_hash, b_content, b_written_us);
    END IF;
    IF cardinality(i_execution) > 0 THEN
        PERFORM podium_post_1(i_execution, i_input_id, i_tenant, i_shard, i_kind, i_payload, i_posted_us);
    END IF;
END
$$;

-- Fences up by one for a new owner; shards that were never taken come to be. Returns their rows.
CREATE FUNCTION podium_take_1(p_owner text, p_shards integer[])
RETURNS SETOF shards LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY
    INSERT INTO shards (shard, fence, position, owner)
    SELECT DISTINCT each.shard, 1, 0, p_owner FROM unnest(p_shards) AS each (shard) ORDER BY each.shard
    ON CONFLICT (shard) DO UPDATE SET fence = shards.fence + 1, owner = excluded.owner
    RETURNING shards.shard, shards.fence, shards.position, shards.owner;
END
$$;

-- A snapshot, and of the older ones only the newest. It can be made again, so nobody waits for the disk.
CREATE FUNCTION podium_put_snapshot_1(
    p_execution text, p_sequence bigint, p_run integer, p_state bytea, p_created_us bigint, p_format integer,
    p_checksum bigint
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO snapshots (execution, sequence, run, state, created_us, format, checksum)
    SELECT p_execution, p_sequence, p_run, p_state, p_created_us, p_format, p_checksum
    WHERE NOT EXISTS (SELECT 1 FROM snapshots WHERE execution = p_execution AND sequence > p_sequence)
    ON CONFLICT (execution, sequence) DO UPDATE
    SET run = excluded.run, state = excluded.state, created_us = excluded.created_us, format = excluded.format,
        checksum = excluded.checksum;
    DELETE FROM snapshots WHERE execution = p_execution AND sequence NOT IN (
        SELECT sequence FROM snapshots WHERE execution = p_execution ORDER BY sequence DESC LIMIT 2);
END
$$;

-- A read model's entries and its place; false, and nothing changed, when the place is this far already, or isn't where
-- it must have been before (null where that doesn't matter).
CREATE FUNCTION podium_put_model_1(
    p_name text, p_shard integer, p_before bigint, p_position bigint, put_key text[], put_value bytea[], dropped text[],
    p_durable boolean
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF NOT p_durable THEN
        PERFORM set_config('synchronous_commit', 'off', true);  -- it can be made again from the log
    END IF;
    INSERT INTO cursors (name, shard, position) SELECT p_name, p_shard, p_position
    WHERE p_position > 0 AND (coalesce(p_before, 0) = 0 OR EXISTS (
        SELECT 1 FROM cursors WHERE cursors.name = p_name AND cursors.shard = p_shard))
    ON CONFLICT (name, shard) DO UPDATE SET position = excluded.position
    WHERE cursors.position < excluded.position AND cursors.position = coalesce(p_before, cursors.position);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO models (name, key, shard, value)
    SELECT p_name, key, p_shard, value FROM unnest(put_key, put_value) AS each (key, value)
    ON CONFLICT (name, key, shard) DO UPDATE SET value = excluded.value;
    DELETE FROM models WHERE name = p_name AND shard = p_shard AND key = ANY (dropped);
    RETURN true;
END
$$;

-- A read model takes the entries and the place of another one; false, and nothing changed, when that one is behind it.
CREATE FUNCTION podium_replace_model_1(p_name text, p_by text, p_shard integer)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM FROM cursors WHERE name IN (p_name, p_by) AND shard = p_shard ORDER BY name FOR UPDATE;
    IF coalesce((SELECT position FROM cursors WHERE name = p_by AND shard = p_shard), 0)
       < coalesce((SELECT position FROM cursors WHERE name = p_name AND shard = p_shard), 0) THEN
        RETURN false;
    END IF;
    DELETE FROM models WHERE name = p_name AND shard = p_shard;
    DELETE FROM cursors WHERE name = p_name AND shard = p_shard;
    UPDATE models SET name = p_name WHERE name = p_by AND shard = p_shard;
    UPDATE cursors SET name = p_name WHERE name = p_by AND shard = p_shard;
    RETURN true;
END
$$;

-- Who is there, and who owns what, as one row of columns in one view of the tables.
CREATE FUNCTION podium_cluster_1(
    OUT now_us bigint, OUT format integer,
    OUT r_id text[], OUT r_name text[], OUT r_bus text[], OUT r_version text[], OUT r_format integer[],
    OUT r_started_us bigint[], OUT r_lease_until_us bigint[], OUT r_draining boolean[], OUT r_details bytea[],
    OUT s_shard integer[], OUT s_fence bigint[], OUT s_position bigint[], OUT s_owner text[]
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    SELECT podium_now_us(), (SELECT value::integer FROM meta WHERE key = 'format'), r.*, s.*
    INTO now_us, format, r_id, r_name, r_bus, r_version, r_format, r_started_us, r_lease_until_us, r_draining,
         r_details, s_shard, s_fence, s_position, s_owner
    FROM (SELECT array_agg(sorted.id), array_agg(sorted.name), array_agg(sorted.bus), array_agg(sorted.version),
                 array_agg(sorted.format), array_agg(sorted.started_us), array_agg(sorted.lease_until_us),
                 array_agg(sorted.draining), array_agg(sorted.details)
          FROM (SELECT * FROM replicas ORDER BY started_us, id) AS sorted) AS r,
         (SELECT array_agg(sorted.shard), array_agg(sorted.fence), array_agg(sorted.position), array_agg(sorted.owner)
          FROM (SELECT * FROM shards ORDER BY shard) AS sorted) AS s;
END
$$;

CREATE FUNCTION podium_lives_1(p_replica text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM replicas WHERE id = p_replica AND lease_until_us > podium_now_us());
END
$$;

-- Joins and the end of an upgrade wait for each other at the format's row. What speaks against it is returned:
-- `strangers` are live replicas on another bus, `format_needed` is above 0 where this one can't read what is written.
CREATE FUNCTION podium_join_1(
    p_id text, p_name text, p_bus text, p_version text, p_format integer, p_draining boolean, p_details bytea,
    p_lease_us bigint, OUT strangers text[], OUT format_needed integer
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    SELECT value::integer INTO format_needed FROM meta WHERE key = 'format' FOR UPDATE;
    SELECT array_agg(name ORDER BY name) INTO strangers FROM replicas
    WHERE id <> p_id AND lease_until_us > podium_now_us() AND NOT (bus = p_bus AND p_bus <> '');
    IF strangers IS NOT NULL OR p_format < format_needed THEN
        RETURN;
    END IF;
    format_needed := 0;
    INSERT INTO replicas (id, name, bus, version, format, started_us, lease_until_us, draining, details)
    VALUES (p_id, p_name, p_bus, p_version, p_format, podium_now_us(), podium_now_us() + p_lease_us, p_draining,
            p_details)
    ON CONFLICT (id) DO UPDATE
    SET name = excluded.name, bus = excluded.bus, version = excluded.version, format = excluded.format,
        started_us = excluded.started_us, lease_until_us = excluded.lease_until_us, draining = excluded.draining,
        details = excluded.details;
END
$$;

-- A lease begun anew, and the whole cluster, in one round trip; no row if the replica is not known any more. `moved`
-- says that others should look: somebody was forgotten, or this one drains now. A lease that a crash of the server
-- takes back ends early, and fences guard all that it stood for: so nobody waits for the disk.
CREATE FUNCTION podium_renew_1(p_replica text, p_lease_us bigint, p_draining boolean)
RETURNS TABLE (
    moved boolean, now_us bigint, format integer,
    r_id text[], r_name text[], r_bus text[], r_version text[], r_format integer[], r_started_us bigint[],
    r_lease_until_us bigint[], r_draining boolean[], r_details bytea[],
    s_shard integer[], s_fence bigint[], s_position bigint[], s_owner text[]
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    drained boolean;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT draining INTO drained FROM replicas WHERE id = p_replica FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE replicas SET lease_until_us = podium_now_us() + p_lease_us, draining = p_draining WHERE id = p_replica;
    DELETE FROM replicas AS gone
    WHERE gone.lease_until_us + 60000000 <= podium_now_us()
      AND NOT EXISTS (SELECT 1 FROM shards WHERE owner = gone.id);
    RETURN QUERY SELECT FOUND OR drained <> p_draining, cluster.* FROM podium_cluster_1() AS cluster;
END
$$;

-- Shards for a replica whose own lease holds: those with the expected fence that nobody owns, or whose owner's lease
-- has ended. An append that names a shard's fence is waited for, and leases are looked at after the wait.
CREATE FUNCTION podium_claim_1(p_replica text, p_shards integer[], p_fences bigint[])
RETURNS SETOF shards LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO shards (shard, fence, position, owner)
    SELECT shard, 0, 0, '' FROM unnest(p_shards, p_fences) AS each (shard, fence) WHERE fence = 0 ORDER BY shard
    ON CONFLICT (shard) DO NOTHING;
    PERFORM FROM shards WHERE shard = ANY (p_shards) ORDER BY shard FOR NO KEY UPDATE;
    IF NOT podium_lives_1(p_replica) THEN
        DELETE FROM shards WHERE shard = ANY (p_shards) AND fence = 0;
        RETURN;
    END IF;
    RETURN QUERY
        UPDATE shards SET fence = shards.fence + 1, owner = p_replica
        FROM unnest(p_shards, p_fences) AS asked (shard, fence)
        WHERE shards.shard = asked.shard AND shards.fence = asked.fence AND NOT podium_lives_1(shards.owner)
        RETURNING shards.shard, shards.fence, shards.position, shards.owner;
END
$$;

-- Shards given back; returns how many were the replica's.
CREATE FUNCTION podium_release_1(p_replica text, p_shards integer[], p_fences bigint[])
RETURNS bigint LANGUAGE sql VOLATILE AS $$
    WITH locked AS (
        SELECT shard FROM shards WHERE shard = ANY (p_shards) ORDER BY shard FOR NO KEY UPDATE
    ), released AS (
        UPDATE shards SET owner = '' FROM locked, unnest(p_shards, p_fences) AS asked (shard, fence)
        WHERE shards.shard = locked.shard AND shards.shard = asked.shard AND shards.fence = asked.fence
          AND shards.owner = p_replica
        RETURNING 1
    )
    SELECT count(*) FROM released
$$;

-- Everything given back, the replica forgotten; returns whether it was there.
CREATE FUNCTION podium_leave_1(p_replica text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM FROM shards WHERE owner = p_replica ORDER BY shard FOR NO KEY UPDATE;
    UPDATE shards SET owner = '' WHERE owner = p_replica;
    DELETE FROM replicas WHERE id = p_replica;
    RETURN FOUND;
END
$$;

-- The format that rows may be written in, raised unless live replicas can't read it: then who they are is returned.
CREATE FUNCTION podium_finish_upgrade_1(p_format integer, OUT behind text[], OUT in_force integer)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    SELECT value::integer INTO in_force FROM meta WHERE key = 'format' FOR UPDATE;
    IF p_format <= in_force THEN
        RETURN;
    END IF;
    SELECT array_agg(name ORDER BY name) INTO behind FROM replicas
    WHERE format < p_format AND lease_until_us > podium_now_us();
    IF behind IS NULL THEN
        UPDATE meta SET value = p_format::text WHERE key = 'format';
        in_force := p_format;
    END IF;
END
$$;
