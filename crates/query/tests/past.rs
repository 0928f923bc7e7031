//! The rows of a table as of a moment, from a base and segments that are written here.
#![allow(clippy::unwrap_used)]

#[path = "../../archive/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use archive::base::BaseDir;
use archive::dump::{Listed, DUMP_TOC};
use archive::layout::BaseName;
use archive::segment::{DdlBlock, EffectNote};
use archive::storage::{Directory, Storage};
use archive::{Appender, Lsn};
use archive_query::catalog::Catalog;
use archive_query::history::Value;
use archive_query::past::watch::Told;
use archive_query::past::{Change, Error, Kind, Nobody, Observer, Options, Past, Piece, Span};
use support::{at, Place};

const T: u32 = 16401;
/// Transactions up to 1001 are in the base, but for 1000.
const SNAPSHOT: &str = "1000:1002:1000";

struct Archive {
    place: Place,
    appender: Appender,
}

impl Archive {
    fn new() -> Archive {
        let place = Place::new();
        let base = BaseDir::create(&place.chain, BaseName::new(Lsn(0x10), at(0))).unwrap();
        let table = "--\n-- Name: t; Type: TABLE; Schema: public; Owner: a\n--\n\n\
            CREATE TABLE \"public\".\"t\" (\n    \"id\" integer NOT NULL,\n    \"a\" \"text\",\n    \"n\" numeric\n);\n\n\n";
        let rows = "--\n-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: a\n--\n\n\
            COPY \"public\".\"t\" (\"id\", \"a\", \"n\") FROM stdin;\n1\tone\t1.50\n2\ttwo\t\\N\n3\tthree\t3\n\\.\n\n\n";
        let entry = |line: u64, offset: usize, text: &str, kind: &str| Listed {
            line,
            lines: text.lines().count() as u64,
            offset: offset as u64,
            dump_id: line as i32,
            table_oid: if kind == "TABLE" { 1259 } else { 0 },
            oid: T,
            is_data: kind != "TABLE",
            kind: kind.into(),
            schema: Some(b"public".to_vec()),
            name: b"t".to_vec(),
        };
        let first = entry(1, 0, table, "TABLE");
        let second = entry(1 + first.lines, table.len(), rows, "TABLE DATA");
        base.write_file("dump.sql", format!("{table}{rows}").as_bytes())
            .unwrap();
        let toc = first.to_line() + &second.to_line();
        base.write_file(DUMP_TOC, toc.as_bytes()).unwrap();
        base.write_file("globals.sql", b"").unwrap();
        base.finish(&support::metadata(Lsn(0x10), SNAPSHOT))
            .unwrap();
        let appender = place.append();
        Archive { place, appender }
    }

    /// A transaction whose commit LSN is its xid times 256.
    fn transaction(&mut self, xid: u64, statements: &[&str]) {
        self.appender
            .begin(xid, Lsn(xid * 0x100), at(xid as i64))
            .unwrap();
        for statement in statements {
            match statement.strip_prefix("effect ") {
                Some(statement) => self.effect(statement),
                None => self.appender.statement(statement.as_bytes()).unwrap(),
            }
        }
        self.appender.commit().unwrap();
    }

    fn effect(&mut self, statement: &str) {
        let verb = if statement.starts_with("DO ") {
            "rewrite"
        } else {
            "alter"
        };
        let note = EffectNote {
            class: "table",
            oid: T,
            verb,
            identity: b"public.t",
            needs: &[],
        };
        self.appender
            .effect(&note, &DdlBlock::alone(statement.as_bytes()))
            .unwrap();
    }

    fn open(&mut self, memory: usize, lost_from: Option<Lsn>) -> Result<Past, Error> {
        self.appender.sync().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(Directory::at(self.place.database.path()));
        let catalog = Catalog::read(&*storage).unwrap();
        let chain = catalog.chains[0].clone();
        let piece = |segment: &archive_query::catalog::Segment| Piece {
            segment: segment.clone(),
            complete: segment.size,
            is_passed_over: false,
        };
        let span = Span {
            base: chain.bases[0].clone(),
            segments: chain.segments.iter().map(piece).collect(),
            upto: Lsn(u64::MAX),
            chain,
        };
        Past::open(storage, span, [T].into(), Options { memory, lost_from })
    }
}

fn shown(values: &[Value<'_>]) -> String {
    let one = |value: &Value<'_>| match value {
        Value::Null => "-".to_owned(),
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
    };
    values.iter().map(one).collect::<Vec<_>>().join("|")
}

