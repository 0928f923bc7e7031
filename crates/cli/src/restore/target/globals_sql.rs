//! What a globals.sql says, statement by statement: pg_dumpall's roles, memberships, privileges and tablespaces.
//!
//! Each statement is found out by its beginning. A kind that is not known is reported, never executed. A setting of a
//! role in one database belongs to that database, whose database.sql has it.

use super::statements::{split, Statement, Words};
use crate::quote::{ident, shown};

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A role is created.
    Create,
    /// A property of a role.
    Of,
    /// A property of a tablespace.
    Space,
    /// A privilege on a parameter.
    Parameter,
    /// A membership.
    Member,
}

impl Kind {
    /// As globals.sql's functions call it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Of => "of",
            Kind::Space => "space",
            Kind::Parameter => "parameter",
            Kind::Member => "member",
        }
    }
}

/// A statement. Names are unquoted, and empty where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub kind: Kind,
    /// A role, a tablespace, a parameter; of a membership, the role that has members.
    pub subject: Vec<u8>,
    /// The other role: the member, the grantee, the owner.
    pub other: Vec<u8>,
    pub grantor: Vec<u8>,
    /// Without `;`; of a membership, without its grantor.
    pub statement: Vec<u8>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GlobalsSql {
    pub said: Vec<Said>,
    /// Tablespaces: name, location as a string constant.
    pub spaces: Vec<(Vec<u8>, Vec<u8>)>,
    pub superusers: Vec<Vec<u8>>,
    /// Statements of unknown kinds: the line, and how they begin.
    pub unknown: Vec<(u64, String)>,
}

/// The number of bytes of an unknown statement that are reported.
const SHOWN: usize = 40;

impl GlobalsSql {
    /// The error is the line of a statement that has no end.
    pub fn parse(text: &[u8]) -> Result<GlobalsSql, u64> {
        let mut globals = GlobalsSql::default();
        let mut grantor = Vec::new();
        for statement in split(text)? {
            let known = statement.is_plain && globals.take(&statement.text, &mut grantor).is_some();
            if !known {
                let Statement { line, text, .. } = &statement;
                let beginning = shown(&text[..text.len().min(SHOWN)]);
                globals.unknown.push((*line, beginning));
            }
        }
        Ok(globals)
    }

    /// The roles that it creates.
    pub fn roles(&self) -> impl Iterator<Item = &Vec<u8>> {
        let created = self.said.iter().filter(|said| said.kind == Kind::Create);
        created.map(|said| &said.subject)
    }

