//! "pg_dumpall runs on my server all day, though nobody touches a role." It runs when roles have changed; and no change is
//! missed because it did not.

use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::PathBuf;

use crate::globals::{newest, sets, wait_until_at_rest};
use harness::{give_to_server_user, wait_until, Cluster};

/// Has pg_dumpall leave a line in this file for each run.
fn count_runs(c: &Cluster) -> PathBuf {
    let (bin, real) = (c.root().join("bin"), c.installation().bin());
    fs::create_dir(&bin).expect("a directory can be made");
    for program in ["pg_dump", "pg_restore"] {
        symlink(real.join(program), bin.join(program)).expect("a link can be made");
    }
    let (script, runs) = (bin.join("pg_dumpall"), bin.join("runs"));
    let text = format!(
        "#!/bin/sh\necho x >>'{}'\nexec '{}' \"$@\"\n",
        runs.display(),
        real.join("pg_dumpall").display()
    );
    fs::write(&script, text).expect("a script can be written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    give_to_server_user(&bin);
    let bin = bin.display().to_string();
    c.set("pg_incrbackup.bin_directory", &format!("'{bin}'"));
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.bin_directory") == bin
    });
    runs
}

fn globals_of_newest_base(c: &Cluster) -> String {
    let base = c.bases().pop().expect("there is a base");
    fs::read_to_string(base.join("globals.sql")).expect("it is there")
}

#[test]
fn pg_dumpall_runs_only_when_roles_have_changed() {
    let c = Cluster::backed_up();
    // The owner's choice for clients, in which neither a comment nor a row can be said; we read in the database's own.
    c.sql(&format!(
        "ALTER DATABASE {} SET client_encoding = 'LATIN1'",
        c.database()
    ));
    let file = count_runs(&c);
    let runs = || {
        fs::read_to_string(&file)
            .unwrap_or_default()
            .lines()
            .count()
    };
    c.sql("CREATE ROLE clerk; ALTER ROLE clerk SET work_mem = '5MB'");
    c.sql("COMMENT ON ROLE clerk IS U&'paid in \\20AC'; CREATE TABLE signs AS SELECT U&'\\20AC' AS sign");
    wait_until_at_rest(&c);
    let (dumped, written) = (runs(), newest(&c, "globals.sql"));
    assert!(dumped > 0 && written.contains("clerk"), "{written}");

    // A start, a base, and a change of the database alone, which makes a set.
    c.restart();
    c.sql("SELECT incr_dump(); DROP TABLE signs");
    c.sql(&format!(
        "ALTER DATABASE {} SET work_mem = '11MB'",
        c.database()
    ));
    wait_until("the database's setting is in a set", || {
        newest(&c, "database.sql").contains("11MB")
    });
    assert_eq!(runs(), dumped, "nothing of a role has changed");
    assert_eq!(newest(&c, "globals.sql"), written);
    assert_eq!(globals_of_newest_base(&c), written);

    // What is new only to the fingerprint is dumped once more, by a base and by the look after it, which notes it.
    let other_name = c.root().join("bin/.").display().to_string();
    c.set("pg_incrbackup.bin_directory", &format!("'{other_name}'"));
    wait_until("the setting is read", || {
        c.sql("SHOW pg_incrbackup.bin_directory") == other_name
    });
    let count = sets(&c).len();
    c.sql("SELECT incr_dump()");
    wait_until("the look has dumped as well", || runs() >= dumped + 2);
    wait_until("the look is over", || {
        c.is_true("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_incrbackup globals'")
    });
    let dumped = runs();
    c.sql("SELECT incr_dump()");
    assert_eq!(runs(), dumped, "it is noted to be the same");
    assert_eq!(sets(&c).len(), count);

    // No statement that the hook sees: found by the base, and by the look after it.
    c.sql("UPDATE pg_authid SET rolconnlimit = 7 WHERE rolname = 'clerk'; SELECT incr_dump()");
    assert!(globals_of_newest_base(&c).contains("CONNECTION LIMIT 7"));
    wait_until("the catalog's update is in a set", || {
        newest(&c, "globals.sql").contains("CONNECTION LIMIT 7")
    });
    c.sql("COMMENT ON ROLE clerk IS 'counts'; ALTER ROLE clerk SET work_mem = '6MB'");
    wait_until("both are in a set", || {
        let text = newest(&c, "globals.sql");
        text.contains("'counts'") && text.contains("6MB")
    });
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    c.assert_restores();
}

#[test]
fn a_set_that_is_no_longer_what_was_written_is_not_taken_over() {
    let c = Cluster::backed_up();
    wait_until_at_rest(&c);
    let set = sets(&c).pop().expect("there is one");
    let path = set.join("globals.sql");
    let text = fs::read_to_string(&path).expect("it is there");
    fs::write(
        &path,
        text.replace("CREATE ROLE at_rest", "CREATE ROLE forged"),
    )
    .expect("it is ours");
    c.sql("SELECT incr_dump()");
    let base = globals_of_newest_base(&c);
    assert!(
        base.contains("at_rest") && !base.contains("forged"),
        "{base}"
    );

    // Nor does one that cannot be read end the sets: what changes then is in the next, and incr_verify() names it.
    for file in ["metadata.json", "database.sql"] {
        let before = sets(&c);
        let set = before.last().expect("there is one");
        if file == "metadata.json" {
            fs::write(set.join(file), "{").expect("it is ours");
        } else {
            fs::remove_file(set.join(file)).expect("it is ours");
        }
        wait_until_at_rest(&c);
        assert!(sets(&c).len() > before.len());
        let damaged = c.sql("SELECT file FROM incr_verify()");
        let name = set.file_name().expect("it has one").to_string_lossy();
        assert!(damaged.contains(name.as_ref()), "{damaged}");
    }
}
