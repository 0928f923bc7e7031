//! Restoring with the program, and with the archive's own restore.sh, exactly as a DBA would.
//!
//! The program is the usual way back; whether restore.sh makes the same database is asked of a table of archives
//! (`both_ways.rs`), not of every test.

use crate::{assert_identical, program, Cluster};
use std::path::PathBuf;
use std::process::Command;

const WITHOUT_ROWS: &str = "materialized views that stay without rows:";

/// The result of a successful restore.
pub struct Restored {
    /// The database that was restored into.
    pub database: String,
    /// Everything that was printed.
    pub output: String,
}

impl Cluster {
    /// The directory of the test's database in the archive.
    pub fn database_directory(&self) -> PathBuf {
        self.archive_directory().join(self.database())
    }

    /// Waits until everything committed so far is in the archive; returns the LSN.
    pub fn flush(&self) -> String {
        self.sql("SELECT incr_flush('3min')")
    }

    /// Restores this cluster's archive into a new database of the same cluster, with the program.
    pub fn restore(&self, options: &[&str]) -> Restored {
        self.restore_by_program(self, options)
    }

    /// Restores with restore.sh into a new database.
    pub fn restore_by_script(&self, target: &Cluster, options: &[&str]) -> Restored {
        let database = target.next_restore_name();
        match self.try_restore(target, &database, options) {
            Ok(output) => Restored { database, output },
            // As with the program: what their queries refuse is no reason for a test to fail.
            Err(output) if output.contains("materialized views stay without rows") => {
                Restored { database, output }
            }
            Err(output) => panic!("restore.sh {options:?} failed:\n{output}"),
        }
    }

    /// Restores with the program into a new database.
    pub fn restore_by_program(&self, target: &Cluster, options: &[&str]) -> Restored {
        let database = target.next_restore_name();
        let archive = self.database_directory();
        let archive = archive.to_str().expect("the path is UTF-8");
        let target = target.conninfo(&database);
        let arguments = ["restore", "--archive", archive, "--target", &target];
        let output = program(&[&arguments[..], options].concat());
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        // What the query of a materialized view refuses is no reason for a test to fail.
        let is_without_rows = output.status.code() == Some(1) && text.contains(WITHOUT_ROWS);
        assert!(
            output.status.success() || is_without_rows,
            "pg_incrbackup restore {options:?} failed ({}):\n{text}",
            output.status
        );
        Restored {
            database,
            output: text,
        }
    }

    /// Runs restore.sh; returns its output, as an error if its exit status is not 0.
    pub fn try_restore(
        &self,
        target: &Cluster,
        database: &str,
        options: &[&str],
    ) -> Result<String, String> {
        let mut command = self.restore_command(target, database);
        let output = command.args(options).output().expect("sh can be run");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            Ok(text)
        } else {
            Err(text)
        }
    }

    /// restore.sh, to be run with the programs of the target's PostgreSQL.
    pub fn restore_command(&self, target: &Cluster, database: &str) -> Command {
        let mut command = target.installation().command("sh");
        command.arg(self.database_directory().join("restore.sh"));
        command.args(["--target", &target.conninfo(database)]);
        command
    }

    /// The main assertion: what was committed so far, restored from the archive, is the same database. The archive must
    /// verify, too.
    pub fn assert_restores(&self) -> Restored {
        self.assert_restores_into(self)
    }

    /// [`Cluster::assert_restores`] with the program and with restore.sh: for what psql could take for something else.
    /// Returns what restore.sh made.
    pub fn assert_restores_both_ways(&self) -> Restored {
        self.assert_restores();
        let restored = self.restore_by_script(self, &[]);
        assert_identical((self, self.database()), (self, &restored.database));
        restored
    }

    /// [`Cluster::assert_restores`] for roles that are renamed: a cluster that knows none of them.
    pub fn assert_restores_apart(&self) {
        self.assert_restores_into(&Cluster::builder().version(self.version()).start());
    }

    /// [`Cluster::assert_restores`] into another cluster.
    pub fn assert_restores_into(&self, target: &Cluster) -> Restored {
        self.flush();
        assert_eq!(
            self.sql("SELECT * FROM incr_verify()"),
            "",
            "incr_verify() found problems"
        );
        let restored = self.restore_by_program(target, &[]);
        assert_identical((self, self.database()), (target, &restored.database));
        restored
    }
}
