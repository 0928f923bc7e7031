-- Functions of a session that gives the roles and tablespaces which a restore made the properties of the source. Settings
-- of the session: "made" has r and the OID of each role, t and that of each tablespace; "applied" has hashes of what was
-- executed; "renames" has the number of a set of globals, an old name and a new one.

-- Executes a statement, as the role that did so at the source.
CREATE OR REPLACE FUNCTION pg_temp.incr_attempt(subject text, other text, statement text) RETURNS void LANGUAGE plpgsql AS $attempt$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = other) THEN EXECUTE format('SET LOCAL ROLE %I', other); END IF;
    EXECUTE statement;
    SET LOCAL ROLE NONE;
    EXCEPTION WHEN OTHERS THEN RAISE WARNING 'globals of %: %', subject, SQLERRM;
END $attempt$;
-- Changes the roles and tablespaces that this restore made to the state in a globals.sql: they are created and dropped with
-- all their properties, with privileges on parameters, and with memberships in each other and in the predefined roles of
-- PostgreSQL. Existing ones are not changed, and get no members: a role that is a member of one at the source is not a
-- member here. What has not changed since the last globals.sql is not repeated.
CREATE OR REPLACE FUNCTION pg_temp.incr_globals(is_first boolean, kinds text[], subjects text[], others text[], grantors text[], statements text[])
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $globals$
DECLARE
    made text[] := string_to_array(current_setting('incr_restore.made'), ' ');
    applied jsonb := coalesce(nullif(current_setting('incr_restore.applied', true), ''), '{}')::jsonb;
    has_grantors boolean := current_setting('server_version_num')::integer >= 160000;
    roles text[] := ARRAY(SELECT subject FROM unnest(kinds, subjects) AS s (kind, subject) WHERE kind = 'create');
    changed text[];
    hashes text[];
    members text;
    parameters text;
    r record;
    one record;
    statement text;
