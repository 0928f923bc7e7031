-- What an import does: one very large transaction, and a row of middling ones.
CREATE TABLE events (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    customer int NOT NULL,
    kind text NOT NULL,
    amount numeric(12, 2),
    note text
);
CREATE PROCEDURE import(first int, many int) LANGUAGE sql AS $$
    INSERT INTO events
    SELECT i, timestamptz '2026-01-01 00:00Z' + i * interval '1 s', i % 1000, 'kind ' || i % 7,
           (i % 100000) / 100.0, CASE WHEN i % 5 > 0 THEN 'it''s note ' || i END
    FROM generate_series(first, first + many - 1) i;
$$;
CREATE PROCEDURE import_in_parts(first int, many int, times int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 0 .. times - 1 LOOP
        CALL import(first + i * many, many);
        COMMIT;
    END LOOP;
END $$;
-- changes
CALL import(1, 400000);
CALL import_in_parts(400001, 5000, 60);
