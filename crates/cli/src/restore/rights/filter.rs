//! What of a statement is executed: nothing of what is not wanted, and roles by their names here.

use std::borrow::Cow;

use archive::segment::{DdlBlock, Effect};

use super::wording::{self, Part};
use super::Rights;
use crate::quote::ident;

/// A part of the text of an entry, as it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub part: Part,
    /// Where it begins in the text of the entry.
    pub at: usize,
    pub text: Vec<u8>,
}

/// A schema change, as it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    pub before: Cow<'a, [u8]>,
    pub statement: Cow<'a, [u8]>,
    pub after: Cow<'a, [u8]>,
}

impl<'a> Change<'a> {
    /// A statement that needs no environment.
    pub fn alone(statement: &'a [u8]) -> Change<'a> {
        Change {
            before: Cow::Borrowed(b""),
            statement: Cow::Borrowed(statement),
            after: Cow::Borrowed(b""),
        }
    }

    pub fn block(&self) -> DdlBlock<'_> {
        DdlBlock {
            before: &self.before,
            statement: &self.statement,
            after: &self.after,
        }
    }
}

/// Classes of effects by pg_dump's names of kinds.
const OF_PUBLICATIONS: &str = "PUBLICATION";
const OF_SUBSCRIPTIONS: &str = "SUBSCRIPTION";

impl Rights {
    /// Whether an entry of a dump is not wanted; `kind` and `name` are its own. (pg_restore: _tocEntryRequired.)
    pub fn skips_entry(&self, kind: &[u8], name: &[u8]) -> bool {
        let wanted = &self.wanted;
        let is_about = |what: &str| {
            let of_kind =
                kind == what.as_bytes() || kind.starts_with(format!("{what} ").as_bytes());
            let is_said_of = matches!(kind, b"COMMENT" | b"SECURITY LABEL");
            of_kind || is_said_of && name.starts_with(format!("{what} ").as_bytes())
        };
        wanted.no_privileges && matches!(kind, b"ACL" | b"DEFAULT ACL")
            || wanted.no_comments && kind == b"COMMENT"
            || wanted.no_security_labels && kind == b"SECURITY LABEL"
            || wanted.no_publications && is_about(OF_PUBLICATIONS)
            || wanted.no_subscriptions && is_about(OF_SUBSCRIPTIONS)
    }

    /// The parts of an entry that are executed. Settings for the entries that follow are kept whatever it is.
    pub fn steps(&self, kind: &[u8], name: &[u8], text: &[u8]) -> Vec<Step> {
        let is_skipped = self.skips_entry(kind, name);
        let mut steps = Vec::new();
        for (part, place) in wording::parts(text) {
            let said = &text[place.clone()];
            let said = match part {
                Part::Definition | Part::Owner if is_skipped => continue,
                Part::Owner if self.wanted.no_owner => continue,
                Part::Tablespace => self.tablespace_setting(said),
                Part::Setting => said.to_vec(),
                Part::Owner => self.with_roles(said).into_owned(),
                Part::Definition if names_roles(kind) => self.with_roles(said).into_owned(),
                Part::Definition => said.to_vec(),
            };
            steps.push(Step {
                part,
                at: place.start,
                text: said,
            });
        }
        steps
    }

    /// `SET default_tablespace = …`
    fn tablespace_setting(&self, text: &[u8]) -> Vec<u8> {
        let tokens = super::tokens::tokens(text).unwrap_or_default();
        let name = tokens.get(3).and_then(|token| token.name(text));
        match name {
            Some(name) if self.passes_over_tablespace(&name) => {
                b"SET default_tablespace = '';".to_vec()
            }
            _ => text.to_vec(),
        }
    }

    /// Whether an effect is not wanted.
    pub fn skips_effect(&self, effect: &Effect) -> bool {
        let wanted = &self.wanted;
        let (class, verb) = (effect.class.as_str(), effect.verb.as_str());
        let is_of_privileges = matches!(verb, "grant" | "revoke") || class == "default privileges";
        wanted.no_owner && verb == "owner"
            || wanted.no_privileges && is_of_privileges
            || wanted.no_comments && verb == "comment"
            || wanted.no_security_labels && verb == "label"
            || wanted.no_publications && class == "publication"
            || wanted.no_subscriptions && class == "subscription"
    }

