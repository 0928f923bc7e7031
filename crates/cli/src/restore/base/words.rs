//! What pg_restore says for an entry beside its definition: tablespace, access method, owner.
//!
//! A dump in directory format has these as fields of its table of contents; pg_restore words them (_printTocEntry of
//! PostgreSQL's pg_backup_archiver.c, versions 15 to 18). Names are quoted here whether necessary or not.

use archive::dump::{Entry, Toc};

use crate::quote::ident;

/// The kinds of objects whose owner is changed by their name.
const BY_NAME: [&str; 19] = [
    "COLLATION",
    "CONVERSION",
    "DOMAIN",
    "EVENT TRIGGER",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "MATERIALIZED VIEW",
    "PROCEDURAL LANGUAGE",
    "PUBLICATION",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "TABLE",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TYPE",
    "VIEW",
];

/// Those that are identified as in the statement that drops them.
const AS_DROPPED: [&str; 6] = [
    "AGGREGATE",
    "FUNCTION",
    "OPERATOR",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "PROCEDURE",
];

/// pg_class.relkind of a partitioned table, which has an access method, but no rows.
const PARTITIONED: Option<u8> = Some(b'p');

/// The state of the session, as the texts so far have left it.
#[derive(Debug, Clone, Default)]
pub struct Wording {
    tablespace: Option<Vec<u8>>,
    access_method: Option<Vec<u8>>,
}

impl Wording {
    /// The text of an entry. An error says what of it is not as pg_dump writes it.
    pub fn of(&mut self, toc: &Toc, entry: &Entry) -> Result<Vec<u8>, &'static str> {
        let mut text = self.settings(entry);
        match kind(entry) {
            "BLOB METADATA" => {
                text.extend(for_each(entry, b"SELECT pg_catalog.lo_create('", b"')")?);
            }
            "ACL" if entry.tag.starts_with(b"LARGE OBJECTS") => {
                text.extend(privileges(toc, entry)?);
            }
            _ => text.extend_from_slice(&entry.definition),
        }
        text.extend(owner(entry)?);
        let method = entry
            .access_method
            .as_ref()
            .filter(|method| !method.is_empty());
        if let Some(method) = method.filter(|_| entry.relkind == PARTITIONED) {
            let table = qualified(entry);
            let alter = [
                b"\n\nALTER TABLE ",
                &table[..],
                b" SET ACCESS METHOD ",
                &ident(method),
                b";\n",
            ];
            text.extend(alter.concat());
        }
        Ok(text)
    }

    /// What the definition needs, where it differs.
    fn settings(&mut self, entry: &Entry) -> Vec<u8> {
        let mut text = Vec::new();
        if entry.tablespace.is_some() && entry.tablespace != self.tablespace {
            self.tablespace.clone_from(&entry.tablespace);
            let name = match entry.tablespace.as_deref().unwrap_or_default() {
                b"" => b"''".to_vec(),
                name => ident(name),
            };
            text.extend([b"SET default_tablespace = ", &name[..], b";\n\n"].concat());
        }
        let method = entry
            .access_method
            .as_ref()
            .filter(|method| !method.is_empty());
        let is_new = entry.relkind != PARTITIONED && self.access_method.as_ref() != method;
        if let Some(method) = method.filter(|_| is_new) {
            self.access_method = Some(method.clone());
            let set = [
                b"SET default_table_access_method = ",
                &ident(method)[..],
                b";\n\n",
            ];
            text.extend(set.concat());
        }
        text
    }
}

fn kind(entry: &Entry) -> &str {
    std::str::from_utf8(&entry.kind).unwrap_or_default()
}

fn qualified(entry: &Entry) -> Vec<u8> {
    let schema = entry.namespace.as_ref().filter(|name| !name.is_empty());
    match schema {
        Some(schema) => [&ident(schema)[..], b".", &ident(&entry.tag)].concat(),
        None => ident(&entry.tag),
    }
}

