//! "I started it, it never ends, and the server does not shut down." Whatever reads the archive in a session ends
//! when it is told to, in the midst of a file of any size and in front of a lock of somebody else.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use harness::{wait_until, Cluster};

/// So many bytes that nobody reads to the end, on no disk at all.
const ENDLESS: u64 = 15 << 40;

/// The archive, locked against readers as while files are removed.
struct Remover(Child);

impl Remover {
    fn of(c: &Cluster) -> Remover {
        let is_locked = c.root().join("is_locked");
        let mut command = Command::new("flock");
        command.arg("--exclusive").arg(c.database_directory());
        command
            .args(["sh", "-c", "touch \"$0\"; cat"])
            .arg(&is_locked);
        let child = command.stdin(Stdio::piped()).spawn();
        wait_until("the archive is locked", || is_locked.exists());
        Remover(child.expect("flock can be run"))
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

#[test]
fn a_check_of_files_ends_in_the_midst_of_one() {
    let c = Cluster::backed_up();
    let base = c.bases().remove(0);
    let file = base.join("database.sql");
    let length = file.metadata().expect("a base has it").len();
    let sql = File::options()
        .write(true)
        .open(&file)
        .expect("it can be opened");
    sql.set_len(ENDLESS).expect("a file may have holes");
    let error = c.sql_error("SET statement_timeout = '300ms'; SELECT * FROM incr_verify()");
    assert_eq!(error.sqlstate, "57014", "{error}");
    sql.set_len(length).expect("it can be cut");
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");

    sql.set_len(ENDLESS).expect("a file may have holes");
    let mut session = c.session();
    session.send("SELECT * FROM incr_verify()");
    let is_at_it = "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT .* incr_verify' AND state = 'active' \
         AND pid <> pg_backend_pid()";
    wait_until("a session checks the files", || c.is_true(is_at_it));
    // A fast shutdown waits for the session.
    c.stop();
}

#[test]
fn nobody_waits_for_a_lock_against_their_will() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (id int PRIMARY KEY)");
    c.flush();
    let base = c.sql("SELECT file FROM incr_files() WHERE kind = 'base'");
    let remover = Remover::of(&c);
    for reading in [
        "SELECT * FROM incr_verify()".to_string(),
        "SELECT * FROM incr_history('t', '1')".to_string(),
        "SELECT incr_report()".to_string(),
        format!("SELECT incr_keep('{base}')"),
    ] {
        let error = c.sql_error(&format!("SET statement_timeout = '300ms'; {reading}"));
        assert_eq!(error.sqlstate, "57014", "{reading}: {error}");
    }
    drop(remover);
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
}