    /// An effect as it is executed; `None` if nothing of it is.
    pub fn effect<'a>(&self, effect: &Effect, block: &DdlBlock<'a>) -> Option<Change<'a>> {
        if self.skips_effect(effect) {
            return None;
        }
        self.change(block)
    }

    /// A statement of the user's as it is executed; `None` if nothing of it is. (CREATE EXTENSION, and everything in
    /// segments of earlier versions.)
    pub fn typed<'a>(&self, command: &str, block: &DdlBlock<'a>) -> Option<Change<'a>> {
        let wanted = &self.wanted;
        let ends_in = |what: &str| command.ends_with(what);
        let is_of_privileges = matches!(command, "GRANT" | "REVOKE" | "ALTER DEFAULT PRIVILEGES");
        let is_skipped = wanted.no_privileges && is_of_privileges
            || wanted.no_comments && command == "COMMENT"
            || wanted.no_security_labels && command == "SECURITY LABEL"
            || wanted.no_publications && ends_in(OF_PUBLICATIONS)
            || wanted.no_subscriptions && ends_in(OF_SUBSCRIPTIONS)
            || wanted.no_owner && wording::owner_of(block.statement).is_some();
        if is_skipped {
            return None;
        }
        self.change(block)
    }

    fn change<'a>(&self, block: &DdlBlock<'a>) -> Option<Change<'a>> {
        let statement = match self.without_tablespace(block.statement) {
            None => Cow::Borrowed(block.statement),
            Some(Some(text)) => Cow::Owned(text),
            Some(None) => return None,
        };
        let statement = match self.with_roles(&statement) {
            Cow::Owned(text) => Cow::Owned(text),
            Cow::Borrowed(_) => statement,
        };
        let mut before = self.with_roles(block.before);
        if let Some(without) = self.without_role(&before) {
            before = Cow::Owned(without);
        }
        Some(Change {
            before,
            statement,
            after: Cow::Borrowed(block.after),
        })
    }

    fn without_tablespace(&self, text: &[u8]) -> Option<Option<Vec<u8>>> {
        memchr::memmem::find(text, b"TABLESPACE ")?;
        wording::without_tablespace(text, &|name| self.passes_over_tablespace(name))
    }

    /// What is executed as a role that is not wanted, or that this role cannot be, is executed as this role.
    fn without_role(&self, before: &[u8]) -> Option<Vec<u8>> {
        const ROLE: &[u8] = b"SET LOCAL ROLE ";
        before.strip_prefix(ROLE)?;
        let place = wording::statements(before).into_iter().next()?;
        let (name, _) = wording::roles_in(&before[place.clone()]).pop()?;
        let is_kept = !self.wanted.no_owner && self.may_give_to(&name);
        let rest = before[place.end..].trim_ascii_start();
        let rest = rest.strip_prefix(b";").unwrap_or(rest);
        (!is_kept).then(|| rest.trim_ascii_start().to_vec())
    }

    fn with_roles<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        if self.renamed.is_empty() {
            return Cow::Borrowed(text);
        }
        match wording::with_roles(text, &|name| self.renamed(name)) {
            Some(text) => Cow::Owned(text),
            None => Cow::Borrowed(text),
        }
    }

    /// A line of a segment that says something about a large object, or database.sql's about the database: `None` if it
    /// is not wanted.
    pub fn line<'t>(&self, text: &'t [u8]) -> Option<Cow<'t, [u8]>> {
        let wanted = &self.wanted;
        let is = |start: &str| text.starts_with(start.as_bytes());
        let is_of_owner = is("ALTER ") && wording::owner_of(text).is_some();
        let is_skipped = wanted.no_owner && (is_of_owner || is("SET LOCAL ROLE "))
            || wanted.no_privileges
                && (is("GRANT ") || is("REVOKE ") || is("SET SESSION AUTHORIZATION "))
            || wanted.no_comments && is("COMMENT ON ")
            || wanted.no_security_labels && is("SECURITY LABEL ");
        (!is_skipped).then(|| self.with_roles(text))
    }

    /// A role of the source that the base or a segment needs: its name here if it is to be made when it is missing.
    pub fn is_made(&self, name: &[u8]) -> bool {
        self.renamed(name).is_none() && !self.needs_no_roles()
    }
}

