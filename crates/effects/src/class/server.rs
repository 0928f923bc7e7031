//! Foreign servers.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::options::{altered, created, Setting};
use crate::renames::named;
use crate::script::{no_rest, same_rest, Script, Unhandled};
use crate::text::literal;

/// `rest` contains the wrapper's OID: no command changes it.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT s.oid, \
     pg_catalog.quote_ident(s.srvname) AS name, s.srvtype AS type, s.srvversion AS version, \
     (SELECT pg_catalog.quote_ident(f.fdwname) FROM pg_catalog.pg_foreign_data_wrapper f WHERE f.oid = s.srvfdw) AS wrapper, ",
    crate::options!("s.srvoptions"),
    " AS options, ",
    crate::common_columns!("1417", "s.oid", "s.srvowner", "s.srvacl", "'S'"),
    ", s.srvfdw::pg_catalog.int8 AS wrapper_oid, \
     pg_catalog.to_jsonb(s) - '{oid,srvname,srvowner,srvfdw,srvtype,srvversion,srvacl,srvoptions}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_foreign_server s WHERE s.oid = ANY ($1)) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Server {
    pub name: String,
    pub r#type: Option<String>,
    pub version: Option<String>,
    pub wrapper: Option<String>,
    pub wrapper_oid: u32,
    pub options: Option<Vec<Setting>>,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Object for Server {
    named!("SERVER", "server");

    fn grant_kind(&self) -> &'static str {
        "FOREIGN SERVER"
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("server", &self.rest)?;
        let Some(wrapper) = &self.wrapper else {
            return Err(Unhandled::new(
                "server",
                "its foreign-data wrapper does not exist",
            ));
        };
        let text = |word: &str, text: &Option<String>| {
            text.as_ref()
                .map_or_else(String::new, |text| format!(" {word} {}", literal(text)))
        };
        script.push(
            "create",
            format!(
                "CREATE SERVER {}{}{} FOREIGN DATA WRAPPER {wrapper}{}",
                self.name,
                text("TYPE", &self.r#type),
                text("VERSION", &self.version),
                created(self.options.as_deref())
            ),
        );
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("server", &self.rest, &to.rest)?;
        if self.wrapper_oid != to.wrapper_oid || self.r#type != to.r#type {
            return Err(Unhandled::new(
                "server",
                "its type or foreign-data wrapper has changed",
            ));
        }
        let version = match &to.version {
            version if *version == self.version => String::new(),
            Some(version) => format!(" VERSION {}", literal(version)),
            None => " VERSION NULL".to_owned(),
        };
        let options = altered(self.options.as_deref(), to.options.as_deref());
        if !version.is_empty() || !options.is_empty() {
            script.push(
                "alter",
                format!("ALTER SERVER {}{version}{options}", to.name),
            );
        }
        Ok(())
    }
}
