//! What restore.sh refuses, or stops at: targets, damage, rows that do not match.

use std::fs;

use crate::source::{ddl, unique, Source, Statement, TABLE};

#[test]
fn an_update_that_hits_no_row_or_two_stops_with_file_and_line() {
    let schema =
        "CREATE TABLE public.a (id int, x text); INSERT INTO public.a VALUES (1), (1), (2);";
    for (statement, said) in [
        (
            "UPDATE public.a SET x = 'y' WHERE id = 3;",
            "UPDATE hit 0 rows",
        ),
        (
            "UPDATE public.a SET x = 'y' WHERE id = 1;",
            "UPDATE hit 2 rows",
        ),
        ("DELETE FROM public.a WHERE id = 3;", "DELETE hit 0 rows"),
        ("DELETE FROM public.a WHERE id = 1;", "DELETE hit 2 rows"),
    ] {
        let mut source = Source::new(schema);
        source.base("100:100:");
        source.transaction(100, &[ddl("CREATE TABLE public.b (\n  x int);")]);
        source.archive_only(101, &[Statement("DELETE FROM public.a WHERE id = 2;")]);
        source.rotate(102);
        source.archive_only(102, &[Statement(statement)]);
        let path = source.appender.current_file();
        let text = fs::read_to_string(&path).unwrap();
        let line = text.lines().position(|line| line == statement).unwrap() + 1;
        let name = path.file_stem().unwrap().to_str().unwrap();
        let error = source.refused(&[]);
        assert!(
            error.contains(&format!("{name}:{line}: ERROR:")) && error.contains(said),
            "{error}"
        );
        assert!(error.contains("is incomplete"), "{error}");
    }
}

#[test]
fn damage_is_found_before_anything_is_touched() {
    let mut source = Source::new(TABLE);
    let base = source.base("100:100:");
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let first = source.rotate(101);
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    let second = source.rotate(102);
    source.transaction(102, &[Statement("INSERT INTO public.a (id) VALUES (102);")]);
    let target = unique("target");
    let conninfo = source.cluster.conninfo(&target);
    let name = base.file_name().unwrap().to_str().unwrap().to_owned();
    let refused = |what: &str, said: &str| {
        // Without a manifest nothing but its name, said by a person, chooses a base.
        let run = source.run(&["--target", &conninfo, "--base", &name]);
        assert_eq!(run.0.status.code(), Some(1), "{what}: {}", run.text());
        assert!(run.text().contains(said), "{what}: {}", run.text());
        let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{target}'");
        assert_eq!(source.cluster.psql("postgres", sql), "0", "{what}");
    };
    let manifest = source.place.chain.manifest();
    let lines = fs::read(&manifest).unwrap();
    for (path, from, to) in [
        (base.join("dump.sql"), "one", "0ne"),
        (base.join("SHA256SUMS"), "  dump.sql", " dump.sql"),
        (first.clone(), "VALUES (100)", "VALUES (900)"),
        (second.clone(), "VALUES (101)", "VALUES (901)"),
        (second.clone(), "transactions=1", "transactions=2"),
        (second.clone(), "\\unrestrict", "\\restrict"),
    ] {
        let good = fs::read_to_string(&path).unwrap();
        assert!(good.contains(from));
        fs::write(&path, good.replace(from, to)).unwrap();
        refused(from, "damaged");
        // The next segment's header tells, too, when the manifest is gone.
        fs::remove_file(&manifest).unwrap();
        if path.ends_with("SHA256SUMS") || path.ends_with("dump.sql") {
            refused(from, "is damaged");
        } else {
            refused(from, "damaged");
        }
        fs::write(&manifest, &lines).unwrap();
        fs::write(&path, good).unwrap();
    }
    let aside = source.place.path().join("aside");
    fs::rename(&second, &aside).unwrap();
    refused("a missing segment", "starts at");
    fs::rename(&aside, &second).unwrap();
    fs::rename(&first, &aside).unwrap();
    refused("a missing first segment", "are missing");
    fs::rename(&aside, &first).unwrap();
    let run = source.run(&["--target", &conninfo]);
    assert!(run.0.status.success(), "{}", run.text());
    source.assert_same(&target);
}

#[test]
fn wrong_use_is_told_apart() {
    let source = Source::new(TABLE);
    for arguments in [
        &[][..],
        &["--target"],
        &["--target", ""],
        &["--target", "host=/nowhere"],
        &["--target", "x", "--until-lsn", "0/1", "--until-xid", "1"],
        &["--target", "x", "--until-xid", "abc"],
        &["--target", "x", "--nonsense", "1"],
        &["x"],
        &["--dry-run", "--until-time", "now"],
    ] {
        let run = source.run(arguments);
        assert_eq!(
            run.0.status.code(),
            Some(2),
            "{arguments:?}: {}",
            run.text()
        );
    }
    let run = source.run(&["--help"]);
    assert!(run.0.status.success() && run.text().contains("\nusage: sh restore.sh --target"));
    let run = source.run(&["--target", "host=/nowhere dbname=x", "--until-time", "now"]);
    assert!(
        run.0.status.code() == Some(1) && run.text().contains("could not connect"),
        "{}",
        run.text()
    );
    assert!(source
        .run(&["--dry-run"])
        .text()
        .contains("no base can be used"));
}
