//! Default privileges: the result of ALTER DEFAULT PRIVILEGES for one role, one kind of objects and one
//! schema, or all of them.

use serde::Deserialize;

use crate::acl::{Acl, Grant};
use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::script::{no_rest, Script, Unhandled};

/// An entry for all schemas contains all privileges, one for a schema those that are added. `base` is what
/// applies without an entry.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT d.oid, \
     pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(d.defaclrole)) AS role, \
     d.defaclnamespace::pg_catalog.int8 AS namespace, pg_catalog.quote_ident(n.nspname) AS schema, \
     d.defaclobjtype::pg_catalog.text AS objects, ",
    crate::grants!("d.defaclacl"), " AS grants, \
     CASE WHEN d.defaclnamespace = 0 THEN ",
    crate::grants!("pg_catalog.acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole)"),
    " ELSE '[]' END AS base, ",
    crate::common_columns!("826", "d.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", ", crate::rest!("d", "oid,defaclrole,defaclnamespace,defaclobjtype,defaclacl"), " AS rest \
     FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace \
     WHERE d.oid = ANY ($1)) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DefaultPrivileges {
    pub role: String,
    /// The OID of the schema, 0 for all.
    pub namespace: u32,
    pub schema: Option<String>,
    /// The letter of pg_default_acl.defaclobjtype.
    pub objects: String,
    pub grants: Vec<Grant>,
    pub base: Vec<Grant>,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl DefaultPrivileges {
    fn objects(&self) -> &'static str {
        match self.objects.as_str() {
            "r" => "TABLES",
            "S" => "SEQUENCES",
            "f" => "FUNCTIONS",
            "T" => "TYPES",
            "n" => "SCHEMAS",
            "L" => "LARGE OBJECTS",
            _ => "",
        }
    }

    fn whose(&self) -> String {
        match &self.schema {
            Some(schema) => format!("FOR ROLE {} IN SCHEMA {schema}", self.role),
            None => format!("FOR ROLE {}", self.role),
        }
    }

    /// GRANT and REVOKE, each preceded by the clauses that specify the entry.
    fn change(&self, from: &[Grant], to: &[Grant], script: &mut Script) {
        let mut words = Script::default();
        Acl(from).become_(Acl(to), None, self.objects(), &mut words);
        for mut statement in words.statements {
            statement.sql = format!(
                "ALTER DEFAULT PRIVILEGES {} {}",
                self.whose(),
                statement.sql
            );
            let role = crate::text::unquoted(&self.role);
            if !statement.roles.contains(&role) {
                statement.roles.push(role);
            }
            // The restoring role may execute it for any role.
            statement.grantor = None;
            script.statements.push(statement);
        }
    }

    fn ensure_plain(&self) -> Result<(), Unhandled> {
        if self.objects().is_empty() {
            let what = format!("of objects {}", self.objects);
            return Err(Unhandled::new("default privileges", what));
        }
        no_rest("default privileges", &self.rest)
    }
}

impl Object for DefaultPrivileges {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "DEFAULT PRIVILEGES"
    }

    fn target(&self) -> String {
        format!("{} ON {}", self.whose(), self.objects())
    }

    fn occupies(&self) -> Option<String> {
        let (role, objects) = (&self.role, &self.objects);
        Some(format!("default {role} {} {objects}", self.namespace))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        self.ensure_plain()?;
        self.change(&self.base, &self.grants, script);
        Ok(())
    }

    fn rename(&self, _to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        to.ensure_plain()?;
        let what = |d: &DefaultPrivileges| (d.namespace, d.objects.clone());
        if what(self) != what(to) {
            let what = "its schema or objects have changed";
            return Err(Unhandled::new("default privileges", what));
        }
        to.change(&self.grants, &to.grants, script);
        Ok(())
    }

    /// PostgreSQL drops an entry that equals the built-in defaults.
    fn remove(&self, script: &mut Script) {
        self.change(&self.grants, &self.base, script);
    }

    fn dropped_with(&self) -> Vec<Key> {
        vec![Key::new(catalog::NAMESPACE, self.namespace)]
    }
}
