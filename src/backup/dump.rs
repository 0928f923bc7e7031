//! Runs pg_dump and pg_dumpall: their location and arguments, and their output.
//!
//! They connect as the bootstrap superuser through the server's own socket, so that setup needs no password
//! and no line in pg_hba.conf beyond the usual local one. Their sessions start with our settings, which
//! override those of ALTER DATABASE and ALTER ROLE.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::connection::{conninfo, quote_bytes, session_options};
use super::contents;
use super::sizes::Sizes;
use crate::pg::failure::Failure;
use crate::pg::server::process::Program;
use crate::pg::server::{self, query};
use crate::settings::{self, BaseFormat};

/// How long pg_dump may wait for a table lock before the base is aborted and retried. The DDL fence is held
/// in the meantime.
pub const LOCK_WAIT_TIMEOUT: &str = "5s";
const POLL: Duration = Duration::from_millis(100);
/// How often the files of a directory are counted while it is written.
const LOOK_AT_FILES: Duration = Duration::from_secs(5);
/// Number of lines of a program's messages that are kept for its error.
const KEPT_MESSAGES: usize = 12;

/// Progress of a dump, reported to the caller.
pub enum Progress {
    /// All definitions have been read and all tables are locked: the fence can be released.
    DefinitionsRead,
    /// The rows of one more table, of so many bytes, are being read.
    Table(u64),
    /// The large objects, of so many bytes, are being read.
    LargeObjects(u64),
    /// The number of bytes written since the last report.
    Bytes(usize),
}

/// Name of the dump inside a base, by format.
pub fn file_name(format: BaseFormat) -> &'static str {
    match format {
        BaseFormat::Plain => "dump.sql",
        BaseFormat::Compressed => "dump.sql.gz",
        BaseFormat::Directory => "dump",
    }
}

/// What the programs need, read before a snapshot is exported: the transaction that exports a slot's snapshot
/// cannot run queries.
#[derive(Clone)]
pub struct Source {
    pub conninfo: OsString,
    /// The database's name for a reader, and its very bytes.
    pub database: String,
    database_name: Vec<u8>,
    /// `ddl_history`: the table that is locked as the fence, and its name in SQL.
    pub history: pg_sys::Oid,
    pub history_name: String,
    /// Tables whose rows pg_dump will write.
    pub tables: u32,
    /// Their sizes.
    pub sizes: Sizes,
}

impl Source {
    /// Needs a transaction. Fails if the extension is not installed.
    pub fn collect() -> Result<Source, Failure> {
        Ok(Source {
            sizes: Sizes::collect()?,
            ..Source::collect_without_sizes()?
        })
    }

    /// The same for who dumps no rows.
    pub fn collect_without_sizes() -> Result<Source, Failure> {
        const QUERY: &str = "SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.ddl_history' \
            FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
              JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'ddl_history' \
            WHERE e.extname = 'pg_incrbackup'";
        const TABLES: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c \
            WHERE c.relkind = 'r' AND c.relpersistence <> 't' \
              AND c.relnamespace::pg_catalog.regnamespace::text NOT IN ('pg_catalog', 'information_schema') \
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid \
                  AND d.deptype = 'e' AND c.oid <> ALL (coalesce(e.extconfig, '{}')))";
        let database_name = server::database_name(server::my_database()).unwrap_or_default();
        let (history, history_name) = Spi::connect(|client| {
            let table = client.select(QUERY, Some(1), &[])?;
            if table.is_empty() {
                return Ok((None, None));
            }
            table.first().get_two::<pg_sys::Oid, String>()
        })?;
        Ok(Source {
            conninfo: conninfo(&database_name),
            database: String::from_utf8_lossy(&database_name).into_owned(),
            database_name,
            history: history.ok_or_else(no_extension)?,
            history_name: history_name.unwrap_or_default(),
            tables: query::one::<i64>(TABLES, &[])?.unwrap_or(0) as u32,
            sizes: Sizes::default(),
        })
    }
}

fn no_extension() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the extension pg_incrbackup is not installed in this database",
    )
    .hint("Run CREATE EXTENSION pg_incrbackup.")
}

