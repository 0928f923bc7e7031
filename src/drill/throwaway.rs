//! The throwaway server of a drill: created for it in a directory of its own, and removed afterwards.
//!
//! It runs as the operating system user of the source, so nothing but the drill may be a superuser there: its
//! bootstrap superuser has a name that no restored role has, and a random password that restored code cannot
//! read. Everything is restored by a role without such privileges (`restorer`). It listens on a socket in a
//! directory that others cannot access, does not use fsync, and has no background workers, so that neither
//! subscriptions nor job runners of the source become active in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use archive::drills::ThrowawayPlace;
use archive::ArchiveRoot;
use pgrx::prelude::*;

use super::client;
use super::restorer::Restorer;
use super::source_server::SourceServer;
use super::target::{self, Target};
use crate::backup::connection::quote_value;
use crate::backup::dump;
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::pg::server::child_server::{self, ChildServer};
use crate::{place, settings};

/// In the archive's root, unless the setting names another directory.
const DIRECTORY: &str = ".drills";
/// The prefix of a socket directory elsewhere.
const SOCKETS: &str = "pg_incrbackup_drill_";
/// Maximum length of a socket's directory (`sockaddr_un` has 108 bytes).
const LONGEST_SOCKET_DIRECTORY: usize = 90;
const LONGEST_START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A running server. Dropping this stops it; [`remove`] removes its files.
pub struct Throwaway {
    _server: ChildServer,
    /// Connection parameters without a database, as the restoring role.
    pub conninfo: String,
    /// The same as the superuser.
    pub superuser: String,
    restorer: Restorer,
}

/// A place for the server of a drill of `database`; nothing is created yet.
pub fn find_place(database: pg_sys::Oid) -> Result<ThrowawayPlace, Failure> {
    let tag = random()?;
    let directory = directory()?.join(format!("{}_{}", database.to_u32(), &tag[..8]));
    let sockets = if directory.as_os_str().len() > LONGEST_SOCKET_DIRECTORY {
        std::env::temp_dir().join(format!("{SOCKETS}{}", &tag[..16]))
    } else {
        directory.clone()
    };
    // A setting is UTF-8; TMPDIR may be anything. The note of the drill, and configuration files, hold them as text.
    if sockets.to_str().is_none() {
        return Err(unusable("the directory that TMPDIR names is not UTF-8"));
    }
    Ok(ThrowawayPlace { directory, sockets })
}

/// The directory of all throwaway servers, checked like the archive's root; created if missing.
pub fn directory() -> Result<PathBuf, Failure> {
    let path = match settings::drill_directory() {
        Some(path) => path,
        None => place::root()?.path().join(DIRECTORY),
    };
    let checked = ArchiveRoot::open(&path, &server::data_directory()).map_err(|error| {
        let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
        Failure::new(
            code,
            format!("could not create a throwaway server: {error}"),
        )
        .hint(error.hint())
    })?;
    Ok(checked.path().to_owned())
}

impl Throwaway {
    /// Creates the server at its place and starts it.
    pub fn start(place: &ThrowawayPlace, source: &SourceServer) -> Result<Throwaway, Failure> {
        let data = place.directory.join("data");
        private_directory(&place.directory)?;
        if place.sockets != place.directory {
            private_directory(&place.sockets)?;
        }
        let (superuser, restorer) = (format!("drill_{}", random()?), Restorer::new(source)?);
        let password = random()?;
        let secret = private_file(&place.directory.join("password"), &password)?;
        let passwords = passwords(&[
            (&superuser, &password),
            (&restorer.name, &restorer.password),
        ]);
        let passfile = private_file(&place.directory.join("passwords"), &passwords)?;
        init(&data, &superuser, &secret)?;
        let conf = configuration(&place.sockets, source);
        write(&data.join("postgresql.conf"), &conf)?;
        let log = place.directory.join("server.log");
        let file = create(&log)?;
        let started = ChildServer::start(&program("postgres"), &data, file);
        let mut server = started.map_err(|error| dump::cannot_run(&program("postgres"), error))?;
        let conninfo = |user: &str| {
            target::named(&format!(
                "host={} port=5432 user={} passfile={}",
                quote_value(&place.sockets.display().to_string()),
                quote_value(user),
                quote_value(&passfile.display().to_string())
            ))
        };
        let as_superuser = conninfo(&superuser);
        wait_until_ready(&mut server, &data, &log)?;
        let maintenance = format!("{as_superuser} dbname='postgres'");
        client::sql(&maintenance, server::VERSION_NUM, &restorer.creation())?;
        Ok(Throwaway {
            _server: server,
            conninfo: conninfo(&restorer.name),
            superuser: as_superuser,
            restorer,
        })
    }

    /// Creates the empty database that is restored into, with what only a superuser can create.
    pub fn make_database(
        &self,
        target: &Target,
        name: &str,
        source: &SourceServer,
    ) -> Result<(), Failure> {
        let creation = self.restorer.database(name, source);
        client::sql(&target.maintenance, target.version, &creation)?;
        let within = target::with_database(&self.superuser, name);
        let preparation = self.restorer.preparation(source);
        let ran = client::psql(within, target.version, &preparation, true)?;
        if ran.is_good {
            return Ok(());
        }
        Err(unusable("could not prepare the throwaway server").detail(ran.tail(4)))
    }
}

