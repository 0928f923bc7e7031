-- Documents that hardly compress; those of 4 kB and more stand in TOAST.
CREATE TABLE documents (id int PRIMARY KEY, body jsonb NOT NULL, text text NOT NULL);
CREATE FUNCTION noise(seed int, pieces int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(md5((seed * 1000 + i)::text), ' ') FROM generate_series(1, pieces) i
$$;
CREATE FUNCTION body(seed int, entries int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('id', seed, 'tags', ARRAY['a', 'b', NULL], 'entries',
        jsonb_agg(jsonb_build_object('n', i, 'hash', md5((seed + i)::text), 'ok', i % 2 = 0)))
    FROM generate_series(1, entries) i
$$;
-- changes
INSERT INTO documents
SELECT i, body(i, 10 + i % 50), noise(i, 30 + i % 200) FROM generate_series(1, 24000) i;
UPDATE documents SET body = jsonb_set(body, '{changed}', 'true') WHERE id % 3 = 0;
