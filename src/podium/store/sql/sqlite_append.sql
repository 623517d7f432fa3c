-- The view that an append is written to. Made for the writer's connection only (TEMP), never stored in the file.
--
-- One INSERT of many rows into `batch` is the whole append: each row is one change, its `change` says which trigger
-- does it, a guard that finds something else aborts the statement, and the statement is the transaction. In Python each
-- statement gives the interpreter's lock away and waits up to 5 ms to get it back from a busy event loop; so there is one.
-- A row whose `change` is NULL does nothing (it fills a statement up to a size that is prepared already).

CREATE TEMP VIEW batch AS SELECT NULL AS change,
    NULL AS a, NULL AS b, NULL AS c, NULL AS d, NULL AS e, NULL AS f, NULL AS g, NULL AS h, NULL AS i,
    NULL AS j, NULL AS k, NULL AS l, NULL AS m, NULL AS n, NULL AS o, NULL AS p, NULL AS q;

-- a shard, b fence, c position before, d position after (c and d NULL: only the fence is checked)
CREATE TEMP TRIGGER batch_shard INSTEAD OF INSERT ON batch WHEN new.change = 'shard' BEGIN
    UPDATE shards SET position = coalesce(new.d, position)
    WHERE shard = new.a AND fence = new.b AND position = coalesce(new.c, position);
    SELECT RAISE(ABORT, 'fence') WHERE changes() = 0;
END;

-- a id, b tenant, c shard, d workflow, e version, f definition, g status, h run, i sequence, j wake_at_us, k active,
-- l created_us, m updated_us, n finished_us, o priority, p parent, q summary
CREATE TEMP TRIGGER batch_create INSTEAD OF INSERT ON batch WHEN new.change = 'create' BEGIN
    INSERT INTO executions (id, tenant, shard, workflow, version, definition, status, run, sequence, wake_at_us, active,
                            created_us, updated_us, finished_us, priority, parent, summary)
    VALUES (new.a, new.b, new.c, new.d, new.e, new.f, new.g, new.h, new.i, new.j, new.k,
            new.l, new.m, new.n, new.o, new.p, new.q);
END;

-- the same, but b expected sequence; tenant, shard, workflow, parent and created_us are fixed at creation
CREATE TEMP TRIGGER batch_move INSTEAD OF INSERT ON batch WHEN new.change = 'move' BEGIN
    UPDATE executions
    SET version = new.e, definition = new.f, status = new.g, run = new.h, sequence = new.i, wake_at_us = new.j,
        active = new.k, updated_us = new.m, finished_us = new.n, priority = new.o, summary = new.q
    WHERE id = new.a AND sequence = new.b;
    SELECT RAISE(ABORT, 'sequence') WHERE changes() = 0;
END;

-- a shard, b position, c tenant, d execution, e sequence, f event_count, g input_id, h kind, i now_us, j payload,
-- k events, l payload_blob, m format, n checksum
CREATE TEMP TRIGGER batch_log INSTEAD OF INSERT ON batch WHEN new.change = 'log' BEGIN
    INSERT INTO log (shard, position, tenant, execution, sequence, event_count, input_id, kind, now_us, payload,
                     events, payload_blob, format, checksum)
    VALUES (new.a, new.b, new.c, new.d, new.e, new.f, new.g, new.h, new.i, new.j, new.k, new.l, new.m, new.n);
END;

-- a id
CREATE TEMP TRIGGER batch_drained INSTEAD OF INSERT ON batch WHEN new.change = 'drained' BEGIN
    DELETE FROM inbox WHERE id = new.a;
END;

-- a execution, b input_id, c tenant, d shard, e kind, f payload, g posted_us
CREATE TEMP TRIGGER batch_inbox INSTEAD OF INSERT ON batch WHEN new.change = 'inbox' BEGIN
    INSERT INTO inbox (execution, input_id, tenant, shard, kind, payload, posted_us)
    SELECT new.a, new.b, new.c, new.d, new.e, new.f, new.g
    WHERE NOT EXISTS (SELECT 1 FROM log WHERE execution = new.a AND input_id = new.b)
      AND NOT EXISTS (SELECT 1 FROM inbox WHERE execution = new.a AND input_id = new.b);
END;

-- a tenant, b hash, c content, d written_us
CREATE TEMP TRIGGER batch_blob INSTEAD OF INSERT ON batch WHEN new.change = 'blob' BEGIN
    INSERT INTO blobs (tenant, hash, content, written_us) VALUES (new.a, new.b, new.c, new.d)
    ON CONFLICT (tenant, hash) DO UPDATE SET written_us = max(written_us, excluded.written_us);
END;

-- a tenant, b key, c delta, d limit
CREATE TEMP TRIGGER batch_counter INSTEAD OF INSERT ON batch WHEN new.change = 'counter' BEGIN
    INSERT INTO counters (tenant, key, value) VALUES (new.a, new.b, new.c)
    ON CONFLICT (tenant, key) DO UPDATE SET value = value + excluded.value;
    SELECT RAISE(ABORT, 'limit') FROM counters
    WHERE tenant = new.a AND key = new.b AND new.c > 0 AND value > new.d;
END;
