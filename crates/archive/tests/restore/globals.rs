//! Which set of globals a restore uses, and where in the stream its database.sql is run.

use archive::Lsn;

use crate::replay::awks;
use crate::source::{ddl, unique, Source, Statement, TABLE};
use crate::support::{at, write_set};

const CREATED: &str = "CREATE ROLE postgres;\n";

fn comment(text: &str) -> String {
    format!("COMMENT ON DATABASE :\"dbname\" IS '{text}';\n")
}

fn comment_of(source: &Source, database: &str) -> String {
    let query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database
        WHERE datname = current_database()";
    source.cluster.psql(database, query)
}

/// Three transactions, between each two of them a set.
fn with_sets() -> (Source, Vec<Lsn>) {
    let mut source = Source::new(TABLE);
    let chain = source.place.chain.clone();
    write_set(
        &chain,
        Lsn(0x1800),
        at(-9),
        CREATED,
        &comment("before the base"),
    );
    source.base("100:100:");
    let mut lsns = Vec::new();
    for xid in 100..103 {
        let text = format!("INSERT INTO public.a (id) VALUES ({xid});");
        lsns.push(source.transaction(xid, &[Statement(&text)]));
        // Half a second after the commit at this xid.
        let changed_at = at(xid as i64) + chrono::Duration::milliseconds(500);
        let lsn = Lsn(source.lsn + 0x80);
        write_set(
            &chain,
            lsn,
            changed_at,
            CREATED,
            &comment(&format!("set {xid}")),
        );
    }
    (source, lsns)
}

#[test]
fn the_newest_set_that_is_not_after_the_wished_point_is_used() {
    let (source, lsns) = with_sets();
    let restored = |arguments: &[&str]| comment_of(&source, &source.restore(arguments));
    // The base has no comment, and the set before it is not newer.
    assert_eq!(restored(&["--until-lsn", &lsns[0].to_string()]), "");
    assert_eq!(restored(&["--until-lsn", &lsns[1].to_string()]), "set 100");
    assert_eq!(restored(&["--until-xid", "102"]), "set 101");
    assert_eq!(restored(&[]), "set 102");
    // at(101) is 03:41:41: the time decides about a set between two commits.
    assert_eq!(
        restored(&["--until-time", "2026-11-21 03:41:41.4"]),
        "set 100"
    );
    assert_eq!(
        restored(&["--until-time", "2026-11-21 03:41:41.6"]),
        "set 101"
    );
    assert_eq!(
        restored(&["--until-time", "2026-11-21 03:41:42.2", "--allow-earlier"]),
        "set 101"
    );
    assert_eq!(
        restored(&["--until-time", "2030-01-01", "--allow-earlier"]),
        "set 102"
    );
}

#[test]
fn a_set_is_run_at_its_place_in_the_stream_under_every_awk() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let lsn = Lsn(source.lsn + 8);
    write_set(
        &source.place.chain.clone(),
        lsn,
        at(100),
        CREATED,
        &comment("the set''s"),
    );
    source.transaction(
        101,
        &[
            ddl("CREATE TABLE public.b (x int);\nINSERT INTO public.b VALUES (1);"),
            Statement("UPDATE public.a SET x = ':dbname' WHERE id = 100;"),
        ],
    );
    source.rotate(102);
    let text = "DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS ''later''', current_database()); END $$;";
    source.archive_only(102, &[ddl(text)]);
    for awk in awks() {
        let target = unique("target");
        let conninfo = source.cluster.conninfo(&target);
        for (until, expected) in [("101", "the set's"), ("102", "later")] {
            let run = source.run_under(
                "dash",
                Some(&awk),
                &["--target", &conninfo, "--until-xid", until],
            );
            assert!(run.0.status.success(), "{}", run.text());
            assert_eq!(comment_of(&source, &target), expected);
            source.assert_same(&target);
            source
                .cluster
                .psql("postgres", format!("DROP DATABASE {target}"));
        }
    }
}

#[test]
fn an_error_behind_a_set_still_names_its_line() {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let lsn = Lsn(source.lsn + 8);
    write_set(
        &source.place.chain.clone(),
        lsn,
        at(100),
        CREATED,
        &comment("x"),
    );
    source.archive_only(101, &[Statement("DELETE FROM public.a WHERE id = 999;")]);
    let segment = source.place.segments().pop().unwrap();
    let text = std::fs::read_to_string(&segment).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("999")).unwrap();
    let refused = source.refused(&[]);
    let name = segment.file_stem().unwrap().to_str().unwrap();
    assert!(refused.contains(&format!("{name}:{line}:")), "{refused}");
}

#[test]
fn a_damaged_set_is_refused_before_anything_is_made() {
    let (source, _) = with_sets();
    let set = source.place.chain.globals_sets().unwrap().pop().unwrap();
    let path = source.place.chain.globals().join(set.to_string());
    let good = std::fs::read(path.join("database.sql")).unwrap();
    std::fs::write(path.join("database.sql"), "SELECT 1;\n").unwrap();
    assert!(source.refused(&[]).contains("is damaged"));
    std::fs::write(path.join("database.sql"), good).unwrap();
    let sums = std::fs::read_to_string(path.join("SHA256SUMS")).unwrap();
    let short = sums.lines().next().unwrap().to_owned() + "\n";
    std::fs::write(path.join("SHA256SUMS"), short).unwrap();
    assert!(source.refused(&[]).contains("is damaged"));
}

#[test]
fn psql_obeys_nothing_in_a_sets_database_sql() {
    for is_base in [false, true] {
        let mut source = Source::new(TABLE);
        let never = std::env::temp_dir().join(unique("restore_sh_never"));
        let database_sql = format!("\\! touch {}\n", never.display());
        source.base_with("100:100:", |base, _| {
            if is_base {
                base.write_file("database.sql", database_sql.as_bytes())
                    .unwrap();
            }
        });
        source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
        let lsn = Lsn(source.lsn + 8);
        if !is_base {
            write_set(
                &source.place.chain.clone(),
                lsn,
                at(100),
                CREATED,
                &database_sql,
            );
        }
        let refused = source.refused(&[]);
        assert!(refused.contains("restricted"), "{refused}");
        assert!(!never.exists());
    }
}
