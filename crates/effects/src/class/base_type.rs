//! Base types, and the shell types from which they are made.

use serde::Deserialize;
use serde_json::json;

use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::plain::ensure_plain;
use crate::renames::named_in_schema;
use crate::script::{same_rest, Script, Unhandled};
use crate::text::literal;

/// `ids` are the OIDs of the functions, whose names can change.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT t.oid, \
     pg_catalog.quote_ident(n.nspname) AS schema, pg_catalog.quote_ident(t.typname) AS name, \
     t.typarray::pg_catalog.int8 AS array_type, NOT t.typisdefined AS is_shell, \
     CASE WHEN t.typelem <> 0 THEN pg_catalog.format_type(t.typelem, NULL) END AS element, \
     t.typcollation <> 0 AS is_collatable, \
     pg_catalog.to_jsonb(t) AS definition, \
     pg_catalog.json_build_object('RECEIVE', t.typreceive::pg_catalog.oid, 'SEND', t.typsend::pg_catalog.oid, \
        'TYPMOD_IN', t.typmodin::pg_catalog.oid, 'TYPMOD_OUT', t.typmodout::pg_catalog.oid, \
        'ANALYZE', t.typanalyze::pg_catalog.oid, 'SUBSCRIPT', t.typsubscript::pg_catalog.oid) AS ids, \
     ARRAY (SELECT f.oid::pg_catalog.int8 FROM pg_catalog.unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend]::pg_catalog.oid[]) AS f (oid)) AS functions, ",
    crate::common_columns!("1247", "t.oid", "t.typowner", "t.typacl", "'T'"),
    ", pg_catalog.jsonb_build_object('typinput', t.typinput::pg_catalog.oid, 'typoutput', t.typoutput::pg_catalog.oid) \
     || pg_catalog.to_jsonb(t) - '{oid,typname,typnamespace,typowner,typacl,typarray,typinput,typoutput,typreceive,typsend,\
     typmodin,typmodout,typanalyze,typsubscript,typstorage}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
     WHERE t.oid = ANY ($1) AND n.nspname !~ '^pg_temp_') r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BaseType {
    pub schema: String,
    pub name: String,
    pub array_type: u32,
    pub is_shell: bool,
    pub element: Option<String>,
    pub is_collatable: bool,
    pub definition: Definition,
    /// By the option's name: what ALTER TYPE … SET can change.
    pub ids: serde_json::Value,
    /// Input, output, receive and send functions, which have the type as argument or result.
    pub functions: Vec<u32>,
    pub common: Common,
    pub rest: serde_json::Value,
}

/// Columns of pg_type; `-` is no function.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Definition {
    pub typlen: i16,
    pub typbyval: bool,
    pub typcategory: String,
    pub typispreferred: bool,
    pub typdelim: String,
    pub typinput: String,
    pub typoutput: String,
    pub typreceive: String,
    pub typsend: String,
    pub typmodin: String,
    pub typmodout: String,
    pub typanalyze: String,
    pub typsubscript: String,
    pub typalign: String,
    pub typstorage: String,
    pub typdefault: Option<String>,
}

impl Definition {
    /// Optional functions, by their option.
    fn functions(&self) -> [(&'static str, &str); 6] {
        [
            ("RECEIVE", &self.typreceive),
            ("SEND", &self.typsend),
            ("TYPMOD_IN", &self.typmodin),
            ("TYPMOD_OUT", &self.typmodout),
            ("ANALYZE", &self.typanalyze),
            ("SUBSCRIPT", &self.typsubscript),
        ]
    }

    fn alignment(&self) -> Result<&'static str, Unhandled> {
        match self.typalign.as_str() {
            "c" => Ok("char"),
            "s" => Ok("int2"),
            "i" => Ok("int4"),
            "d" => Ok("double"),
            other => Err(Unhandled::new("base type", format!("alignment {other}"))),
        }
    }

    fn storage(&self) -> Result<&'static str, Unhandled> {
        match self.typstorage.as_str() {
            "p" => Ok("plain"),
            "e" => Ok("external"),
            "x" => Ok("extended"),
            "m" => Ok("main"),
            other => Err(Unhandled::new("base type", format!("storage {other}"))),
        }
    }
}