/// Dumps this database at the exported snapshot `snapshot` into `base`, for [`contents::make`].
pub fn database(
    base: &Path,
    source: &Source,
    snapshot: &str,
    mut progress: impl FnMut(Progress) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let format = settings::base_format();
    let target = contents::archive_of(base, format);
    let mut arguments = vec![
        option("--dbname=", &source.conninfo),
        "--no-password".into(),
        format!("--snapshot={snapshot}").into(),
        format!("--lock-wait-timeout={LOCK_WAIT_TIMEOUT}").into(),
        "--quote-all-identifiers".into(),
        "--verbose".into(),
        "--no-sync".into(),
        option("--file=", &target),
    ];
    match format {
        BaseFormat::Plain => {
            arguments.extend(["--format=custom".into(), "--compress=0".into()]);
        }
        BaseFormat::Compressed => {
            arguments.extend(["--format=custom".into(), "--compress=1".into()]);
        }
        BaseFormat::Directory => {
            arguments.push("--format=directory".into());
            arguments.push(format!("--jobs={}", settings::base_jobs()).into());
        }
    }
    let (mut written, mut last_look) = (0, None::<Instant>);
    let look = |made| {
        if let Progress::Bytes(_) = made {
            // A directory of parallel jobs has a file for each table.
            let is_due = last_look.is_none_or(|last| last.elapsed() >= LOOK_AT_FILES);
            if !is_due {
                return Ok(());
            }
            last_look = (format == BaseFormat::Directory).then(Instant::now);
            let more = bytes_of(&target).saturating_sub(written);
            written += more;
            return progress(Progress::Bytes(more as usize));
        }
        progress(made)
    };
    run_and_look("pg_dump", &arguments, io::sink(), &source.sizes, look)?;
    let rest = bytes_of(&target).saturating_sub(written);
    progress(Progress::Bytes(rest as usize))
}

/// Bytes of a file, or of the files of a directory and those below it.
pub fn bytes_of(path: &Path) -> u64 {
    let Ok(facts) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    if !facts.is_dir() {
        return facts.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| bytes_of(&entry.path())).sum()
}

/// Dumps roles, tablespaces and their settings, including password hashes: only the server's operating system user can read
/// the files that hold them. Settings in the scratch databases of drills are left out.
pub fn globals(source: &Source) -> Result<Vec<u8>, Failure> {
    let arguments = [
        option("--dbname=", &source.conninfo),
        // This argument is parsed as a connection string, too.
        option(
            "--database=dbname=",
            OsString::from_vec(quote_bytes(&source.database_name)),
        ),
        "--no-password".into(),
        "--globals-only".into(),
    ];
    let text = run("pg_dumpall", &arguments, Vec::new(), &mut |_| Ok(()))?;
    Ok(super::scratch_settings::without_scratch_databases(&text))
}

/// Version of pg_dump or another program as it prints it, or why it cannot be executed.
pub fn version(name: &str) -> Result<String, Failure> {
    let arguments = ["--version".into()];
    let text = run(name, &arguments, Vec::new(), &mut |_| Ok(()))?;
    Ok(String::from_utf8_lossy(&text).trim().to_string())
}

/// The path of a PostgreSQL program.
pub fn program(name: &str) -> PathBuf {
    settings::bin_directory()
        .unwrap_or_else(server::binary_directory)
        .join(name)
}

/// `pg_incrbackup`: beside pg_dump, or beside the server's own programs.
pub fn own_program() -> PathBuf {
    const NAME: &str = "pg_incrbackup";
    let path = program(NAME);
    if path.exists() {
        return path;
    }
    server::binary_directory().join(NAME)
}

/// The failure to run [`own_program`], with where it comes from if it is not there.
pub fn with_place_of_own_program(failure: Failure) -> Failure {
    if failure.code == PgSqlErrorCode::ERRCODE_UNDEFINED_FILE {
        return failure
            .hint("`make install` of pg_incrbackup, or its package, puts it beside the server's programs.");
    }
    failure
}

/// Runs a program until it exits, with its output written to `out`.
pub fn run<W: Write>(
    name: &str,
    arguments: &[OsString],
    out: W,
    progress: &mut impl FnMut(Progress) -> Result<(), Failure>,
) -> Result<W, Failure> {
    run_and_look(name, arguments, out, &Sizes::default(), progress)
}

