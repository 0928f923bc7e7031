//! The server that a drill restores to: how to connect, and whether it is suitable.

use std::path::Path;

use pgrx::prelude::*;

use super::throwaway::Throwaway;
use super::{client, throwaway};
use crate::backup::connection;
use crate::pg::failure::Failure;
use crate::pg::server::{self, query, transaction};

/// Required free space as a percentage of the size of the source: the copy, and its WAL.
const ROOM_PERCENT: u64 = 200;
/// Additional free space.
const ROOM_BYTES: u64 = 64 * 1024 * 1024;
/// Additional free space for a throwaway server.
const SERVER_BYTES: u64 = 192 * 1024 * 1024;

/// A server that accepts connections.
pub struct Target {
    /// Connection parameters without a database name, as the restoring role: a superuser, or on a throwaway
    /// server an ordinary role.
    pub conninfo: String,
    /// As a superuser, to an existing database: for queries, creating and dropping.
    pub maintenance: String,
    /// As in `server_version_num`.
    pub version: u32,
    /// As in pg_control_system().
    pub system_identifier: String,
    is_this_server: bool,
    /// When its postmaster started.
    started: String,
}

/// Facts that a server reports about itself.
struct Facts {
    version: u32,
    system_identifier: String,
    is_this_server: bool,
    started: String,
}

impl Target {
    /// Connects to the server in `conninfo`; empty: this one.
    pub fn find(conninfo: &str) -> Result<Target, Failure> {
        let own = match conninfo {
            "" => own_conninfo()?,
            given => given.to_string(),
        };
        let mut refusal = None;
        for database in ["postgres", "template1"] {
            let maintenance = with_database(&own, database);
            match look(&maintenance) {
                Ok(facts) => {
                    return Ok(Target {
                        conninfo: own,
                        maintenance,
                        version: facts.version,
                        system_identifier: facts.system_identifier,
                        is_this_server: facts.is_this_server,
                        started: facts.started,
                    })
                }
                Err(failure) => refusal = refusal.or(Some(failure)),
            }
        }
        Err(refusal.unwrap_or_else(|| unusable("it cannot be reached")))
    }

    /// The throwaway server that was started.
    pub fn of(throwaway: &Throwaway) -> Result<Target, Failure> {
        let maintenance = with_database(&throwaway.superuser, "postgres");
        let facts = look(&maintenance)?;
        Ok(Target {
            conninfo: throwaway.conninfo.clone(),
            maintenance,
            version: facts.version,
            system_identifier: facts.system_identifier,
            is_this_server: false,
            started: facts.started,
        })
    }

    /// Connection parameters of a database there.
    pub fn database(&self, name: &str) -> String {
        with_database(&self.conninfo, name)
    }

    /// Whether pg_dump's output has the same form as for the source's server.
    pub fn is_same_major(&self) -> bool {
        self.version / 10_000 == server::VERSION_NUM / 10_000
    }

    /// A failure on a server that stops or restarts says nothing about the archive.
    pub fn ensure_is_up(&self) -> Result<(), Failure> {
        if look(&self.maintenance)?.started == self.started {
            Ok(())
        } else {
            Err(unusable("it has been restarted"))
        }
    }

    /// 53100 if this server's disk has no space for a second database like this one. The disk of another
    /// machine is not checked.
    pub fn ensure_room(&self) -> Result<(), Failure> {
        if self.is_this_server {
            ensure_room(&server::data_directory(), ROOM_BYTES)
        } else {
            Ok(())
        }
    }
}

/// 53100 if there is no space for a throwaway server with a copy of this database.
pub fn ensure_room_for_throwaway() -> Result<(), Failure> {
    ensure_room(&throwaway::directory()?, ROOM_BYTES + SERVER_BYTES)
}

fn ensure_room(path: &Path, more: u64) -> Result<(), Failure> {
    const SIZE: &str =
        "SELECT pg_catalog.pg_database_size(oid) FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";
    let size = transaction::run(|| query::one::<i64>(SIZE, &[]).map_err(Failure::from))?;
    let wanted = size.unwrap_or(0) as u64 / 100 * ROOM_PERCENT + more;
    match free(path) {
        Some(free) if free < wanted => {
            let pretty = crate::figures::pretty_bytes;
            let code = PgSqlErrorCode::ERRCODE_DISK_FULL;
            let message = format!(
                "not enough free space for a drill in the file system of \"{}\"",
                path.display()
            );
            Err(Failure::new(code, message)
                .detail(format!(
                    "It needs {} (twice the database size, for the copy and its WAL), but only {} are free.",
                    pretty(wanted),
                    pretty(free)
                ))
                .hint("pg_incrbackup.drill_directory names a directory with more room, pg_incrbackup.drill_conninfo another server."))
        }
        _ => Ok(()),
    }
}

/// Behind connection parameters, what a server shows who it is that connects.
pub const NAMED: &str = " application_name='pg_incrbackup drill'";

