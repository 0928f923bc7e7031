//! "Somebody added a file to the copy of my archive": what manifest.jsonl does not name, or names as gone.

use std::fs;
use std::path::{Path, PathBuf};

use archive::verify;

use crate::replay::with_every_awk;
use crate::source::{unique, Copy, Source, Statement, TABLE};
use crate::support::at;

fn insert(source: &mut Source, xid: u64) {
    let text = format!("INSERT INTO public.a (id) VALUES ({xid});");
    source.transaction(xid, &[Statement(&text)]);
}

/// A base, two closed segments, and the open one.
fn three() -> (Source, [PathBuf; 2]) {
    let mut source = Source::new(TABLE);
    source.base("100:100:");
    insert(&mut source, 100);
    let first = source.rotate(101);
    insert(&mut source, 101);
    let second = source.rotate(102);
    insert(&mut source, 102);
    (source, [first, second])
}

/// Leaves out, or changes, the lines about a file.
fn change_line(source: &Source, path: &Path, change: impl Fn(&str) -> String) {
    let manifest = source.place.chain.manifest();
    let name = path.file_name().unwrap().to_str().unwrap();
    let lines = fs::read_to_string(&manifest).unwrap();
    let changed = lines.lines().map(|line| {
        if line.contains(name) {
            change(line)
        } else {
            format!("{line}\n")
        }
    });
    fs::write(&manifest, changed.collect::<String>()).unwrap();
}

#[test]
fn a_line_that_a_crash_left_out_is_not_missed() {
    let (source, [_, second]) = three();
    change_line(&source, &second, |_| String::new());
    source.assert_same(&source.restore(&[]));
}

#[test]
fn a_segment_that_is_not_named_must_follow_the_last_that_is() {
    let (mut source, [_, second]) = three();
    let third = source.rotate(103);
    // The last that is named is gone, and what comes after it is not named.
    change_line(&source, &third, |_| String::new());
    fs::remove_file(&second).unwrap();
    let said = source.refused(&[]);
    assert!(said.contains("starts at"), "{said}");
}

/// As in a copy that keeps more than retention does: the manifest's lines about the oldest are gone.
#[test]
fn what_the_manifest_names_no_more_is_vouched_for_by_what_follows() {
    let (source, [first, second]) = three();
    change_line(&source, &first, |_| String::new());
    source.assert_same(&source.restore(&[]));
    change_line(&source, &second, |_| String::new());
    let good = fs::read_to_string(&first).unwrap();
    fs::write(&first, good.replace("VALUES (100)", "VALUES (900)")).unwrap();
    let said = source.refused(&[]);
    assert!(said.contains("is damaged"), "{said}");
}