/// `ALTER … OWNER TO …`; empty for an object without one.
fn owner(entry: &Entry) -> Result<Vec<u8>, &'static str> {
    let owner = entry.owner.as_ref().filter(|owner| !owner.is_empty());
    let Some(owner) = owner.filter(|_| !entry.drop_statement.is_empty()) else {
        return Ok(Vec::new());
    };
    let to = [b" OWNER TO ", &ident(owner)[..]].concat();
    let object = match kind(entry) {
        "BLOB METADATA" => {
            let each = for_each(entry, b"ALTER LARGE OBJECT ", &to)?;
            return Ok([b"\n\n", &each[..]].concat());
        }
        "BLOB" if entry.tag.iter().all(u8::is_ascii_digit) => {
            [b"LARGE OBJECT ", &entry.tag[..]].concat()
        }
        kind if BY_NAME.contains(&kind) => [kind.as_bytes(), b" ", &qualified(entry)].concat(),
        kind if AS_DROPPED.contains(&kind) => {
            let dropped = entry.drop_statement.strip_prefix(b"DROP ");
            let dropped = dropped
                .ok_or("a statement does not drop its object")?
                .trim_ascii_end();
            dropped.strip_suffix(b";").unwrap_or(dropped).to_vec()
        }
        _ => return Ok(Vec::new()),
    };
    Ok([b"\n\nALTER ", &object[..], &to, b";\n"].concat())
}

/// A statement for each large object of a group: its definition is a list of OIDs.
fn for_each(group: &Entry, before: &[u8], after: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut text = Vec::new();
    for oid in group
        .definition
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        if !oid.iter().all(u8::is_ascii_digit) {
            return Err("a list of large objects has something else than OIDs");
        }
        text.extend([before, oid, after, b";\n"].concat());
    }
    Ok(text)
}

/// The privileges on a group of large objects: statements about one of them, which are meant for all (IssueACLPerBlob).
fn privileges(toc: &Toc, entry: &Entry) -> Result<Vec<u8>, &'static str> {
    const MARK: &[u8] = b"LARGE OBJECT ";
    let of = |id: &i32| toc.entries.iter().find(|other| other.dump_id == *id);
    let group = entry.dependencies.first().and_then(of);
    let group = group.filter(|group| kind(group) == "BLOB METADATA");
    let group = group.ok_or("privileges on large objects belong to no group of them")?;
    let mut text = Vec::new();
    let mut rest = &entry.definition[..];
    while !rest.trim_ascii().is_empty() {
        let end = outside_quotes(rest, b";").ok_or("privileges on large objects have no end")?;
        let (statement, after) = (rest[..end].trim_ascii_start(), &rest[end + 1..]);
        let at = outside_quotes(statement, MARK)
            .ok_or("privileges are on something else than large objects")?;
        let (before, object) = statement.split_at(at + MARK.len());
        let digits = object
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        text.extend(for_each(group, before, &object[digits..])?);
        rest = after;
    }
    Ok(text)
}