/// The parameters under which a server shows who it is that connects.
pub fn named(conninfo: &str) -> String {
    format!("{conninfo}{NAMED}")
}

fn free(path: &Path) -> Option<u64> {
    let facts = rustix::fs::statvfs(path).ok()?;
    Some(facts.f_bavail * facts.f_frsize)
}

/// The drill's record and its notes hold them as text.
fn own_conninfo() -> Result<String, Failure> {
    let own = transaction::run(|| Ok::<_, Failure>(connection::conninfo(b"postgres")))?;
    let own = own.into_string().map_err(|_| {
        unusable("its socket's directory, or its bootstrap superuser, has a name that is not UTF-8")
    })?;
    Ok(named(&own))
}

fn look(maintenance: &str) -> Result<Facts, Failure> {
    const FACTS: &str = "SELECT pg_catalog.current_setting('server_version_num'), \
            s.system_identifier, \
            (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), \
            pg_catalog.pg_is_in_recovery(), \
            (EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8 \
        FROM pg_catalog.pg_control_system() AS s;";
    // Settings that only newer servers have cannot be set before the version is known.
    let rows = client::sql(maintenance, 150_000, FACTS)?;
    let row = String::from_utf8_lossy(&rows).trim().to_string();
    let facts: Vec<&str> = row.split('|').collect();
    let [version, system, superuser, in_recovery, started] = facts[..] else {
        return Err(unusable("its version and role could not be queried"));
    };
    if superuser != "t" {
        return Err(unusable("the role that connects is not a superuser there"));
    }
    if in_recovery != "f" {
        return Err(unusable("it is a standby"));
    }
    let is_this_server = system == server::system_identifier().to_string()
        && started.parse() == Ok(server::started_at_micros());
    let version = version
        .parse()
        .map_err(|_| unusable("its version could not be parsed"))?;
    Ok(Facts {
        version,
        system_identifier: system.to_string(),
        is_this_server,
        started: started.to_string(),
    })
}

fn unusable(why: &str) -> Failure {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    Failure::new(code, "cannot use the target server of the drill").detail(why)
}

/// The same parameters with another database: the last one counts.
pub fn with_database(conninfo: &str, name: &str) -> String {
    if conninfo.starts_with("postgres://") || conninfo.starts_with("postgresql://") {
        let joint = if conninfo.contains('?') { '&' } else { '?' };
        return format!("{conninfo}{joint}dbname={name}");
    }
    format!("{conninfo} dbname={}", connection::quote_value(name))
}

/// 22023 for invalid connection parameters, or if they contain a password: command-line arguments are visible
/// to every user of the machine.
pub fn ensure_no_password(conninfo: &str) -> Result<(), Failure> {
    let is_uri = conninfo.starts_with("postgres://") || conninfo.starts_with("postgresql://");
    let authority = conninfo.split_once("//").map_or("", |(_, rest)| rest);
    let user = authority.split(['/', '?']).next().unwrap_or_default();
    let user = user.rsplit_once('@').map_or("", |(user, _)| user);
    let invalid = PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE;
    if conninfo.contains("password") || is_uri && user.contains(':') {
        let message = "connection parameters of a drill must not contain a password";
        return Err(Failure::new(invalid, message)
            .detail("Command-line arguments are visible to every user of the machine.")
            .hint("Put it into ~/.pgpass of the server's operating system user, or into a service file."));
    }
    if !conninfo.is_empty() && !is_uri && !conninfo.contains('=') {
        let message = format!("invalid connection string \"{conninfo}\"");
        return Err(Failure::new(invalid, message).hint(
            "Write parameters, as in 'host=/run/postgresql port=5433', or a URI. The drill chooses the database.",
        ));
    }
    if conninfo.len() > 600 {
        return Err(
            Failure::new(invalid, "the connection string has more than 600 bytes")
                .hint("A service file (service=...) makes it short."),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_databases_name_is_the_last_word() {
        assert_eq!(
            with_database("host=/tmp dbname=a", "b"),
            "host=/tmp dbname=a dbname='b'"
        );
        assert_eq!(
            with_database("postgres://h/a", "b"),
            "postgres://h/a?dbname=b"
        );
        assert_eq!(
            with_database("postgresql:///a?host=/tmp", "b"),
            "postgresql:///a?host=/tmp&dbname=b"
        );
    }

    #[test]
    fn passwords_and_what_is_no_conninfo_are_refused() {
        for good in [
            "",
            "host=/tmp",
            "service=drill",
            "postgres://bob@h:5432/a",
            "postgresql:///?host=/tmp",
        ] {
            assert!(ensure_no_password(good).is_ok(), "{good}");
        }
        for bad in [
            "host=/tmp password=x",
            "postgres://bob:x@h/a",
            "postgres://h/?password=x",
            "shop",
        ] {
            assert!(ensure_no_password(bad).is_err(), "{bad}");
        }
    }
}
