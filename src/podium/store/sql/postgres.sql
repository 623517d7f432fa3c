-- The statements of the PostgreSQL store, by name; names carry no schema, so the connection's search_path decides.
-- What changes several tables is a function, made by the migrations: a function's name ends in the number of its form,
-- so that a newer Podium can have another beside it.

-- name: append
-- Numbers that differ from row to row come as text: asyncpg takes several times as long to make an array of them.
SELECT podium_append_1(
    $1, $2, $3, $4,
    $5, $6, $7::text::integer[], $8, $9, $10, $11, $12, $13::text::bigint[], $14, $15, $16, $17, $18, $19, $20, $21,
    $22, $23, $24, $25, $26,
    $27, $28::text::bigint[], $29, $30, $31, $32, $33::text::bigint[], $34, $35, $36, $37, $38, $39,
    $40::text::integer[], $41::text::bigint[], $42, $43, $44::text::bigint[], $45, $46, $47, $48, $49, $50, $51, $52,
    $53::text::bigint[],
    $54,
    $55, $56, $57, $58,
    $59, $60, $61, $62,
    $63, $64, $65, $66, $67, $68, $69);

-- name: try_lock
SELECT pg_try_advisory_lock($1::bigint);

-- name: end_holder
-- Only the session that holds this very lock: an earlier one of the same writer's.
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid <> pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (classid::bigint << 32) | objid::bigint = $1::bigint;

-- name: lock
SELECT pg_advisory_lock($1::bigint);

-- name: take
SELECT * FROM podium_take_1($1, $2);

-- name: shards
SELECT shard, fence, position, owner FROM shards ORDER BY shard;

-- name: execution
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM executions WHERE id = $1;

-- name: sequences
SELECT id, sequence FROM executions WHERE id = ANY ($1::text[]);

-- name: recorded
SELECT log.execution, log.input_id
FROM unnest($1::text[], $2::text[]) AS wanted (execution, input_id)
JOIN log ON log.execution = wanted.execution AND log.input_id = wanted.input_id;

-- name: post
SELECT podium_post_1($1, $2, $3, $4, $5, $6, $7);

-- name: notify
-- A wake-up needn't survive a crash, and the lock that NOTIFY takes is let go sooner when nobody waits for the disk.
SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2);

-- name: inbox
SELECT execution, input_id, tenant, shard, kind, payload, posted_us, id FROM inbox
WHERE shard = ANY ($1::integer[]) AND id > $2 AND id <> ALL ($3::bigint[])
ORDER BY id LIMIT $4;

-- name: due
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM executions WHERE shard = ANY ($1::integer[]) AND wake_at_us <= $2
ORDER BY wake_at_us, id LIMIT $3;

-- name: active
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM executions WHERE shard = ANY ($1::integer[]) AND active
ORDER BY created_us, id;

-- name: executions_of_all
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM executions WHERE created_us < $1
ORDER BY created_us DESC, id DESC LIMIT $2;

-- name: executions_of_tenant
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM executions WHERE tenant = $1 AND created_us < $2
ORDER BY created_us DESC, id DESC LIMIT $3;

-- name: executions_by_status
-- The newest of each status by its index, and the newest of those: what is rare is found without a look at the rest.
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM unnest($2::text[]) AS wanted (state)
CROSS JOIN LATERAL (
    SELECT * FROM executions
    WHERE status = wanted.state AND created_us < $3 AND ($1::text IS NULL OR tenant = $1)
    ORDER BY created_us DESC, id DESC LIMIT $4
) AS newest
ORDER BY created_us DESC, id DESC LIMIT $4;

-- name: executions_by_prefix
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM executions
WHERE id >= $3 AND id < $4 AND ($1::text IS NULL OR tenant = $1) AND created_us < $5
  AND (cardinality($2::text[]) = 0 OR status = ANY ($2::text[]))
ORDER BY created_us DESC, id DESC LIMIT $6;

-- name: history
SELECT shard, position, tenant, execution, sequence, event_count, input_id, kind, now_us, payload, events,
       payload_blob, format, checksum
FROM log WHERE execution = $1 AND sequence > $2 AND sequence <= $3
ORDER BY sequence LIMIT $4;

-- name: follow
SELECT shard, position, tenant, execution, sequence, event_count, input_id, kind, now_us, payload, events,
       payload_blob, format, checksum
FROM log WHERE shard = $1 AND position > $2
ORDER BY position LIMIT $3;

-- name: mentions
SELECT shard, position, tenant, execution, sequence, event_count, input_id, kind, now_us, payload, events,
       payload_blob, format, checksum
FROM log WHERE (shard, position) > ($1, $2)
ORDER BY shard, position LIMIT $3;

-- name: load
SELECT executions.id, executions.tenant, shard, workflow, version, definition, status, executions.run,
       executions.sequence, wake_at_us, active, executions.created_us, updated_us, finished_us, priority, parent,
       summary,
       snapshots.sequence, snapshots.run, snapshots.state, snapshots.created_us, snapshots.format, snapshots.checksum,
       ARRAY(SELECT (shard, position, tenant, execution, sequence, event_count, input_id, kind, now_us, payload, events,
                     payload_blob, format, checksum)
             FROM log
             WHERE log.execution = executions.id AND log.sequence > coalesce(snapshots.sequence, 0)
             ORDER BY log.sequence LIMIT $3)
