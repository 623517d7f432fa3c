-- The statements of the SQLite store, by name. A list comes back as one JSON text, because each row fetched would cost
-- a hand-over of the interpreter's lock; bytes are in hexadecimal there. Lists of arguments come in as JSON too.

-- name: insert_batch
INSERT INTO batch VALUES {rows};

-- name: take
INSERT INTO shards (shard, fence, position, owner)
SELECT value, 1, 0, :owner FROM json_each(:shards) WHERE true
ON CONFLICT (shard) DO UPDATE SET fence = fence + 1, owner = excluded.owner;

-- name: shards
SELECT json_group_array(json_array(shard, fence, position, owner))
FROM (SELECT * FROM shards WHERE :shards IS NULL OR shard IN (SELECT value FROM json_each(:shards)) ORDER BY shard);

-- name: execution
SELECT id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, summary
FROM executions WHERE id = :execution;

-- name: sequences
SELECT json_group_object(id, sequence) FROM executions WHERE id IN (SELECT value FROM json_each(:executions));

-- name: recorded
SELECT json_group_array(json_array(log.execution, log.input_id))
FROM json_each(:inputs) AS wanted
JOIN log ON log.execution = wanted.value ->> 0 AND log.input_id = wanted.value ->> 1;

-- name: post
INSERT INTO inbox (execution, input_id, tenant, shard, kind, payload, posted_us)
SELECT :execution, :input_id, :tenant, :shard, :kind, :payload, :posted_us
WHERE NOT EXISTS (SELECT 1 FROM log WHERE execution = :execution AND input_id = :input_id)
  AND NOT EXISTS (SELECT 1 FROM inbox WHERE execution = :execution AND input_id = :input_id);

-- name: inbox
SELECT json_group_array(json_array(execution, input_id, tenant, shard, kind, hex(payload), posted_us, id))
FROM (SELECT * FROM inbox
      WHERE id > :after AND shard IN (SELECT value FROM json_each(:shards))
        AND id NOT IN (SELECT value FROM json_each(:known))
      ORDER BY id LIMIT :limit);

-- name: due
SELECT json_group_array(json_array(id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us,
       active, created_us, updated_us, finished_us, priority, parent, hex(summary)))
FROM (SELECT * FROM executions
      WHERE wake_at_us IS NOT NULL AND wake_at_us <= :until_us AND shard IN (SELECT value FROM json_each(:shards))
      ORDER BY wake_at_us, id LIMIT :limit);

-- name: active
SELECT json_group_array(json_array(id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us,
       active, created_us, updated_us, finished_us, priority, parent, hex(summary)))
FROM (SELECT * FROM executions WHERE active AND shard IN (SELECT value FROM json_each(:shards))
      ORDER BY created_us, id);

-- name: executions_of_all
SELECT json_group_array(json_array(id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us,
       active, created_us, updated_us, finished_us, priority, parent, hex(summary)))
FROM (SELECT * FROM executions
      WHERE created_us < :before_us
        AND (:statuses = '[]' OR status IN (SELECT value FROM json_each(:statuses)))
      ORDER BY created_us DESC, id DESC LIMIT :limit);

-- name: executions_of_tenant
SELECT json_group_array(json_array(id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us,
       active, created_us, updated_us, finished_us, priority, parent, hex(summary)))
FROM (SELECT * FROM executions
      WHERE tenant = :tenant AND created_us < :before_us
        AND (:statuses = '[]' OR status IN (SELECT value FROM json_each(:statuses)))
      ORDER BY created_us DESC, id DESC LIMIT :limit);

-- name: executions_by_prefix
SELECT json_group_array(json_array(id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us,
       active, created_us, updated_us, finished_us, priority, parent, hex(summary)))
FROM (SELECT * FROM executions
      WHERE id >= :prefix AND id < :prefix_end AND (:tenant IS NULL OR tenant = :tenant) AND created_us < :before_us
        AND (:statuses = '[]' OR status IN (SELECT value FROM json_each(:statuses)))
      ORDER BY created_us DESC, id DESC LIMIT :limit);

