-- Functions of a session that gives the database itself the properties of the source.

-- database.sql contains the resulting state only, so everything else is reset first.
-- `followed`: nobody who connects meanwhile may write.
CREATE OR REPLACE FUNCTION pg_temp.incr_database_to_default(followed boolean) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $default$
DECLARE
    r record;
BEGIN
    EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
    IF followed THEN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END IF;
    EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT -1', current_database());
    EXECUTE format('COMMENT ON DATABASE %I IS NULL', current_database());
    FOR r IN SELECT rolname FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
        JOIN pg_roles AS a ON a.oid = s.setrole WHERE datname = current_database() LOOP
        EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET ALL', r.rolname, current_database());
    END LOOP;
    FOR r IN SELECT provider FROM pg_shseclabel AS l JOIN pg_database AS d ON d.oid = l.objoid
        WHERE classoid = 'pg_database'::regclass AND datname = current_database() LOOP
        EXECUTE format('SECURITY LABEL FOR %I ON DATABASE %I IS NULL', r.provider, current_database());
    END LOOP;
    FOR r IN SELECT DISTINCT a.grantee, pg_get_userbyid(a.grantee) AS name FROM pg_database AS d, aclexplode(d.datacl) AS a
        WHERE datname = current_database() LOOP
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM %s CASCADE', current_database(),
            CASE r.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.name) END);
    END LOOP;
    FOR r IN SELECT *, pg_get_userbyid(datdba) AS owner FROM pg_database
        WHERE datname = current_database() AND datacl IS NOT NULL LOOP
        EXECUTE format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO PUBLIC', r.datname);
        EXECUTE format('GRANT ALL ON DATABASE %I TO %I', r.datname, r.owner);
    END LOOP;
END $default$;

-- PUBLIC may not connect to a database that is not complete; returns whether it could.
CREATE OR REPLACE FUNCTION pg_temp.incr_keep_out() RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $out$
DECLARE
    lets_in boolean := EXISTS (SELECT FROM pg_database AS d, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS a
        WHERE datname = current_database() AND grantee = 0 AND privilege_type = 'CONNECT');
BEGIN
    EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database());
    RETURN lets_in;
END $out$;

CREATE OR REPLACE FUNCTION pg_temp.incr_let_in() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $in$ BEGIN
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO PUBLIC', current_database());
END $in$;