/// Names of roles are the only quoted parts of such statements.
fn outside_quotes(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    (0..text.len()).find(|at| {
        is_quoted ^= text[*at] == b'"';
        !is_quoted && text[*at..].starts_with(wanted)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(kind: &str, name: &str, definition: &str) -> Entry {
        Entry {
            kind: kind.into(),
            tag: name.into(),
            namespace: Some(b"a b".to_vec()),
            definition: definition.into(),
            owner: Some(b"bob; \"x\"".to_vec()),
            drop_statement: b"DROP SOMETHING;\n".to_vec(),
            ..Entry::default()
        }
    }

    fn worded(entry: &Entry) -> String {
        let text = Wording::default().of(&Toc::default(), entry).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn an_owner_is_given_by_name_or_as_the_object_is_dropped() {
        let view = worded(&entry("VIEW", "v\";", "CREATE VIEW v;\n"));
        let alter = "ALTER VIEW \"a b\".\"v\"\";\" OWNER TO \"bob; \"\"x\"\"\";\n";
        assert_eq!(view, format!("CREATE VIEW v;\n\n\n{alter}"));
        let function = Entry {
            drop_statement: b"DROP FUNCTION \"a b\".f(integer, \"x;\");\n".to_vec(),
            ..entry("FUNCTION", "f(integer)", "CREATE FUNCTION;\n")
        };
        assert!(
            worded(&function).contains("ALTER FUNCTION \"a b\".f(integer, \"x;\") OWNER TO \"bob")
        );
        for kind in ["INDEX", "TRIGGER", "USER MAPPING", "EXTENSION", "DEFAULT"] {
            assert_eq!(worded(&entry(kind, "x", "X;\n")), "X;\n", "{kind}");
        }
        let schema = Entry {
            namespace: None,
            ..entry(
                "SCHEMA",
                "public",
                "-- *not* creating schema, since initdb creates it\n",
            )
        };
        assert!(worded(&schema).ends_with("ALTER SCHEMA \"public\" OWNER TO \"bob; \"\"x\"\"\";\n"));
    }

    #[test]
    fn settings_are_only_said_where_they_change() {
        let with = |tablespace: Option<&str>, method: Option<&str>, relkind| Entry {
            tablespace: tablespace.map(|name| name.into()),
            access_method: method.map(|name| name.into()),
            relkind,
            owner: None,
            ..entry("TABLE", "t", "T;")
        };
        let mut wording = Wording::default();
        let mut of = |entry: Entry| {
            let text = wording.of(&Toc::default(), &entry).unwrap();
            String::from_utf8(text).unwrap().replace('\n', "")
        };
        let first = of(with(Some("t;"), Some("heap"), Some(b'r')));
        assert_eq!(
            first,
            "SET default_tablespace = \"t;\";SET default_table_access_method = \"heap\";T;"
        );
        assert_eq!(of(with(None, None, None)), "T;");
        assert_eq!(of(with(Some("t;"), Some("heap"), None)), "T;");
        assert_eq!(
            of(with(Some(""), Some(""), None)),
            "SET default_tablespace = '';T;"
        );
        let partitioned = of(with(None, Some("x"), Some(b'p')));
        assert_eq!(
            partitioned,
            "T;ALTER TABLE \"a b\".\"t\" SET ACCESS METHOD \"x\";"
        );
    }

    #[test]
    fn a_group_of_large_objects_is_worded_one_by_one() {
        let group = Entry {
            dump_id: 7,
            ..entry("BLOB METADATA", "16..17", "16\n17\n")
        };
        let acl = Entry {
            dependencies: vec![7],
            owner: None,
            ..entry(
                "ACL",
                "LARGE OBJECTS 16..17",
                "REVOKE ALL ON LARGE OBJECT 16 FROM \"a;LARGE OBJECT 1\";\nGRANT SELECT ON LARGE OBJECT 16 TO PUBLIC;\n",
            )
        };
        let text = worded(&group);
        assert!(text.starts_with(
            "SELECT pg_catalog.lo_create('16');\nSELECT pg_catalog.lo_create('17');\n"
        ));
        assert!(text.ends_with("ALTER LARGE OBJECT 17 OWNER TO \"bob; \"\"x\"\"\";\n"));
        let toc = Toc {
            entries: vec![group],
        };
        let text = String::from_utf8(Wording::default().of(&toc, &acl).unwrap()).unwrap();
        let expected = "REVOKE ALL ON LARGE OBJECT 16 FROM \"a;LARGE OBJECT 1\";\n\
            REVOKE ALL ON LARGE OBJECT 17 FROM \"a;LARGE OBJECT 1\";\n\
            GRANT SELECT ON LARGE OBJECT 16 TO PUBLIC;\nGRANT SELECT ON LARGE OBJECT 17 TO PUBLIC;\n";
        assert_eq!(text, expected);
        let hostile = entry("BLOB METADATA", "16", "16'); DROP TABLE t; --\n");
        assert!(Wording::default().of(&toc, &hostile).is_err());
        assert!(Wording::default().of(&Toc::default(), &acl).is_err());
    }
}
