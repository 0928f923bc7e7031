//! Aggregates: their rows of pg_proc and pg_aggregate.

use serde::Deserialize;
use serde_json::json;

use crate::common::Common;
use crate::object::Object;
use crate::plain::ensure_plain;
use crate::renames;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::{literal, qualified};

/// `ids` are the OIDs of what `definition` contains by name, since names can change.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT p.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(p.proname) AS name, \
     pg_catalog.pg_get_function_arguments(p.oid) AS arguments, \
     pg_catalog.pg_get_function_identity_arguments(p.oid) AS identity_arguments, \
     (SELECT pg_catalog.string_agg(CASE WHEN p.provariadic <> 0 AND u.number = p.pronargs THEN 'VARIADIC ' ELSE '' END \
        || pg_catalog.format_type(u.type, NULL), ', ' ORDER BY u.number) \
        FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS u (type, number)) AS argument_types, \
     p.proparallel::pg_catalog.text AS parallel, \
     pg_catalog.concat_ws(' ', pg_catalog.pg_get_function_result(p.oid), p.proargnames, p.proargmodes, g.aggkind, g.aggnumdirectargs) AS shape, \
     pg_catalog.to_jsonb(g) || pg_catalog.jsonb_build_object('aggtranstype', pg_catalog.format_type(g.aggtranstype, NULL), \
        'aggmtranstype', CASE WHEN g.aggmtranstype <> 0 THEN pg_catalog.format_type(g.aggmtranstype, NULL) END, \
        'aggsortop', (SELECT pg_catalog.concat(pg_catalog.quote_ident(xn.nspname), '.', x.oprname) FROM pg_catalog.pg_operator x \
            JOIN pg_catalog.pg_namespace xn ON xn.oid = x.oprnamespace WHERE x.oid = g.aggsortop)) AS definition, \
     pg_catalog.to_jsonb(g) || pg_catalog.jsonb_build_object(\
        'aggtransfn', g.aggtransfn::pg_catalog.oid, 'aggfinalfn', g.aggfinalfn::pg_catalog.oid, \
        'aggcombinefn', g.aggcombinefn::pg_catalog.oid, 'aggserialfn', g.aggserialfn::pg_catalog.oid, \
        'aggdeserialfn', g.aggdeserialfn::pg_catalog.oid, 'aggmtransfn', g.aggmtransfn::pg_catalog.oid, \
        'aggminvtransfn', g.aggminvtransfn::pg_catalog.oid, 'aggmfinalfn', g.aggmfinalfn::pg_catalog.oid, \
        'aggfnoid', 0) AS ids, ",
    crate::common_columns!("1255", "p.oid", "p.proowner", "p.proacl", "'f'"),
    ", pg_catalog.to_jsonb(p) - '{oid,proname,pronamespace,proowner,proacl,proargtypes,proallargtypes,proargmodes,\
     proargnames,pronargs,prorettype,provariadic,proparallel,proargdefaults,pronargdefaults}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
     JOIN pg_catalog.pg_aggregate g ON g.aggfnoid = p.oid \
     WHERE p.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Aggregate {
    pub schema: String,
    pub name: String,
    /// As by pg_get_function_arguments: with ORDER BY for an ordered-set aggregate.
    pub arguments: String,
    /// As by pg_get_function_identity_arguments.
    pub identity_arguments: String,
    /// For GRANT ON FUNCTION, which does not accept ORDER BY.
    pub argument_types: Option<String>,
    /// The letter of pg_proc.proparallel.
    pub parallel: String,
    /// Names, modes, kind and result: CREATE OR REPLACE cannot change them.
    pub shape: String,
    pub definition: Definition,
    pub ids: serde_json::Value,
    pub common: Common,
    pub rest: serde_json::Value,
}

/// Columns of pg_aggregate; `-` is no function.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Definition {
    pub aggkind: String,
    pub aggtransfn: String,
    pub aggfinalfn: String,
    pub aggcombinefn: String,
    pub aggserialfn: String,
    pub aggdeserialfn: String,
    pub aggmtransfn: String,
    pub aggminvtransfn: String,
    pub aggmfinalfn: String,
    pub aggfinalextra: bool,
    pub aggmfinalextra: bool,
    pub aggfinalmodify: String,
    pub aggmfinalmodify: String,
    /// Qualified.
    pub aggsortop: Option<String>,
    pub aggtranstype: String,
    pub aggtransspace: i32,
    pub aggmtranstype: Option<String>,
    pub aggmtransspace: i32,
    pub agginitval: Option<String>,
    pub aggminitval: Option<String>,
}

