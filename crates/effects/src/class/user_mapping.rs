//! User mappings. Their options contain passwords: pg_dump writes them if the user may read them, and a
//! restore needs them. Statements with any have the verb `secret`.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::options::{altered, created, Setting};
use crate::script::{same_rest, Script, Unhandled};

/// Not the view, which hides options from unprivileged users.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT u.oid, \
     CASE u.umuser WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(u.umuser)) END AS \"user\", \
     pg_catalog.quote_ident(s.srvname) AS server, ",
    crate::options!("u.umoptions"),
    " AS options, ",
    crate::common_columns!("1418", "u.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(u) - '{oid,umoptions}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_user_mapping u JOIN pg_catalog.pg_foreign_server s ON s.oid = u.umserver \
     WHERE u.oid = ANY ($1)) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct UserMapping {
    /// A role, or PUBLIC.
    pub user: String,
    pub server: String,
    pub options: Option<Vec<Setting>>,
    pub common: Common,
    /// With the OIDs of both, which no command changes.
    pub rest: serde_json::Value,
}

impl UserMapping {
    fn say(&self, verb: &'static str, sql: String, script: &mut Script) {
        let roles = [self.user.as_str()];
        let roles: &[&str] = if self.user == "PUBLIC" { &[] } else { &roles };
        script.push_with_roles(verb, sql, roles);
    }
}

impl Object for UserMapping {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "USER MAPPING"
    }

    fn target(&self) -> String {
        format!("FOR {} SERVER {}", self.user, self.server)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("user mapping {}", self.target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let options = created(self.options.as_deref());
        let verb = if options.is_empty() {
            "create"
        } else {
            "secret"
        };
        let sql = format!("CREATE USER MAPPING {}{options}", self.target());
        self.say(verb, sql, script);
        Ok(())
    }

    /// Its name consists of its role and its server.
    fn rename(&self, _to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("user mapping", &self.rest, &to.rest)?;
        let options = altered(self.options.as_deref(), to.options.as_deref());
        if !options.is_empty() {
            let sql = format!("ALTER USER MAPPING {}{options}", to.target());
            to.say("secret", sql, script);
        }
        Ok(())
    }

    fn remove(&self, script: &mut Script) {
        let sql = format!("DROP USER MAPPING {}", self.target());
        self.say("drop", sql, script);
    }
}
