//! The role that restores on a throwaway server, and what the superuser does for it before.
//!
//! It has the name of the source's bootstrap superuser, which usually owns most objects, and is a member of
//! every restored role. It is neither a superuser nor a member of roles that can access files or programs.
//! The superuser works in the restored database once, while it only contains template0's objects: it creates
//! extensions then, so that none of their scripts can call restored code. It is not used again after that.

use super::source_server::SourceServer;
use super::throwaway;
use crate::pg::failure::Failure;
use crate::pg::server;

/// Schema of the functions that the superuser creates for the role. pg_dump ignores the name.
const SCHEMA: &str = "pg_incrbackup_drill";

/// The function with which restore.sh changes roles and tablespaces as on the source. Its callers can do
/// anything to ordinary roles, which own only restored objects, but nothing to privileged ones.
const FOLLOW: &str = "CREATE FUNCTION pg_incrbackup_drill.follow(kind text, subject text, object text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $follow$
DECLARE
    role oid := (SELECT oid FROM pg_roles WHERE rolname = subject AND oid >= 16384 AND NOT rolsuper);
    other oid := (SELECT oid FROM pg_roles WHERE rolname = object AND oid >= 16384 AND NOT rolsuper);
    restorer oid := (SELECT oid FROM pg_roles WHERE rolname = session_user);
BEGIN
    IF kind = $$role$$ AND role IS NULL AND subject !~ $$^pg_$$ AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = subject) THEN
        EXECUTE format($$CREATE ROLE %I NOLOGIN$$, subject);
        EXECUTE format($$GRANT %I TO %I WITH ADMIN OPTION$$, subject, session_user);
        EXECUTE format($$GRANT CREATORS TO %I$$, subject);
    ELSIF kind = $$member$$ AND role <> restorer AND other <> restorer AND NOT pg_has_role(role, other, $$MEMBER$$) THEN
        IF pg_has_role(other, role, $$MEMBER$$) THEN        -- it was the other way round before
            EXECUTE format($$REVOKE %I FROM %I$$, subject, object);
        END IF;
        EXECUTE format($$GRANT %I TO %I$$, object, subject);
    ELSIF kind = $$role_renamed$$ AND role <> restorer AND object !~ $$^pg_$$ THEN
        BEGIN       -- made too early, since later DDL names it
            IF other <> restorer THEN EXECUTE format($$DROP ROLE %I$$, object); END IF;
            EXCEPTION WHEN dependent_objects_still_exist THEN NULL;
        END;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = object) THEN
            EXECUTE format($$ALTER ROLE %I RENAME TO %I$$, subject, object);
        ELSIF other IS NOT NULL THEN
            EXECUTE format($$REASSIGN OWNED BY %I TO %I$$, subject, object);
        END IF;
    ELSIF kind = $$role_dropped$$ AND role <> restorer THEN
        BEGIN
            EXECUTE format($$DROP ROLE %I$$, subject);
            EXCEPTION WHEN dependent_objects_still_exist THEN NULL;
        END;
    ELSIF kind = $$tablespace_renamed$$ AND EXISTS (SELECT FROM pg_tablespace WHERE spcname = subject AND oid >= 16384)
            AND object !~ $$^pg_$$ AND NOT EXISTS (SELECT FROM pg_tablespace WHERE spcname = object) THEN
        EXECUTE format($$ALTER TABLESPACE %I RENAME TO %I$$, subject, object);
    END IF;
END $follow$;
REVOKE ALL ON FUNCTION pg_incrbackup_drill.follow FROM PUBLIC;
";

/// A role that is not a superuser can give an object to another role only if that role may create objects in
/// the schema: it may in every schema, once the schema exists, through a group of all restored roles.
const OPEN: &str = "CREATE FUNCTION pg_incrbackup_drill.open() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $open$
DECLARE made record;
BEGIN
    FOR made IN SELECT nspname FROM pg_event_trigger_ddl_commands() AS c JOIN pg_namespace AS n ON n.oid = c.objid
        WHERE c.classid = $$pg_namespace$$::regclass LOOP
        EXECUTE format($$GRANT CREATE ON SCHEMA %I TO CREATORS$$, made.nspname);
    END LOOP;
END $open$;
CREATE EVENT TRIGGER pg_incrbackup_drill ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA')
    EXECUTE FUNCTION pg_incrbackup_drill.open();
ALTER EVENT TRIGGER pg_incrbackup_drill ENABLE ALWAYS;
GRANT CREATE ON SCHEMA public TO CREATORS;
SELECT format('GRANT CREATE ON DATABASE %I TO CREATORS', current_database()) \\gexec
SELECT format('GRANT CREATORS TO %I', rolname), format('GRANT %I TO %I WITH ADMIN OPTION', rolname, RESTORER_TEXT)
    FROM pg_roles WHERE oid >= 16384 AND NOT rolsuper AND rolname NOT IN ('CREATORS', RESTORER_TEXT) \\gexec
