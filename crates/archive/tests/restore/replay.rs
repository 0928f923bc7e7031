//! A restored database is the same: statements, DDL under roles, encodings, every shell and awk.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use archive::Lsn;

use archive::segment::{ClusterFact, DdlBlock};

use crate::source::{everything, unique, Ddl, Fact, Source, Statement, TABLE};
use crate::support::{self, at, Place};

#[test]
fn base_and_increments_give_the_same_database() {
    let mut source = Source::new(TABLE);
    everything(&mut source);
    let target = source.restore(&[]);
    source.assert_same(&target);
    let run = source.run(&["--dry-run"]);
    assert!(
        run.0.status.success() && run.text().contains("5 transactions"),
        "{}",
        run.text()
    );
}

/// Every awk of this machine that restore.sh promises to work with; AWKS adds more, as a path list.
pub fn awks() -> Vec<PathBuf> {
    let more = std::env::var_os("AWKS").unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap();
    let on_path = std::env::split_paths(&path)
        .flat_map(|dir| ["mawk", "gawk", "original-awk", "busybox"].map(|name| dir.join(name)));
    // /bin is often /usr/bin: each of them is one file in both.
    let mut known = HashSet::new();
    on_path
        .chain(std::env::split_paths(&more))
        .filter(|path| path.is_file() && known.insert(path.canonicalize().unwrap()))
        .collect()
}

/// Does that with every awk at once: a restore by restore.sh is mostly a hundred short processes, one after the other.
pub fn with_every_awk(restore: impl Fn(&Path) + Sync) {
    std::thread::scope(|scope| {
        for awk in awks() {
            let restore = &restore;
            scope.spawn(move || restore(&awk));
        }
    });
}

/// Every shell of this machine that restore.sh promises to work with: dash and bash are always there.
fn shells() -> Vec<&'static str> {
    let busybox = awks().iter().any(|path| path.ends_with("busybox"));
    let more = busybox.then_some("busybox");
    ["dash", "bash"].into_iter().chain(more).collect()
}

#[test]
fn every_shell_and_awk_gives_the_same() {
    let mut source = Source::new(TABLE);
    everything(&mut source);
    with_every_awk(|awk| {
        for shell in shells() {
            let target = unique("target");
            let conninfo = source.cluster.conninfo(&target);
            let run = source.run_under(shell, Some(awk), &["--target", &conninfo]);
            assert!(
                run.0.status.success(),
                "{shell} {}: {}",
                awk.display(),
                run.text()
            );
            source.assert_same(&target);
        }
    });
}

#[test]
fn ddl_runs_under_its_role_and_missing_roles_are_made() {
    let owner = unique("o'wner \"x\"\\n");
    let (boss, member) = (unique("boss"), unique("member"));
    let quoted = format!("\"{}\"", owner.replace('"', "\"\""));
    let mut source = Source::new(TABLE);
    let cluster = source.cluster.clone();
    let create = format!(
        "CREATE ROLE {quoted}; CREATE ROLE {boss} SUPERUSER LOGIN; CREATE ROLE {member};
         GRANT {boss} TO {member}; GRANT CREATE ON SCHEMA public TO {quoted};"
    );
    cluster.psql(&source.database, create);
    let globals = format!(
        "CREATE ROLE {quoted};\nALTER ROLE {quoted} WITH NOSUPERUSER LOGIN PASSWORD 'secret';\n\
         CREATE ROLE {boss};\nALTER ROLE {boss} WITH SUPERUSER INHERIT LOGIN PASSWORD 'secret';\n\
         CREATE ROLE {member};\nCREATE ROLE unrelated;\n\
         GRANT {boss} TO {member} GRANTED BY postgres;\nGRANT unrelated TO {member};\n"
    );
    source.base_with("100:100:", |base, metadata| {
        base.write_file("globals.sql", globals.as_bytes()).unwrap();
        metadata.source.roles.extend([owner.clone(), boss.clone()]);
    });
    let text = format!(
        "SET LOCAL ROLE {quoted};\nCREATE TABLE public.mine (id int);\nSET LOCAL ROLE NONE;"
    );
    source.transaction(
        100,
        &[
            Ddl {
                command: "CREATE TABLE",
                role: &owner,
                text: &text,
            },
            Fact(ClusterFact::Role {
                name: member.clone().into_bytes(),
                superuser: false,
            }),
            Statement("INSERT INTO public.mine (id) VALUES (1);"),
        ],
    );
    let before = cluster.dump(&source.database);
    cluster.psql(
        &source.database,
        format!(
            "ALTER TABLE public.mine OWNER TO postgres; REVOKE ALL ON SCHEMA public FROM {quoted};
         DROP ROLE {quoted}, {boss}, {member};"
        ),
    );
    let target = unique("target");
    let run = source.run(&["--target", &cluster.conninfo(&target)]);
    assert!(run.0.status.success(), "{}", run.text());
    assert_eq!(cluster.dump(&target), before);
    for role in [quoted.as_str(), &boss, &member] {
        assert!(
            run.text().contains(&format!("created role {role} NOLOGIN")),
            "{role}: {}",
            run.text()
        );
    }
    let roles = cluster.psql(
        &target,
        format!(
            "SELECT rolname, rolcanlogin, rolsuper FROM pg_roles
         WHERE rolname IN ('{boss}', '{member}', '{}') ORDER BY rolsuper, rolname",
            owner.replace('\'', "''")
        ),
    );
    assert_eq!(roles, format!("{boss}|f|f\n{member}|f|f\n{owner}|f|f"));
    assert_eq!(
        cluster.psql(
            &target,
            "SELECT count(*) FROM pg_roles WHERE rolname = 'unrelated'"
        ),
        "0"
    );
    // A second run finds them, and leaves them as they are.
    cluster.psql("postgres", format!("ALTER ROLE {boss} LOGIN"));
    let target = unique("target");
    let run = source.run(&["--target", &cluster.conninfo(&target)]);
    assert!(run.0.status.success(), "{}", run.text());
    assert!(!run.text().contains("created role"), "{}", run.text());
    let query = format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{boss}'");
    assert_eq!(cluster.psql("postgres", query), "t");
}