/// The same of pg_dump, which announces tables of these sizes.
fn run_and_look<W: Write>(
    name: &str,
    arguments: &[OsString],
    mut out: W,
    sizes: &Sizes,
    mut progress: impl FnMut(Progress) -> Result<(), Failure>,
) -> Result<W, Failure> {
    let path = program(name);
    let environment = [("PGOPTIONS", session_options().into())];
    let mut program = Program::start_with(&path, arguments, &environment, None)
        .map_err(|error| cannot_run(&path, error))?;
    let (mut messages, mut definitions_read) = (Messages::default(), false);
    loop {
        let (mut count, mut announced) = (0, Vec::new());
        let write = |bytes: &[u8]| {
            count = bytes.len();
            out.write_all(bytes)
        };
        let is_open = program
            .pump(POLL, write, |bytes| announced = messages.take(bytes, sizes))
            .map_err(|error| cannot_write(&path, error))?;
        // Without --verbose the first output, and with it the message about the first table, comes after the
        // last access to the catalogs.
        if !definitions_read && (count > 0 || !announced.is_empty()) {
            definitions_read = true;
            progress(Progress::DefinitionsRead)?;
        }
        progress(Progress::Bytes(count))?;
        announced.into_iter().try_for_each(&mut progress)?;
        if !is_open {
            break;
        }
    }
    let status = program.finish().map_err(|error| cannot_run(&path, error))?;
    if !status.success() {
        return Err(messages.failure(name, status));
    }
    if !definitions_read {
        progress(Progress::DefinitionsRead)?;
    }
    Ok(out)
}

/// A program's stderr: the last lines that are not progress messages.
#[derive(Default)]
struct Messages {
    line: Vec<u8>,
    kept: Vec<String>,
}

impl Messages {
    /// Adds output; returns the tables, and the large objects, whose rows it says it reads from now on.
    fn take(&mut self, bytes: &[u8], sizes: &Sizes) -> Vec<Progress> {
        let mut announced = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            announced.extend(sizes.announced_in(&line));
            let line = String::from_utf8_lossy(&line);
            if [
                "error: ",
                "detail: ",
                "hint: ",
                "warning: ",
                "ERROR: ",
                "FATAL: ",
            ]
            .iter()
            .any(|word| line.contains(word))
            {
                if self.kept.len() == KEPT_MESSAGES {
                    self.kept.remove(0);
                }
                self.kept.push(line.into_owned());
            }
        }
        announced
    }

    fn failure(self, name: &str, status: std::process::ExitStatus) -> Failure {
        let text = self.kept.join("\n");
        let code = if text.contains("timeout") && text.contains("LOCK TABLE") {
            PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE
        } else {
            PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION
        };
        let failure = Failure::new(code, format!("{name} failed: {status}")).detail(text.clone());
        if text.contains("connection to server") {
            return failure.hint(
                "It connects through the server's socket as the bootstrap superuser; set \
                 pg_incrbackup.dump_conninfo where pg_hba.conf asks for something else.",
            );
        }
        failure
    }
}

/// An argument of a program whose end may be any bytes.
pub fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

/// 58P01 if there is no program at this path, or none that can be executed; 58000 for other reasons (no process, no
/// descriptor).
pub fn cannot_run(path: &Path, error: io::Error) -> Failure {
    let message = format!("could not run \"{}\": {error}", path.display());
    let is_of_path = matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    );
    if !is_of_path && error.raw_os_error() != Some(rustix::io::Errno::NOEXEC.raw_os_error()) {
        return Failure::new(PgSqlErrorCode::ERRCODE_SYSTEM_ERROR, message);
    }
    Failure::new(PgSqlErrorCode::ERRCODE_UNDEFINED_FILE, message).hint(
        "Set pg_incrbackup.bin_directory to the directory of this server version's pg_dump, \
         pg_restore and pg_dumpall.",
    )
}

pub fn cannot_write(path: &Path, error: io::Error) -> Failure {
    let code = if error.kind() == io::ErrorKind::StorageFull {
        PgSqlErrorCode::ERRCODE_DISK_FULL
    } else {
        PgSqlErrorCode::ERRCODE_IO_ERROR
    };
    Failure::new(
        code,
        format!(
            "could not write the output of \"{}\": {error}",
            path.display()
        ),
    )
}
