//! The database itself: the properties in `database.sql` of a base and of a set of globals, as they change.
//!
//! A restored one has another name. [`of_current`] converts a statement to one about the current database.

use serde::Deserialize;

use crate::common::{comment_on, labels, Common};
use crate::object::Object;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::{do_block, literal};

/// Placeholder for the name in statements.
const CURRENT: &str = "\u{1}";

/// The session's database, whichever are requested. If a setting is a list of names, its items are stored
/// quoted (variable_is_guc_list_quote of pg_dump). Whether anybody may connect or copy it, the age of its
/// rows, and its collation versions are properties of its server.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT d.oid, \
     pg_catalog.quote_ident(d.datname) AS name, d.datconnlimit AS connection_limit, \
     (SELECT x.description FROM pg_catalog.pg_shdescription x WHERE x.objoid = d.oid AND x.classoid = 1262) AS comment, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(x.provider, x.label) ORDER BY x.provider) \
        FROM pg_catalog.pg_shseclabel x WHERE x.objoid = d.oid AND x.classoid = 1262) AS labels, \
     (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('role', a.rolname, 'name', c.name, 'value', \
        CASE WHEN pg_catalog.lower(c.name) IN ('local_preload_libraries', 'search_path', 'session_preload_libraries', \
          'shared_preload_libraries', 'temp_tablespaces', 'unix_socket_directories') \
        THEN CASE WHEN c.value = '' THEN '''''' ELSE (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(\
          pg_catalog.replace(pg_catalog.regexp_replace(pg_catalog.btrim(i[1]), '^\"(.*)\"$', '\\1'), '\"\"', '\"')), ', ') \
          FROM pg_catalog.regexp_matches(c.value, '(\"(?:[^\"]|\"\")*\"|[^,\"]+)', 'g') AS i WHERE pg_catalog.btrim(i[1]) <> '') END \
        ELSE pg_catalog.quote_literal(c.value) END) ORDER BY a.rolname, c.ordinality) \
      FROM pg_catalog.pg_db_role_setting s LEFT JOIN (SELECT oid, pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles) \
        AS a (oid, rolname) ON a.oid = s.setrole, LATERAL (SELECT pg_catalog.split_part(item, '=', 1), \
        pg_catalog.substr(item, pg_catalog.strpos(item, '=') + 1), ordinality \
        FROM ROWS FROM (pg_catalog.unnest(s.setconfig)) WITH ORDINALITY AS u (item, ordinality)) AS c (name, value, ordinality) \
      WHERE s.setdatabase = d.oid) AS settings, ",
    crate::common_columns!("1262", "d.oid", "d.datdba", "d.datacl", "'d'"),
    ", pg_catalog.to_jsonb(d) - '{oid,datname,datdba,datacl,datistemplate,datconnlimit,datallowconn,dathasloginevt,\
     datlastsysoid,datfrozenxid,datminmxid,dattablespace,datcollversion}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_database d WHERE d.oid = ANY ($1) AND d.datname = pg_catalog.current_database()) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Database {
    /// Quoted.
    pub name: String,
    pub connection_limit: i32,
    /// Those of shared objects are in separate catalogs.
    pub comment: Option<String>,
    pub labels: Option<Vec<(String, String)>>,
    pub settings: Option<Vec<DatabaseSetting>>,
    pub common: Common,
    pub rest: serde_json::Value,
}

/// The settings of its sessions.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DatabaseSetting {
    /// The role of these sessions, quoted; `None`: all roles.
    pub role: Option<String>,
    pub name: String,
    /// As SQL.
    pub value: String,
}

impl DatabaseSetting {
    fn say(&self, verb: &str, behind: &str, script: &mut Script) {
        let name = crate::text::quoted(&self.name);
        let (of, roles) = match &self.role {
            Some(role) => (format!("ALTER ROLE {role} IN DATABASE"), vec![&**role]),
            None => ("ALTER DATABASE".to_owned(), Vec::new()),
        };
        let sql = format!("{of} {CURRENT} {verb} {name}{behind}");
        script.push_with_roles("set", sql, &roles);
    }
}

impl Database {
    fn settings(&self) -> &[DatabaseSetting] {
        self.settings.as_deref().unwrap_or_default()
    }
}

/// Converts the statement to one about the current database.
pub fn of_current(sql: &str) -> String {
    let doubled = |text: &str| text.replace('%', "%%");
    // The name of a preceding role may contain such a character.
    let format = match sql.split_once(&format!("DATABASE {CURRENT}")) {
        Some((before, behind)) => format!("{}DATABASE %I{}", doubled(before), doubled(behind)),
        None => doubled(sql),
    };
    let format = literal(&format);
    do_block(&format!(
        "BEGIN EXECUTE pg_catalog.format({format}, pg_catalog.current_database()); END"
    ))
}

impl Object for Database {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "DATABASE"
    }

    fn target(&self) -> String {
        CURRENT.to_owned()
    }

    fn occupies(&self) -> Option<String> {
        None
    }

    /// Cannot happen from within.
    fn create(&self, _script: &mut Script) -> Result<(), Unhandled> {
        Err(Unhandled::new("database", "it is new"))
    }

    fn remove(&self, _script: &mut Script) {}

    /// A restored database has a name of its own.
    fn rename(&self, _to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("database", &self.rest, &to.rest)?;
        let what = format!("DATABASE {CURRENT}");
        if self.connection_limit != to.connection_limit {
            let sql = format!("ALTER {what} CONNECTION LIMIT {}", to.connection_limit);
            script.push("alter", sql);
        }
        let key = |setting: &DatabaseSetting| (setting.role.clone(), setting.name.clone());
        for setting in self.settings() {
            if !to.settings().iter().any(|other| key(other) == key(setting)) {
                setting.say("RESET", "", script);
            }
        }
        for setting in to.settings() {
            if !self.settings().contains(setting) {
                setting.say("SET", &format!(" TO {}", setting.value), script);
            }
        }
        if self.comment != to.comment {
            script.push("comment", comment_on(&what, to.comment.as_deref()));
        }
        labels(self.labels.as_deref(), to.labels.as_deref(), &what, script);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_about_the_database_that_it_runs_in() {
        assert_eq!(
            of_current("COMMENT ON DATABASE \u{1} IS 'it''s 5 %I \u{1}'"),
            "DO $do$BEGIN EXECUTE pg_catalog.format('COMMENT ON DATABASE %I IS ''it''''s 5 %%I \u{1}''', \
             pg_catalog.current_database()); END$do$"
        );
    }
}
