//! "The restore died at night, and in the morning the application ran on half a database."

use archive::base::BaseDir;

use crate::source::{unique, Source, Statement, TABLE};

/// An archive whose last transaction can't be replayed, or can.
fn source(is_sound: bool, database_sql: &str) -> Source {
    let mut source = Source::new(TABLE);
    source.base_with("100:100:", |base: &BaseDir, _| {
        base.write_file("database.sql", database_sql.as_bytes())
            .unwrap();
    });
    let id = if is_sound { 1 } else { 999 };
    let text = format!("DELETE FROM public.a WHERE id = {id};");
    if is_sound {
        source.transaction(100, &[Statement(&text)])
    } else {
        source.archive_only(100, &[Statement(&text)])
    };
    source
}

fn is_there(source: &Source, name: &str) -> bool {
    let name = name.replace('\'', "''");
    let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    source.cluster.psql("postgres", sql) == "1"
}

#[test]
fn a_restore_that_stops_leaves_no_database_of_the_wished_name() {
    let source = source(false, "");
    for name in [
        unique("target"),
        unique("it's \"odd\" "),
        unique(&"long".repeat(14)),
        unique(&"ä".repeat(27)),
        unique(&"long".repeat(14)),
    ] {
        let conninfo = source.cluster.conninfo(&name);
        let run = source.run(&["--target", &conninfo]);
        let said = run.text();
        assert_eq!(run.0.status.code(), Some(1), "{said}");
        assert!(!is_there(&source, &name), "{name} is there");
        let drop = said.find("DROP DATABASE ").unwrap();
        let drop = said[drop..].lines().next().unwrap();
        assert!(drop.ends_with(".restoring\";"), "{said}");
        // What is left is somebody's to drop.
        let again = source.run(&["--target", &conninfo]);
        assert_eq!(again.0.status.code(), Some(1));
        assert!(again.text().contains(drop), "{}", again.text());
        assert!(!again.text().contains("base: "), "{}", again.text());
        source.cluster.psql("postgres", drop);
    }
}

#[test]
fn what_the_database_is_called_and_sets_is_so_at_the_end() {
    let name = unique("it's \\ \"odd\" ");
    let long = unique(&"x".repeat(60))[..63].to_owned();
    for name in [name, long] {
        let sql = "ALTER DATABASE :\"dbname\" SET work_mem = '77MB';\n";
        let source = source(true, sql);
        let conninfo = source.cluster.conninfo(&name);
        let run = source.run(&["--target", &conninfo]);
        assert!(run.0.status.success(), "{}", run.text());
        assert_eq!(source.cluster.psql(&name, "SHOW work_mem"), "77MB");
        source.assert_same(&name);
        // Of this one: others are being restored beside it.
        let left = format!(
            "SELECT count(*) FROM pg_database WHERE starts_with(datname, $n${}$n$) AND datname LIKE '%.restoring'",
            &name[..name.len().min(53)]
        );
        assert_eq!(source.cluster.psql("postgres", left), "0");
    }
}

fn lets_in(source: &Source, name: &str) -> String {
    let sql = format!(
        "SELECT has_database_privilege('public', '{name}', 'CONNECT'),
            has_database_privilege('public', '{name}', 'TEMPORARY')"
    );
    let role =
        "DO $$BEGIN CREATE ROLE public_only; EXCEPTION WHEN duplicate_object THEN NULL; END$$;";
    source.cluster.psql(
        "postgres",
        format!("{role}{}", sql.replace("'public'", "'public_only'")),
    )
}

#[test]
fn a_database_that_was_there_lets_nobody_in_until_it_is_complete() {
    const REVOKED: &str = "REVOKE ALL ON DATABASE :\"dbname\" FROM PUBLIC;\n";
    const GRANTED: &str = "REVOKE ALL ON DATABASE :\"dbname\" FROM PUBLIC;
        GRANT CONNECT ON DATABASE :\"dbname\" TO PUBLIC;\n";
    for (before, database_sql, after) in [
        ("SELECT", "", "t|t"),
        ("REVOKE CONNECT ON DATABASE", "", "f|t"),
        ("SELECT", REVOKED, "f|f"),
        ("REVOKE CONNECT ON DATABASE", GRANTED, "t|f"),
    ] {
        for is_sound in [false, true] {
            let source = source(is_sound, database_sql);
            let name = unique("target");
            source.cluster.create(&name, "");
            if before.starts_with("REVOKE") {
                let sql = format!("{before} {name} FROM PUBLIC");
                source.cluster.psql("postgres", sql);
            }
            let run = source.run(&["--target", &source.cluster.conninfo(&name)]);
            assert_eq!(run.0.status.success(), is_sound, "{}", run.text());
            let found = lets_in(&source, &name);
            if is_sound {
                assert_eq!(found, after, "{before} {database_sql}")
            } else {
                assert!(found.starts_with("f|"), "{before} {database_sql}: {found}")
            }
        }
    }
}
