//! "The checksums were fine, and the data was not." Archives that are damaged on purpose, each in another way:
//! a drill finds every one, and says what it is.

use crate::drill::drill;
use harness::{give_to_server_user, run, Cluster};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rows in an old segment, in the newest base, in a segment after it, and in the open one.
fn archive() -> (Cluster, Vec<PathBuf>) {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'old')");
    let mut closed = vec![c.sql("SELECT incr_rotate()")];
    c.sql(
        "INSERT INTO t VALUES (2, 'base'); SELECT incr_dump(); INSERT INTO t VALUES (3, 'after')",
    );
    closed.push(c.sql("SELECT incr_rotate()"));
    c.sql("INSERT INTO t VALUES (4, 'more')");
    closed.push(c.sql("SELECT incr_rotate()"));
    c.sql("INSERT INTO t VALUES (5, 'open'); CREATE TABLE u (a int)");
    c.flush();
    assert_eq!(drill(&c), "passed|{}");
    (c, closed.into_iter().map(PathBuf::from).collect())
}

/// Writes other bytes of the same length, in place, over the first place where `from` stands.
fn overwrite(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let bytes = fs::read(path).expect("it can be read");
    let at = bytes
        .windows(from.len())
        .position(|window| window == from.as_bytes());
    let at = at.unwrap_or_else(|| panic!("there is no {from} in {}", path.display())) as u64;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("it can be written");
    file.write_all_at(to.as_bytes(), at)
        .expect("it can be written");
}

fn sha256(path: &Path) -> String {
    let sum = run(Command::new("sha256sum").arg(path)).stdout;
    String::from_utf8_lossy(&sum[..64]).into_owned()
}

/// Makes every checksum of a base's file, and those of these in turn, true again.
fn recompute(c: &Cluster, base: &Path, file: &str, before: &str) {
    let sums = base.join("SHA256SUMS");
    let sums_before = sha256(&sums);
    let text = fs::read_to_string(&sums).expect("it can be read");
    let text = text.replace(before, &sha256(&base.join(file)));
    fs::write(&sums, text).expect("it can be written");
    let manifest = c.chain_directory().join("manifest.jsonl");
    let text = fs::read_to_string(&manifest).expect("it can be read");
    assert!(text.contains(&sums_before), "{text}");
    fs::write(&manifest, text.replace(&sums_before, &sha256(&sums))).expect("it can be written");
}

fn assert_found(c: &Cluster, damage: &str, said: &[&str]) {
    let found = drill(c);
    assert!(found.starts_with("failed|"), "{damage}: {found}");
    for word in said {
        assert!(found.contains(word), "{damage}: no {word} in {found}");
    }
    let health = c.health();
    assert!(
        health.starts_with("critical") && health.contains("does not restore"),
        "{damage}: {health}"
    );
}

fn assert_well_again(c: &Cluster, damage: &str) {
    assert_eq!(drill(c), "passed|{}", "after {damage}");
    assert!(c.health().starts_with("ok"), "{}", c.health());
}

#[test]
fn a_byte_that_changed_is_found_wherever_it_is() {
    let (c, closed) = archive();
    let bases = c.bases();
    let oldest = bases[0].join("dump.sql");
    let newest = bases[1].join("dump.sql");
    let globals = bases[1].join("globals.sql");
    let restore = c.database_directory().join("restore.sh");
    let places: [(&Path, &str, &str, &str); 8] = [
        (&closed[2], "commit_lsn=", "commit_lsn:", ".sql"),
        (&closed[0], "'old'", "'odd'", "incremental/"),
        (&closed[1], "'after'", "'aftex'", "is damaged"),
        (&closed[2], "'more'", "'mora'", "is damaged"),
        (
            &oldest,
            "PostgreSQL database dump",
            "PostgreSQL database dumb",
            "dump.sql",
        ),
        (&newest, "base", "bass", "the base is damaged"),
        (
            &globals,
            "CREATE ROLE",
            "CREATE ROLL",
            "the base is damaged",
        ),
        (&restore, "set -eu", "set -ee", "restore.sh"),
    ];
    for (path, from, to, said) in places {
        let damage = path.display().to_string();
        overwrite(path, from, to);
        assert_found(&c, &damage, &[said]);
        overwrite(path, to, from);
        assert_well_again(&c, &damage);
    }
}

#[test]
fn a_segment_that_is_missing_is_found() {
    let (c, closed) = archive();
    for path in &closed {
        let damage = path.display().to_string();
        let aside = c.root().join("aside.sql");
        fs::rename(path, &aside).expect("one file system");
        assert_found(&c, &damage, &[".sql"]);
        fs::rename(&aside, path).expect("one file system");
        assert_well_again(&c, &damage);
    }
}

#[test]
fn a_row_that_was_changed_together_with_its_checksums_is_found_by_the_comparison() {
    let (c, _) = archive();
    let base = c.bases().remove(1);
    let dump = base.join("dump.sql");
    let before = sha256(&dump);
    overwrite(&dump, "2\tbase", "2\tbass");
    recompute(&c, &base, "dump.sql", &before);
    assert_eq!(
        c.sql("SELECT * FROM incr_verify()"),
        "",
        "no checksum tells of it"
    );
    assert_found(
        &c,
        "a row of the base",
        &["t has as many rows, but others (5)"],
    );
    let damaged = sha256(&dump);
    overwrite(&dump, "2\tbass", "2\tbase");
    recompute(&c, &base, "dump.sql", &damaged);
    assert_well_again(&c, "a row of the base");
}

#[test]
fn a_row_that_changed_in_the_open_segment_is_found_by_the_comparison() {
    let (c, _) = archive();
    let open = c.segments().pop().expect("there is one");
    assert!(open.is_open);
    overwrite(&open.path, "'open'", "'opel'");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    assert_found(&c, "the open segment", &["t has as many rows, but others"]);
    overwrite(&open.path, "'opel'", "'open'");
    assert_well_again(&c, "the open segment");
}

#[test]
fn a_definition_that_was_changed_together_with_its_checksums_is_found_by_the_comparison() {
    let (c, _) = archive();
    c.sql("CREATE TABLE wide (a int, b int DEFAULT 7); SELECT incr_dump()");
    let base = c.bases().pop().expect("there is one");
    let dump = base.join("dump.sql");
    let before = sha256(&dump);
    overwrite(&dump, "DEFAULT 7", "DEFAULT 8");
    recompute(&c, &base, "dump.sql", &before);
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    assert_found(
        &c,
        "a default",
        &[
            "TABLE public.wide: only at the source:",
            "DEFAULT 7",
            "only restored:",
            "DEFAULT 8",
        ],
    );
}

#[test]
fn a_row_that_is_lost_or_there_twice_is_counted() {
    let (c, _) = archive();
    let base = c.bases().remove(1);
    let dump = base.join("dump.sql");
    let before = sha256(&dump);
    let text = fs::read_to_string(&dump).expect("it can be read");
    fs::write(&dump, text.replacen("2\tbase\n", "", 1)).expect("it can be written");
    give_to_server_user(&dump);
    recompute(&c, &base, "dump.sql", &before);
    assert_found(&c, "a lost row", &["t has 4 rows, 5 at the source"]);
}
