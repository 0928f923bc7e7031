//! psql reads a segment before the server does, and reads other things in it.

use std::fs;
use std::path::{Path, PathBuf};

use archive::segment::DdlBlock;

use crate::replay::awks;
use crate::source::{ddl, unique, Copy, Source, Statement, TABLE};

/// psql counts these as blocks that are open, and takes the other ones for its variables.
const TEXTS: [&str; 6] = [
    "CREATE FUNCTION public.begin() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE public.after_begin (a int)",
    "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1 AS end; END",
    "CREATE FUNCTION public.case(\"end\" int) RETURNS int LANGUAGE sql AS $$SELECT\n;\n-- $s \n\\! :x $$",
    "CREATE TABLE public.after_case (a int)",
    "CREATE VIEW public.v AS SELECT (ARRAY[1, 2, 3])[1:\"ROW_COUNT\"] AS x,\n\
     (ARRAY[4, 5])[1:PORT] AS y FROM (VALUES (2, 1)) AS c (\"ROW_COUNT\", port)",
];

/// Every statement in a transaction of its own, under a role that may not use plpgsql.
fn archived(source: &mut Source) {
    for (place, statement) in TEXTS.iter().enumerate() {
        let appender = &mut source.appender;
        source.lsn += 0x100;
        let (xid, lsn) = (100 + place as u64, archive::Lsn(source.lsn));
        let before = "SET LOCAL ROLE nobody; SET LOCAL search_path = public;";
        let block = DdlBlock {
            before: before.as_bytes(),
            statement: statement.as_bytes(),
            after: b"SET LOCAL ROLE NONE; SET LOCAL search_path = '';",
        };
        appender.begin(xid, lsn, crate::support::at(0)).unwrap();
        appender.ddl("CREATE", "nobody", &block).unwrap();
        appender.commit().unwrap();
    }
    source.appender.sync().unwrap();
}

/// The open segment's blocks as versions before 0.3.0 wrote them.
fn make_older(source: &Source) {
    let path = source.appender.current_file();
    let mut text = fs::read_to_string(&path).unwrap();
    let key = key(&text);
    let (opening, execute) = (
        format!("DO $r{key}$ BEGIN "),
        format!(" EXECUTE $s{key}$\n"),
    );
    assert_eq!(text.matches(&opening).count(), TEXTS.len());
    let closing = format!("\n$s{key}$; END $r{key}$;\n");
    for (from, to) in [(&opening, ""), (&execute, "\n"), (&closing, "\n;\n")] {
        text = text.replace(from.as_str(), to);
    }
    fs::write(path, text).unwrap();
}

fn key(text: &str) -> String {
    text[text.find("-- @").unwrap() + 4..][..16].to_owned()
}

fn source() -> Source {
    let mut source = Source::new(TABLE);
    let sql = "DO $$BEGIN CREATE ROLE nobody; EXCEPTION WHEN duplicate_object THEN NULL; END$$;
        GRANT CREATE ON SCHEMA public TO nobody; REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;";
    source.cluster.psql(&source.database, sql);
    source.base("100:100:");
    source
}

fn assert_replayed(source: &Source, awk: Option<&Path>) {
    let target = unique("target");
    let conninfo = source.cluster.conninfo(&target);
    let run = source.run_under("dash", awk, &["--target", &conninfo]);
    assert!(run.0.status.success(), "{}", run.text());
    let made =
        "SELECT count(*) FROM pg_class WHERE relname ~ '^after_' AND relowner = 'nobody'::regrole
        UNION ALL SELECT count(*) FROM pg_proc WHERE proowner = 'nobody'::regrole";
    assert_eq!(source.cluster.psql(&target, made), "2\n3");
    let values = source.cluster.psql(&target, "SELECT x, y FROM public.v");
    assert_eq!(values, "{1,2}|{4}");
}

#[test]
fn psql_sees_no_word_of_a_statement() {
    let mut source = source();
    archived(&mut source);
    assert_replayed(&source, None);
}

#[test]
fn nor_of_one_that_an_older_version_wrote() {
    let mut source = source();
    archived(&mut source);
    make_older(&source);
    for awk in awks() {
        assert_replayed(&source, Some(&awk));
    }
}

/// Where psql obeys \unrestrict, meta-commands run from there on.
#[test]
fn unrestrict_has_one_place_in_a_segment() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    source.archive_only(
        100,
        &[
            ddl("CREATE TABLE public.b (\n  x int)"),
            Copy("COPY public.a (id) FROM stdin;", &["7"]),
            Statement("INSERT INTO public.a (id) VALUES (8);"),
        ],
    );
    let path = source.appender.current_file();
    let good = fs::read_to_string(&path).unwrap();
    let key = key(&good);
    let (mark, ran) = (
        format!("\\unrestrict {key}"),
        source.place.path().join("ran"),
    );
    let old = good
        .replace(
            &format!("DO $r{key}$ BEGIN EXECUTE $s{key}$"),
            "SET a.b = 1;",
        )
        .replace(&format!("$s{key}$; END $r{key}$;"), ";\nSET a.b = 2;")
        .replace("ddl lines=4", "ddl lines=5");
    let forged = |text: &str, behind: &str, lines: &str| {
        assert!(text.contains(behind), "{behind} is not in {text}");
        let more = format!("ddl lines={}", if text == old { 7 } else { 6 });
        let at_end = format!("{behind}{lines}\n\\! touch {}", ran.display());
        let text = text.replace(behind, &at_end);
        if behind.starts_with("CREATE") {
            text.replace("ddl lines=4", &more)
                .replace("ddl lines=5", &more)
        } else {
            text
        }
    };
    let line = format!("\n{mark}");
    for text in [
        forged(&old, "CREATE TABLE public.b (", &line),
        forged(&old, "CREATE TABLE public.b (", &format!(" {mark} ;")),
        forged(&good, "\n7", &line),
        forged(&good, "VALUES (8);", &line),
        forged(&good, "VALUES (8);", &format!(" \\unrestrict\t{key}")),
        forged(&good, "COMMIT;", &line),
        forged(&good, &format!("\\restrict {key}"), &line),
        // The literal that would hide it ends before it.
        forged(
            &good,
            "CREATE TABLE public.b (",
            &format!(")\n$s{key}$; END $r{key}$; {mark}"),
        )
        .replace("ddl lines=6", "ddl lines=7"),
    ] {
        fs::write(&path, &text).unwrap();
        source.run(&["--target", &source.cluster.conninfo(&unique("target"))]);
        assert!(!PathBuf::from(&ran).exists(), "{text}");
    }
    // Inside of the literal it is text, like any.
    let body =
        format!("CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $$SELECT '\n{mark}\n'$$");
    fs::write(&path, &good).unwrap();
    source.archive_only(101, &[ddl(&body)]);
    let target = source.restore(&[]);
    let said = source
        .cluster
        .psql(&target, "SELECT btrim(public.f(), E'\\n')");
    assert_eq!(said, mark);
}
