//! Which set of globals a restore uses, and where in the stream its database.sql is run.

use archive::segment::ClusterFact;
use archive::Lsn;

use crate::replay::awks;
use crate::source::{ddl, unique, Fact, Source, Statement, TABLE};
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
fn with_sets() -> (Source, Vec<Lsn>, Vec<String>) {
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
    let (mut lsns, mut roles) = (Vec::new(), Vec::new());
    for xid in 100..103 {
        let text = format!("INSERT INTO public.a (id) VALUES ({xid});");
        lsns.push(source.transaction(xid, &[Statement(&text)]));
        let role = unique("late_role");
        let globals = format!("CREATE ROLE postgres;\nCREATE ROLE {role};\n");
        // Half a second after the commit at this xid.
        let changed_at = at(xid as i64) + chrono::Duration::milliseconds(500);
        let lsn = Lsn(source.lsn + 0x80);
        write_set(
            &chain,
            lsn,
            changed_at,
            &globals,
            &comment(&format!("set {xid}")),
        );
        roles.push(role);
    }
    (source, lsns, roles)
}

#[test]
fn the_newest_set_that_is_not_after_the_wished_point_is_used() {
    let (source, lsns, roles) = with_sets();
    let restored = |arguments: &[&str]| {
        let target = source.restore(&[arguments, &["--globals"]].concat());
        let names = roles.iter().map(|role| format!("'{role}'"));
        let names = names.collect::<Vec<_>>().join(",");
        let query = format!("SELECT count(*) FROM pg_roles WHERE rolname IN ({names})");
        let there = source.cluster.psql(&target, query);
        source.cluster.psql(
            "postgres",
            roles
                .iter()
                .map(|role| format!("DROP ROLE IF EXISTS {role};"))
                .collect::<String>(),
        );
        format!("{} {there}", comment_of(&source, &target))
    };
    // The base has no comment, and the set before it is not newer.
    assert_eq!(restored(&["--until-lsn", &lsns[0].to_string()]), " 0");
    assert_eq!(
        restored(&["--until-lsn", &lsns[1].to_string()]),
        "set 100 1"
    );
    assert_eq!(restored(&["--until-xid", "102"]), "set 101 1");
    assert_eq!(restored(&[]), "set 102 1");
    // at(101) is 03:41:41: the time decides about a set between two commits.
    assert_eq!(
        restored(&["--until-time", "2026-11-21 03:41:41.4"]),
        "set 100 1"
    );
    assert_eq!(
        restored(&["--until-time", "2026-11-21 03:41:41.6"]),
        "set 101 1"
    );
    assert_eq!(
        restored(&["--until-time", "2026-11-21 03:41:42.2", "--allow-earlier"]),
        "set 101 1"
    );
    assert_eq!(
        restored(&["--until-time", "2030-01-01", "--allow-earlier"]),
        "set 102 1"
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
    let (source, _, _) = with_sets();
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

const HEAD: &str =
    "\\restrict k\n\nSET default_transaction_read_only = off;\n\nSET client_encoding = 'UTF8';\n\
    SET standard_conforming_strings = on;\n\n--\n-- Roles\n--\n\nCREATE ROLE postgres;\n";

/// Roles that come, go, change and have names and comments of all kinds, under every awk.
#[test]
fn each_set_is_data_and_comes_at_its_place() {
    let chain = |source: &Source| source.place.chain.clone();
    let (odd, plain, gone) = (
        unique("o'd \"d\\n\n\\! touch /tmp/restore_sh_forged\n:x"),
        unique("plain"),
        unique("gone"),
    );
    let quoted = format!("\"{}\"", odd.replace('"', "\"\""));
    let mut source = Source::new(TABLE);
    let set = |source: &Source, text: &str| {
        let lsn = Lsn(source.lsn + 8);
        write_set(&chain(source), lsn, at(100), &format!("{HEAD}{text}"), "");
    };
    let first = format!(
        "CREATE ROLE {quoted};\nALTER ROLE {quoted} WITH NOSUPERUSER INHERIT LOGIN CONNECTION LIMIT 5 VALID UNTIL '2030-01-01';\n\
         COMMENT ON ROLE {quoted} IS 'CREATE ROLE forged;\nGRANT {plain} TO postgres;\n\\! touch /tmp/restore_sh_forged';\n\
         CREATE ROLE {gone};\nALTER ROLE {gone} WITH SUPERUSER INHERIT NOLOGIN;\nCREATE ROLE {plain};\n\
         ALTER ROLE {quoted} SET work_mem TO '7MB';\nALTER ROLE {quoted} IN DATABASE nowhere SET work_mem TO '8MB';\n\
         GRANT {plain} TO {quoted} WITH ADMIN OPTION GRANTED BY postgres;\nGRANT {gone} TO postgres GRANTED BY postgres;\n\
         GRANT postgres TO {plain} GRANTED BY postgres;\n\n\\unrestrict k\n"
    );
    source.base_with("100:100:", |base, _| {
        base.write_file("globals.sql", format!("{HEAD}{first}").as_bytes())
            .unwrap();
    });
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    set(
        &source,
        &format!("CREATE ROLE {quoted};\nALTER ROLE {quoted} WITH NOSUPERUSER INHERIT NOLOGIN;\nCREATE ROLE {plain};\n"),
    );
    source.transaction(101, &[Statement("INSERT INTO public.a (id) VALUES (101);")]);
    let facts = |database: &str| {
        let query = format!(
            "SELECT count(*), bool_or(rolsuper), bool_or(rolcanlogin), max(rolconnlimit), max(rolvaliduntil)::date, max((SELECT setconfig[1] FROM pg_db_role_setting WHERE setrole = a.oid)),
               count(shobj_description(oid, 'pg_authid')), (SELECT count(*) FROM pg_auth_members WHERE member >= 16384), (SELECT count(*) FROM pg_auth_members WHERE member = 10)
             FROM pg_authid a WHERE rolname IN ('{}', '{plain}', '{gone}', 'forged')",
            odd.replace('\'', "''")
        );
        source.cluster.psql(database, query)
    };
    for awk in awks() {
        for (until, expected) in [
            ("100", "3|t|t|5|2030-01-01|work_mem=7MB|1|1|0"),
            ("101", "2|f|f|-1|||0|0|0"),
        ] {
            let target = unique("target");
            let conninfo = source.cluster.conninfo(&target);
            let arguments = ["--target", &conninfo, "--globals", "--until-xid", until];
            let run = source.run_under("dash", Some(&awk), &arguments);
            assert!(run.0.status.success(), "{}", run.text());
            assert_eq!(facts(&target), expected, "{} {}", awk.display(), run.text());
            assert!(!std::path::Path::new("/tmp/restore_sh_forged").exists());
            source
                .cluster
                .psql("postgres", format!("DROP DATABASE {target}"));
            for role in [&quoted, &plain, &gone] {
                source
                    .cluster
                    .psql("postgres", format!("DROP ROLE IF EXISTS {role}"));
            }
        }
    }
}

/// What a user can put into a setting, a name or a comment makes nobody a superuser, and runs nothing, also where an
/// old pg_dumpall has let a name out of its comment; with --globals or without.
#[test]
fn words_in_globals_are_data() {
    let (eve, named) = (unique("eve"), unique("a WITH SUPERUSER b"));
    let mut source = Source::new(TABLE);
    let globals = format!(
        "{HEAD}CREATE ROLE {eve};\nALTER ROLE {eve} WITH NOSUPERUSER INHERIT NOLOGIN;\n\
         ALTER ROLE {eve} SET application_name TO 'x WITH SUPERUSER y';\n\
         CREATE ROLE \"{named}\";\nALTER ROLE \"{named}\" WITH NOSUPERUSER INHERIT NOLOGIN;\n\
         -- User Config \"q\nALTER ROLE {eve} SET work_mem TO '1MB'; ALTER ROLE {eve} SUPERUSER;\n\
         CREATE TABLESPACE {eve} LOCATION '/' \\! touch /tmp/restore_sh_forged #--\";\n"
    );
    source.base_with("100:100:", |base, _| {
        base.write_file("globals.sql", globals.as_bytes()).unwrap();
    });
    let role = |name: &str| {
        let name = name.as_bytes().to_vec();
        Fact(ClusterFact::Role {
            name,
            superuser: false,
        })
    };
    let insert = Statement("INSERT INTO public.a (id) VALUES (100);");
    source.transaction(100, &[role(&eve), role(&named), insert]);
    for options in [&[][..], &["--globals"]] {
        let target = unique("target");
        let conninfo = source.cluster.conninfo(&target);
        let run = source.run(&[&["--target", &conninfo][..], options].concat());
        assert!(run.0.status.success(), "{}", run.text());
        let query = format!("SELECT count(*), bool_or(rolsuper) FROM pg_roles WHERE rolname IN ('{eve}', '{named}')");
        assert_eq!(
            source.cluster.psql("postgres", query),
            "2|f",
            "{}",
            run.text()
        );
        assert!(!std::path::Path::new("/tmp/restore_sh_forged").exists());
        for drop in [
            format!("DATABASE {target}"),
            format!("ROLE {eve}, \"{named}\""),
        ] {
            source.cluster.psql("postgres", format!("DROP {drop}"));
        }
    }
}

#[test]
fn what_does_not_fit_the_target_is_told_at_the_end() {
    let role = unique("unfit");
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let globals = format!(
        "{HEAD}CREATE ROLE {role};\nALTER ROLE {role} WITH NOSUPERUSER INHERIT LOGIN PASSWORD 'secret word';\n\
         ALTER ROLE {role} SET is_unknown TO '1';\nALTER ROLE {role} SET work_mem TO '7MB';\nREBUILD ROLE {role};\n"
    );
    let lsn = Lsn(source.lsn + 8);
    write_set(&source.place.chain.clone(), lsn, at(100), &globals, "");
    let target = unique("target");
    let conninfo = source.cluster.conninfo(&target);
    let run = source.run(&["--target", &conninfo, "--globals"]);
    assert_eq!(run.0.status.code(), Some(1));
    let text = run.text();
    let told = format!("globals of {role}: unrecognized configuration parameter \"is_unknown\"");
    assert!(text.contains(&told), "{text}");
    assert!(text.contains("not executed: REBUILD ROLE"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    source.assert_same(&target);
    let query =
        format!("SELECT setconfig FROM pg_db_role_setting WHERE setrole = '{role}'::regrole");
    assert_eq!(source.cluster.psql(&target, query), "{work_mem=7MB}");
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
        let sql = if is_base { "" } else { &database_sql };
        write_set(&source.place.chain.clone(), lsn, at(100), CREATED, sql);
        let refused = source.refused(&["--globals"]);
        assert!(refused.contains("restricted"), "{refused}");
        assert!(!never.exists());
    }
}