#[test]
fn bytes_of_another_encoding_pass() {
    let mut source = Source::with_options(TABLE, "ENCODING 'LATIN1'");
    let schema = b"SET client_encoding = 'LATIN1'; CREATE TABLE public.\"\xfcber\" (\"stra\xdfe\" text PRIMARY KEY);";
    source.cluster.psql(&source.database, schema);
    source.base_with("100:100:", |_, metadata| {
        metadata.source.encoding = "LATIN1".to_owned()
    });
    // The segment's own encoding is that of its identity.
    let lines: [&[u8]; 2] = [
        b"INSERT INTO public.\"\xfcber\" (\"stra\xdfe\") VALUES ('\xe9t\xe9');",
        b"UPDATE public.\"\xfcber\" SET \"stra\xdfe\" = '\xff' WHERE \"stra\xdfe\" = '\xe9t\xe9';",
    ];
    let identity = archive::segment::SegmentIdentity {
        encoding: "LATIN1".to_owned(),
        ..support::identity(1000)
    };
    drop(std::mem::replace(
        &mut source.appender,
        Place::new().append(),
    ));
    for path in source.place.segments() {
        fs::remove_file(path).unwrap();
    }
    source.appender = source
        .place
        .chain
        .open_for_append(identity, Lsn(0))
        .unwrap();
    source.appender.begin(100, Lsn(0x5000), at(0)).unwrap();
    for line in lines {
        source.appender.statement(line).unwrap();
        source.cluster.psql(
            &source.database,
            [b"SET client_encoding = 'LATIN1';", line].concat(),
        );
    }
    source
        .appender
        .ddl(
            "COMMENT",
            b"r\xf4le",
            &DdlBlock::alone(b"COMMENT ON TABLE public.\"\xfcber\" IS '\xe0';"),
        )
        .unwrap();
    source.appender.commit().unwrap();
    source.appender.sync().unwrap();
    source.cluster.psql(
        &source.database,
        b"SET client_encoding = 'LATIN1'; COMMENT ON TABLE public.\"\xfcber\" IS '\xe0';",
    );
    for awk in awks() {
        let target = unique("target");
        let conninfo = source.cluster.conninfo(&target);
        let run = source.run_under("dash", Some(&awk), &["--target", &conninfo]);
        assert!(run.0.status.success(), "{}: {}", awk.display(), run.text());
        source.assert_same(&target);
    }
}

#[test]
fn settings_of_the_database_do_not_disturb_the_replay() {
    let mut source = Source::new(TABLE);
    source.base_with("100:100:", |base, _| {
        let sql = b"ALTER DATABASE :\"dbname\" SET default_transaction_read_only = on;\n\
                    ALTER DATABASE :\"dbname\" SET search_path = 'nowhere';\n";
        base.write_file("database.sql", sql).unwrap();
    });
    source.transaction(100, &[Statement("INSERT INTO public.a (id) VALUES (100);")]);
    let target = source.restore(&[]);
    assert_eq!(
        source
            .cluster
            .psql(&target, "SHOW default_transaction_read_only"),
        "on"
    );
    source.assert_same(&target);
}
