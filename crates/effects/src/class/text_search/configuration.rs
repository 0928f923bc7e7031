//! Text search configurations, with the dictionaries of each token type (pg_ts_config_map).

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::renames::named_in_schema;
use crate::script::{no_rest, same_identity, same_rest, Script, Unhandled};

/// Only the parser knows the names of token types: ts_token_type queries it, as in pg_dump.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT c.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(c.cfgname) AS name, ",
    crate::name_in_schema!("pg_ts_parser", "prsname", "prsnamespace", "c.cfgparser"),
    " AS parser, (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('token', t.token, 'dictionaries', t.dictionaries, \
     'oids', t.oids) ORDER BY t.type) FROM (SELECT m.maptokentype AS type, \
     pg_catalog.min(pg_catalog.quote_ident(tt.alias)) AS token, \
     pg_catalog.array_agg(m.mapdict::pg_catalog.int8 ORDER BY m.mapseqno) AS oids, \
     pg_catalog.array_agg(",
    crate::name_in_schema!("pg_ts_dict", "dictname", "dictnamespace", "m.mapdict"),
    " ORDER BY m.mapseqno) AS dictionaries FROM pg_catalog.pg_ts_config_map m \
     LEFT JOIN pg_catalog.ts_token_type(c.cfgparser) tt ON tt.tokid = m.maptokentype \
     WHERE m.mapcfg = c.oid GROUP BY m.maptokentype) t) AS mappings, ",
    crate::common_columns!("3602", "c.oid", "c.cfgowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(c) - '{oid,cfgname,cfgnamespace,cfgowner,cfgparser}'::pg_catalog.text[] AS rest, \
     c.cfgparser::pg_catalog.int8 AS identity \
     FROM pg_catalog.pg_ts_config c JOIN pg_catalog.pg_namespace n ON n.oid = c.cfgnamespace \
     WHERE c.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

/// The dictionaries of a token type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Mapping {
    /// `None` if the parser no longer has it.
    pub token: Option<String>,
    pub dictionaries: Vec<String>,
    pub oids: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Configuration {
    pub schema: String,
    pub name: String,
    pub parser: Option<String>,
    pub mappings: Option<Vec<Mapping>>,
    pub common: Common,
    pub rest: serde_json::Value,
    /// The parser's OID, which no command changes.
    pub identity: serde_json::Value,
}

const CLASS: &str = "text search configuration";

impl Configuration {
    fn mappings(&self) -> Result<Vec<(&str, &Mapping)>, Unhandled> {
        let mappings = self.mappings.iter().flatten();
        let all = mappings.map(|mapping| mapping.token.as_deref().map(|token| (token, mapping)));
        let all: Option<Vec<_>> = all.collect();
        all.ok_or_else(|| Unhandled::new(CLASS, "a token type that its parser does not have"))
    }

    fn alter_mappings(
        &self,
        before: &[(&str, &Mapping)],
        after: &[(&str, &Mapping)],
        script: &mut Script,
    ) {
        let head = format!("ALTER {} {}", self.kind(), self.target());
        let find = |list: &[(&str, &Mapping)], token: &str| {
            list.iter()
                .find(|other| other.0 == token)
                .map(|other| other.1.oids.clone())
        };
        let gone = before
            .iter()
            .filter(|(token, _)| find(after, token).is_none());
        let gone: Vec<&str> = gone.map(|(token, _)| *token).collect();
        if !gone.is_empty() {
            script.push(
                "alter",
                format!("{head} DROP MAPPING FOR {}", gone.join(", ")),
            );
        }
        // Token types with the same dictionaries in one statement.
        let mut groups: Vec<(&str, &Mapping, Vec<&str>)> = Vec::new();
        for (token, mapping) in after {
            let verb = match find(before, token) {
                Some(oids) if oids == mapping.oids => continue,
                Some(_) => "ALTER",
                None => "ADD",
            };
            let same = groups
                .iter_mut()
                .find(|group| group.0 == verb && group.1.oids == mapping.oids);
            match same {
                Some(group) => group.2.push(token),
                None => groups.push((verb, mapping, vec![token])),
            }
        }
        for (verb, mapping, tokens) in groups {
            let (tokens, with) = (tokens.join(", "), mapping.dictionaries.join(", "));
            script.push(
                "alter",
                format!("{head} {verb} MAPPING FOR {tokens} WITH {with}"),
            );
        }
    }
}

impl Object for Configuration {
    named_in_schema!("TEXT SEARCH CONFIGURATION", "text search configuration");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest(CLASS, &self.rest)?;
        let Some(parser) = &self.parser else {
            return Err(Unhandled::new(CLASS, "its parser does not exist"));
        };
        let sql = format!(
            "CREATE {} {} (PARSER = {parser})",
            self.kind(),
            self.target()
        );
        script.push("create", sql);
        self.alter_mappings(&[], &self.mappings()?, script);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest(CLASS, &self.rest, &to.rest)?;
        same_identity(CLASS, &self.identity, &to.identity, "another parser")?;
        to.alter_mappings(&self.mappings()?, &to.mappings()?, script);
        Ok(())
    }
}