-- name: history
SELECT json_group_array(json_array(shard, position, tenant, execution, sequence, event_count, input_id, kind, now_us,
       hex(payload), hex(events), payload_blob, format, checksum))
FROM (SELECT * FROM log WHERE execution = :execution AND sequence > :after AND sequence <= :until
      ORDER BY sequence LIMIT :limit);

-- name: follow
-- A shard's positions grow with the ids, and the index finds them within a block of 4,096 ids. `behind` goes from the
-- newest block back to the one that holds `after`, since who follows is near the end; `page` goes forward from there,
-- over as many blocks as hold `limit` rows. Each step is one look-up: other shards' rows are never read.
WITH RECURSIVE behind (block) AS (
    SELECT max(id) >> 12 FROM log
    UNION ALL
    SELECT block - 1 FROM behind
    WHERE block > 0
      AND NOT EXISTS (SELECT 1 FROM log WHERE id >> 12 = block AND shard = :shard AND position <= :after)
), page (block, found) AS (
    SELECT min(block), 0 FROM behind
    UNION ALL
    SELECT block + 1, found + (SELECT count(*) FROM log
                               WHERE id >> 12 = block AND shard = :shard AND position > :after)
    FROM page WHERE found < :limit AND block < (SELECT max(block) FROM behind)
)
SELECT json_group_array(json_array(shard, position, tenant, execution, sequence, event_count, input_id, kind, now_us,
       hex(payload), hex(events), payload_blob, format, checksum))
FROM (SELECT * FROM log
      WHERE id IN (SELECT id FROM page CROSS JOIN log
                   WHERE id >> 12 = block AND shard = :shard AND position > :after
                   ORDER BY id LIMIT :limit)
      ORDER BY id);

-- name: mentions
SELECT max(id), json_group_array(json_array(shard, position, tenant, execution, sequence, event_count, input_id, kind,
       now_us, hex(payload), hex(events), payload_blob, format, checksum))
FROM (SELECT * FROM log WHERE id > :after ORDER BY id LIMIT 1000);

-- name: load
SELECT executions.id, executions.tenant, shard, workflow, version, definition, status, executions.run,
       executions.sequence, wake_at_us, active, executions.created_us, updated_us, finished_us, priority, parent,
       summary,
       snapshots.sequence, snapshots.run, snapshots.state, snapshots.created_us, snapshots.format, snapshots.checksum,
       (SELECT json_group_array(json_array(shard, position, tenant, execution, sequence, event_count, input_id, kind,
               now_us, hex(payload), hex(events), payload_blob, format, checksum))
        FROM (SELECT * FROM log
              WHERE log.execution = executions.id AND log.sequence > coalesce(snapshots.sequence, 0)
              ORDER BY log.sequence LIMIT :limit))
FROM executions LEFT JOIN snapshots ON snapshots.execution = executions.id AND snapshots.sequence = (
    SELECT max(sequence) FROM snapshots WHERE execution = :execution AND sequence < :below
      AND sequence <= executions.sequence)
WHERE executions.id = :execution;

-- name: put_snapshot
INSERT INTO snapshots (execution, sequence, run, state, created_us, format, checksum)
SELECT :execution, :sequence, :run, :state, :created_us, :format, :checksum
WHERE NOT EXISTS (SELECT 1 FROM snapshots WHERE execution = :execution AND sequence > :sequence)
ON CONFLICT (execution, sequence) DO UPDATE
SET run = excluded.run, state = excluded.state, created_us = excluded.created_us, format = excluded.format,
    checksum = excluded.checksum;

-- name: drop_old_snapshots
DELETE FROM snapshots WHERE execution = :execution AND sequence NOT IN (
    SELECT sequence FROM snapshots WHERE execution = :execution ORDER BY sequence DESC LIMIT 2);

-- name: get_blob
SELECT content FROM blobs WHERE tenant = :tenant AND hash = :hash;

-- name: put_blob
INSERT INTO blobs (tenant, hash, content, written_us) VALUES (:tenant, :hash, :content, :written_us)
ON CONFLICT (tenant, hash) DO UPDATE SET written_us = max(written_us, excluded.written_us);

