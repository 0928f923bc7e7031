//! Row security policies.

use serde::Deserialize;

use crate::common::{comment_on, Common};
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::renames::give_name;
use crate::script::{no_rest, Script, Unhandled};

/// The trees show whether an expression has changed, independent of renamed columns.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT p.oid, \
     pg_catalog.quote_ident(p.polname) AS name, p.polrelid::pg_catalog.int8 AS relation, \
     pg_catalog.concat(pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(c.relname)) AS \"on\", \
     p.polcmd::pg_catalog.text AS command, p.polpermissive AS is_permissive, \
     (SELECT pg_catalog.json_agg(CASE role.oid WHEN 0 THEN 'PUBLIC' \
        ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(role.oid)) END ORDER BY role.position) \
        FROM ROWS FROM (pg_catalog.unnest(p.polroles)) WITH ORDINALITY role (oid, position)) AS roles, \
     pg_catalog.pg_get_expr(p.polqual, p.polrelid) AS \"using\", p.polqual::pg_catalog.text AS using_tree, \
     pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) AS \"check\", p.polwithcheck::pg_catalog.text AS check_tree, ",
    crate::common_columns!("3256", "p.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", ", crate::rest!("p", "oid,polname,polrelid,polcmd,polpermissive,polroles,polqual,polwithcheck"), " AS rest \
     FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE p.oid = ANY ($1) AND c.relpersistence <> 't' AND c.relrewrite = 0) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Policy {
    pub name: String,
    /// The OID of its table.
    pub relation: u32,
    /// The same, qualified.
    pub on: String,
    /// The letter of pg_policy.polcmd.
    pub command: String,
    pub is_permissive: bool,
    /// Quoted, or PUBLIC.
    pub roles: Vec<String>,
    pub using: Option<String>,
    pub using_tree: Option<String>,
    pub check: Option<String>,
    pub check_tree: Option<String>,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Policy {
    fn named_roles(&self) -> Vec<&str> {
        let roles = self.roles.iter().map(String::as_str);
        roles.filter(|role| *role != "PUBLIC").collect()
    }

    /// ` USING (…)` and ` WITH CHECK (…)`.
    fn expressions(&self) -> String {
        let mut words = String::new();
        if let Some(using) = &self.using {
            words += &format!(" USING ({using})");
        }
        if let Some(check) = &self.check {
            words += &format!(" WITH CHECK ({check})");
        }
        words
    }

    fn ensure_plain(&self) -> Result<(), Unhandled> {
        no_rest("policy", &self.rest)
    }

    /// What ALTER POLICY cannot do: change the command, remove an expression.
    fn is_of_another_kind(&self, to: &Policy) -> bool {
        (&self.command, self.is_permissive) != (&to.command, to.is_permissive)
            || (self.using.is_some() && to.using.is_none())
            || (self.check.is_some() && to.check.is_none())
    }
}

impl Object for Policy {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "POLICY"
    }

    fn target(&self) -> String {
        format!("{} ON {}", self.name, self.on)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("policy {} {}", self.relation, self.name))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        self.ensure_plain()?;
        let kind = if self.is_permissive {
            ""
        } else {
            " AS RESTRICTIVE"
        };
        let command = match self.command.as_str() {
            "*" => "",
            "r" => " FOR SELECT",
            "a" => " FOR INSERT",
            "w" => " FOR UPDATE",
            "d" => " FOR DELETE",
            other => return Err(Unhandled::new("policy", format!("command {other}"))),
        };
        let roles = self.roles.join(", ");
        let sql = format!(
            "CREATE POLICY {}{kind}{command} TO {roles}{}",
            self.target(),
            self.expressions()
        );
        script.push_with_roles("create", sql, &self.named_roles());
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        give_name(self, &self.name, &to.name, script);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        to.ensure_plain()?;
        if self.relation != to.relation {
            return Err(Unhandled::new("policy", "its table has changed"));
        }
        if self.is_of_another_kind(to) {
            to.remove(script);
            to.create(script)?;
            // A new comment follows this; an unchanged one would be lost.
            if self.common.comment == to.common.comment && to.common.comment.is_some() {
                let what = format!("POLICY {}", to.target());
                script.push("comment", comment_on(&what, to.common.comment.as_deref()));
            }
            return Ok(());
        }
        let mut words = String::new();
        if self.roles != to.roles {
            words += &format!(" TO {}", to.roles.join(", "));
        }
        let trees = |policy: &Policy| (policy.using_tree.clone(), policy.check_tree.clone());
        if trees(self) != trees(to) {
            words += &to.expressions();
        }
        if !words.is_empty() {
            let sql = format!("ALTER POLICY {}{words}", to.target());
            script.push_with_roles("alter", sql, &to.named_roles());
        }
        Ok(())
    }

    fn dropped_with(&self) -> Vec<Key> {
        vec![Key::new(catalog::CLASS, self.relation)]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn policy(command: &str, using: Option<&str>) -> Policy {
        let text = serde_json::json!({
            "name": "p", "relation": 1, "on": "public.t", "command": command, "is_permissive": true,
            "roles": ["PUBLIC", "\"Odd role\""], "using": using, "using_tree": using, "common": {"comment": "c"},
            "rest": {}
        });
        serde_json::from_value(text).unwrap()
    }

    fn changed(from: &Policy, to: &Policy) -> Vec<String> {
        let mut script = Script::default();
        from.alter(to, &mut script).unwrap();
        script.statements.into_iter().map(|s| s.sql).collect()
    }

    #[test]
    fn what_alter_cannot_change_is_made_anew_with_its_comment() {
        let all = policy("*", Some("true"));
        assert_eq!(
            changed(&all, &policy("*", Some("false"))),
            ["ALTER POLICY p ON public.t USING (false)"]
        );
        let anew = [
            "DROP POLICY p ON public.t",
            "CREATE POLICY p ON public.t FOR SELECT TO PUBLIC, \"Odd role\" USING (true)",
            "COMMENT ON POLICY p ON public.t IS 'c'",
        ];
        assert_eq!(changed(&all, &policy("r", Some("true"))), anew);
        assert_eq!(changed(&all, &policy("*", None)).len(), 3);
    }
}
