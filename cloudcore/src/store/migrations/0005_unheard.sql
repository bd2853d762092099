-- Nodes that said no Hello since an older backup was restored: they may work on generations this store never saw, so
-- nothing is planned for them until they do.
CREATE TABLE unheard (
    uid BLOB PRIMARY KEY REFERENCES node_identity (uid)
) STRICT, WITHOUT ROWID;
