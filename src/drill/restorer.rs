//! The role that restores on a throwaway server, and what the superuser does for it before.
//!
//! It has the name of the source's bootstrap superuser, which usually owns most objects, and makes the other roles
//! itself. It is neither a superuser nor a member of roles that can access files or programs, and cannot become
//! one. The superuser works in the database once, while it only contains template0's objects: it creates
//! extensions then, so that none of their scripts can call restored code. It is not used again after that.

use super::source_server::SourceServer;
use super::throwaway;
use crate::pg::failure::Failure;
use crate::pg::server;

/// Parameters that the programs of a drill set in their sessions.
const PARAMETERS: &str = "session_replication_role, lc_messages, log_statement, log_duration, \
    log_min_duration_statement, log_min_duration_sample, log_transaction_sample_rate, log_min_error_statement";

/// Who may create roles, may grant every one of PostgreSQL 15 except to and of superusers.
const OUT_OF_REACH: &str = "UPDATE pg_catalog.pg_authid SET rolsuper = true WHERE rolname IN \
    ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program');\n";

pub struct Restorer {
    pub name: String,
    pub password: String,
}

impl Restorer {
    pub fn new(source: &SourceServer) -> Result<Restorer, Failure> {
        Ok(Restorer {
            name: source.superuser.clone(),
            password: throwaway::random()?,
        })
    }

    /// Creates the role. Row security does not apply to it, and it can read everything without grants, to
    /// compare.
    pub fn creation(&self) -> String {
        let (name, password) = (identifier(&self.name), &self.password);
        let newer = if server::VERSION_NUM >= 170_000 {
            ", event_triggers"
        } else {
            ""
        };
        format!(
            "{OUT_OF_REACH}\
             CREATE ROLE {name} LOGIN NOSUPERUSER CREATEROLE NOREPLICATION CREATEDB BYPASSRLS PASSWORD '{password}';\n\
             GRANT pg_read_all_data TO {name};\nGRANT SET ON PARAMETER {PARAMETERS}{newer} TO {name};\n"
        )
    }

    /// Creates the empty database, which belongs to the role.
    pub fn database(&self, database: &str, source: &SourceServer) -> String {
        format!(
            "CREATE DATABASE {} OWNER {} {};\n",
            identifier(database),
            identifier(&self.name),
            source.facts.template()
        )
    }

    /// What the superuser does in the database while it is empty.
    pub fn preparation(&self, source: &SourceServer) -> String {
        let name = identifier(&self.name);
        let mut script = format!(
            "SET search_path = pg_catalog, pg_temp;\nSET client_encoding = 'UTF8';\nSET allow_system_table_mods = on;\n\
             SET allow_in_place_tablespaces = on;\nSET client_min_messages = error;\n\
             GRANT UPDATE (relchecks) ON pg_catalog.pg_class TO {name};\n\
             GRANT UPDATE (attnotnull) ON pg_catalog.pg_attribute TO {name};\n\\set ON_ERROR_STOP 0\n"
        );
        for space in &source.tablespaces {
            let space = identifier(space);
            script += &format!(
                "CREATE TABLESPACE {space} LOCATION '';\nGRANT CREATE ON TABLESPACE {space} TO PUBLIC;\n"
            );
        }
        for extension in &source.extensions {
            let schema = identifier(&extension.schema);
            script += "BEGIN;\n";
            if !extension.schema.starts_with("pg_") {
                script += &format!("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {name};\n");
            }
            script += &format!(
                "CREATE EXTENSION {} WITH SCHEMA {schema} VERSION {};\nCOMMIT;\n",
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
             SELECT pg_catalog.format('ALTER TABLE %s OWNER TO %I', c.oid::pg_catalog.regclass, {role}) \
               FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_depend AS d ON d.objid = c.oid \
                 AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e' \
               WHERE c.relkind IN ('r', 'p') \\gexec\n\
             UPDATE pg_catalog.pg_proc SET prosecdef = false WHERE prosecdef AND oid IN (SELECT objid \
               FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND deptype = 'e');\n",
            literal = identifier(&self.name).replace('\'', "''"),
            role = quoted(&self.name),
        )
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
