-- Functions of a session that replays what became of roles and tablespaces at the source, so that statements permitted there
-- are permitted here. Those that existed before are not changed.

CREATE OR REPLACE FUNCTION pg_temp.incr_follow(kind text, subject text, object text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $follow$
DECLARE
    made text[] := string_to_array(current_setting('incr_restore.made'), ' ');
    role oid := (SELECT oid FROM pg_roles WHERE rolname = subject);
    other oid := (SELECT oid FROM pg_roles WHERE rolname = object);
    space oid := (SELECT oid FROM pg_tablespace WHERE spcname = subject);
    command text;
    renames jsonb := current_setting('incr_restore.renames')::jsonb;
    entry jsonb;
BEGIN
    IF kind = 'role' AND role IS NULL THEN            -- somebody was renamed elsewhere a moment ago?
        entry := (SELECT value FROM jsonb_array_elements(renames) WITH ORDINALITY JOIN pg_roles AS a ON rolname = value ->> 1
            WHERE value ->> 2 = subject AND concat('r', a.oid) = ANY (made) ORDER BY ordinality LIMIT 1);
        IF entry IS NOT NULL THEN PERFORM pg_temp.incr_follow('role_renamed', entry ->> 1, subject); END IF;
        made := string_to_array(current_setting('incr_restore.made'), ' ');
        role := (SELECT oid FROM pg_roles WHERE rolname = subject);
    ELSIF kind = 'role_renamed' THEN
        PERFORM pg_temp.incr_note_renamed(subject, object);
    END IF;
    IF kind = 'role' AND role IS NULL THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', subject);
        role := (SELECT oid FROM pg_roles WHERE rolname = subject);
        made := made || concat('r', role);
        PERFORM set_config('incr_restore.made', array_to_string(made, ' '), false);
    END IF;
    IF kind = 'tablespace_renamed' AND space IS NOT NULL THEN
        IF EXISTS (SELECT FROM pg_tablespace WHERE spcname = object) THEN
            FOREACH command IN ARRAY ARRAY['TABLE', 'INDEX', 'MATERIALIZED VIEW'] LOOP
                EXECUTE format('ALTER %s ALL IN TABLESPACE %I SET TABLESPACE %I', command, subject, object);
            END LOOP;
        ELSIF concat('t', space) = ANY (made) THEN
            EXECUTE format('ALTER TABLESPACE %I RENAME TO %I', subject, object);
        END IF;
    END IF;
    IF concat('r', role) <> ALL (made) THEN
        RETURN;
    END IF;
    CASE kind
    WHEN 'role' THEN
        IF object <> 'on' OR (SELECT rolsuper FROM pg_roles WHERE oid = role) THEN RETURN; END IF;
        EXECUTE format('ALTER ROLE %I SUPERUSER', subject);
    WHEN 'member' THEN
        IF concat('r', other) <> ALL (made) AND object !~ '^pg_' OR pg_has_role(role, other, 'MEMBER') THEN RETURN; END IF;
        IF pg_has_role(other, role, 'MEMBER') THEN        -- it was the other way round before
            EXECUTE format('REVOKE %I FROM %I', subject, object);
        END IF;
        EXECUTE format('GRANT %I TO %I', object, subject);
    WHEN 'role_renamed' THEN
        BEGIN       -- made too early, since later DDL names it
            IF concat('r', other) = ANY (made) THEN EXECUTE format('DROP ROLE %I', object); other := NULL; END IF;
            EXCEPTION WHEN dependent_objects_still_exist THEN NULL;
        END;
        IF other IS NULL THEN
            EXECUTE format('ALTER ROLE %I RENAME TO %I', subject, object);
        ELSE
            RAISE WARNING 'role % was renamed to %, which existed before: it gets the objects, but not the privileges', subject, object;
            EXECUTE format('REASSIGN OWNED BY %I TO %I', subject, object);
        END IF;
    WHEN 'role_dropped' THEN
        BEGIN
            EXECUTE format('DROP ROLE %I', subject);
            EXCEPTION WHEN dependent_objects_still_exist THEN NULL;
        END;
    ELSE NULL;
    END CASE;
    PERFORM set_config('incr_restore.applied', '', false);
END $follow$;

-- The renames in the sets of globals; what remains of one when it is also in the segments, completely or in part.
CREATE OR REPLACE FUNCTION pg_temp.incr_note_renamed(subject text, object text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $note$ BEGIN
    PERFORM set_config('incr_restore.renames', coalesce(jsonb_agg(
        CASE WHEN n = 1 AND value ->> 1 = subject THEN jsonb_set(value, '{1}', to_jsonb(object)) ELSE value END ORDER BY ordinality)
        FILTER (WHERE NOT (n = 1 AND value ->> 1 = subject AND value ->> 2 = object)), '[]')::text, false)
        FROM (SELECT *, row_number() OVER (PARTITION BY value ->> 1 ORDER BY ordinality) AS n
            FROM jsonb_array_elements(current_setting('incr_restore.renames')::jsonb) WITH ORDINALITY) AS every;
END $note$;
CREATE OR REPLACE FUNCTION pg_temp.incr_renamed(upto integer) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $renamed$
DECLARE
    number integer;
    entry jsonb;
BEGIN
    FOR number IN SELECT DISTINCT (value ->> 0)::integer FROM jsonb_array_elements(current_setting('incr_restore.renames')::jsonb)
        WHERE (value ->> 0)::integer <= upto ORDER BY 1 LOOP
        FOR entry IN SELECT value FROM jsonb_array_elements(current_setting('incr_restore.renames')::jsonb)
            WHERE (value ->> 0)::integer = number AND value ->> 2 IN (SELECT a ->> 1    -- two may have changed names
                FROM jsonb_array_elements(current_setting('incr_restore.renames')::jsonb) AS a WHERE a ->> 0 = value ->> 0) LOOP
            PERFORM pg_temp.incr_follow('role_renamed', entry ->> 1, concat('restore_sh_', md5(entry ->> 1)));
        END LOOP;
        FOR entry IN SELECT value FROM jsonb_array_elements(current_setting('incr_restore.renames')::jsonb)
            WHERE (value ->> 0)::integer = number ORDER BY value ->> 1 ~ '^restore_sh_' LOOP
            PERFORM pg_temp.incr_follow('role_renamed', entry ->> 1, entry ->> 2);
        END LOOP;
    END LOOP;
END $renamed$;
