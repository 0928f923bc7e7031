-- Names of every kind, and objects that only a superuser can own, whose owner is none any more.
CREATE ROLE "o'w ""n$$e:r\ %41
x"; CREATE ROLE plain; CREATE ROLE grp; GRANT grp TO plain; CREATE ROLE once_super SUPERUSER;
CREATE TABLE "t a:b ""c' \d %20 $1" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "x:y" text,
    g int GENERATED ALWAYS AS (length("x:y")) STORED);
ALTER TABLE "t a:b ""c' \d %20 $1" OWNER TO "o'w ""n$$e:r\ %41
x";
INSERT INTO "t a:b ""c' \d %20 $1" ("x:y") SELECT E'v :dbname :''dbname'' \\! true \n\\.\nCOMMIT; -- $s' || i FROM generate_series(1, 50) i;
UPDATE "t a:b ""c' \d %20 $1" SET "x:y" = ':PORT' WHERE id = 3;
CREATE DOMAIN dom AS int CHECK (VALUE > 0) DEFAULT 3;
CREATE TABLE held (d dom, e dom NOT NULL); INSERT INTO held VALUES (1, 2);
CREATE TYPE en AS ENUM ('a:b', 'c''d', E'e\nf');
CREATE TABLE ens (e en PRIMARY KEY); INSERT INTO ens VALUES ('a:b'), (E'e\nf');
CREATE TABLE log (t text);
CREATE RULE also AS ON INSERT TO held DO ALSO INSERT INTO log VALUES ('rule'); ALTER TABLE held ENABLE ALWAYS RULE also;
CREATE TABLE par (a int PRIMARY KEY, b text); CREATE TABLE chi (c int) INHERITS (par); INSERT INTO chi VALUES (1, 'x', 2);
CREATE POLICY pol ON par FOR SELECT TO plain USING (a > 0); ALTER TABLE par ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE FUNCTION tell() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.log VALUES (tg_tag); END$$;
CREATE EVENT TRIGGER "x EVENT TRIGGER y" ON ddl_command_end EXECUTE FUNCTION tell();
ALTER EVENT TRIGGER "x EVENT TRIGGER y" ENABLE ALWAYS;
ALTER EVENT TRIGGER "x EVENT TRIGGER y" OWNER TO once_super;
CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION few FOR TABLES IN SCHEMA public; ALTER PUBLICATION few OWNER TO once_super;
CREATE SUBSCRIPTION elsewhere CONNECTION 'host=/nowhere dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE);
ALTER SUBSCRIPTION elsewhere OWNER TO once_super;
CREATE FOREIGN DATA WRAPPER fw; ALTER FOREIGN DATA WRAPPER fw OWNER TO once_super;
CREATE SERVER srv FOREIGN DATA WRAPPER fw OPTIONS (a 'b:c'); CREATE USER MAPPING FOR plain SERVER srv OPTIONS (user 'x''y');
SELECT lo_from_bytea(77, 'abc'); ALTER LARGE OBJECT 77 OWNER TO plain; GRANT SELECT ON LARGE OBJECT 77 TO grp;
ALTER DEFAULT PRIVILEGES FOR ROLE plain GRANT SELECT ON TABLES TO grp;
ALTER ROLE once_super NOSUPERUSER;
