//! "My archive leads the server to write, or to read, somewhere else; or it is open to others."

use harness::{give_to_server_user, wait_until, Cluster};
use std::fs;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

fn everything_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).expect("it can be listed").flatten() {
        let path = entry.path();
        if fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
            found.extend(everything_below(&path))
        } else {
            found.push(path)
        }
    }
    found
}

#[test]
fn every_file_is_ours_alone_whatever_the_umask() {
    // The server of this cluster runs under umask 0.
    let c = Cluster::builder()
        .setting("pg_incrbackup.base_format", "directory")
        .setting("pg_incrbackup.base_jobs", "2")
        .create();
    open_umask(&c);
    c.sql_in("postgres", "CREATE DATABASE app");
    c.sql("CREATE EXTENSION pg_incrbackup");
    c.sql("SELECT * FROM incr_setup()");
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE ROLE r; SELECT lo_create(0)");
    c.sql("SELECT incr_flush(); SELECT incr_rotate()");
    c.sql("ALTER SYSTEM SET pg_incrbackup.base_format = 'plain'; SELECT pg_reload_conf()");
    c.sql("SELECT incr_dump(); INSERT INTO t VALUES (2)");
    c.flush();
    wait_until("there is a set of globals", || {
        c.chain_directory().join("globals").is_dir()
    });
    let paths = everything_below(&c.archive_directory());
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue; // a partial one that has its final name now
        };
        let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
        let mode = metadata.permissions().mode() & 0o7777;
        assert_eq!(mode, wanted, "{}: {mode:o}", path.display());
    }
}

/// Starts the server from a shell that lets everybody read and write what it makes.
fn open_umask(c: &Cluster) {
    let pg_ctl = c.installation().bin().join("pg_ctl");
    let script = format!(
        "umask 0 && exec {} start -w -s -D {} -l {}",
        pg_ctl.display(),
        c.data_directory().display(),
        c.root().join("log").display()
    );
    let mut command = c.installation().command("sh");
    let status = command.args(["-c", &script]).status();
    assert!(status.expect("sh can be run").success());
}

/// A victim outside the archive: a file with content that nobody may change.
fn victim(c: &Cluster) -> PathBuf {
    let path = c.root().join("victim");
    fs::write(&path, "untouched").expect("it can be written");
    give_to_server_user(&path);
    path
}

fn replace_by_link(path: &Path, target: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) {
        // Out of the archive, where it would be found again under any name.
        let aside = std::env::temp_dir().join(format!("aside-{}", std::process::id()));
        fs::remove_dir_all(&aside).ok();
        fs::rename(path, &aside).expect("it can be moved");
        fs::remove_dir_all(&aside).expect("it can be removed");
    } else {
        drop(fs::remove_file(path))
    }
    symlink(target, path).expect("a link can be made");
}

fn assert_untouched(victim: &Path, what: &str) {
    let content = fs::read_to_string(victim).unwrap_or_default();
    assert_eq!(content, "untouched", "{what}: a link was followed");
}

#[test]
fn a_link_in_place_of_a_file_is_not_followed() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    c.sql("SELECT incr_rotate(); INSERT INTO t VALUES (2)");
    c.flush();
    let victim = victim(&c);
    let open = c.segments().pop().expect("there is an open segment").path;
    let chain = c.chain_directory();
    for path in [
        chain.join("manifest.jsonl"),
        chain.join("chain.json"),
        open,
        c.database_directory().join("restore.sh"),
        c.database_directory().join("README.txt"),
    ] {
        c.stop();
        let good = fs::read(&path).expect("it can be read");
        replace_by_link(&path, &victim);
        c.start();
        let what = path.display().to_string();
        if what.ends_with("restore.sh") || what.ends_with("README.txt") {
            wait_until(&format!("{what} is a file again"), || {
                fs::symlink_metadata(&path).is_ok_and(|m| m.is_file())
            });
            assert_untouched(&victim, &what);
            continue;
        }
        // Capture does not run over it, and says why.
        wait_until(&format!("health tells of {what}"), || {
            c.try_sql("SELECT level, reasons FROM incr_slot_health()")
                .map_or(true, |health| health.contains("symbolic link"))
                || c.log().contains("symbolic link")
        });
        assert_untouched(&victim, &what);
        c.stop();
        fs::remove_file(&path).expect("the link can be removed");
        fs::write(&path, good).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode can be set");
        give_to_server_user(&path);
        c.start();
        c.wait_for_capture();
        c.flush();
        fs::write(c.root().join("log"), "").expect("the log can be emptied");
    }
    assert_untouched(&victim, "at the end");
    c.assert_restores();
}

#[test]
fn a_link_in_place_of_a_directory_is_not_followed() {
    for place in [
        "app/chain-1/base",
        "app/chain-1/incremental",
        "app/chain-1/globals",
        "app/chain-1",
        "app",
    ] {
        let c = Cluster::backed_up();
        c.sql("CREATE TABLE t (a int)");
        c.flush();
        let outside = c.root().join("outside");
        fs::create_dir(&outside).expect("a directory can be made");
        give_to_server_user(&outside);
        c.stop();
        replace_by_link(&c.archive_directory().join(place), &outside);
        c.start();
        c.try_sql(
            "SET statement_timeout = '20s'; INSERT INTO t VALUES (1); SELECT incr_flush('2 s')",
        )
        .ok();
        let refused = c.try_sql("SET statement_timeout = '20s'; SELECT incr_dump()");
        assert!(
            refused.is_err() || place.ends_with("globals"),
            "{place}: a base was made"
        );
        c.sql_in("postgres", "CREATE ROLE noticed");
        c.try_sql("SET statement_timeout = '20s'; SELECT incr_rotate()")
            .ok();
        c.stop();
        let found = everything_below(&outside);
        assert_eq!(found.len(), 1, "{place}: {found:?}");
        assert_eq!(
            fs::metadata(&outside).expect("it is there").mode() & 0o777,
            0o755,
            "{place}"
        );
    }
}

#[test]
fn a_file_of_a_base_that_cannot_be_read_is_a_row_of_verify() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.flush();
    c.sql("SELECT incr_rotate()");
    let base = c.bases().pop().expect("there is a base");
    let closed = c.segments().remove(0).path;
    for (path, told) in [
        (base.join("dump.sql"), "dump.sql"),
        (base, "base/"),
        (closed, "incremental/"),
    ] {
        let mode = fs::metadata(&path).expect("it is there").permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("its mode can be set");
        let problems = c.sql("SELECT * FROM incr_verify()");
        fs::set_permissions(&path, mode).expect("its mode can be set");
        assert!(
            problems.contains(told) && problems.contains("ermission denied"),
            "{problems}"
        );
    }
    c.assert_restores();
}
