//! "The new version cannot restore what the old one wrote." Each archive in `old_archives/` was written by
//! a version that is out; with it stands what its database held.

use std::fs;
use std::path::Path;

use harness::{checksums, dumped, give_to_server_user, run, Cluster};

const RESTORE_SH: &str = include_str!("../../crates/archive/templates/restore.sh");

/// Unpacks the archive of `version` and gives it today's restore.sh, as a server does that goes on with it.
fn unpacked(c: &Cluster, version: &str) {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clusters/old_archives")
        .join(format!("{version}.tar.gz"));
    let archive = c.archive_directory();
    fs::create_dir(&archive).expect("the cluster has no archive yet");
    run(std::process::Command::new("tar")
        .args(["-xzf"])
        .arg(packed)
        .arg("-C")
        .arg(&archive));
    let script = c.database_directory().join("restore.sh");
    fs::write(script, RESTORE_SH).expect("restore.sh can be written");
    give_to_server_user(&archive);
}

fn expected(c: &Cluster, name: &str) -> Vec<String> {
    let text = fs::read_to_string(c.archive_directory().join(name));
    let text = text.expect("what the database held stands beside the archive");
    text.lines().map(str::to_owned).collect()
}

fn assert_same(found: &[String], wanted: &[String], what: &str) {
    let missing: Vec<_> = wanted
        .iter()
        .filter(|l| !found.contains(l))
        .take(20)
        .collect();
    let added: Vec<_> = found
        .iter()
        .filter(|l| !wanted.contains(l))
        .take(20)
        .collect();
    assert!(wanted.len() > 5, "{what}: nothing was kept to compare with");
    assert!(
        missing.is_empty() && added.is_empty(),
        "{what}: missing {missing:#?}, added {added:#?}"
    );
}

fn started_with(version: &str) -> Cluster {
    let c = Cluster::builder().start();
    unpacked(&c, version);
    c
}

fn assert_still_restores(version: &str) {
    assert_restores_as_it_was(&started_with(version));
}

fn assert_restores_as_it_was(c: &Cluster) {
    let by_script = c.restore_by_script(c, &[]);
    let held = checksums(c, &by_script.database);
    assert_same(&held, &expected(c, "checksums"), "rows");
    // The program computes what materialized views store at its end.
    for restored in [c.restore_by_program(c, &[]), by_script] {
        // They were kept as PostgreSQL 15 words definitions.
        if c.version() == 15 {
            let held = dumped(c, &restored.database);
            assert_same(&held, &expected(c, "dump"), "definitions");
        }
    }
}

#[test]
fn one_of_0_1_0_restores() {
    assert_still_restores("0.1.0");
}

#[test]
fn one_of_0_2_0_restores() {
    assert_still_restores("0.2.0");
}

#[test]
fn one_of_0_3_0_restores_with_its_roles() {
    let c = started_with("0.3.0");
    // As of its newest set of globals, which came after the base.
    let restored = c.restore_by_program(&c, &["--globals"]);
    let clerk = "SELECT rolcanlogin, rolconfig FROM pg_roles WHERE rolname = 'clerk'";
    assert_eq!(c.sql(clerk), "t|{work_mem=8MB}");
    assert!(c.is_true("SELECT pg_has_role('clerk', 'the Boss', 'member')"));
    let held = checksums(&c, &restored.database);
    assert_same(&held, &expected(&c, "checksums"), "rows");
    assert_restores_as_it_was(&c);
    let archive = c.database_directory().display().to_string();
    let verify = harness::program(&["verify", "--archive", &archive]);
    assert!(verify.status.success(), "{verify:?}");
}
