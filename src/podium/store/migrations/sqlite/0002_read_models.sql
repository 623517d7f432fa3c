-- Read models: what is derived from the log by readers that keep their place in `cursors`. All of it can be rebuilt.

-- In order of key within a model, so that a question by prefix reads just what it finds.
CREATE TABLE models (
    name  TEXT    NOT NULL,
    key   TEXT    NOT NULL,
    shard INTEGER NOT NULL,
    value BLOB    NOT NULL,
    PRIMARY KEY (name, key, shard)
) WITHOUT ROWID;

CREATE INDEX executions_unfinished ON executions (shard) WHERE finished_us IS NULL;
