//! The definitions of a database as pg_dump writes them: lines, each with the object that it belongs to.
//!
//! Without order, which depends on OIDs. Left out are comments, our own extension, `\restrict` with its random
//! key, sequences' positions, and CREATE SUBSCRIPTION (a restored one has no slot).

use std::collections::BTreeMap;

use archive::dump::{choose, Gone};
use pgrx::prelude::*;

use super::client;
use crate::backup::dump::{self, LOCK_WAIT_TIMEOUT};
use crate::backup::{contents, leave_out};
use crate::pg::failure::Failure;

/// Lines that say nothing about what is there, or not the same of a restored database.
const LEFT_OUT: [&str; 5] = [
    "\\restrict ",
    "\\unrestrict ",
    "CREATE SUBSCRIPTION ",
    "SELECT pg_catalog.setval(",
    "SET transaction_timeout = ",
];

/// pg_dump's own comments. Others are text of functions and belong to the dump.
const COMMENTS: [&str; 5] = [
    "-- Name: ",
    "-- Data for Name: ",
    "-- PostgreSQL database dump",
    "-- Dumped from database version ",
    "-- Dumped by pg_dump version ",
];

/// Settings that hold for whatever follows that lives in a tablespace or has an access method.
const SETTINGS: [&str; 2] = [
    "SET default_tablespace = ",
    "SET default_table_access_method = ",
];

/// How often each line occurs in each object.
pub struct Definitions {
    lines: BTreeMap<(String, String), i64>,
}

/// Of the source, at an exported snapshot, without what a base leaves out. `on_read` is called when all of
/// them are read. Needs a transaction.
pub fn of_source(
    conninfo: &str,
    snapshot: &str,
    on_read: impl FnMut() -> Result<(), Failure>,
) -> Result<Definitions, Failure> {
    let mut arguments = arguments(conninfo);
    arguments.push(format!("--snapshot={snapshot}"));
    let text = text(
        arguments,
        client::own_version(),
        leave_out::collect,
        on_read,
    )?;
    Ok(Definitions::of(&text))
}

/// Of the restored database.
pub fn of_restored(conninfo: &str, version: u32) -> Result<Definitions, Failure> {
    let nothing = || Ok(Gone::default());
    let text = text(arguments(conninfo), version, nothing, || Ok(()))?;
    Ok(Definitions::of(&text))
}

/// What pg_restore makes of pg_dump's archive, without what is `gone`.
fn text(
    mut arguments: Vec<String>,
    version: u32,
    gone: impl FnOnce() -> Result<Gone, Failure>,
    on_read: impl FnMut() -> Result<(), Failure>,
) -> Result<Vec<u8>, Failure> {
    let unwritable = |error| dump::cannot_run(&dump::program("pg_dump"), error);
    let place = tempfile::tempdir().map_err(unwritable)?;
    let (dumped, list) = (place.path().join("dump"), place.path().join("list"));
    arguments.extend([
        "--format=custom".into(),
        format!("--file={}", dumped.display()),
    ]);
    run("pg_dump", &arguments, version, on_read)?;
    let toc = contents::read_toc(&dumped)?;
    let kept = choose(&toc, &gone()?).kept;
    std::fs::write(&list, contents::list_of(&toc, &kept)).map_err(unwritable)?;
    let arguments = [
        format!("--use-list={}", list.display()),
        "--file=-".into(),
        dumped.display().to_string(),
    ];
    run("pg_restore", &arguments, version, || Ok(()))
}

fn arguments(conninfo: &str) -> Vec<String> {
    vec![
        format!("--dbname={conninfo}"),
        "--no-password".into(),
        "--schema-only".into(),
        "--quote-all-identifiers".into(),
        format!("--lock-wait-timeout={LOCK_WAIT_TIMEOUT}"),
    ]
}

fn run(
    program: &str,
    arguments: &[String],
    version: u32,
    on_output: impl FnMut() -> Result<(), Failure>,
) -> Result<Vec<u8>, Failure> {
    let environment = client::environment(version);
    let ran = client::run(
        &dump::program(program),
        arguments,
        &environment,
        None,
        on_output,
    )?;
    if !ran.is_good {
        let code = PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
        return Err(Failure::new(
            code,
            format!("{program} failed: {}", ran.last_words(4)),
        ));
    }
    Ok(ran.output)
}

impl Definitions {
    fn of(dumped: &[u8]) -> Definitions {
        let mut reader = Reader {
            object: String::new(),
            // What holds before the first SET, which comes with the first table that is not partitioned.
            settings: [String::new(), format!("{}heap;", SETTINGS[1])],
            lines: BTreeMap::new(),
        };
        for line in String::from_utf8_lossy(dumped).lines() {
            reader.take(line);
        }
        Definitions {
            lines: reader.lines,
        }
    }

    /// In what `restored` is something else, in words.
    pub fn differences(&self, restored: &Definitions) -> Vec<String> {
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
        // Stable: of one object, the source's lines stay first.
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.into_iter().map(|(_, text)| text).collect()
    }
}

/// Attributes the lines of a dump to objects.
struct Reader {
    object: String,
    settings: [String; 2],
    lines: BTreeMap<(String, String), i64>,
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
            let (schema, _) = rest.split_once(';')?;
            Some((name, kind, schema))
        };
        let Some((name, kind, schema)) = header() else {
            return;
        };
        self.object = match kind.starts_with("BLOB") {
            // Large objects come in groups whose borders depend on what else there is.
            true => "LARGE OBJECTS".to_string(),
            false => format!("{kind} {schema}.{name}"),
        };
        if ["TABLE", "INDEX", "CONSTRAINT", "MATERIALIZED VIEW"].contains(&kind) {
            for setting in self.settings.clone() {
                self.put(setting);
            }
        }
    }

    fn put(&mut self, line: String) {
        let object = self.object.clone();
        *self.lines.entry((object, line)).or_default() += 1;
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
            .differences(&Definitions::of(same.as_bytes()))
            .is_empty());
        let other = DUMP.replacen("a integer\n", "a bigint\n", 1);
        assert_eq!(
            source.differences(&Definitions::of(other.as_bytes())),
            [
                "TABLE public.t: only at the source:     a integer",
                "TABLE public.t: only restored:     a bigint"
            ]
        );
    }
}
