-- Document 004's data models as views of the log, with its names of fields. Nothing is written for them: a column that
-- is computed from an execution's history is a function, so that who doesn't select it doesn't pay for it. Whoever may
-- read the tables may use them from any client, whatever its search_path; docs/postgresql.md has examples.

-- The JSON that Podium wrote. PostgreSQL can't keep everything that JSON may say (NUL, half a surrogate): such
-- characters become U+FFFD, and what can't be read at all is an object that says why. It never fails.
CREATE FUNCTION podium_json(p_text bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE AS $$
BEGIN
    RETURN convert_from(p_text, 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
    BEGIN
        RETURN regexp_replace(
            convert_from(p_text, 'UTF8'), '(?<!\\)((?:\\\\)*)\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '\1\\ufffd', 'g'
        )::jsonb;
    EXCEPTION WHEN others THEN
        RETURN jsonb_build_object('unreadable', SQLERRM);
    END;
END
$$;

-- A row's events, one by one; what can't be read is one of them.
CREATE FUNCTION podium_events(p_events jsonb) RETURNS SETOF jsonb LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT jsonb_array_elements(CASE jsonb_typeof(p_events) WHEN 'array' THEN p_events
                                                            ELSE jsonb_build_array(p_events) END)
$$;

CREATE FUNCTION podium_at(p_us bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT to_timestamp(p_us::double precision / 1000000)
$$;

-- Each task that has begun, by its id: where it stands, how often it was tried, on which agent, why it failed.
CREATE FUNCTION podium_task_states(p_execution text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH happened AS MATERIALIZED (
        SELECT log.sequence + nth - 1 AS sequence, log.now_us, event, event ->> 'event' AS kind, event ->> 'task' AS task
        FROM log CROSS JOIN LATERAL podium_events(podium_json(log.events)) WITH ORDINALITY AS each (event, nth)
        WHERE log.execution = p_execution
    ), moves AS (
        SELECT sequence, now_us, task, moved.status
        FROM happened
        JOIN (VALUES ('fan_out_opened', 'running'), ('fan_out_completed', 'completed'), ('retry_scheduled', 'retrying'),
                     ('attempt_granted', 'running'), ('attempt_returned', 'ready'), ('task_completed', 'completed'),
                     ('task_failed', 'failed'), ('task_skipped', 'skipped'), ('task_cancelled', 'cancelled'),
                     ('task_waiting', 'waiting'), ('task_parked', 'waiting'), ('task_retried', 'pending'),
                     ('child_due', 'pending'))
             AS moved (kind, status) USING (kind)
        UNION ALL
        SELECT sequence, now_us, ready.task, 'ready'
        FROM happened CROSS JOIN LATERAL jsonb_array_elements_text(event -> 'tasks') AS ready (task)
        WHERE kind = 'tasks_ready'
        UNION ALL
        SELECT sequence, now_us, task || '[' || nth || ']', 'ready'
        FROM happened
        CROSS JOIN LATERAL generate_series((event ->> 'first')::bigint, (event ->> 'stop')::bigint - 1) AS each (nth)
        WHERE kind = 'instances_ready'
    ), newest AS (
        SELECT DISTINCT ON (task) task, status, sequence, now_us FROM moves ORDER BY task, sequence DESC
    ), attempts AS (
        SELECT task, count(*) AS number, (array_agg(event ->> 'agent' ORDER BY sequence DESC))[1] AS agent
        FROM happened WHERE kind = 'attempt_granted' GROUP BY task
    ), errors AS (
        SELECT DISTINCT ON (task) task, sequence, event -> 'error' ->> 'message' AS message
        FROM happened WHERE kind IN ('task_failed', 'attempt_failed') ORDER BY task, sequence DESC
    ), turns AS (
        SELECT coalesce(max(sequence) FILTER (WHERE kind = 'execution_cancelled'), 0) AS cancelled,
               coalesce(max(sequence) FILTER (WHERE kind = 'execution_retried'), 0) AS retried
        FROM happened
    )
    SELECT coalesce(jsonb_object_agg(task, jsonb_strip_nulls(jsonb_build_object(
        'status', CASE
            WHEN newest.status IN ('pending', 'waiting', 'ready', 'running', 'retrying')
                 AND cancelled > greatest(newest.sequence, retried)
                THEN 'cancelled'
            WHEN newest.status IN ('failed', 'cancelled') AND retried > newest.sequence THEN 'pending'
            ELSE newest.status END,
        'attempts', attempts.number,
        'agent', attempts.agent,
        'error', CASE WHEN newest.status IN ('failed', 'retrying') THEN errors.message END,
        'updated_at', podium_at(newest.now_us)
    ))), '{}')
    FROM newest LEFT JOIN attempts USING (task) LEFT JOIN errors USING (task) CROSS JOIN turns
$$;

-- Whom the execution's attempts were given to, and how many of those are still under way.
CREATE FUNCTION podium_allocated_agents(p_execution text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    WITH happened AS MATERIALIZED (
        SELECT event ->> 'event' AS kind, event ->> 'task' AS task, event ->> 'number' AS number, event ->> 'agent' AS agent
        FROM log CROSS JOIN LATERAL podium_events(podium_json(log.events)) AS each (event)
        WHERE log.execution = p_execution
          AND event ->> 'event' IN ('attempt_granted', 'attempt_returned', 'attempt_failed', 'task_completed',
                                    'execution_cancelled')
    ), granted AS (
        SELECT agent, NOT EXISTS (SELECT 1 FROM happened AS ended
                                  WHERE ended.kind = 'execution_cancelled'
                                     OR (ended.kind <> 'attempt_granted' AND ended.task = happened.task
                                         AND ended.number = happened.number)) AS live
        FROM happened WHERE kind = 'attempt_granted'
    ), agents AS (
        SELECT agent, count(*) AS attempts, count(*) FILTER (WHERE live) AS live FROM granted GROUP BY agent
    )
    SELECT coalesce(jsonb_agg(jsonb_build_object('agent_id', agent, 'attempts', attempts, 'live', live) ORDER BY agent),
                    '[]')
    FROM agents
$$;

-- What is under way in words: the tasks that are ready, run, or wait for something outside or another attempt; at most eight.
CREATE FUNCTION podium_current_phase(p_execution text, p_status text) RETURNS text
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT coalesce((
        SELECT string_agg(task, ', ' ORDER BY task) || CASE WHEN max(of) > 8 THEN ', …' ELSE '' END
        FROM (SELECT task, count(*) OVER () AS of, row_number() OVER (ORDER BY task) AS nth
              FROM jsonb_each(podium_task_states(p_execution)) AS each (task, state)
              WHERE state ->> 'status' IN ('ready', 'running', 'waiting', 'retrying') AND task NOT LIKE '%]') AS under_way
        WHERE nth <= 8 AND p_status NOT IN ('completed', 'failed', 'cancelled')
    ), p_status)
$$;

CREATE VIEW workflow_versions AS
SELECT definitions.workflow_id, definitions.workflow AS name, definitions.version,
       coalesce(podium_json(blobs.content) ->> 'orchestration_pattern', 'graph') AS orchestration_pattern,
       podium_json(blobs.content) AS definition, definitions.definition AS definition_hash,
       podium_at(definitions.created_us) AS created_at, definitions.tenant
FROM definitions LEFT JOIN blobs ON blobs.tenant = definitions.tenant AND blobs.hash = definitions.definition;

-- Each workflow as it was last started for the first time; its older versions are in `workflow_versions`.
CREATE VIEW workflow_definitions AS
SELECT newest.workflow_id, newest.workflow AS name, newest.version,
       coalesce(podium_json(blobs.content) ->> 'orchestration_pattern', 'graph') AS orchestration_pattern,
       podium_json(blobs.content) AS definition, podium_at(newest.first_us) AS created_at,
       podium_at(newest.created_us) AS updated_at, newest.tenant
FROM (SELECT DISTINCT ON (tenant, workflow_id) *, min(created_us) OVER (PARTITION BY tenant, workflow_id) AS first_us
      FROM definitions ORDER BY tenant, workflow_id, created_us DESC, version DESC) AS newest
LEFT JOIN blobs ON blobs.tenant = newest.tenant AND blobs.hash = newest.definition;

CREATE VIEW workflow_executions AS
SELECT executions.id AS execution_id, definitions.workflow_id, executions.status,
       podium_current_phase(executions.id, executions.status) AS current_phase,
       podium_allocated_agents(executions.id) AS allocated_agents,
       podium_task_states(executions.id) AS task_states,
       podium_json(executions.summary) || jsonb_build_object(
           'events', executions.sequence,
           'duration_ms', (coalesce(executions.finished_us, executions.updated_us) - executions.created_us) / 1000
       ) AS performance_metrics,
       podium_at(executions.created_us) AS started_at, podium_at(executions.finished_us) AS completed_at,
       executions.workflow AS name, executions.version, executions.tenant, executions.priority, executions.run,
       podium_at(executions.updated_us) AS updated_at
FROM executions LEFT JOIN definitions
    ON definitions.tenant = executions.tenant AND definitions.workflow = executions.workflow
   AND definitions.version = executions.version AND definitions.definition = executions.definition;

CREATE VIEW execution_events AS
SELECT log.execution || ':' || (log.sequence + nth - 1) AS event_id, log.execution AS execution_id,
       log.sequence + nth - 1 AS sequence, event ->> 'event' AS event_type, event ->> 'task' AS task_id,
       CASE jsonb_typeof(event) WHEN 'object' THEN event - 'event' ELSE event END AS event_data, log.input_id, log.kind AS input_kind, podium_at(log.now_us) AS "timestamp",
       log.tenant
FROM log CROSS JOIN LATERAL podium_events(podium_json(log.events)) WITH ORDINALITY AS each (event, nth);

-- What attempts saved for the next one, and snapshots of whole executions (their state is MessagePack: only its size).
CREATE VIEW checkpoints AS
SELECT md5(log.execution || ':' || (log.sequence + nth - 1))::uuid AS checkpoint_id, log.execution AS execution_id,
       'task' AS kind, event ->> 'task' AS task_id, log.sequence + nth - 1 AS sequence,
       event -> 'checkpoint' AS state_snapshot, length(log.events) AS size_bytes, podium_at(log.now_us) AS created_at
FROM log CROSS JOIN LATERAL podium_events(podium_json(log.events)) WITH ORDINALITY AS each (event, nth)
WHERE log.kind = 'saved' AND event ->> 'event' = 'checkpoint_saved'
UNION ALL
SELECT md5('snapshot:' || execution || ':' || sequence)::uuid, execution, 'execution', NULL, sequence, NULL,
       length(state), podium_at(created_us)
FROM snapshots;
