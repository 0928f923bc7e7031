-- Rows of every kind, and what acts on rows. Run with psql, each statement a transaction of its own.
CREATE TABLE every (id int PRIMARY KEY, t text, b bytea, n numeric, f float8, d date, ts timestamptz, i interval, j jsonb,
    x macaddr, a int[], p point, r int4range, u uuid, bits bit varying, m money, net inet, o boolean, c "char");
INSERT INTO every SELECT g, E'a\tb\nc\\d''e' || g, decode(repeat('00ff', g), 'hex'), g / 7.0, g * 1e-300, DATE '0044-03-15 BC' + g,
    timestamptz '2026-11-21 03:40:00.123456+00' + g * interval '1 day', make_interval(g, g, g, g), jsonb_build_object('k', g),
    '08:00:2b:01:02:03', ARRAY[g, NULL], point(g, -g), int4range(g, NULL), gen_random_uuid(), g::bit(8), g, '10.0.0.1', g % 2 = 0, 'x'
    FROM generate_series(1, 100) g;
UPDATE every SET f = 'NaN', n = 'Infinity', d = 'infinity', t = E'\\.' WHERE id = 7;
UPDATE every SET id = id + 1000 WHERE id % 10 = 0;
DELETE FROM every WHERE id % 9 = 0;
CREATE TABLE keyless (a int, b text);
INSERT INTO keyless VALUES (1, 'twice'), (1, 'twice'), (NULL, NULL), (2, E'\\! :PORT');
UPDATE keyless SET b = 'once' WHERE ctid = (SELECT min(ctid) FROM keyless WHERE a = 1);
DELETE FROM keyless WHERE a IS NULL;
CREATE TABLE "odd ""name; \x" ("COMMIT;" text PRIMARY KEY);
INSERT INTO "odd ""name; \x" VALUES ('COMMIT;'), (E'\\.'), ('-- @');
CREATE TABLE noted (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO public.noted VALUES (tg_op || ' ' || tg_table_name); RETURN NEW; END$$;
CREATE TABLE parted (k int, v text) PARTITION BY LIST (k);
CREATE TRIGGER always AFTER INSERT ON parted FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE parted ENABLE ALWAYS TRIGGER always;
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
INSERT INTO parted VALUES (1, 'a');
CREATE TRIGGER replica BEFORE UPDATE ON keyless FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE keyless ENABLE REPLICA TRIGGER replica;
CREATE RULE doubled AS ON DELETE TO keyless DO ALSO INSERT INTO noted VALUES ('rule');
ALTER TABLE keyless ENABLE ALWAYS RULE doubled;
DELETE FROM keyless WHERE a = 2;
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
INSERT INTO parted VALUES (2, 'b');
CREATE TABLE master (id int PRIMARY KEY);
CREATE TABLE detail (id int REFERENCES master ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO master VALUES (1), (2);
INSERT INTO detail VALUES (1), (1), (2);
DELETE FROM master WHERE id = 1;
UPDATE master SET id = 3;
CREATE MATERIALIZED VIEW summed AS SELECT count(*) FROM every;
CREATE MATERIALIZED VIEW empty AS SELECT 1 / 0 AS x WITH NO DATA;
CREATE SEQUENCE counter INCREMENT -3 MINVALUE -1000;
SELECT nextval('counter'), nextval('counter');
SELECT lo_from_bytea(4711, 'first'), lo_from_bytea(4712, decode(repeat('0123456789abcdef', 5000), 'hex'));
COMMENT ON LARGE OBJECT 4711 IS 'it''s one';
BEGIN; INSERT INTO every (id) VALUES (5000); SAVEPOINT s; INSERT INTO every (id) VALUES (5001); ROLLBACK TO s; COMMIT;