fn rows(past: &Past) -> Vec<String> {
    let mut all = Vec::new();
    past.rows(T, &mut |values| {
        all.push(shown(values));
        Ok(())
    })
    .unwrap();
    all
}

#[test]
fn transactions_that_the_base_does_not_see_are_applied_in_their_order() {
    let mut archive = Archive::new();
    archive.transaction(
        1000,
        &["UPDATE public.t SET id = 1, a = 'not seen' WHERE id = 1;"],
    );
    archive.transaction(
        1001,
        &["INSERT INTO public.t (id, a, n) VALUES (9, 'in the base already', 1);"],
    );
    archive.transaction(1002, &["DELETE FROM public.t WHERE id = 2;"]);
    archive.transaction(
        1003,
        &[
            "UPDATE public.t SET id = 30 WHERE id = 3;",
            "UPDATE public.t SET id = 3 WHERE id = 1;",
            "UPDATE public.t SET id = 1, n = 2.0 WHERE id = 30;",
            "INSERT INTO public.u (id) VALUES (5);",
        ],
    );
    for memory in [1 << 20, 0] {
        let mut past = archive.open(memory, None).unwrap();
        assert_eq!(past.is_on_disk(), memory == 0);
        assert_eq!(rows(&past), ["1|one|1.50", "2|two|-", "3|three|3"]);
        past.advance_to(Lsn(1000 * 0x100), &mut Nobody).unwrap();
        assert_eq!(rows(&past)[0], "1|not seen|1.50");
        past.advance_to(Lsn(1002 * 0x100 + 5), &mut Nobody).unwrap();
        assert_eq!(rows(&past), ["1|not seen|1.50", "3|three|3"]);
        past.advance(&mut Nobody).unwrap();
        assert_eq!(rows(&past), ["3|not seen|1.50", "1|three|2.0"]);
        assert_eq!(past.last().unwrap().xid, 1003);
    }
}

#[test]
fn rows_are_found_by_a_key_and_by_all_their_values() {
    let mut archive = Archive::new();
    let one_of = |values: &str| {
        format!(
            "DELETE FROM public.t WHERE ctid = (SELECT ctid FROM public.t WHERE {values} LIMIT 1);"
        )
    };
    archive.transaction(
        1002,
        &[
            "INSERT INTO public.t (id, a, n) VALUES (7, 'same', 1.0);",
            "INSERT INTO public.t (id, a, n) VALUES (7, 'same', 1.0);",
            "INSERT INTO public.t (id, a, n) VALUES (8, 'x', 1.00);",
            &one_of("id = 7 AND a = 'same' AND n = 1.0"),
            // A number is the same whatever zeros end it.
            "UPDATE public.t SET a = 'y' WHERE n = 1 AND id = 8;",
            "UPDATE public.t SET a = 'z' WHERE id = 2;",
            &one_of("id = 2 AND a = 'z' AND n IS NULL"),
            "UPDATE public.t SET a = null WHERE id = 3 AND a = 'three' AND n = 3;",
        ],
    );
    let mut past = archive.open(1 << 20, None).unwrap();
    past.advance(&mut Nobody).unwrap();
    assert_eq!(
        rows(&past),
        ["1|one|1.50", "3|-|3", "7|same|1.0", "8|y|1.00"]
    );
}

