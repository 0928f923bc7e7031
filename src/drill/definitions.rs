//! The definitions of a database as pg_dump writes them: lines, each with its object.
//!
//! The order, which depends on OIDs, is ignored. Left out are comments, our own extension, `\restrict` with
//! its random key, positions of sequences, and CREATE SUBSCRIPTION (a restored one has no slot).
//!
//! Those of the source are read from pg_dump's custom format, whose table of contents identifies by OID what
//! is our own, and what only a superuser can create.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use archive::dump::{choose, Gone, Toc};
use pgrx::prelude::*;

use super::client;
use super::unmade::{Catalogs, TableOfContents, Unmade};
use crate::backup::dump::{self, LOCK_WAIT_TIMEOUT};
use crate::backup::{contents, leave_out};
use crate::pg::failure::Failure;

/// Lines that do not describe objects, or differ in a restored database.
const LEFT_OUT: [&str; 5] = [
    "\\restrict ",
    "\\unrestrict ",
    "CREATE SUBSCRIPTION ",
    "SELECT pg_catalog.setval(",
    "SET transaction_timeout = ",
];

/// pg_dump's own comments. Other comments are part of function bodies and belong to the dump.
const COMMENTS: [&str; 5] = [
    "-- Name: ",
    "-- Data for Name: ",
    "-- PostgreSQL database dump",
    "-- Dumped from database version ",
    "-- Dumped by pg_dump version ",
];

/// Settings that apply to all following objects that have a tablespace or an access method.
const SETTINGS: [&str; 2] = [
    "SET default_tablespace = ",
    "SET default_table_access_method = ",
];

/// What a drill's superuser creates for the restoring role.
const OF_THE_RESTORER: [&str; 2] = [
    "ACL pg_catalog.COLUMN \"pg_class\".\"relchecks\"",
    "ACL pg_catalog.COLUMN \"pg_attribute\".\"attnotnull\"",
];

/// An object of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its description for people, without its owner.
    name: String,
    /// Kind, schema, name and owner, separated by blanks.
    words: String,
}

impl Object {
    /// As in the table of contents.
    pub fn words(&self) -> &str {
        &self.words
    }
}

/// How often each line occurs in each object.
pub struct Definitions {
    lines: BTreeMap<(String, String), i64>,
    objects: BTreeMap<String, Object>,
}

/// The differences between the source and the restored database.
#[derive(Default)]
pub struct Differences {
    /// In words.
    pub problems: Vec<String>,
    /// Objects that could not be created, and OIDs of the tables among them.
    pub left_out: Vec<String>,
    pub tables: BTreeSet<u32>,
}

/// Of the source, under an exported snapshot, with their table of contents. `on_read` is called when all of
/// them have been read.
pub fn of_source(
    conninfo: &OsStr,
    snapshot: &str,
    catalogs: Catalogs,
    on_read: impl FnMut() -> Result<(), Failure>,
) -> Result<(Definitions, TableOfContents), Failure> {
    let mut arguments = arguments(conninfo);
    arguments.push(format!("--snapshot={snapshot}").into());
    let (text, toc) = text(
        arguments,
        client::own_version(),
        leave_out::collect,
        on_read,
    )?;
    Ok((Definitions::of(&text), TableOfContents::of(&toc, catalogs)))
}

/// Of the restored database.
pub fn of_restored(conninfo: &str, version: u32) -> Result<Definitions, Failure> {
    let nothing = || Ok(Gone::default());
    let (text, _) = text(arguments(conninfo.as_ref()), version, nothing, || Ok(()))?;
    Ok(Definitions::of(&text))
}

/// The output of pg_restore for pg_dump's archive, without what is `gone`; and the archive's table of
/// contents.
fn text(
    mut arguments: Vec<OsString>,
    version: u32,
    gone: impl FnOnce() -> Result<Gone, Failure>,
    on_read: impl FnMut() -> Result<(), Failure>,
) -> Result<(Vec<u8>, Toc), Failure> {
    let unwritable = |error| dump::cannot_run(&dump::program("pg_dump"), error);
    let place = tempfile::tempdir().map_err(unwritable)?;
    let (dumped, list) = (place.path().join("dump"), place.path().join("list"));
    arguments.extend(["--format=custom".into(), dump::option("--file=", &dumped)]);
    run("pg_dump", &arguments, version, on_read)?;
    let toc = contents::read_toc(&dumped)?;
    let kept = choose(&toc, &gone()?).kept;
    std::fs::write(&list, contents::list_of(&toc, &kept)).map_err(unwritable)?;
    let arguments = [
        dump::option("--use-list=", &list),
        "--file=-".into(),
        dumped.into(),
    ];
    let text = run("pg_restore", &arguments, version, || Ok(()))?;
    Ok((text, toc))
}

fn arguments(conninfo: &OsStr) -> Vec<OsString> {
    vec![
        dump::option("--dbname=", conninfo),
        "--no-password".into(),
        "--schema-only".into(),
        "--quote-all-identifiers".into(),
        format!("--lock-wait-timeout={LOCK_WAIT_TIMEOUT}").into(),
    ]
}

fn run(
    program: &str,
    arguments: &[OsString],
    version: u32,
    mut on_output: impl FnMut() -> Result<(), Failure>,
) -> Result<Vec<u8>, Failure> {
    let environment = client::environment(version);
    let ran = client::run(
        &dump::program(program),
        arguments,
        &environment,
        None,
        |_| on_output(),
    )?;
    if !ran.is_good {
        let code = PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
        return Err(Failure::new(
            code,
            format!("{program} failed: {}", ran.tail(4)),
        ));
    }
    Ok(ran.output)
}

