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
    for name in [unique("target"), unique(&"x".repeat(49))] {
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
    for name in [unique("0a-B.c"), unique(&"x".repeat(49))] {
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

/// Also an empty one: nothing of what restore.sh makes there would be known.
#[test]
fn a_database_that_is_there_is_refused_and_stays_as_it_is() {
    let source = source(true, "");
    let name = unique("target");
    source.cluster.create(&name, "");
    let run = source.run(&["--target", &source.cluster.conninfo(&name)]);
    assert_eq!(run.0.status.code(), Some(1), "{}", run.text());
    assert!(run.text().contains("exists already"), "{}", run.text());
    assert!(is_there(&source, &name) && !is_there(&source, &format!("{name}.restoring")));
}

/// In ten years, on another system: the locale of the source has another name there, or none.
#[test]
fn a_locale_that_the_server_does_not_know_is_told() {
    let mut source = Source::new(TABLE);
    source.base_with("100:100:", |_, metadata| {
        metadata.source.lc_collate = "xx_YY.utf8".to_owned();
    });
    let name = unique("target");
    let run = source.run(&["--target", &source.cluster.conninfo(&name)]);
    assert!(run.0.status.success(), "{}", run.text());
    assert!(run.text().contains("sorts otherwise"), "{}", run.text());
    source.assert_same(&name);
}