BEGIN
    FOR r IN SELECT name FROM unnest(roles) AS s (name) WHERE name NOT IN (SELECT rolname FROM pg_roles) LOOP
        EXECUTE format('CREATE ROLE %I NOLOGIN', r.name);
        made := made || concat('r', (SELECT oid FROM pg_roles WHERE rolname = r.name));
    END LOOP;
    FOR r IN SELECT a.oid, a.rolname, array_agg(s.statement ORDER BY n) AS said, md5(string_agg(s.statement, ';' ORDER BY n)) AS hash
        FROM unnest(kinds, subjects, statements) WITH ORDINALITY AS s (kind, subject, statement, n)
        JOIN pg_roles AS a ON rolname = subject
        WHERE kind = 'of' AND concat('r', a.oid) = ANY (made) GROUP BY a.oid, a.rolname LOOP
        CONTINUE WHEN applied ->> concat('r', r.oid) = r.hash;
        EXECUTE format('ALTER ROLE %1$I RESET ALL; ALTER ROLE %1$I CONNECTION LIMIT -1 PASSWORD NULL; COMMENT ON ROLE %1$I IS NULL', r.rolname);
        UPDATE pg_authid SET rolvaliduntil = NULL WHERE oid = r.oid AND rolvaliduntil IS NOT NULL;
        FOR one IN SELECT provider FROM pg_shseclabel WHERE objoid = r.oid AND classoid = 'pg_authid'::regclass LOOP
            EXECUTE format('SECURITY LABEL FOR %I ON ROLE %I IS NULL', one.provider, r.rolname);
        END LOOP;
        FOREACH statement IN ARRAY r.said LOOP PERFORM pg_temp.incr_attempt(r.rolname, '', statement); END LOOP;
        changed := changed || concat('r', r.oid); hashes := hashes || r.hash;
    END LOOP;
    SELECT coalesce(md5(string_agg(concat_ws(';', subject, other, grantor, s.statement), ';' ORDER BY n)), 'none') INTO parameters
        FROM unnest(kinds, subjects, others, grantors, statements) WITH ORDINALITY AS s (kind, subject, other, grantor, statement, n)
        JOIN pg_roles AS a ON rolname = other WHERE kind = 'parameter' AND concat('r', a.oid) = ANY (made);
    IF applied ->> 'parameters' IS DISTINCT FROM parameters THEN
        FOR r IN SELECT DISTINCT parname, grantee::regrole AS grantee FROM pg_parameter_acl, aclexplode(paracl)
            WHERE concat('r', grantee) = ANY (made) LOOP
            EXECUTE format('REVOKE ALL ON PARAMETER %I FROM %s CASCADE', r.parname, r.grantee);
        END LOOP;
        FOR r IN SELECT other, grantor, s.statement
            FROM unnest(kinds, others, grantors, statements) WITH ORDINALITY AS s (kind, other, grantor, statement, n)
            JOIN pg_roles AS a ON rolname = other
            WHERE kind = 'parameter' AND concat('r', a.oid) = ANY (made) ORDER BY n LOOP
            PERFORM pg_temp.incr_attempt(r.other, r.grantor, r.statement);
        END LOOP;
    END IF;
    SELECT coalesce(md5(string_agg(concat_ws(';', grantor, s.statement), ';' ORDER BY n)), 'none') INTO members
        FROM unnest(kinds, grantors, statements) WITH ORDINALITY AS s (kind, grantor, statement, n) WHERE kind = 'member';
    IF applied ->> 'members' IS DISTINCT FROM members THEN
        FOR r IN SELECT * FROM pg_auth_members AS m WHERE concat('r', member) = ANY (made) LOOP
            CONTINUE WHEN NOT EXISTS (SELECT FROM pg_auth_members AS m
                WHERE m.roleid = r.roleid AND m.member = r.member AND m.grantor = r.grantor);
            EXECUTE format('REVOKE %s FROM %s', r.roleid::regrole, r.member::regrole) ||
                CASE WHEN has_grantors THEN format(' GRANTED BY %s CASCADE', r.grantor::regrole) ELSE '' END;
        END LOOP;
    END IF;
    FOR r IN SELECT rolname FROM pg_roles WHERE NOT is_first AND concat('r', oid) = ANY (made) AND rolname <> ALL (roles) LOOP
        BEGIN
            EXECUTE format('DROP ROLE %I', r.rolname);
            EXCEPTION WHEN dependent_objects_still_exist THEN
                EXECUTE format('ALTER ROLE %I NOLOGIN NOSUPERUSER PASSWORD NULL', r.rolname);
        END;
    END LOOP;
    FOR r IN SELECT s.*, EXISTS (SELECT FROM pg_roles WHERE rolname = grantor) AS has_grantor
        FROM unnest(kinds, subjects, others, grantors, statements) WITH ORDINALITY AS s (kind, subject, other, grantor, statement, n)
        JOIN pg_roles AS a ON a.rolname = subject JOIN pg_roles AS b ON b.rolname = other
        WHERE kind = 'member' AND applied ->> 'members' IS DISTINCT FROM members AND concat('r', b.oid) = ANY (made)
            AND (concat('r', a.oid) = ANY (made) OR subject ~ '^pg_') ORDER BY n LOOP
        BEGIN
            EXECUTE r.statement || CASE WHEN r.has_grantor THEN format(' GRANTED BY %I', r.grantor) ELSE '' END;
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING 'globals of %: not as granted by %: %', r.other, r.grantor, SQLERRM;
                PERFORM pg_temp.incr_attempt(r.other, '', r.statement);
        END;
    END LOOP;
    FOR r IN SELECT * FROM pg_tablespace JOIN (SELECT subject, array_agg(grantor ORDER BY n) AS grantors,
                array_agg(s.statement ORDER BY n) AS said, md5(string_agg(concat(grantor, ';', s.statement), ';' ORDER BY n)) AS hash
            FROM unnest(kinds, subjects, grantors, statements) WITH ORDINALITY AS s (kind, subject, grantor, statement, n)
            WHERE kind = 'space' GROUP BY subject) AS said ON spcname = subject
        WHERE concat('t', oid) = ANY (made) LOOP
        CONTINUE WHEN applied ->> concat('t', r.oid) = r.hash;
        EXECUTE format('COMMENT ON TABLESPACE %I IS NULL', r.spcname);
        FOR one IN SELECT split_part(item, '=', 1) AS name FROM unnest(r.spcoptions) AS item LOOP
            EXECUTE format('ALTER TABLESPACE %I RESET (%I)', r.spcname, one.name);
        END LOOP;
        FOR one IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee FROM aclexplode(r.spcacl) LOOP
            EXECUTE format('REVOKE ALL ON TABLESPACE %I FROM %s CASCADE', r.spcname, one.grantee);
        END LOOP;
        EXECUTE format('GRANT ALL ON TABLESPACE %I TO %s', r.spcname, r.spcowner::regrole);
        FOR i IN 1 .. cardinality(r.said) LOOP PERFORM pg_temp.incr_attempt(r.spcname, r.grantors[i], r.said[i]); END LOOP;
        changed := changed || concat('t', r.oid); hashes := hashes || r.hash;
    END LOOP;
    changed := changed || ARRAY['members', 'parameters']; hashes := hashes || ARRAY[members, parameters];
    PERFORM set_config('incr_restore.made', array_to_string(made, ' '), false),
        set_config('incr_restore.applied', (applied || jsonb_object(changed, hashes))::text, false);
END $globals$;