impl BaseType {
    /// In pg_dump's order.
    fn options(&self) -> Result<Vec<String>, Unhandled> {
        let definition = &self.definition;
        let length = match definition.typlen {
            -1 => "variable".to_owned(),
            length => length.to_string(),
        };
        let mut options = vec![
            format!("INTERNALLENGTH = {length}"),
            format!("INPUT = {}", definition.typinput),
            format!("OUTPUT = {}", definition.typoutput),
        ];
        for (option, name) in definition.functions() {
            if name != "-" {
                options.push(format!("{option} = {name}"));
            }
        }
        if self.is_collatable {
            options.push("COLLATABLE = true".to_owned());
        }
        if let Some(value) = &definition.typdefault {
            options.push(format!("DEFAULT = {}", literal(value)));
        }
        if let Some(element) = &self.element {
            options.push(format!("ELEMENT = {element}"));
        }
        options.push(format!("CATEGORY = {}", literal(&definition.typcategory)));
        if definition.typispreferred {
            options.push("PREFERRED = true".to_owned());
        }
        options.push(format!("DELIMITER = {}", literal(&definition.typdelim)));
        options.push(format!("ALIGNMENT = {}", definition.alignment()?));
        options.push(format!("STORAGE = {}", definition.storage()?));
        if definition.typbyval {
            options.push("PASSEDBYVALUE".to_owned());
        }
        Ok(options)
    }

    /// The shell type. Both must have the same owner, which is the restoring user at first (TypeCreate of
    /// pg_type.c).
    fn define(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        // CREATE TYPE gives it the privileges of a new type, whatever those of the shell were.
        let usual = [
            ("typlen", json!(to.definition.typlen)),
            ("typbyval", json!(to.definition.typbyval)),
            ("typtype", json!("b")),
            ("typcategory", json!(to.definition.typcategory)),
            ("typispreferred", json!(to.definition.typispreferred)),
            ("typisdefined", json!(true)),
            ("typdelim", json!(to.definition.typdelim)),
            ("typelem", to.rest["typelem"].clone()),
            ("typalign", json!(to.definition.typalign)),
            ("typtypmod", json!(-1)),
            (
                "typcollation",
                json!(if to.is_collatable { "100" } else { "0" }),
            ),
            ("typdefault", json!(to.definition.typdefault)),
            ("typinput", to.rest["typinput"].clone()),
            ("typoutput", to.rest["typoutput"].clone()),
        ];
        ensure_plain("base type", &to.rest, &usual)?;
        let (target, options) = (to.target(), to.options()?.join(", "));
        script.push(
            "owner",
            format!("ALTER TYPE {target} OWNER TO CURRENT_USER"),
        );
        script.push("create", format!("CREATE TYPE {target} ({options})"));
        if let Some(owner) = &to.common.owner {
            let sql = format!("ALTER TYPE {target} OWNER TO {owner}");
            script.push_with_roles("owner", sql, &[owner]);
        }
        Ok(())
    }
}

impl Object for BaseType {
    named_in_schema!("TYPE", "r");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        // The functions use the shell type, and the type uses the functions.
        if !self.is_shell {
            return Err(Unhandled::new("base type", "a type and its shell at once"));
        }
        script.push("create", format!("CREATE TYPE {}", self.target()));
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        if self.is_shell && !to.is_shell {
            return self.define(to, script);
        }
        same_rest("base type", &self.rest, &to.rest)?;
        let mut options = Vec::new();
        for (option, name) in to.definition.functions() {
            if self.ids[option] != to.ids[option] {
                let name = if name == "-" { "NONE" } else { name };
                options.push(format!("{option} = {name}"));
            }
        }
        if self.definition.typstorage != to.definition.typstorage {
            options.push(format!("STORAGE = {}", to.definition.storage()?));
        }
        if !options.is_empty() {
            let (target, options) = (to.target(), options.join(", "));
            script.push("alter", format!("ALTER TYPE {target} SET ({options})"));
        }
        Ok(())
    }

    /// With its functions, which depend on each other; all other dependents were dropped before.
    fn remove(&self, script: &mut Script) {
        let cascade = if self.is_shell { "" } else { " CASCADE" };
        script.push("drop", format!("DROP TYPE {}{cascade}", self.target()));
    }

    fn takes_along(&self) -> Vec<Key> {
        let functions = self.functions.iter().filter(|_| !self.is_shell);
        functions.map(|oid| Key::new(catalog::PROC, *oid)).collect()
    }

    fn aliases(&self) -> Vec<Key> {
        let array = Some(self.array_type).filter(|oid| *oid != 0);
        array
            .map(|oid| Key::new(catalog::TYPE, oid))
            .into_iter()
            .collect()
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }

    fn can_have_privileges(&self) -> bool {
        !self.is_shell
    }
}
