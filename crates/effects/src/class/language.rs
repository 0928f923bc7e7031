//! Procedural languages.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::renames::named;
use crate::script::{no_rest, same_rest, Script, Unhandled};

/// An untrusted one does not accept GRANT, so its privileges are in `rest`.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT l.oid, \
     pg_catalog.quote_ident(l.lanname) AS name, l.lanpltrusted AS trusted, ",
    crate::function_name!("l.lanplcallfoid"),
    " AS handler, ",
    crate::function_name!("l.laninline"),
    " AS inline, ",
    crate::function_name!("l.lanvalidator"),
    " AS validator, ARRAY[l.lanplcallfoid, l.laninline, l.lanvalidator] AS oids, ",
    crate::common_columns!("2612", "l.oid", "l.lanowner", "CASE WHEN l.lanpltrusted THEN l.lanacl END", "'l'"),
    ", pg_catalog.to_jsonb(l) - CASE WHEN l.lanpltrusted OR l.lanacl IS NULL THEN '{lanacl}'::pg_catalog.text[] ELSE '{}' END \
     - '{oid,lanname,lanowner,lanispl,lanpltrusted,lanplcallfoid,laninline,lanvalidator}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_language l WHERE l.oid = ANY ($1) AND l.lanispl) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Language {
    pub name: String,
    pub trusted: bool,
    /// Functions, schema-qualified.
    pub handler: Option<String>,
    pub inline: Option<String>,
    pub validator: Option<String>,
    pub oids: serde_json::Value,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Language {
    fn definition(&self, verb: &str) -> Result<String, Unhandled> {
        let Some(handler) = &self.handler else {
            return Err(Unhandled::new("language", "its handler does not exist"));
        };
        let part = |word: &str, name: &Option<String>| {
            let name = name.as_ref();
            name.map_or_else(String::new, |name| format!(" {word} {name}"))
        };
        let trusted = if self.trusted { "TRUSTED " } else { "" };
        Ok(format!(
            "{verb} {trusted}LANGUAGE {} HANDLER {handler}{}{}",
            self.name,
            part("INLINE", &self.inline),
            part("VALIDATOR", &self.validator)
        ))
    }
}

impl Object for Language {
    named!("LANGUAGE", "language");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("language", &self.rest)?;
        script.push("create", self.definition("CREATE")?);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("language", &self.rest, &to.rest)?;
        if (self.trusted, &self.oids) == (to.trusted, &to.oids) {
            return Ok(());
        }
        if self.trusted != to.trusted && (self.common.acl.is_some() || to.common.acl.is_some()) {
            return Err(Unhandled::new(
                "language",
                "privileges of an untrusted language",
            ));
        }
        script.push("replace", to.definition("CREATE OR REPLACE")?);
        Ok(())
    }
}
