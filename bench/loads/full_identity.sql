-- Tables whose old rows stand in the WAL as a whole.
SELECT format('CREATE TABLE full_%s (id int, a text, b numeric, c timestamptz, d boolean)', i),
       format('CREATE INDEX ON full_%s (id)', i),
       format('ALTER TABLE full_%s REPLICA IDENTITY FULL', i),
       format($$INSERT INTO full_%s SELECT g, 'row ' || g, g / 3.0, now(), g %% 2 = 0
                FROM generate_series(1, 2000) g$$, i)
FROM generate_series(1, 8) i
\gexec
-- changes
