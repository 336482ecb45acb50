-- One row a thing, one JSON document a row: what is searched for is a column, all else is in the document.
CREATE TABLE setting (
    name TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE function (
    arn TEXT PRIMARY KEY NOT NULL,
    document TEXT NOT NULL
) STRICT;

-- The asynchronous invocation queue. A row is there before its caller reads 202 and until its last attempt is over.
CREATE TABLE event (
    request_id TEXT PRIMARY KEY NOT NULL,
    document TEXT NOT NULL,
    payload BLOB NOT NULL,
    accepted_ms INTEGER NOT NULL
) STRICT;