    /// Memberships: the role, the member.
    pub fn members(&self) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        let members = self.said.iter().filter(|said| said.kind == Kind::Member);
        members.map(|said| (&said.subject, &said.other))
    }

    fn say(
        &mut self,
        kind: Kind,
        subject: Vec<u8>,
        other: Vec<u8>,
        grantor: &[u8],
        statement: &[u8],
    ) {
        self.said.push(Said {
            kind,
            subject,
            other,
            grantor: grantor.to_vec(),
            statement: statement.to_vec(),
        });
    }

    /// `None` for an unknown kind.
    fn take(&mut self, text: &[u8], grantor: &mut Vec<u8>) -> Option<()> {
        let mut words = Words(text);
        if words.eat("SET SESSION AUTHORIZATION ") {
            *grantor = words.name()?;
        } else if text == b"RESET SESSION AUTHORIZATION" {
            grantor.clear();
        } else if words.eat("SET ") || words.eat("SELECT pg_catalog.set_config(") {
            // What the session has anyway.
        } else if words.eat("CREATE ROLE ") {
            let name = words.name()?;
            self.say(Kind::Create, name, Vec::new(), b"", b"");
        } else if words.eat("ALTER ROLE ") {
            self.property(words, text)?;
        } else if words.eat("COMMENT ON ROLE ") {
            let name = words.name()?;
            self.say(Kind::Of, name, Vec::new(), b"", text);
        } else if words.eat("ALTER TABLESPACE ") || words.eat("COMMENT ON TABLESPACE ") {
            let name = words.name()?;
            self.say(Kind::Space, name, Vec::new(), b"", text);
        } else if words.eat("CREATE TABLESPACE ") {
            self.tablespace(words)?;
        } else if words.eat("SECURITY LABEL FOR ") {
            words.name()?;
            let kind = if words.eat(" ON ROLE ") {
                Kind::Of
            } else {
                words.eat(" ON TABLESPACE ").then_some(Kind::Space)?
            };
            let name = words.name()?;
            self.say(kind, name, Vec::new(), b"", text);
        } else if let Some((kind, rest)) = on_what(text) {
            self.privilege(kind, rest, text, grantor)?;
        } else {
            words.eat("GRANT ").then_some(())?;
            self.membership(words)?;
        }
        Some(())
    }

    fn property(&mut self, mut words: Words, text: &[u8]) -> Option<()> {
        let name = words.name()?;
        if words.eat(" IN DATABASE ") {
            return Some(());
        }
        if words.eat(" WITH SUPERUSER ") {
            self.superusers.push(name.clone());
        }
        self.say(Kind::Of, name, Vec::new(), b"", text);
        Some(())
    }

    fn tablespace(&mut self, mut words: Words) -> Option<()> {
        let name = words.name()?;
        let owner = if words.eat(" OWNER ") {
            Some(words.name()?)
        } else {
            None
        };
        words.eat(" LOCATION ").then_some(())?;
        let is_constant =
            words.0.len() >= 2 && words.0.starts_with(b"'") && words.0.ends_with(b"'");
        if !is_constant || words.0.contains(&b'\\') {
            return None;
        }
        self.spaces.push((name.clone(), words.0.to_vec()));
        if let Some(owner) = owner {
            let to = [b" OWNER TO ", &ident(&owner)[..]].concat();
            let alter = [b"ALTER TABLESPACE ", &ident(&name)[..], &to].concat();
            self.say(Kind::Space, name, owner, b"", &alter);
        }
        Some(())
    }

    fn privilege(
        &mut self,
        kind: Kind,
        mut words: Words,
        text: &[u8],
        grantor: &[u8],
    ) -> Option<()> {
        let on = words.name()?;
        (words.eat(" TO ") || words.eat(" FROM ")).then_some(())?;
        let is_public = words.0 == b"PUBLIC" || words.0.starts_with(b"PUBLIC ");
        let other = if is_public { Vec::new() } else { words.name()? };
        // What everybody may set says nothing of a role.
        if kind == Kind::Space || !other.is_empty() {
            self.say(kind, on, other, grantor, text);
        }
        Some(())
    }

    fn membership(&mut self, mut words: Words) -> Option<()> {
        let role = words.name()?;
        words.eat(" TO ").then_some(())?;
        let member = words.name()?;
        let by = memchr::memmem::find(words.0, b" GRANTED BY ");
        let (options, grantor) = match by {
            Some(at) => (&words.0[..at], Words(&words.0[at + 12..]).name()?),
            None => (words.0, Vec::new()),
        };
        let (role_name, member_name) = (ident(&role), ident(&member));
        let grant = [b"GRANT ", &role_name[..], b" TO ", &member_name, options].concat();
        self.say(Kind::Member, role, member, &grantor, &grant);
        Some(())
    }
}

