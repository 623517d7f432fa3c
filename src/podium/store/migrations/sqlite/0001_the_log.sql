-- The first schema. Positions and fences are as docs/log-format.md says; a migration, once released, is never edited.

-- One row an input, in the order of their commits: an append writes to the table's end, not to one leaf a shard.
CREATE TABLE log (
    id           INTEGER PRIMARY KEY,
    shard        INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    tenant       TEXT    NOT NULL,
    execution    TEXT    NOT NULL,
    sequence     INTEGER NOT NULL,
    event_count  INTEGER NOT NULL,
    input_id     TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    now_us       INTEGER NOT NULL,
    payload      BLOB    NOT NULL,
    events       BLOB    NOT NULL,
    payload_blob TEXT,
    format       INTEGER NOT NULL,
    checksum     INTEGER NOT NULL
);
-- In blocks of 4,096 ids, so that an append writes to this index's end too; `follow` goes from block to block. It
-- needn't be unique: the guard of the shard's row gives each position once.
CREATE INDEX log_position ON log (id >> 12, shard, position);
CREATE UNIQUE INDEX log_input ON log (execution, input_id);
CREATE UNIQUE INDEX log_sequence ON log (execution, sequence);

CREATE TABLE executions (
    id          TEXT    PRIMARY KEY NOT NULL,
    tenant      TEXT    NOT NULL,
    shard       INTEGER NOT NULL,
    workflow    TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    definition  TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    run         INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    wake_at_us  INTEGER,
    active      INTEGER NOT NULL,
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    finished_us INTEGER,
    priority    INTEGER NOT NULL,
    parent      TEXT,
    summary     BLOB    NOT NULL
);
-- One process owns all shards of a file, so the soonest of all comes first and the shard is only filtered.
CREATE INDEX executions_wake ON executions (wake_at_us) WHERE wake_at_us IS NOT NULL;
CREATE INDEX executions_active ON executions (created_us) WHERE active;
CREATE INDEX executions_tenant ON executions (tenant, created_us);
CREATE INDEX executions_created ON executions (created_us);

CREATE TABLE shards (
    shard    INTEGER PRIMARY KEY,
    fence    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    owner    TEXT    NOT NULL
);

-- AUTOINCREMENT: an id is never given twice, so that "above this id" misses nothing.
CREATE TABLE inbox (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    execution TEXT    NOT NULL,
    input_id  TEXT    NOT NULL,
    tenant    TEXT    NOT NULL,
    shard     INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    payload   BLOB    NOT NULL,
    posted_us INTEGER NOT NULL
);
CREATE UNIQUE INDEX inbox_input ON inbox (execution, input_id);

CREATE TABLE blobs (
    tenant     TEXT    NOT NULL,
    hash       TEXT    NOT NULL,
    content    BLOB    NOT NULL,
    written_us INTEGER NOT NULL,
    PRIMARY KEY (tenant, hash)
);

CREATE TABLE snapshots (
    execution  TEXT    NOT NULL,
    sequence   INTEGER NOT NULL,
    run        INTEGER NOT NULL,
    state      BLOB    NOT NULL,
    created_us INTEGER NOT NULL,
    format     INTEGER NOT NULL,
    checksum   INTEGER NOT NULL,
    PRIMARY KEY (execution, sequence)
);

CREATE TABLE counters (
    tenant TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    value  INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;

CREATE TABLE cursors (
    name     TEXT    NOT NULL,
    shard    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (name, shard)
) WITHOUT ROWID;

CREATE TABLE tenants (
    tenant     TEXT    PRIMARY KEY NOT NULL,
    created_us INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO tenants (tenant, created_us) VALUES ('default', 0);

CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;