impl Definition {
    /// In pg_dump's order.
    fn options(&self, parallel: &str) -> Result<Vec<String>, Unhandled> {
        let mut options = Vec::new();
        let mut say = |option: &str, value: &str| options.push(format!("{option} = {value}"));
        let function = |name: &str| (name != "-").then(|| name.to_owned());
        say("SFUNC", &self.aggtransfn);
        say("STYPE", &self.aggtranstype);
        if self.aggtransspace != 0 {
            say("SSPACE", &self.aggtransspace.to_string());
        }
        if let Some(value) = &self.agginitval {
            say("INITCOND", &literal(value));
        }
        if let Some(name) = function(&self.aggfinalfn) {
            say("FINALFUNC", &name);
            if self.aggfinalextra {
                say("FINALFUNC_EXTRA", "true");
            }
            say("FINALFUNC_MODIFY", modify(&self.aggfinalmodify)?);
        }
        let functions = [
            ("COMBINEFUNC", &self.aggcombinefn),
            ("SERIALFUNC", &self.aggserialfn),
            ("DESERIALFUNC", &self.aggdeserialfn),
            ("MSFUNC", &self.aggmtransfn),
            ("MINVFUNC", &self.aggminvtransfn),
        ];
        for (option, name) in functions {
            if let Some(name) = function(name) {
                say(option, &name);
            }
        }
        if let Some(name) = &self.aggmtranstype {
            say("MSTYPE", name);
        }
        if self.aggmtransspace != 0 {
            say("MSSPACE", &self.aggmtransspace.to_string());
        }
        if let Some(value) = &self.aggminitval {
            say("MINITCOND", &literal(value));
        }
        if let Some(name) = function(&self.aggmfinalfn) {
            say("MFINALFUNC", &name);
            if self.aggmfinalextra {
                say("MFINALFUNC_EXTRA", "true");
            }
            say("MFINALFUNC_MODIFY", modify(&self.aggmfinalmodify)?);
        }
        if let Some(operator) = &self.aggsortop {
            say("SORTOP", &format!("OPERATOR({operator})"));
        }
        match parallel {
            "u" => {}
            "s" => say("PARALLEL", "safe"),
            "r" => say("PARALLEL", "restricted"),
            other => return Err(Unhandled::new("aggregate", format!("parallel {other}"))),
        }
        if self.aggkind == "h" {
            options.push("HYPOTHETICAL".to_owned());
        }
        Ok(options)
    }
}

fn modify(letter: &str) -> Result<&'static str, Unhandled> {
    match letter {
        "r" => Ok("READ_ONLY"),
        "s" => Ok("SHAREABLE"),
        "w" => Ok("READ_WRITE"),
        other => Err(Unhandled::new(
            "aggregate",
            format!("aggfinalmodify {other}"),
        )),
    }
}

/// No arguments are written as a star.
fn starred(arguments: &str) -> &str {
    if arguments.is_empty() {
        "*"
    } else {
        arguments
    }
}

impl Aggregate {
    fn words(&self) -> Result<String, Unhandled> {
        let options = self.definition.options(&self.parallel)?.join(", ");
        let name = qualified(&self.schema, &self.name);
        Ok(format!(
            "AGGREGATE {name}({}) ({options})",
            starred(&self.arguments)
        ))
    }
}

impl Object for Aggregate {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "AGGREGATE"
    }

    fn target(&self) -> String {
        let name = qualified(&self.schema, &self.name);
        format!("{name}({})", starred(&self.identity_arguments))
    }

    fn grant_kind(&self) -> &'static str {
        "FUNCTION"
    }

    fn grant_target(&self) -> String {
        let name = qualified(&self.schema, &self.name);
        format!(
            "{name}({})",
            self.argument_types.as_deref().unwrap_or_default()
        )
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("routine {}", self.grant_target()))
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let usual = [
            ("prolang", json!("12")),
            ("procost", json!(1)),
            ("prokind", json!("a")),
            ("provolatile", json!("i")),
            ("prosrc", json!("aggregate_dummy")),
        ];
        ensure_plain("aggregate", &self.rest, &usual)?;
        script.push("create", format!("CREATE {}", self.words()?));
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        let (from, new) = ((&*self.schema, &*self.name), (&*to.schema, &*to.name));
        let arguments = format!("({})", starred(&self.identity_arguments));
        renames::move_to("AGGREGATE", from, new, &arguments, script);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("aggregate", &self.rest, &to.rest)?;
        if self.ids != to.ids || self.parallel != to.parallel {
            if self.shape != to.shape {
                return Err(Unhandled::new(
                    "aggregate",
                    "its result type or arguments have changed",
                ));
            }
            script.push("replace", format!("CREATE OR REPLACE {}", to.words()?));
        }
        Ok(())
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}