-- name: old_blobs
SELECT json_group_array(json_array(tenant, hash)) FROM blobs WHERE written_us < :older_than_us;

-- name: drop_blobs
DELETE FROM blobs WHERE written_us < :older_than_us AND (tenant, hash) IN (
    SELECT value ->> 0, value ->> 1 FROM json_each(:unmentioned));

-- name: cursor
SELECT position FROM cursors WHERE name = :name AND shard = :shard;

-- name: save_cursor
INSERT INTO cursors (name, shard, position) VALUES (:name, :shard, max(:position, 0))
ON CONFLICT (name, shard) DO UPDATE SET position = max(position, excluded.position);

-- name: counter
SELECT value FROM counters WHERE tenant = :tenant AND key = :key;

-- name: unfinished
SELECT count(*) FROM executions WHERE finished_us IS NULL AND shard IN (SELECT value FROM json_each(:shards));

-- name: listed
SELECT json_group_array(json_array(id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, hex(summary)))
FROM (SELECT * FROM executions
      WHERE shard IN (SELECT value FROM json_each(:shards)) AND id > :after
      ORDER BY id LIMIT :limit);

-- name: listed_unfinished
SELECT json_group_array(json_array(id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
       created_us, updated_us, finished_us, priority, parent, hex(summary)))
FROM (SELECT * FROM executions
      WHERE shard IN (SELECT value FROM json_each(:shards)) AND id > :after AND finished_us IS NULL
      ORDER BY id LIMIT :limit);

-- name: counted
SELECT json_group_array(json_array(tenant, key, value, definition, number))
FROM (SELECT counters.tenant, counters.key, counters.value, executions.definition, count(executions.id) AS number
      FROM counters LEFT JOIN executions ON executions.finished_us IS NULL AND executions.tenant = counters.tenant
          AND executions.workflow = substr(counters.key, length(:prefix) + 1)
      WHERE substr(counters.key, 1, length(:prefix)) = :prefix
      GROUP BY counters.tenant, counters.key, executions.definition
      ORDER BY counters.tenant, counters.key, executions.definition);

-- name: move_model
INSERT INTO cursors (name, shard, position) SELECT :name, :shard, :position
WHERE :position > 0 AND (coalesce(:before, 0) = 0
                         OR EXISTS (SELECT 1 FROM cursors WHERE name = :name AND shard = :shard))
ON CONFLICT (name, shard) DO UPDATE SET position = excluded.position
WHERE position < excluded.position AND position = coalesce(:before, position);

-- name: put_model_row
INSERT INTO models (name, key, shard, value) VALUES (:name, :key, :shard, :value)
ON CONFLICT (name, key, shard) DO UPDATE SET value = excluded.value;

-- name: drop_model_row
DELETE FROM models WHERE name = :name AND key = :key AND shard = :shard;

-- name: model
SELECT json_group_array(json_array(key, hex(value)))
FROM (SELECT key, value FROM models
      WHERE name = :name AND key >= :prefix AND key < :prefix_end AND (:shard IS NULL OR shard = :shard)
      ORDER BY key, shard LIMIT :limit);

-- name: is_behind
SELECT coalesce((SELECT position FROM cursors WHERE name = :by AND shard = :shard), 0)
     < coalesce((SELECT position FROM cursors WHERE name = :name AND shard = :shard), 0);

-- name: rename_model
UPDATE models SET name = :name WHERE name = :by AND shard = :shard;

-- name: rename_model_place
UPDATE cursors SET name = :name WHERE name = :by AND shard = :shard;

-- name: drop_model
DELETE FROM models WHERE name = :name AND (:shard IS NULL OR shard = :shard);

-- name: drop_model_place
DELETE FROM cursors WHERE name = :name AND (:shard IS NULL OR shard = :shard);

-- name: tenants
SELECT json_group_array(tenant) FROM (SELECT tenant FROM tenants ORDER BY tenant);

-- name: add_tenant
INSERT INTO tenants (tenant, created_us) VALUES (:tenant, :now_us) ON CONFLICT (tenant) DO NOTHING;