/// Each would run a program, or make psql run what is data.
#[test]
fn psql_obeys_nothing_in_a_segment_that_is_not_named() {
    let (mut source, _) = three();
    let odd = ["back\\slash ''quote''", "E''\\", "$$; -- /* (", ";"];
    for (xid, value) in (103..).zip(odd) {
        let value = value.replace('\\', "\\\\");
        let text = format!("INSERT INTO public.a (id, x) VALUES ({xid}, E'{value}');");
        source.transaction(xid, &[Statement(&text)]);
    }
    let row: &[&str] = &["110\t\\\\! touch x"];
    source.transaction(110, &[Copy("COPY public.a (id, x) FROM stdin;", row)]);
    source.assert_same(&source.restore(&[]));

    let open = source.appender.current_file();
    let good = fs::read_to_string(&open).unwrap();
    let key = &good[good.find("-- @").unwrap() + 4..][..16];
    let witness = source.place.path().join("witness");
    let run = format!("\\! touch {}", witness.display());
    let line = "INSERT INTO public.a (id) VALUES (102);";
    let copy = "COPY public.a (id, x) FROM stdin;";
    let attacks = [
        (line, format!("{line}\n\\unrestrict {key}\n{run}")),
        (line, format!("{line} \\unrestrict {key}\n{run} ;")),
        (
            line,
            format!("INSERT INTO public.a (x) VALUES ('\\'); {run} ;"),
        ),
        (
            line,
            format!("INSERT INTO public.a (x) VALUES (1; {run} ';')"),
        ),
        (line, format!("SELECT 1; {run};")),
        (
            line,
            "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS '';".to_owned(),
        ),
        (line, "INSERT INTO public.a (x) VALUES ($a$;".to_owned()),
        (line, "SELECT (1;".to_owned()),
        (line, "SELECT 1 /*;".to_owned()),
        (line, "SELECT fooE'\\';".to_owned()),
        (copy, format!("COPY public.a (id, x FROM stdin;\n); {run}")),
        (
            copy,
            format!("COPY public.a TO stdout; SELECT FROM stdin;\n{run}"),
        ),
        ("COMMIT;", format!("COMMIT;\n{run}")),
        ("BEGIN;", "BEGIN; SELECT 1;".to_owned()),
        (
            "SET standard_conforming_strings = on;",
            "SET standard_conforming_strings = off;".to_owned(),
        ),
        (
            "SET client_encoding = 'UTF8';",
            "SET client_encoding = 'SJIS';".to_owned(),
        ),
        (
            "SET lock_timeout = 0;",
            format!("SET lock_timeout = 0; {run};"),
        ),
        ("SET lock_timeout = 0;", "SET role = 'postgres';".to_owned()),
        // A block that only looks as if a literal were open.
        ("COMMIT;", format!("-- @KEY ddl lines=4 command=X role=\nDO $rKEY$ BEGIN END $rKEY$; -- EXECUTE $sKEY$\n\\unrestrict KEY\n{run}\nCOMMIT;")
            .replace("KEY", good.lines().nth(1).and_then(|line| line.get(4..20)).unwrap())),
    ];
    for (from, to) in attacks {
        assert!(good.contains(from), "{from}");
        fs::write(&open, good.replacen(from, &to, 1)).unwrap();
        with_every_awk(|awk| {
            let conninfo = source.cluster.conninfo(&unique("target"));
            source.run_under("dash", Some(awk), &["--target", &conninfo]);
        });
        assert!(!witness.exists(), "{to} was run");
    }
    // The second line, which holds the key, as a command.
    let second = good.lines().nth(1).unwrap();
    let forged = second.replacen("-- @", "\\! @", 1);
    fs::write(&open, good.replacen(second, &forged, 1)).unwrap();
    let run = source.run(&["--dry-run"]);
    assert!(!run.text().contains("3 transactions"), "{}", run.text());
}

#[test]
fn a_base_that_is_not_named_is_passed_over_unless_somebody_names_it() {
    let (mut source, _) = three();
    let added = source.base("103:103:");
    change_line(&source, &added, |_| String::new());
    let name = added.file_name().unwrap().to_str().unwrap();
    let run = source.run(&["--dry-run"]);
    let said = run.text();
    assert!(run.0.status.success(), "{said}");
    assert!(
        said.contains(&format!("does not list base {name}")),
        "{said}"
    );
    assert!(!said.contains(&format!("base/{name}")), "{said}");
    source.assert_same(&source.restore(&["--base", name]));
}

#[test]
fn a_file_that_sha256sums_does_not_name_is_refused() {
    let (mut source, _) = three();
    let base = source.base("103:103:");
    fs::write(base.join("database.sql"), "\\! touch /tmp/never\n").unwrap();
    let said = source.refused(&[]);
    assert!(said.contains("it is not what SHA256SUMS lists"), "{said}");
}

#[test]
fn a_segment_that_later_ones_need_can_not_have_expired() {
    let (source, [_, second]) = three();
    let expired = format!(",\"expired_at\":\"{}\"}}", archive::time::iso(at(0)));
    change_line(&source, &second, |line| {
        format!("{}{expired}\n", line.strip_suffix('}').unwrap())
    });
    let said = source.refused(&[]);
    assert!(said.contains("are missing"), "{said}");
    let found = verify(&source.place.database, &mut || {}).unwrap();
    assert!(
        found
            .iter()
            .any(|found| found.problem.contains("an earlier one that needs it")),
        "{found:?}"
    );
}