/// `GRANT … ON TABLESPACE `, `REVOKE … ON PARAMETER `, and the like: what it is on, and the rest.
fn on_what(text: &[u8]) -> Option<(Kind, Words<'_>)> {
    let mut words = Words(text);
    (words.eat("GRANT ") || words.eat("REVOKE ")).then_some(())?;
    words.eat("GRANT OPTION FOR ");
    let is_privilege = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b',' | b' ');
    let end = words.0.iter().position(|byte| !is_privilege(byte))?;
    let (before, rest) = words.0.split_at(end);
    let is_on = |what: &str| before.ends_with(what.as_bytes());
    if is_on(" ON TABLESPACE ") {
        return Some((Kind::Space, Words(rest)));
    }
    is_on(" ON PARAMETER ").then_some((Kind::Parameter, Words(rest)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> GlobalsSql {
        GlobalsSql::parse(text.as_bytes()).unwrap()
    }

    fn one(text: &str) -> Said {
        let globals = parsed(&format!("{text};\n"));
        assert_eq!(globals.unknown, [], "{text}");
        assert_eq!(globals.said.len(), 1, "{text}");
        globals.said[0].clone()
    }

    #[test]
    fn every_kind_of_pg_dumpall_is_found() {
        for (text, kind, subject, other) in [
            ("CREATE ROLE \"b;\n\"", Kind::Create, "b;\n", ""),
            (
                "ALTER ROLE \"x\"\"y\" WITH NOSUPERUSER",
                Kind::Of,
                "x\"y",
                "",
            ),
            ("ALTER ROLE a SET work_mem TO '1;'", Kind::Of, "a", ""),
            ("COMMENT ON ROLE a IS E'\\\\;'", Kind::Of, "a", ""),
            ("SECURITY LABEL FOR p ON ROLE a IS 'x'", Kind::Of, "a", ""),
            (
                "SECURITY LABEL FOR \"p q\" ON TABLESPACE a IS 'x'",
                Kind::Space,
                "a",
                "",
            ),
            (
                "ALTER TABLESPACE a SET (seq_page_cost='2')",
                Kind::Space,
                "a",
                "",
            ),
            (
                "GRANT ALL ON TABLESPACE \"t s\" TO PUBLIC",
                Kind::Space,
                "t s",
                "",
            ),
            (
                "REVOKE ALL ON TABLESPACE t FROM \"A b\"",
                Kind::Space,
                "t",
                "A b",
            ),
            (
                "GRANT SET ON PARAMETER \"work_mem\" TO bob WITH GRANT OPTION",
                Kind::Parameter,
                "work_mem",
                "bob",
            ),
            (
                "GRANT SET,ALTER SYSTEM ON PARAMETER a.b TO bob",
                Kind::Parameter,
                "a.b",
                "bob",
            ),
        ] {
            let said = one(text);
            assert_eq!(
                (said.kind, said.subject, said.other),
                (kind, subject.into(), other.into()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_membership_keeps_its_options_and_gives_its_grantor_apart() {
        let said = one("GRANT \"a b\" TO c WITH ADMIN OPTION, INHERIT FALSE GRANTED BY \"d e\"");
        assert_eq!(said.grantor, b"d e");
        let grant = "GRANT \"a b\" TO \"c\" WITH ADMIN OPTION, INHERIT FALSE";
        assert_eq!(said.statement, grant.as_bytes());
        // A role that is called like a privilege.
        let said = one("GRANT \"SET ON PARAMETER x\" TO c GRANTED BY a");
        assert_eq!((said.kind, &said.other[..]), (Kind::Member, &b"c"[..]));
    }

    #[test]
    fn a_grantor_is_who_the_session_is_meanwhile() {
        let globals = parsed(
            "SET SESSION AUTHORIZATION \"b\";\nGRANT CREATE ON TABLESPACE t TO c;\nRESET SESSION AUTHORIZATION;\n\
             GRANT CREATE ON TABLESPACE t TO d;\n",
        );
        let grantors: Vec<&[u8]> = globals.said.iter().map(|said| &said.grantor[..]).collect();
        assert_eq!(grantors, [&b"b"[..], b""]);
    }

    #[test]
    fn a_tablespace_has_a_location_and_an_owner() {
        let globals = parsed("CREATE TABLESPACE \"a;b\" OWNER bob LOCATION '/x''y';\n");
        assert_eq!(globals.spaces, [(b"a;b".to_vec(), b"'/x''y'".to_vec())]);
        assert_eq!(
            globals.said[0].statement,
            b"ALTER TABLESPACE \"a;b\" OWNER TO \"bob\""
        );
    }

    #[test]
    fn superusers_and_settings_elsewhere_are_told_apart() {
        let globals = parsed(
            "ALTER ROLE a WITH SUPERUSER LOGIN;\nALTER ROLE b WITH NOSUPERUSER;\n\
             ALTER ROLE b IN DATABASE x SET work_mem TO '1';\nSET client_encoding = 'UTF8';\n",
        );
        assert_eq!(globals.superusers, [b"a".to_vec()]);
        assert_eq!(globals.said.len(), 2);
    }

    #[test]
    fn what_is_not_known_is_reported() {
        for text in [
            "DROP ROLE a;",
            "DO 'BEGIN END';",
            "CREATE ROLE a; DROP DATABASE b;",
            "GRANT SELECT ON TABLE t TO a;",
            "CREATE TABLESPACE a LOCATION E'/x\\\\';",
            "ALTER SYSTEM SET x = 1;",
            "\\! id\n",
            "CREATE ROLE $x$;",
        ] {
            let globals = parsed(&format!("\n{text}\n"));
            assert_eq!(globals.unknown.len(), 1, "{text}");
            assert_eq!(globals.unknown[0].0, 2, "{text}");
        }
    }
}