/// Removes what is left of a throwaway server, and stops it first if it is running.
pub fn remove(place: &ThrowawayPlace) -> Result<(), Failure> {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_IN_USE;
    // The note may come from a copy of another archive: only a directory that looks like such a server's is
    // removed.
    let is_ours = looks_like_ours(&place.directory)
        && (place.sockets == place.directory || looks_like_our_sockets(&place.sockets));
    if !is_ours {
        let path = place.directory.display();
        return Err(Failure::new(
            code,
            format!("\"{path}\" is not a directory of a drill"),
        ));
    }
    let data = place.directory.join("data");
    if !child_server::end_in(&data) {
        let path = data.display();
        return Err(Failure::new(
            code,
            format!("the throwaway server in \"{path}\" does not stop"),
        ));
    }
    for path in [&place.directory, &place.sockets] {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(cannot("remove", path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn looks_like_ours(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let Some((oid, tag)) = name.split_once('_') else {
        return false;
    };
    oid.bytes().all(|byte| byte.is_ascii_digit())
        && tag.len() == 8
        && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !directory.is_symlink()
}

fn looks_like_our_sockets(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let Some(tag) = name.strip_prefix(SOCKETS) else {
        return false;
    };
    tag.len() == 16 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()) && !directory.is_symlink()
}

fn init(data: &Path, superuser: &str, password: &Path) -> Result<(), Failure> {
    let arguments = [
        dump::option("--pgdata=", data),
        format!("--username={superuser}").into(),
        dump::option("--pwfile=", password),
        "--auth=scram-sha-256".into(),
        "--encoding=UTF8".into(),
        "--no-locale".into(),
        "--no-sync".into(),
        "--no-instructions".into(),
    ];
    let ran = client::run(&program("initdb"), &arguments, &[], None, |_| Ok(()))?;
    if ran.is_good {
        Ok(())
    } else {
        Err(unusable("initdb failed").detail(ran.tail(4)))
    }
}

fn configuration(sockets: &Path, source: &SourceServer) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let sockets = quoted(&sockets.display().to_string());
    let libraries = quoted(&source.libraries.join(","));
    format!(
        "listen_addresses = ''\nunix_socket_directories = {sockets}\nunix_socket_permissions = 0700\nport = 5432\n\
         password_encryption = scram-sha-256\nssl = off\nlogging_collector = off\nlog_statement = none\n\
         log_min_error_statement = panic\nlog_error_verbosity = terse\nlc_messages = 'C'\n\
         shared_preload_libraries = {libraries}\nsession_preload_libraries = ''\nlocal_preload_libraries = ''\n\
         max_worker_processes = 0\nmax_parallel_workers = 0\nautovacuum = off\njit_provider = 'none'\njit = off\n\
         fsync = off\nfull_page_writes = off\nsynchronous_commit = off\nwal_level = minimal\nmax_wal_senders = 0\n\
         archive_mode = off\nmax_wal_size = '1GB'\nhuge_pages = off\nshared_buffers = '64MB'\n\
         max_connections = {}\nmax_prepared_transactions = {}\nmax_locks_per_transaction = {}\n",
        SourceServer::CONNECTIONS,
        source.prepared_transactions,
        source.locks_per_transaction
    )
}

fn wait_until_ready(server: &mut ChildServer, data: &Path, log: &Path) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let said = || {
            let text = fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(6)..].join("\n")
        };
        if !matches!(server.ended(), Ok(None)) {
            return Err(unusable("could not start the throwaway server").detail(said()));
        }
        // The last line but one of postmaster.pid, as pg_ctl reads it.
        let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        if state
            .lines()
            .nth(7)
            .is_some_and(|line| line.trim() == "ready")
        {
            return Ok(());
        }
        if start.elapsed() > LONGEST_START {
            return Err(unusable("the throwaway server was not ready in time").detail(said()));
        }
        client::ensure_in_time()?;
        server::wait_a_moment(POLL);
    }
}

/// Beside the server's own program, which must have the same version.
fn program(name: &str) -> PathBuf {
    server::binary_directory().join(name)
}

/// 32 hexadecimal digits.
pub fn random() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
        .map_err(|error| cannot("read", Path::new("/dev/urandom"), &error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A password file of libpq.
fn passwords(known: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
    let lines = known
        .iter()
        .map(|(user, password)| format!("*:*:*:{}:{password}\n", escaped(user)));
    lines.collect()
}

fn private_directory(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| cannot("make", path, &error))
}

fn private_file(path: &Path, text: &str) -> Result<PathBuf, Failure> {
    let mut file = create(path)?;
    file.write_all(text.as_bytes())
        .map_err(|error| cannot("write", path, &error))?;
    Ok(path.to_owned())
}

fn create(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| cannot("make", path, &error))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| cannot("write", path, &error))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull => PgSqlErrorCode::ERRCODE_DISK_FULL,
        _ => PgSqlErrorCode::ERRCODE_IO_ERROR,
    };
    Failure::new(
        code,
        format!("could not {what} \"{}\": {error}", path.display()),
    )
}

fn unusable(why: &str) -> Failure {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    Failure::new(code, why).hint("pg_incrbackup.drill_conninfo names another server to restore to.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_drills_directory_is_removed() {
        assert!(looks_like_ours(Path::new("/a/.drills/16384_0a1b2c3d")));
        for other in [
            "/a/.drills",
            "/",
            "/a/16384_0a1b2c3",
            "/a/x_0a1b2c3d",
            "/a/16384_0a1b2c3d/data",
        ] {
            assert!(!looks_like_ours(Path::new(other)), "{other}");
        }
        let sockets = "/tmp/pg_incrbackup_drill_0a1b2c3d0a1b2c3d";
        assert!(looks_like_our_sockets(Path::new(sockets)));
        for other in [
            "/",
            "/tmp",
            "/tmp/pg_incrbackup_drill_",
            "/var/lib/postgresql",
        ] {
            assert!(!looks_like_our_sockets(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn a_colon_in_a_name_ends_no_field_of_the_password_file() {
        assert_eq!(passwords(&[("a:b\\c", "p")]), "*:*:*:a\\:b\\\\c:p\n");
    }
}
