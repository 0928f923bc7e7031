//! Collations.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::renames::named_in_schema;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::literal;

/// The locale is in another column from version 17 on (colllocale) than before (colliculocale); version 15
/// has no rules. The version is that of the library when it was created: a new one gets the restored
/// server's.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT c.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(c.collname) AS name, \
     c.collversion AS version, ",
    crate::common_columns!("3456", "c.oid", "c.collowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(c) AS definition, pg_catalog.to_jsonb(c) - '{oid,collname,collnamespace,collowner,collversion}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace \
     WHERE c.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Collation {
    pub schema: String,
    pub name: String,
    pub version: Option<String>,
    pub definition: Definition,
    pub common: Common,
    pub rest: serde_json::Value,
}

/// Columns of pg_collation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Definition {
    pub collprovider: String,
    pub collisdeterministic: bool,
    pub collcollate: Option<String>,
    pub collctype: Option<String>,
    #[serde(alias = "colliculocale")]
    pub colllocale: Option<String>,
    #[serde(default)]
    pub collicurules: Option<String>,
}

impl Definition {
    fn options(&self) -> Result<Vec<String>, Unhandled> {
        let provider = match self.collprovider.as_str() {
            "b" => "builtin",
            "c" => "libc",
            "i" => "icu",
            other => return Err(Unhandled::new("collation", format!("provider {other}"))),
        };
        let mut options = vec![format!("provider = {provider}")];
        if !self.collisdeterministic {
            options.push("deterministic = false".to_owned());
        }
        let texts = [
            ("locale", &self.colllocale),
            ("lc_collate", &self.collcollate),
            ("lc_ctype", &self.collctype),
            ("rules", &self.collicurules),
        ];
        for (option, text) in texts {
            options.extend(
                text.as_ref()
                    .map(|text| format!("{option} = {}", literal(text))),
            );
        }
        Ok(options)
    }
}

impl Object for Collation {
    named_in_schema!("COLLATION", "collation");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let options = self.definition.options()?.join(", ");
        script.push(
            "create",
            format!("CREATE COLLATION {} ({options})", self.target()),
        );
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("collation", &self.rest, &to.rest)?;
        if self.version != to.version {
            let target = to.target();
            script.push("alter", format!("ALTER COLLATION {target} REFRESH VERSION"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_is_found_under_the_names_of_all_versions() {
        for name in ["colliculocale", "colllocale"] {
            let row = serde_json::json!({
                "collprovider": "i", "collisdeterministic": false, "collcollate": null, "collctype": null,
                name: "it's"
            });
            let definition: Definition = serde_json::from_value(row).unwrap();
            let options = [
                "provider = icu",
                "deterministic = false",
                "locale = 'it''s'",
            ];
            assert_eq!(definition.options().unwrap(), options);
        }
    }
}