FROM executions LEFT JOIN snapshots ON snapshots.execution = executions.id AND snapshots.sequence = (
    SELECT max(sequence) FROM snapshots WHERE execution = $1 AND sequence < $2 AND sequence <= executions.sequence)
WHERE executions.id = $1;

-- name: put_snapshot
SELECT podium_put_snapshot_1($1, $2, $3, $4, $5, $6, $7);

-- name: get_blob
SELECT content FROM blobs WHERE tenant = $1 AND hash = $2;

-- name: put
SELECT podium_put_1($1, $2, $3, $4);

-- name: old_blobs
SELECT tenant, hash FROM blobs WHERE written_us < $1;

-- name: drop_blobs
WITH old AS (
    SELECT tenant, hash FROM blobs
    WHERE written_us < $1 AND (tenant, hash) IN (SELECT * FROM unnest($2::text[], $3::text[]))
    ORDER BY tenant, hash FOR UPDATE
), dropped AS (
    DELETE FROM blobs USING old WHERE blobs.tenant = old.tenant AND blobs.hash = old.hash RETURNING 1
)
SELECT count(*) FROM dropped;

-- name: cursor
SELECT position FROM cursors WHERE name = $1 AND shard = $2;

-- name: save_cursor
INSERT INTO cursors (name, shard, position) VALUES ($1, $2, greatest($3::bigint, 0))
ON CONFLICT (name, shard) DO UPDATE SET position = greatest(cursors.position, excluded.position);

-- name: counter
SELECT value FROM counters WHERE tenant = $1 AND key = $2;

-- name: unfinished
SELECT count(*) FROM executions WHERE finished_us IS NULL AND shard = ANY ($1::integer[]);

-- name: listed
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM executions WHERE shard = ANY ($1::integer[]) AND id > $2
ORDER BY id LIMIT $3;

-- name: listed_unfinished
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM executions WHERE shard = ANY ($1::integer[]) AND id > $2 AND finished_us IS NULL
ORDER BY id LIMIT $3;

-- name: counted
SELECT counters.tenant, counters.key, counters.value, executions.definition, count(executions.id)
FROM counters LEFT JOIN executions ON executions.finished_us IS NULL AND executions.tenant = counters.tenant
    AND executions.workflow = substr(counters.key, length($1) + 1)
WHERE starts_with(counters.key, $1)
GROUP BY counters.tenant, counters.key, counters.value, executions.definition
ORDER BY counters.tenant, counters.key, executions.definition;

-- name: put_model
SELECT podium_put_model_1($1, $2, $3, $4, $5, $6, $7, $8);

-- name: model
SELECT key, value FROM models
WHERE name = $1 AND key >= $2 AND key < $3 AND ($4::integer IS NULL OR shard = $4)
ORDER BY key, shard LIMIT $5;

-- name: replace_model
SELECT podium_replace_model_1($1, $2, $3);

-- name: drop_model
WITH dropped AS (DELETE FROM models WHERE name = $1 AND ($2::integer IS NULL OR shard = $2))
DELETE FROM cursors WHERE name = $1 AND ($2::integer IS NULL OR shard = $2);

-- name: tenants
SELECT tenant FROM tenants ORDER BY tenant;

-- name: add_tenant
INSERT INTO tenants (tenant, created_us) VALUES ($1, $2) ON CONFLICT (tenant) DO NOTHING;

-- name: join
SELECT strangers, format_needed FROM podium_join_1($1, $2, $3, $4, $5, $6, $7, $8);

-- name: renew
SELECT * FROM podium_renew_1($1, $2, $3);

-- name: claim
SELECT * FROM podium_claim_1($1, $2, $3);

-- name: release
SELECT podium_release_1($1, $2, $3);

-- name: leave
SELECT podium_leave_1($1);

-- name: cluster
SELECT * FROM podium_cluster_1();

-- name: finish_upgrade
SELECT behind, in_force FROM podium_finish_upgrade_1($1);

-- name: schema
SELECT current_schema(), to_regclass('alembic_version') IS NOT NULL;

-- name: revision
SELECT (SELECT version_num FROM alembic_version), (SELECT value FROM meta WHERE key = 'oldest_schema');

-- name: write_logs
WITH written AS (
    INSERT INTO attempt_logs (execution, task, attempt, at_us, level, text)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])
)
SELECT set_config('synchronous_commit', 'off', true);

-- name: trim_attempts
DELETE FROM attempt_logs WHERE id IN (
    SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY attempt ORDER BY id DESC) AS age
                    FROM attempt_logs WHERE attempt = ANY ($1::text[])) AS ring
    WHERE age > $2);

-- name: trim_all
DELETE FROM attempt_logs WHERE id <= (SELECT id FROM attempt_logs ORDER BY id DESC LIMIT 1 OFFSET $1);

-- name: read_logs
SELECT id, execution, task, attempt, at_us, level, text FROM attempt_logs
WHERE execution = $1 AND ($2::text IS NULL OR task = $2) AND id > $3
ORDER BY id LIMIT $4;
