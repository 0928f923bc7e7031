//! The result: statements, or why there are none.

use crate::key::Key;

/// One statement that a restore executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The object that it creates, alters or drops.
    pub key: Key,
    /// As in pg_identify_object: `table`, `function`, …
    pub class: &'static str,
    /// `create`, `alter`, `drop`, `owner`, `grant`, `comment`, `label`, …
    pub verb: &'static str,
    /// In readable form.
    pub identity: String,
    /// Objects that must exist.
    pub needs: Vec<Key>,
    /// Roles that must exist, unquoted.
    pub roles: Vec<String>,
    /// The tablespace that must exist, unquoted.
    pub tablespace: Option<String>,
    /// The grantor, quoted, if it is neither the restoring role nor the owner.
    pub grantor: Option<String>,
    /// Without a semicolon.
    pub sql: String,
}

/// Why a difference cannot be written: it is flagged, and a base follows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {what}")]
pub struct Unhandled {
    /// The object class, or the catalog, that is not understood.
    pub class: String,
    /// What is not understood.
    pub what: String,
    /// The object, and its identity if it has one.
    pub object: Option<(Key, String)>,
    /// Other changes of the same statement, which are lost with it.
    pub along: Vec<Along>,
}

/// An object whose change is lost because another change of the same statement cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Along {
    pub key: Key,
    pub class: String,
    pub identity: String,
}

impl Unhandled {
    pub fn new(class: impl Into<String>, what: impl Into<String>) -> Unhandled {
        Unhandled {
            class: class.into(),
            what: what.into(),
            object: None,
            along: Vec::new(),
        }
    }

    /// The same, for this object.
    pub fn about(self, key: Key, identity: impl FnOnce() -> String) -> Unhandled {
        let object = self.object.or_else(|| Some((key, identity())));
        Unhandled { object, ..self }
    }
}

/// Fails, with their names, if columns that a class does not understand differ.
pub fn same_rest(
    class: &str,
    before: &serde_json::Value,
    after: &serde_json::Value,
) -> Result<(), Unhandled> {
    if before == after {
        return Ok(());
    }
    let differs = |name: &&String| before.get(name.as_str()) != after.get(name.as_str());
    let names: Vec<&str> = after
        .as_object()
        .into_iter()
        .flat_map(|columns| columns.keys())
        .filter(differs)
        .map(String::as_str)
        .collect();
    Err(Unhandled::new(class, names.join(", ")))
}

/// Fails, with their names, if a row has columns that a class does not understand.
pub fn no_rest(class: &str, rest: &serde_json::Value) -> Result<(), Unhandled> {
    same_rest(class, &serde_json::json!({}), rest)
}

/// Fails if something that no statement changes differs, described by `what`.
pub fn same_identity<T: PartialEq>(
    class: &str,
    before: &T,
    after: &T,
    what: &str,
) -> Result<(), Unhandled> {
    if before == after {
        return Ok(());
    }
    Err(Unhandled::new(class, what))
}

/// The statements about one object, in order.
#[derive(Debug, Default)]
pub struct Script {
    pub statements: Vec<Statement>,
    /// Why they are incomplete.
    pub unhandled: Option<Unhandled>,
    /// What its REVOKEs on the whole object remove, also from the object's columns.
    pub revoked: Vec<Revoked>,
}

/// A privilege, or its grant option, that a REVOKE removes; names are quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    pub grantor: String,
    pub grantee: String,
    pub privilege: String,
    pub option_only: bool,
}

/// One of them, before its object is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub verb: &'static str,
    pub sql: String,
    pub roles: Vec<String>,
    pub grantor: Option<String>,
}

impl Script {
    /// A part cannot be written; the first reason is kept.
    pub fn fail(&mut self, unhandled: Unhandled) {
        self.unhandled.get_or_insert(unhandled);
    }

    /// Adds a statement, without a semicolon.
    pub fn push(&mut self, verb: &'static str, sql: impl Into<String>) {
        self.statements.push(Statement {
            verb,
            sql: sql.into(),
            roles: Vec::new(),
            grantor: None,
        });
    }

    /// Adds one with role names (quoted).
    pub fn push_with_roles(&mut self, verb: &'static str, sql: impl Into<String>, roles: &[&str]) {
        self.push(verb, sql);
        if let Some(last) = self.statements.last_mut() {
            last.roles = roles
                .iter()
                .map(|role| crate::text::unquoted(role))
                .collect();
        }
    }
}
