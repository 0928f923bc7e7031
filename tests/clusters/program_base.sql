-- Objects of many classes, for a base. psql reads them: what looks like its variables is in quotes.
CREATE ROLE "bob; \q""x"; CREATE ROLE plain_owner;
CREATE TABLE "t
;""\.x" ("a b
c" int primary key, ":x" text, v bytea);
INSERT INTO "t
;""\.x" SELECT i, E'x\n\\.\ny' || i, decode('00ff','hex') FROM generate_series(1, 2000) i;
CREATE TABLE empty_one (); INSERT INTO empty_one DEFAULT VALUES; INSERT INTO empty_one DEFAULT VALUES;
CREATE TABLE nothing (a int);
CREATE TABLE p (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200);
INSERT INTO p SELECT i, 'v' FROM generate_series(0,199) i;
-- psql would count this begin.
DO $do$ BEGIN EXECUTE $$CREATE FUNCTION begin(x int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT x + 1; SELECT x + 2; END$$; END $do$;
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RETURN ';' || $$--$$; END $f$;
ALTER FUNCTION f() OWNER TO plain_owner;
CREATE PROCEDURE pr() LANGUAGE plpgsql AS 'BEGIN END'; ALTER PROCEDURE pr() OWNER TO plain_owner;
CREATE AGGREGATE agg(int) (sfunc = int4pl, stype = int, initcond = '0'); ALTER AGGREGATE agg(int) OWNER TO plain_owner;
CREATE SCHEMA "odd ;schema" AUTHORIZATION "bob; \q""x";
CREATE TABLE "odd ;schema".q (id int generated always as identity, g int generated always as (id * 2) stored, d text default 'x;y');
INSERT INTO "odd ;schema".q (d) SELECT 'd' FROM generate_series(1,50);
CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM p;
CREATE MATERIALIZED VIEW mv_empty AS SELECT 1/0 AS x WITH NO DATA;
CREATE VIEW vv AS SELECT * FROM mv;
CREATE TABLE par (id int primary key); CREATE TABLE chi (id int references par);
SET session_replication_role = replica; INSERT INTO chi VALUES (7); RESET session_replication_role;
CREATE TABLE chk (a int, CONSTRAINT c CHECK (a > 0) NOT VALID);
SELECT lo_from_bytea(0, decode(repeat('0123456789abcdef', 5000), 'hex')), lo_from_bytea(0, 'x'), lo_create(0);
DO $$ DECLARE o oid; BEGIN SELECT oid INTO o FROM pg_largeobject_metadata ORDER BY 1 LIMIT 1;
    EXECUTE format('COMMENT ON LARGE OBJECT %s IS %L', o, 'it''s'); EXECUTE format('ALTER LARGE OBJECT %s OWNER TO plain_owner', o);
    EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO PUBLIC', o); END $$;
CREATE FUNCTION evf() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER et ON ddl_command_start EXECUTE FUNCTION evf();
ALTER ROLE plain_owner SUPERUSER; ALTER EVENT TRIGGER et OWNER TO plain_owner; ALTER ROLE plain_owner NOSUPERUSER;
CREATE PUBLICATION pub FOR ALL TABLES; CREATE PUBLICATION pub2 FOR TABLE p;
CREATE SUBSCRIPTION sub CONNECTION 'dbname=nowhere' PUBLICATION x WITH (connect = false);
CREATE TYPE e AS ENUM ('a', 'b;'); CREATE DOMAIN dom AS int CHECK (VALUE < 1000);
CREATE TABLE gen_inh (a dom, b e, c int[]); CREATE TABLE gen_child (x int) INHERITS (gen_inh);
INSERT INTO gen_child VALUES (1, 'b;', '{1,2}', 9);
CREATE RULE ru AS ON INSERT TO nothing DO ALSO SELECT 1; CREATE INDEX ix ON p (v); CREATE STATISTICS st ON k, v FROM p;
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER tr BEFORE INSERT ON par FOR EACH ROW EXECUTE FUNCTION trg(); ALTER TABLE par ENABLE ALWAYS TRIGGER tr;
CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq); CREATE OPERATOR FAMILY of USING btree; ALTER OPERATOR FAMILY of USING btree OWNER TO plain_owner;
CREATE TEXT SEARCH CONFIGURATION tsc (copy = simple); ALTER TEXT SEARCH CONFIGURATION tsc OWNER TO plain_owner;
GRANT SELECT ON p TO PUBLIC; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO plain_owner; COMMENT ON TABLE p IS 'c;''\n';
CREATE FOREIGN DATA WRAPPER fdw; CREATE SERVER srv FOREIGN DATA WRAPPER fdw; CREATE USER MAPPING FOR PUBLIC SERVER srv OPTIONS (x 'y');
ALTER DATABASE app SET work_mem = '5MB'; GRANT CREATE ON DATABASE app TO plain_owner; COMMENT ON DATABASE app IS 'it''s \ "x" :"dbname"';
ALTER ROLE plain_owner IN DATABASE app SET search_path = "a b", public;
SET allow_in_place_tablespaces = on; CREATE TABLESPACE "ts x" LOCATION ''; CREATE TABLE in_ts (a int) TABLESPACE "ts x"; CREATE INDEX ON in_ts (a); CREATE SEQUENCE seq_after;
SELECT setval('seq_after', 77);
