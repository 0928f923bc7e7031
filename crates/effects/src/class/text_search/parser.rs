//! Text search parsers and templates: sets of functions, which cannot be altered.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::renames::move_to;
use crate::script::{no_rest, same_identity, same_rest, Script, Unhandled};
use crate::text::qualified;

pub const PARSERS: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT p.oid, 'PARSER' AS kind, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(p.prsname) AS name, \
     pg_catalog.json_build_array(\
     pg_catalog.json_build_array('START', ", crate::function_name!("p.prsstart"), "), \
     pg_catalog.json_build_array('GETTOKEN', ", crate::function_name!("p.prstoken"), "), \
     pg_catalog.json_build_array('END', ", crate::function_name!("p.prsend"), "), \
     pg_catalog.json_build_array('HEADLINE', ", crate::function_name!("p.prsheadline"), "), \
     pg_catalog.json_build_array('LEXTYPES', ", crate::function_name!("p.prslextype"), ")) AS functions, ",
    crate::common_columns!("3601", "p.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(p) - '{oid,prsname,prsnamespace,prsstart,prstoken,prsend,prsheadline,prslextype}'::pg_catalog.text[] AS rest, \
     ARRAY[p.prsstart::pg_catalog.oid, p.prstoken::pg_catalog.oid, p.prsend::pg_catalog.oid, \
     p.prsheadline::pg_catalog.oid, p.prslextype::pg_catalog.oid] AS identity \
     FROM pg_catalog.pg_ts_parser p JOIN pg_catalog.pg_namespace n ON n.oid = p.prsnamespace \
     WHERE p.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

pub const TEMPLATES: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT t.oid, 'TEMPLATE' AS kind, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(t.tmplname) AS name, \
     pg_catalog.json_build_array(\
     pg_catalog.json_build_array('INIT', ", crate::function_name!("t.tmplinit"), "), \
     pg_catalog.json_build_array('LEXIZE', ", crate::function_name!("t.tmpllexize"), ")) AS functions, ",
    crate::common_columns!("3764", "t.oid", "NULL::pg_catalog.oid", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(t) - '{oid,tmplname,tmplnamespace,tmplinit,tmpllexize}'::pg_catalog.text[] AS rest, \
     ARRAY[t.tmplinit::pg_catalog.oid, t.tmpllexize::pg_catalog.oid] AS identity \
     FROM pg_catalog.pg_ts_template t JOIN pg_catalog.pg_namespace n ON n.oid = t.tmplnamespace \
     WHERE t.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

/// A parser or a template.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Functions {
    pub kind: String,
    pub schema: String,
    pub name: String,
    /// The keyword in CREATE, and the function, schema-qualified.
    pub functions: Vec<(String, Option<String>)>,
    pub common: Common,
    pub rest: serde_json::Value,
    /// The functions' OIDs, which no command changes.
    pub identity: serde_json::Value,
}

impl Object for Functions {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        match self.kind.as_str() {
            "PARSER" => "TEXT SEARCH PARSER",
            _ => "TEXT SEARCH TEMPLATE",
        }
    }

    fn target(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("{} {}", self.kind(), self.target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest(self.kind(), &self.rest)?;
        let each = |(word, name): &(String, Option<String>)| {
            name.as_ref().map(|name| format!("{word} = {name}"))
        };
        let list: Vec<String> = self.functions.iter().filter_map(each).collect();
        let sql = format!(
            "CREATE {} {} ({})",
            self.kind(),
            self.target(),
            list.join(", ")
        );
        script.push("create", sql);
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        let (from, to) = ((&*self.schema, &*self.name), (&*to.schema, &*to.name));
        move_to(self.kind(), from, to, "", script);
        Ok(())
    }

    fn alter(&self, to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        same_rest(self.kind(), &self.rest, &to.rest)?;
        same_identity(self.kind(), &self.identity, &to.identity, "other functions")?;
        Ok(())
    }
}