impl Definitions {
    fn of(dumped: &[u8]) -> Definitions {
        let mut reader = Reader {
            object: Object::default(),
            // Values before the first SET, which comes with the first table that is not partitioned.
            settings: [String::new(), format!("{}heap;", SETTINGS[1])],
            lines: BTreeMap::new(),
            objects: BTreeMap::new(),
        };
        for line in String::from_utf8_lossy(dumped).lines() {
            reader.take(line);
        }
        Definitions {
            lines: reader.lines,
            objects: reader.objects,
        }
    }

    /// The differences of `restored`. Objects that could not be created are separate from errors.
    pub fn differences(&self, restored: &Definitions, unmade: Option<&Unmade>) -> Differences {
        let surplus = |a: &Definitions, b: &Definitions, where_: &str| -> Vec<(String, String)> {
            let more = |((object, line), count): (&(String, String), &i64)| {
                let key = (object.clone(), line.clone());
                let is_more = *count > b.lines.get(&key).copied().unwrap_or(0);
                is_more.then(|| (object.clone(), format!("{object}: only {where_}: {line}")))
            };
            a.lines.iter().filter_map(more).collect()
        };
        let mut found = surplus(self, restored, "at the source");
        found.extend(surplus(restored, self, "restored"));
        // Stable: for each object, the source's lines stay first.
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let mut differences = Differences::default();
        for (name, text) in found {
            let of_source = unmade.zip(self.objects.get(&name));
            let left_out = of_source.filter(|(unmade, object)| {
                unmade.has(object) || self.is_granted_by_another(&object.name)
            });
            match left_out {
                None => differences.problems.push(text),
                Some((unmade, object)) => {
                    differences.tables.extend(unmade.relation(object));
                    if differences.left_out.last() != Some(&name) {
                        differences.left_out.push(name);
                    }
                }
            }
        }
        differences
    }

    /// Privileges granted by a role other than the owner: only a superuser can grant in the name of that
    /// role.
    fn is_granted_by_another(&self, name: &str) -> bool {
        let mut lines = self.lines.keys().filter(|(object, _)| object == name);
        name.starts_with("ACL ")
            && lines.any(|(_, line)| line.starts_with("SET SESSION AUTHORIZATION "))
    }
}

/// Assigns the lines of a dump to objects.
struct Reader {
    object: Object,
    settings: [String; 2],
    lines: BTreeMap<(String, String), i64>,
    objects: BTreeMap<String, Object>,
}

impl Reader {
    fn take(&mut self, line: &str) {
        if let Some(at) = SETTINGS.iter().position(|start| line.starts_with(start)) {
            self.settings[at] = line.to_string();
        } else if COMMENTS.iter().any(|start| line.starts_with(start)) {
            self.begin(line);
        } else if !line.is_empty()
            && line != "--"
            && !LEFT_OUT.iter().any(|start| line.starts_with(start))
        {
            self.put(line.to_string());
        }
    }

    /// `-- Name: t; Type: TABLE; Schema: public; Owner: postgres`
    fn begin(&mut self, comment: &str) {
        let header = || {
            let (_, rest) = comment.split_once("Name: ")?;
            let (name, rest) = rest.split_once("; Type: ")?;
            let (kind, rest) = rest.split_once("; Schema: ")?;
            let (schema, rest) = rest.split_once(';')?;
            let owner = rest.split_once(" Owner: ").map_or("", |(_, owner)| owner);
            let owner = owner
                .split_once("; Tablespace: ")
                .map_or(owner, |(owner, _)| owner);
            Some((name, kind, schema, owner))
        };
        let Some((name, kind, schema, owner)) = header() else {
            return;
        };
        let owner = if owner == "-" { "" } else { owner };
        self.object = Object {
            name: match (kind.starts_with("BLOB"), schema) {
                // Large objects come in groups, which depend on the other objects.
                (true, _) => "LARGE OBJECTS".to_string(),
                (false, "-") => format!("{kind} {name}"),
                (false, _) => format!("{kind} {schema}.{name}"),
            },
            words: format!("{kind} {schema} {name} {owner}"),
        };
        let (name, object) = (self.object.name.clone(), self.object.clone());
        self.objects.entry(name).or_insert(object);
        if ["TABLE", "INDEX", "CONSTRAINT", "MATERIALIZED VIEW"].contains(&kind) {
            for setting in self.settings.clone() {
                self.put(setting);
            }
        }
    }

    fn put(&mut self, line: String) {
        let object = self.object.name.clone();
        if !OF_THE_RESTORER.contains(&object.as_str()) {
            *self.lines.entry((object, line)).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\nSET lock_timeout = 0;\n\
        --\n-- Name: t; Type: TABLE; Schema: public; Owner: postgres\n--\n\nCREATE TABLE public.t (\n    a integer\n);\n\
        --\n-- Name: u; Type: TABLE; Schema: public; Owner: postgres\n--\n\nCREATE TABLE public.u (\n    a integer\n);\n";

    #[test]
    fn order_and_random_keys_are_no_difference_and_a_line_names_its_object() {
        let source = Definitions::of(DUMP.as_bytes());
        let same = DUMP.replace("\\restrict abc", "\\restrict xyz");
        assert!(source
            .differences(&Definitions::of(same.as_bytes()), None)
            .problems
            .is_empty());
        let other = DUMP.replacen("a integer\n", "a bigint\n", 1);
        assert_eq!(
            source
                .differences(&Definitions::of(other.as_bytes()), None)
                .problems,
            [
                "TABLE public.t: only at the source:     a integer",
                "TABLE public.t: only restored:     a bigint"
            ]
        );
    }
}
