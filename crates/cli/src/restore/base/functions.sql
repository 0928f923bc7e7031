-- Functions of the session that loads a base. Their argument is the text of an entry of the dump.

-- A foreign key that rows violate (created under session_replication_role = replica, for example) is as valid here as
-- at the source. One of a partitioned table takes over those of its partitions.
CREATE OR REPLACE FUNCTION pg_temp.incr_foreign_key(entry text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $key$
DECLARE
    statement text := rtrim(regexp_replace(entry, '^(--[^\n]*\n|\s)*', ''), concat(' ;', chr(10)));
    start text := substring(statement, '^ALTER TABLE (?:ONLY )?');
    place text := substring(substr(statement, length(start) + 1),
        '^(?:"(?:[^"]|"")*"|[^".\s]+)\.(?:"(?:[^"]|"")*"|[^".\s]+)');
    action text := substr(statement, length(start) + length(place) + 1);
    leaf regclass;
    others oid[];
BEGIN
    EXECUTE entry;
    EXCEPTION WHEN foreign_key_violation THEN
        IF action ~ '^\s+ADD CONSTRAINT ' IS NOT TRUE THEN RAISE; END IF;
        FOR leaf IN SELECT relid FROM pg_partition_tree(place) WHERE isleaf
            UNION SELECT oid FROM pg_class WHERE oid = place::regclass AND relkind = 'r' LOOP
            others := ARRAY(SELECT oid FROM pg_constraint WHERE conrelid = leaf AND contype = 'f');
            EXECUTE format('ALTER TABLE ONLY %s%s NOT VALID', leaf, action);
            UPDATE pg_constraint SET convalidated = true WHERE conrelid = leaf AND contype = 'f' AND oid <> ALL (others);
        END LOOP;
        IF EXISTS (SELECT FROM pg_class WHERE oid = place::regclass AND relkind = 'p') THEN EXECUTE entry; END IF;
        RAISE WARNING 'rows contradict a foreign key, here as at the source: %', SQLERRM;
END $key$;

-- Only superusers can own an event trigger, a foreign-data wrapper, or a publication of all tables: an owner that no
-- longer is a superuser is made one for the statement, which is not visible to others.
CREATE OR REPLACE FUNCTION pg_temp.incr_own(entry text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $own$
DECLARE
    owner text := substring(entry, ' OWNER TO ("(?:[^"]|"")*"|[^";\s]+);?\s*$');
BEGIN
    EXECUTE entry;
    EXCEPTION WHEN insufficient_privilege THEN
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR
            NOT EXISTS (SELECT FROM pg_roles WHERE oid = to_regrole(owner) AND NOT rolsuper) THEN RAISE; END IF;
        EXECUTE format('ALTER ROLE %s SUPERUSER', owner);
        EXECUTE entry;
        EXECUTE format('ALTER ROLE %s NOSUPERUSER', owner);
END $own$;

-- An owner needs a privilege where its object is, which a superuser at the source did without: a role that owns the place
-- lends it for the statement. "place" is a schema, or the server that is given.
CREATE OR REPLACE FUNCTION pg_temp.incr_give(statement text, place text, owner text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $give$
DECLARE
    lent text := CASE
        WHEN statement ~ '^ALTER PUBLICATION ' THEN format('CREATE ON DATABASE %I', current_database())
        WHEN statement ~ '^ALTER SERVER ' THEN (SELECT format('USAGE ON FOREIGN DATA WRAPPER %I', fdwname)
            FROM pg_foreign_server AS s JOIN pg_foreign_data_wrapper AS w ON w.oid = srvfdw WHERE srvname = place)
        ELSE format('CREATE ON SCHEMA %I', place) END;
BEGIN
    EXECUTE format('GRANT %s TO %I', lent, owner);
    EXECUTE statement;
    EXECUTE format('REVOKE %s FROM %I', lent, owner);
END $give$;
