-- One of nearly every type that a table of an application has.
CREATE TYPE mood AS ENUM ('calm', 'glad', 'cross');
CREATE TYPE place AS (street text, number int);
CREATE DOMAIN percent AS numeric(5, 2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE TABLE wide (
    id bigint PRIMARY KEY, c2 smallint, c3 int, c4 bigint, c5 numeric, c6 numeric(20, 5), c7 real,
    c8 double precision, c9 boolean, c10 text, c11 varchar(50), c12 char(10), c13 bytea, c14 date,
    c15 time, c16 timetz, c17 timestamp, c18 timestamptz, c19 interval, c20 uuid, c21 inet,
    c22 cidr, c23 macaddr, c24 json, c25 jsonb, c26 int[], c27 text[], c28 point, c29 box,
    c30 bit(8), c31 varbit, c32 money, c33 tsvector, c34 int4range, c35 tstzrange, c36 mood,
    c37 place, c38 percent, c39 oid, c40 text
);
-- changes
INSERT INTO wide
SELECT i, i % 30000, i, i * 1000000007::bigint, i / 7.0, i / 100000.0, i / 3.0, i / 3.0, i % 2 = 0,
    'text of row ' || i, 'it''s ' || i, 'c' || i % 1000, decode(md5(i::text), 'hex'),
    date '2026-01-01' + i % 365, time '00:00' + i * interval '1 s', timetz '12:00+02',
    timestamp '2026-01-01' + i * interval '1 min', timestamptz '2026-01-01Z' + i * interval '1 min',
    i * interval '1 min', md5(i::text)::uuid, inet '10.0.0.0' + i, cidr '10.0.0.0/8',
    macaddr '08:00:2b:01:02:03', json_build_object('n', i), jsonb_build_object('n', i, 'a', 'b'),
    ARRAY[i, i + 1, i + 2], ARRAY['a', 'b ' || i, NULL], point(i, i / 2.0), box(point(i, i), point(0, 0)),
    (i % 256)::bit(8), B'10101', (i % 1000)::money, to_tsvector('simple', 'row number ' || i),
    int4range(i, i + 10), tstzrange(timestamptz '2026-01-01Z', timestamptz '2026-01-02Z'),
    (ARRAY['calm', 'glad', 'cross'])[1 + i % 3]::mood, ROW('street ' || i, i)::place,
    (i % 10000) / 100.0, i, CASE WHEN i % 3 = 0 THEN E'two\nlines' END
FROM generate_series(1, 120000) i;
UPDATE wide SET c3 = c3 + 1, c10 = 'changed ' || id, c18 = c18 + interval '1 h' WHERE id <= 30000;
DELETE FROM wide WHERE id > 105000;