/// Kinds of entries whose definitions name roles.
fn names_roles(kind: &[u8]) -> bool {
    matches!(kind, b"ACL" | b"DEFAULT ACL" | b"POLICY" | b"USER MAPPING")
}

/// `SET ROLE` in place of `SET SESSION AUTHORIZATION`, which only a superuser may.
pub fn as_role(statement: &[u8]) -> Vec<u8> {
    if statement == b"RESET SESSION AUTHORIZATION" {
        return b"SET ROLE NONE".to_vec();
    }
    let is_set = statement.starts_with(b"SET SESSION AUTHORIZATION ");
    match wording::roles_in(statement).pop().filter(|_| is_set) {
        Some((name, _)) => [b"SET ROLE ", &ident(&name)[..]].concat(),
        None => statement.to_vec(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Options, Role};
    use super::*;

    fn superuser(wanted: Options) -> Rights {
        Rights {
            wanted,
            role: Role {
                is_superuser: true,
                ..Role::default()
            },
            ..Rights::default()
        }
    }

    fn left_of(rights: &Rights, kind: &str, name: &str, text: &str) -> Vec<String> {
        let steps = rights.steps(kind.as_bytes(), name.as_bytes(), text.as_bytes());
        let shown = |step: Step| String::from_utf8(step.text).unwrap().trim().to_owned();
        steps.into_iter().map(shown).collect()
    }

    #[test]
    fn an_entry_without_what_is_not_wanted_keeps_the_settings_behind_it() {
        let rights = superuser(Options {
            no_owner: true,
            no_comments: true,
            no_tablespaces: true,
            no_publications: true,
            ..Options::default()
        });
        let set = "SET default_tablespace = \"x y\";";
        let none = "SET default_tablespace = '';";
        assert_eq!(
            left_of(
                &rights,
                "TABLE",
                "t",
                &format!("CREATE TABLE t ();\n\nALTER TABLE t OWNER TO b;\n\n{set}\n")
            ),
            ["CREATE TABLE t ();", none]
        );
        assert_eq!(
            left_of(
                &rights,
                "COMMENT",
                "TABLE t",
                &format!("COMMENT ON TABLE t IS 'x';\n{set}")
            ),
            [none]
        );
        for (kind, name) in [
            ("PUBLICATION TABLE", "p t"),
            ("PUBLICATION TABLES IN SCHEMA", "p s"),
            ("SECURITY LABEL", "PUBLICATION p"),
        ] {
            assert_eq!(left_of(&rights, kind, name, "X;"), [""; 0], "{kind}");
        }
        assert_eq!(
            left_of(&rights, "ACL", "TABLE t", "GRANT a ON t TO b;"),
            ["GRANT a ON t TO b;"]
        );
    }

    #[test]
    fn an_effect_is_executed_as_the_role_itself_where_its_grantor_is_not_wanted() {
        let rights = superuser(Options {
            no_owner: true,
            ..Options::default()
        });
        let block = DdlBlock {
            before: b"SET LOCAL ROLE \"a;\"; SET LOCAL search_path = x;",
            statement: b"CREATE EXTENSION e",
            after: b"SET LOCAL ROLE NONE;",
        };
        let change = rights.typed("CREATE EXTENSION", &block).unwrap();
        assert_eq!(&change.before[..], b"SET LOCAL search_path = x;");
        assert!(rights
            .typed("ALTER TABLE", &DdlBlock::alone(b"ALTER TABLE t OWNER TO x"))
            .is_none());
        assert_eq!(rights.line(b"ALTER LARGE OBJECT 1 OWNER TO b;"), None);
        assert!(rights.line(b"SELECT pg_catalog.lo_create(1);").is_some());
    }

    #[test]
    fn a_session_of_another_role_becomes_that_role() {
        assert_eq!(
            as_role(b"SET SESSION AUTHORIZATION \"a b\""),
            b"SET ROLE \"a b\""
        );
        assert_eq!(as_role(b"RESET SESSION AUTHORIZATION"), b"SET ROLE NONE");
        assert_eq!(as_role(b"GRANT a ON b TO c"), b"GRANT a ON b TO c");
    }
}
