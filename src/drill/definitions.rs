//! The definitions of a database as pg_dump writes them: lines, each with the object that it belongs to.
//!
//! Without order, which depends on OIDs. Left out are comments, our own extension, `\restrict` with its random
//! key, sequences' positions, and CREATE SUBSCRIPTION (a restored one has no slot).

use std::collections::BTreeMap;

use pgrx::prelude::*;

use super::client;
use crate::backup::dump::{self, Source, LOCK_WAIT_TIMEOUT};
use crate::backup::leave_out::Filter;
use crate::pg::failure::Failure;
use crate::pg::server;

/// Lines that say nothing about what is there, or not the same of a restored database.
const LEFT_OUT: [&str; 7] = [
    "CREATE EXTENSION IF NOT EXISTS pg_incrbackup ",
    "COMMENT ON EXTENSION pg_incrbackup ",
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

/// Of the source, at an exported snapshot. `on_read` is called when all of them are read.
pub fn of_source(
    conninfo: &str,
    source: &Source,
    snapshot: &str,
    on_read: impl FnMut() -> Result<(), Failure>,
) -> Result<Definitions, Failure> {
    let mut arguments = arguments(conninfo);
    arguments.push(format!("--snapshot={snapshot}"));
    if server::VERSION_NUM >= 170_000 {
        arguments.push("--exclude-extension=pg_incrbackup".into());
    }
    let dumped = dump(&arguments, client::own_version(), on_read)?;
    let mut filter = Filter::new(Vec::new(), source.left_out.clone());
    let filtered = std::io::Write::write_all(&mut filter, &dumped).and_then(|()| filter.finish());
    let filtered = filtered.map_err(|error| {
        let code = PgSqlErrorCode::ERRCODE_INTERNAL_ERROR;
        Failure::new(code, format!("pg_dump's output can't be read: {error}"))
    })?;
    Ok(Definitions::of(&filtered))
}

/// Of the restored database.
pub fn of_restored(conninfo: &str, version: u32) -> Result<Definitions, Failure> {
    let dumped = dump(&arguments(conninfo), version, || Ok(()))?;
    Ok(Definitions::of(&dumped))
}

fn arguments(conninfo: &str) -> Vec<String> {
    vec![
        format!("--dbname={conninfo}"),
        "--no-password".into(),
        "--schema-only".into(),
        format!("--lock-wait-timeout={LOCK_WAIT_TIMEOUT}"),
    ]
}

fn dump(
    arguments: &[String],
    version: u32,
    on_output: impl FnMut() -> Result<(), Failure>,
) -> Result<Vec<u8>, Failure> {
    let environment = client::environment(version);
    let ran = client::run(
        &dump::program("pg_dump"),
        arguments,
        &environment,
        None,
        on_output,
    )?;
    if !ran.is_good {
        let code = PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
        return Err(Failure::new(
            code,
            format!("pg_dump failed: {}", ran.last_words(4)),
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
