-- Functions of a session that makes rows which a CHECK may refuse. A setting of the session records how to restore what
-- is off.

-- A CHECK that is to be skipped is dropped, and added again as NOT VALID, around everything that may evaluate it. One
-- that is already NOT VALID, or such a NOT NULL (18 and later), is kept, since dropping it would affect keys and
-- inheriting tables: only the flag in the catalog of the table is cleared meanwhile. The rows of a rewritten table are
-- inserted again, and may violate it. A row has passed the checks of its domains at the source, but an UPDATE evaluates
-- those of the columns that it sets: one that is NOT VALID is disabled as well, and one that calls a function, whose
-- result may have changed. A role that may not change catalogs drops and adds those of tables, and leaves domains alone.
CREATE OR REPLACE FUNCTION pg_temp.incr_quiet_checks(skipped text[]) RETURNS void LANGUAGE plpgsql AS $checks$
DECLARE r record; off text; again text;
    is_allowed boolean := pg_catalog.has_column_privilege('pg_catalog.pg_class', 'relchecks', 'UPDATE')
        AND pg_catalog.has_column_privilege('pg_catalog.pg_attribute', 'attnotnull', 'UPDATE'); BEGIN
    FOR r IN SELECT nspname, relname, conrelid, conkey, conname, contype, conname = ANY (skipped) AS is_skipped,
            pg_catalog.pg_get_constraintdef(c.oid) AS definition, pg_catalog.obj_description(c.oid, 'pg_constraint') AS comment
        FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_class AS t ON t.oid = conrelid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = relnamespace
        WHERE contype = 'c' AND coninhcount = 0 AND conname = ANY (skipped)
            OR contype IN ('c', 'n') AND NOT convalidated AND NOT conname = ANY (skipped) AND (is_allowed OR coninhcount = 0)
        ORDER BY is_skipped DESC, c.oid LOOP
        IF r.contype = 'n' AND is_allowed THEN
            off := pg_catalog.format('UPDATE pg_catalog.pg_attribute SET attnotnull = false WHERE attrelid = %s AND attnum = %s; ',
                r.conrelid, r.conkey[1]);
            again := pg_catalog.replace(off, 'false', 'true');
        ELSIF NOT r.is_skipped AND is_allowed THEN
            off := pg_catalog.format('UPDATE pg_catalog.pg_class SET relchecks = 0 WHERE oid = %s; ', r.conrelid);
            again := pg_catalog.replace(off, '= 0', pg_catalog.format('= (SELECT pg_catalog.count(*)
                FROM pg_catalog.pg_constraint WHERE conrelid = %s AND contype = %L)', r.conrelid, r.contype));
        ELSE
            off := pg_catalog.format('ALTER TABLE %I.%I DROP CONSTRAINT %I', r.nspname, r.relname, r.conname);
            again := pg_catalog.format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s NOT VALID; COMMENT ON CONSTRAINT %I ON %I.%I IS %L; ',
                r.nspname, r.relname, r.conname,
                CASE WHEN r.definition LIKE '% NOT VALID' THEN pg_catalog.left(r.definition, -10) ELSE r.definition END,
                r.conname, r.nspname, r.relname, r.comment);
        END IF;
        EXECUTE off;
        PERFORM pg_catalog.set_config('incr_restore.checks',
            pg_catalog.concat(again, pg_catalog.current_setting('incr_restore.checks', true)), false);
    END LOOP;
    FOR r IN SELECT c.oid FROM pg_catalog.pg_constraint AS c WHERE contypid <> 0 AND contype = 'c'
        AND pg_catalog.has_column_privilege('pg_catalog.pg_constraint', 'contype', 'UPDATE')
        AND (NOT convalidated OR pg_catalog.current_setting('is_superuser') = 'on' AND EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 2606 AND d.objid = c.oid AND refclassid = 1255
                AND refobjid >= 16384)) LOOP
        again := pg_catalog.format('UPDATE pg_catalog.pg_constraint SET contype = %L WHERE oid = %s; ', 'c', r.oid);
        EXECUTE pg_catalog.format('UPDATE pg_catalog.pg_constraint SET contype = %L WHERE oid = %s', 't', r.oid);
        PERFORM pg_catalog.set_config('incr_restore.checks',
            pg_catalog.concat(again, pg_catalog.current_setting('incr_restore.checks', true)), false);
    END LOOP;
END $checks$;

CREATE OR REPLACE FUNCTION pg_temp.incr_loud_checks() RETURNS void LANGUAGE plpgsql AS $checks$ BEGIN
    EXECUTE pg_catalog.concat(pg_catalog.current_setting('incr_restore.checks', true), 'SELECT 1');
    PERFORM pg_catalog.set_config('incr_restore.checks', '', false);
END $checks$;

-- At the end: what was skipped becomes valid where rows permit.
CREATE OR REPLACE FUNCTION pg_temp.incr_valid_checks(skipped text[]) RETURNS void LANGUAGE plpgsql AS $checks$
DECLARE r record; BEGIN
    FOR r IN SELECT conrelid::pg_catalog.regclass AS relation, conname FROM pg_catalog.pg_constraint
        WHERE contype = 'c' AND conrelid <> 0 AND coninhcount = 0 AND NOT convalidated AND conname = ANY (skipped) LOOP
        BEGIN
            EXECUTE pg_catalog.format('ALTER TABLE %s VALIDATE CONSTRAINT %I', r.relation, r.conname);
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING 'rows of % contradict its constraint %, which stays NOT VALID', r.relation, r.conname;
        END;
    END LOOP;
END $checks$;
