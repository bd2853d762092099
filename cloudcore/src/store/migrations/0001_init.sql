-- Everything cloudcore knows. Times are Unix milliseconds, uids and lineages 16 bytes, digests 32 bytes (SHA-256).
-- Every table that belongs to somebody carries its tenant.

-- Facts about this store: fleet, incarnation.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- One row. Every write of a resource takes the next number; watches resume from it.
CREATE TABLE resource_counter (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    version   INTEGER NOT NULL,
    -- Watches cannot resume from before this: older tombstones were dropped.
    compacted INTEGER NOT NULL
) STRICT;
INSERT INTO resource_counter (id, version, compacted) VALUES (1, 0, 0);

-- All kinds of the API. labels, annotations, spec and status are JSON.
CREATE TABLE resource (
    tenant           TEXT    NOT NULL,
    kind             TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    labels           TEXT    NOT NULL,
    annotations      TEXT    NOT NULL,
    spec             TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    generation       INTEGER NOT NULL, -- counts changes of spec
    resource_version INTEGER NOT NULL, -- of the last write
    created_version  INTEGER NOT NULL, -- of the first write: tells ADDED from MODIFIED
    created_ms       INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX resource_by_version ON resource (tenant, kind, resource_version);

-- Deleted resources as they were, for watches that resume. Bounded; see resource_counter.compacted.
CREATE TABLE tombstone (
    resource_version INTEGER PRIMARY KEY,
    tenant           TEXT    NOT NULL,
    kind             TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    labels           TEXT    NOT NULL,
    annotations      TEXT    NOT NULL,
    spec             TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    generation       INTEGER NOT NULL,
    created_version  INTEGER NOT NULL,
    created_ms       INTEGER NOT NULL
) STRICT;
CREATE INDEX tombstone_by_kind ON tombstone (tenant, kind, resource_version);

-- Who every enrolled device is. A uid is never reused; the row outlives the node.
CREATE TABLE node_identity (
    uid                    BLOB PRIMARY KEY CHECK (length(uid) = 16),
    tenant                 TEXT    NOT NULL,
    site                   TEXT    NOT NULL,
    name                   TEXT    NOT NULL,
    identity_key           BLOB    NOT NULL, -- SubjectPublicKeyInfo DER
    certificate_serial     BLOB    NOT NULL,
    certificate_expires_ms INTEGER NOT NULL,
    phase                  TEXT    NOT NULL CHECK (phase IN ('Enrolled', 'Revoked', 'Decommissioned')),
    enrolled_ms            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- A name is taken until its node is decommissioned.
CREATE UNIQUE INDEX node_name ON node_identity (tenant, name) WHERE phase <> 'Decommissioned';

-- The last session of a node, and what the node said in it.
CREATE TABLE session (
    uid                BLOB PRIMARY KEY REFERENCES node_identity (uid),
    tenant             TEXT    NOT NULL,
    term               INTEGER NOT NULL,
    secret_current     BLOB,             -- what the last Welcome gave; NULL: forgotten by a restore, any is accepted
    secret_previous    BLOB,             -- what the node presented to get it; empty: it had none
    instance           BLOB    NOT NULL,
    boot               BLOB    NOT NULL,
    lineage            BLOB    NOT NULL,
    transport          TEXT CHECK (transport IN ('quic', 'websocket')), -- NULL: not connected
    connected_ms       INTEGER NOT NULL,
    last_seen_ms       INTEGER NOT NULL,
    agent_version      TEXT    NOT NULL,
    os                 TEXT    NOT NULL,
    arch               TEXT    NOT NULL,
    onnxruntime        TEXT    NOT NULL, -- empty: none on the node
    capabilities       TEXT    NOT NULL, -- JSON array
    applied_generation INTEGER NOT NULL, -- 0: none
    applied_digest     BLOB,
    applied            BLOB              -- the last Applied message, as received
) STRICT, WITHOUT ROWID;

-- Everything up to and including `through` is counted.
CREATE TABLE watermark (
    uid     BLOB    NOT NULL REFERENCES node_identity (uid),
    lineage BLOB    NOT NULL,
    stream  INTEGER NOT NULL, -- millwright.link.v1.Stream
    tenant  TEXT    NOT NULL,
    through INTEGER NOT NULL,
    moved_ms INTEGER NOT NULL, -- when it last moved; the watermarks of long unused lineages are dropped
    PRIMARY KEY (uid, lineage, stream)
) STRICT, WITHOUT ROWID;

-- Summaries as received.
CREATE TABLE summary_window (
    uid         BLOB    NOT NULL REFERENCES node_identity (uid),
    lineage     BLOB    NOT NULL,
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    tenant      TEXT    NOT NULL,
    start_ms    INTEGER NOT NULL, -- by the node's clock
    length_ms   INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    undecodable INTEGER NOT NULL CHECK (undecodable IN (0, 1)), -- 1: counted, but says nothing; start is its arrival
    payload     BLOB    NOT NULL,
    PRIMARY KEY (uid, lineage, first)
) STRICT;
CREATE INDEX summary_window_by_start ON summary_window (tenant, start_ms);
CREATE INDEX summary_window_by_arrival ON summary_window (received_ms);

-- Sequence numbers that will never arrive.
CREATE TABLE gap (
    uid         BLOB    NOT NULL REFERENCES node_identity (uid),
    lineage     BLOB    NOT NULL,
    stream      INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    tenant      TEXT    NOT NULL,
    reason      INTEGER NOT NULL, -- millwright.link.v1.GapReason
    received_ms INTEGER NOT NULL,
    PRIMARY KEY (uid, lineage, stream, first)
) STRICT, WITHOUT ROWID;

-- What happened, on nodes and in the cloud.
CREATE TABLE event (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant    TEXT    NOT NULL,
    time_ms   INTEGER NOT NULL, -- by the clock of who reported it
    severity  TEXT    NOT NULL CHECK (severity IN ('Normal', 'Warning')),
    reason    TEXT    NOT NULL,
    message   TEXT    NOT NULL,
    regarding TEXT    NOT NULL  -- <Kind>/<name>
) STRICT;
CREATE INDEX event_by_regarding ON event (tenant, regarding, id);

-- The newest desired state of every node.
CREATE TABLE desired (
    uid        BLOB PRIMARY KEY REFERENCES node_identity (uid),
    tenant     TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    digest     BLOB    NOT NULL,
    document   BLOB    NOT NULL, -- an encoded DesiredDocument
    content    TEXT    NOT NULL, -- JSON: what the planner compares, so that it decodes no documents
    planned_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Secrets of JoinToken resources; the resource says what people see.
CREATE TABLE join_token (
    id          TEXT PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    name        TEXT    NOT NULL, -- of the JoinToken resource
    site        TEXT    NOT NULL,
    secret_hash BLOB    NOT NULL,
    uses_left   INTEGER NOT NULL CHECK (uses_left >= 0),
    expires_ms  INTEGER NOT NULL,
    revoked     INTEGER NOT NULL CHECK (revoked IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX join_token_by_name ON join_token (tenant, name);

-- Bearer tokens of the API; only hashes.
CREATE TABLE api_token (
    hash       BLOB PRIMARY KEY CHECK (length(hash) = 32),
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL, -- the actor in the audit trail
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Blobs that are complete on disk.
CREATE TABLE blob (
    tenant      TEXT    NOT NULL,
    digest      BLOB    NOT NULL CHECK (length(digest) = 32),
    size_bytes  INTEGER NOT NULL,
    uploaded_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, digest)
) STRICT, WITHOUT ROWID;

-- Who did what. One row for every mutation of intent, written in its transaction, and for refusals.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant  TEXT    NOT NULL,
    time_ms INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    object  TEXT    NOT NULL,
    outcome TEXT    NOT NULL CHECK (outcome IN ('allowed', 'refused')),
    detail  TEXT    NOT NULL
) STRICT;