#[test]
fn what_does_not_fit_is_an_error_or_counted_behind_a_loss() {
    for (statement, what) in [
        (
            "UPDATE public.t SET a = 'x' WHERE id = 77;",
            "no row has these values",
        ),
        (
            "DELETE FROM public.t WHERE a = 'one';",
            "more than one row has these values",
        ),
    ] {
        let mut archive = Archive::new();
        archive.transaction(
            1002,
            &["INSERT INTO public.t (id, a, n) VALUES (4, 'one', 4);"],
        );
        archive.transaction(1003, &[statement]);
        let mut past = archive.open(1 << 20, None).unwrap();
        let error = past.advance(&mut Nobody).unwrap_err();
        assert!(matches!(&error, Error::Contradiction { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(what) && text.contains(statement) && text.contains(".sql"),
            "{text}"
        );
        let mut past = archive.open(1 << 20, Some(Lsn(1003 * 0x100))).unwrap();
        past.advance(&mut Nobody).unwrap();
        assert_eq!((past.misfits(), rows(&past).len()), (1, 4));
    }
}

#[test]
fn what_only_a_server_knows_is_refused_with_its_place() {
    for statement in [
        "MERGE INTO public.t USING public.u ON true WHEN MATCHED THEN DELETE;",
        "INSERT INTO public.t (id, a) VALUES (1, 'x');",
        "DELETE FROM public.t WHERE missing = 1;",
        "effect ALTER TABLE public.t ALTER COLUMN id TYPE oid USING id::oid",
    ] {
        let mut archive = Archive::new();
        archive.transaction(1002, &[statement]);
        let mut past = archive.open(1 << 20, None).unwrap();
        let error = past.advance(&mut Nobody).unwrap_err();
        assert!(
            matches!(&error, Error::NotFollowed { .. }),
            "{statement}: {error}"
        );
        assert!(
            error
                .to_string()
                .contains(statement.trim_start_matches("effect ")),
            "{error}"
        );
    }
}

struct Telling(Vec<String>);

impl Observer for Telling {
    fn change(&mut self, change: &Change<'_>) -> Told {
        let of = |values: Option<&[Value<'_>]>| values.map_or_else(String::new, shown);
        let (before, after) = (of(change.before), of(change.after));
        self.0.push(format!(
            "{} {:?} {before} > {after}",
            change.transaction.xid, change.kind
        ));
        assert_eq!(change.kind == Kind::Inserted, change.before.is_none());
        Ok(())
    }
}

#[test]
fn changes_since_a_mark_are_told_one_by_one_and_as_their_net_effect() {
    let mut archive = Archive::new();
    archive.transaction(
        1002,
        &["UPDATE public.t SET a = 'before the mark' WHERE id = 1;"],
    );
    archive.transaction(
        1003,
        &[
            "UPDATE public.t SET a = 'x' WHERE id = 2;",
            "INSERT INTO public.t (id, a, n) VALUES (4, 'new', 4);",
            "INSERT INTO public.t (id, a, n) VALUES (5, 'gone again', 5);",
        ],
    );
    archive.transaction(
        1004,
        &[
            "effect ALTER TABLE public.t ADD COLUMN c integer DEFAULT '7'",
            "UPDATE public.t SET id = 20 WHERE id = 2;",
            "DELETE FROM public.t WHERE id = 5;",
            "DELETE FROM public.t WHERE id = 3;",
        ],
    );
    let expected = [
        "1003 Updated 2|two|- > 2|x|-",
        "1003 Inserted  > 4|new|4",
        "1003 Inserted  > 5|gone again|5",
        "1004 Updated 2|x|-|7 > 20|x|-|7",
        "1004 Deleted 5|gone again|5|7 > ",
        "1004 Deleted 3|three|3|7 > ",
    ];
    for memory in [1 << 20, 0] {
        let mut past = archive.open(memory, None).unwrap();
        past.advance_to(Lsn(1002 * 0x100), &mut Nobody).unwrap();
        past.mark().unwrap();
        let mut told = Telling(Vec::new());
        past.advance(&mut told).unwrap();
        assert_eq!(told.0, expected);
        let mut net = Vec::new();
        past.changes(&mut |change| {
            let of = |values: Option<&[Value<'_>]>| values.map_or_else(String::new, shown);
            net.push(format!("{} > {}", of(change.before), of(change.after)));
            Ok(())
        })
        .unwrap();
        net.sort();
        assert_eq!(net, [" > 4|new|4|7", "2|two|- > 20|x|-|7", "3|three|3 > "]);
    }
}

#[test]
fn a_table_that_is_emptied_or_written_anew_has_the_rows_that_follow() {
    let mut archive = Archive::new();
    archive.transaction(
        1002,
        &[
            "TRUNCATE ONLY public.t, ONLY public.u CASCADE;",
            "INSERT INTO public.t (id, a, n) VALUES (1, 'x', 1);",
        ],
    );
    archive.transaction(1003, &[
        "effect DO $do$BEGIN TRUNCATE ONLY public.t; EXCEPTION WHEN feature_not_supported THEN DELETE FROM ONLY public.t; END$do$",
        "effect ALTER TABLE public.t ALTER COLUMN id TYPE bigint USING NULL::bigint",
        "INSERT INTO public.t (id, a, n) VALUES (1, 'anew', 1);",
    ]);
    let mut past = archive.open(1 << 20, None).unwrap();
    past.advance_to(Lsn(1002 * 0x100), &mut Nobody).unwrap();
    assert_eq!(rows(&past), ["1|x|1"]);
    past.advance(&mut Nobody).unwrap();
    assert_eq!(rows(&past), ["1|anew|1"]);
    assert_eq!(past.tables().all[&T].shape.columns[0].type_, b"bigint");
}