SELECT format('GRANT CREATORS TO %I', RESTORER_TEXT) \\gexec
SELECT format('ALTER TABLESPACE %I OWNER TO %I', spcname, RESTORER_TEXT), format('GRANT CREATE ON TABLESPACE %I TO CREATORS', spcname)
    FROM pg_tablespace WHERE oid >= 16384 \\gexec
";

/// Parameters that the programs of a drill set in their sessions.
const PARAMETERS: &str = "session_replication_role, lc_messages, log_statement, log_duration, \
    log_min_duration_statement, log_min_duration_sample, log_min_error_statement";

pub struct Restorer {
    pub name: String,
    pub password: String,
    /// The group of all restored roles; no other role has such a name.
    pub creators: String,
}

impl Restorer {
    pub fn new(source: &SourceServer) -> Result<Restorer, Failure> {
        Ok(Restorer {
            name: source.superuser.clone(),
            password: throwaway::random()?,
            creators: format!("drill_creators_{}", throwaway::random()?),
        })
    }

    /// Creates the role. Row security does not apply to it, and it can read everything without grants, to
    /// compare.
    pub fn creation(&self) -> String {
        let (name, password) = (identifier(&self.name), &self.password);
        let creators = &self.creators;
        let newer = if server::VERSION_NUM >= 170_000 {
            ", event_triggers"
        } else {
            ""
        };
        format!(
            "CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEROLE NOREPLICATION CREATEDB BYPASSRLS PASSWORD '{password}';\n\
             CREATE ROLE {creators} NOLOGIN;\nGRANT pg_read_all_data TO {name};\nGRANT SET ON PARAMETER {PARAMETERS}{newer} TO {name};\n"
        )
    }

    /// What the superuser does in the restored database while it is empty.
    pub fn preparation(&self, source: &SourceServer) -> String {
        let name = identifier(&self.name);
        let named = |text: &str| {
            text.replace("CREATORS", &self.creators)
                .replace("RESTORER_TEXT", &quoted(&self.name))
        };
        let (follow, open) = (named(FOLLOW), named(OPEN));
        let mut script = format!(
            "SET search_path = pg_catalog, pg_temp;\nSET allow_system_table_mods = on;\nSET client_min_messages = error;\n\
             CREATE SCHEMA {SCHEMA};\nGRANT USAGE ON SCHEMA {SCHEMA} TO {name};\n{follow}{open}\
             GRANT EXECUTE ON FUNCTION {SCHEMA}.follow TO {name};\n\
             GRANT UPDATE (relchecks) ON pg_catalog.pg_class TO {name};\n\
             GRANT UPDATE (attnotnull) ON pg_catalog.pg_attribute TO {name};\n\\set ON_ERROR_STOP 0\n"
        );
        for extension in &source.extensions {
            let schema = identifier(&extension.schema);
            if !extension.schema.starts_with("pg_") {
                script += &format!("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {name};\n");
            }
            script += &format!(
                "CREATE EXTENSION {} WITH SCHEMA {schema} VERSION {};\n",
                identifier(&extension.name),
                identifier(&extension.version)
            );
        }
        // Rows of their tables, comments on them, and servers of their wrappers are restored; their functions
        // remain owned by the superuser, since some of them are only for superusers. None runs as its owner:
        // one that writes to such a table would execute restored triggers on it as the superuser.
        script + &format!(
            "UPDATE pg_catalog.pg_extension SET extowner = '{literal}'::pg_catalog.regrole WHERE extname <> 'plpgsql';\n\
             UPDATE pg_catalog.pg_foreign_data_wrapper SET fdwowner = '{literal}'::pg_catalog.regrole;\n\
             SELECT pg_catalog.format('GRANT USAGE ON FOREIGN DATA WRAPPER %I TO {creators}', fdwname) \
               FROM pg_catalog.pg_foreign_data_wrapper \\gexec\n\
             SELECT pg_catalog.format('ALTER TABLE %s OWNER TO %I', c.oid::pg_catalog.regclass, {role}) \
               FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_depend AS d ON d.objid = c.oid \
                 AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e' \
               WHERE c.relkind IN ('r', 'p') \\gexec\n\
             UPDATE pg_catalog.pg_proc SET prosecdef = false WHERE prosecdef AND oid IN (SELECT objid \
               FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND deptype = 'e');\n",
            literal = identifier(&self.name).replace('\'', "''"),
            role = quoted(&self.name),
            creators = self.creators,
        )
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
