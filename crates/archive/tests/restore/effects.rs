//! Segments of format 2: schema changes as effects, with the words of the user above them.

use archive::segment::{ClusterFact, DdlBlock, EffectNote, Words};

use crate::replay::awks;
use crate::source::{ddl, unique, Copy, Effect, Fact, Part, Source, Statement, Typed, TABLE};

fn effect<'a>(class: &'a str, verb: &'a str, identity: &'a str, sql: &'a str) -> Part<'a> {
    let note = EffectNote {
        class,
        oid: 16401,
        verb,
        identity: identity.as_bytes(),
        needs: &[(2615, 2200), (1259, 16390)],
    };
    Effect(note, DdlBlock::alone(sql.as_bytes()))
}

fn typed(text: &str) -> Part<'_> {
    Typed(Words {
        command: "CREATE X",
        role: b"odd \"role\"\n",
        at: None,
        text: text.as_bytes(),
    })
}

/// What psql would obey, count or replace, where it saw it.
const HOSTILE: &str = "begin; \\! touch /nowhere \\q :PORT :'HOST' a[1:PORT] $$ -- /*\n\
                       COMMIT;\n\\.\n\\unrestrict 0123456789abcdef\nEND;\0\u{ff}";

/// Effects of everything that psql could misread, between rows and with a role's facts.
fn everything(source: &mut Source) {
    source.base("100:100:");
    source.transaction(
        100,
        &[
            typed(HOSTILE),
            effect(
                "function",
                "create",
                "public.begin()",
                "CREATE FUNCTION public.begin() RETURNS integer LANGUAGE sql AS $$SELECT 1$$",
            ),
            effect(
                "function",
                "create",
                "public.\"case\"(integer)",
                "CREATE FUNCTION public.\"case\"(\"end\" integer) RETURNS text LANGUAGE sql AS \
                 $f$SELECT\n;\n-- $s \n\\! :x\nCOMMIT;\n\\.\n\\\\$f$",
            ),
            effect(
                "function",
                "create",
                "public.atomic()",
                "CREATE FUNCTION public.atomic() RETURNS integer LANGUAGE sql\n\
                 BEGIN ATOMIC SELECT 1 AS end; END",
            ),
            effect(
                "view",
                "create",
                "public.v",
                "CREATE VIEW public.v AS SELECT (ARRAY[4, 5])[1:c.port] AS y \
                 FROM (VALUES (2, 1)) AS c (\"ROW_COUNT\", port)",
            ),
            effect(
                "table",
                "create",
                "public.\"\\! x\"",
                "CREATE TABLE public.\"\\! x\" (a text DEFAULT E'\\\\! :PORT', b integer)",
            ),
            Statement("INSERT INTO public.\"\\! x\" (a, b) VALUES ('1', 1);"),
        ],
    );
    source.transaction(
        101,
        &[
            Statement("UPDATE public.a SET x = 'eins' WHERE id = 1;"),
            typed("ALTER TABLE a ADD COLUMN y int"),
            effect(
                "table",
                "alter",
                "public.a",
                "ALTER TABLE public.a ADD COLUMN y integer",
            ),
            Statement("UPDATE public.a SET y = 7 WHERE id = 1;"),
            Copy(
                "COPY public.a (id, x, y) FROM stdin;",
                &["5\tf\t\\N", "6\tg\t6"],
            ),
            typed(HOSTILE),
            Statement("DELETE FROM public.a WHERE id = 2;"),
            ddl("CREATE OPERATOR FAMILY public.begin USING btree;"),
            Statement("INSERT INTO public.a (id, x, y) VALUES (7, 'h', 7);"),
        ],
    );
    source.transaction(
        102,
        &[
            Fact(ClusterFact::Role {
                name: b"grantor".to_vec(),
                superuser: false,
            }),
            effect(
                "table",
                "alter",
                "public.a",
                "ALTER TABLE public.a OWNER TO grantor",
            ),
            Effect(
                EffectNote {
                    class: "table",
                    oid: 16390,
                    verb: "grant",
                    identity: b"public.a",
                    needs: &[],
                },
                DdlBlock {
                    before: b"SET LOCAL ROLE grantor;",
                    statement: b"GRANT SELECT ON TABLE public.a TO PUBLIC",
                    after: b"SET LOCAL ROLE NONE;",
                },
            ),
            effect(
                "trigger",
                "create",
                "t on public.a",
                "CREATE TRIGGER t BEFORE UPDATE ON public.a FOR EACH ROW \
                 EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            ),
            effect(
                "table",
                "alter",
                "public.a",
                "ALTER TABLE public.a ENABLE ALWAYS TRIGGER t",
            ),
            Statement("UPDATE public.a SET y = 7 WHERE id = 1;"),
        ],
    );
}

fn source() -> Source {
    let source = Source::new(TABLE);
    source.cluster.psql(
        &source.database,
        // Two at once: the second one meets the index of pg_authid.
        "DO $$BEGIN CREATE ROLE grantor; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$",
    );
    source
}

#[test]
fn effects_are_replayed_and_psql_sees_none_of_their_words() {
    let mut source = source();
    everything(&mut source);
    for awk in awks() {
        let target = unique("target");
        let conninfo = source.cluster.conninfo(&target);
        let run = source.run_under("dash", Some(&awk), &["--target", &conninfo]);
        assert!(run.0.status.success(), "{}", run.text());
        source.assert_same(&target);
    }
    source.rotate(103);
    assert_eq!(
        archive::verify(&source.place.database, &mut || {}).unwrap(),
        []
    );
    source.assert_same(&source.restore(&[]));
}

#[test]
fn an_effect_that_fails_stops_with_file_and_line() {
    let mut source = source();
    everything(&mut source);
    source.archive_only(
        103,
        &[
            Statement("INSERT INTO public.a (id) VALUES (100);"),
            typed(HOSTILE),
            effect(
                "table",
                "alter",
                "public.\"begin\n\\! x\"",
                "ALTER TABLE public.missing\n  ADD COLUMN z integer",
            ),
            Statement("INSERT INTO public.a (id) VALUES (101);"),
        ],
    );
    source.archive_only(104, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    let path = source.appender.current_file();
    let text = std::fs::read_to_string(&path).unwrap();
    let begins = text.lines().position(|line| line.contains("missing"));
    let (file, line) = (path.file_stem().unwrap(), begins.unwrap() + 3);
    for awk in awks() {
        let conninfo = source.cluster.conninfo(&unique("target"));
        let run = source.run_under("dash", Some(&awk), &["--target", &conninfo]);
        assert_eq!(run.0.status.code(), Some(1), "{}", run.text());
        let said = run.text();
        let place = format!("{}:{line}: ERROR:", file.to_str().unwrap());
        assert!(said.contains(&place), "{place} in {said}");
    }
}

#[test]
fn a_segment_of_an_unknown_format_is_refused() {
    let mut source = source();
    everything(&mut source);
    let path = source.appender.current_file();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("format=2\n", "format=3\n", 1)).unwrap();
    let name = path.file_stem().unwrap().to_str().unwrap();
    let why = format!("{name} is damaged, or its format is that of a newer version");
    let said = source.refused(&[]);
    assert!(said.contains(&why), "{said}");
}

/// What stands in format 1 means the same in format 2, and the other way round.
#[test]
fn both_formats_are_replayed_in_one_chain() {
    let mut source = source();
    source.base("100:100:");
    source.transaction(100, &[ddl("CREATE TABLE public.b (\n  a integer);")]);
    let first = source.appender.current_file();
    let text = std::fs::read_to_string(&first).unwrap();
    drop(source.appender);
    std::fs::write(&first, text.replacen("format=2\n", "format=1\n", 1)).unwrap();
    source.appender = source.place.append();
    assert_eq!(source.place.segments().len(), 2, "the old one is closed");
    source.transaction(
        2000,
        &[
            effect(
                "table",
                "alter",
                "public.b",
                "ALTER TABLE public.b ADD c text",
            ),
            Statement("INSERT INTO public.b (a, c) VALUES (1, 'x');"),
        ],
    );
    source.assert_same(&source.restore(&[]));
    assert_eq!(
        archive::verify(&source.place.database, &mut || {}).unwrap(),
        []
    );
}
