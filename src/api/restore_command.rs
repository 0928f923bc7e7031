//! The command that restores this database, for a shell.

use std::path::PathBuf;

use archive::DatabaseDir;
use pgrx::prelude::*;

use crate::backup::{connection, dump};
use crate::pg::failure::Failure;
use crate::pg::server;
use crate::place;

/// Added to the database's name.
const SUFFIX: &str = "_restored";
/// NAMEDATALEN - 1
const LONGEST_NAME: usize = 63;

/// The latest state, into a new database beside this one. It must be run by the server's operating system user, to whom
/// the archive belongs. Needs a transaction.
pub fn of(database: pg_sys::Oid) -> Result<String, Failure> {
    let archive = place::find(database)?;
    let archive = archive.map_or_else(PathBuf::new, |archive: DatabaseDir| {
        archive.path().to_owned()
    });
    // Where a package has installed it, the shell finds it.
    let program = Some(dump::own_program()).filter(|program| program.exists());
    let program = program.map_or("pg_incrbackup".to_owned(), |path| {
        path.display().to_string()
    });
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let name = server::database_name(database).and_then(text);
    let (host, port) = server::own_socket();
    let mut target: Vec<String> = [
        ("host", text(host)),
        ("port", text(port)),
        ("user", text(server::bootstrap_superuser())),
    ]
    .into_iter()
    .filter_map(|(keyword, value)| Some(format!("{keyword}={}", in_conninfo(&value?))))
    .collect();
    target.push(format!("dbname={}", in_conninfo(&name_of_copy(name))));
    Ok(format!(
        "{} restore --archive {} --target {}",
        in_shell(&program),
        in_shell(&archive.display().to_string()),
        in_shell(&target.join(" "))
    ))
}

/// A name that cannot be written here is not needed for it.
fn name_of_copy(name: Option<String>) -> String {
    let name = name.unwrap_or_else(|| "database".to_owned());
    let mut end = name.len().min(LONGEST_NAME - SUFFIX.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{SUFFIX}", &name[..end])
}

fn is_plain(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    !text.is_empty() && text.chars().all(is_plain)
}

/// A value of libpq's keyword=value format.
fn in_conninfo(value: &str) -> String {
    if is_plain(value) {
        return value.to_owned();
    }
    connection::quote_value(value)
}

/// A word of a POSIX shell.
fn in_shell(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
