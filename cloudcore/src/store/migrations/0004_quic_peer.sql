-- Where the QUIC session of a node comes from, and the connection id it sends to: with both, a cloudcore that was
-- killed can tell the node at once that its session is gone (a stateless reset). Of use while session.transport is 'quic'.
CREATE TABLE quic_peer (
    uid           BLOB PRIMARY KEY REFERENCES node_identity (uid),
    tenant        TEXT NOT NULL,
    address       TEXT NOT NULL, -- ip:port
    connection_id BLOB NOT NULL
) STRICT, WITHOUT ROWID;
