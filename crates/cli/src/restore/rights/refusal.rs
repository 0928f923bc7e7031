//! Whether an error of the server says that something is to be left out, by its SQLSTATE.

use crate::error::Error;

/// The role lacks a privilege, or a membership.
const REFUSED: &str = "42501";
/// Somebody has made it before: a schema or an extension of a managed service.
const IS_THERE: [&str; 2] = ["42P06", "42710"];
/// It names what is not there.
const MISSING: [&str; 14] = [
    "42P01", "42883", "42704", "3F000", "42703", "42804", "42809", "42P07", "42723", "42P16",
    "42P17", "55000", "42P13", "P0002",
];

/// What is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An owner, privileges, a policy or a user mapping: a role may be missing.
    OfRoles,
    /// A security label: its provider may be missing.
    Label,
    /// An extension: it may be there, or not be offered.
    Extension,
    Other,
}

impl Subject {
    /// Of a kind of pg_dump.
    pub fn of_kind(kind: &[u8]) -> Subject {
        match kind {
            b"ACL" | b"DEFAULT ACL" | b"POLICY" | b"USER MAPPING" => Subject::OfRoles,
            b"SECURITY LABEL" => Subject::Label,
            b"EXTENSION" | b"SCHEMA" => Subject::Extension,
            _ => Subject::Other,
        }
    }

    /// Of an effect, or of a command.
    pub fn of_change(class: &str, verb: &str) -> Subject {
        match (class, verb) {
            (_, "owner" | "grant" | "revoke") => Subject::OfRoles,
            ("policy" | "user mapping" | "default privileges", _) => Subject::OfRoles,
            (_, "label") => Subject::Label,
            ("schema", "create") => Subject::Extension,
            (class, _) if class.ends_with("EXTENSION") => Subject::Extension,
            _ => Subject::Other,
        }
    }
}

/// Whether the role was refused it, or, where something is left out already, it depends on that. The reason in words.
pub fn reason(error: &Error, subject: Subject, lacks_objects: bool) -> Option<String> {
    let Error::Server(server) = error else {
        return None;
    };
    let said = server.as_db_error()?;
    let code = said.code().code();
    let is_refused = match subject {
        _ if code == REFUSED => true,
        // SET ROLE to one that is not there is an invalid value.
        Subject::OfRoles => matches!(code, "42704" | "22023"),
        Subject::Label => code.starts_with("22") || code.starts_with("0A") || code == "42704",
        Subject::Extension => {
            matches!(code, "0A000" | "58P01" | "22023" | "42704")
        }
        Subject::Other => false,
    };
    let is_dependent = lacks_objects && MISSING.contains(&code);
    (is_refused || is_dependent).then(|| said.message().to_owned())
}

/// What another major version does not know: settings, columns and functions of its catalogs, syntax.
const UNKNOWN: [&str; 8] = [
    "42601", "42704", "42703", "42883", "42P01", "22023", "0A000", "42P17",
];

/// The reason in words, if a server of another version does not know something.
pub fn unknown(error: &Error) -> Option<String> {
    let Error::Server(server) = error else {
        return None;
    };
    let said = server.as_db_error()?;
    let is_it = UNKNOWN.contains(&said.code().code());
    is_it.then(|| said.message().to_owned())
}

/// Whether somebody has made the extension, or its schema, for the role.
pub fn is_there(error: &Error, subject: Subject) -> bool {
    let Error::Server(server) = error else {
        return false;
    };
    let code = server.code().map(|code| code.code());
    subject == Subject::Extension && code.is_some_and(|code| IS_THERE.contains(&code))
}

/// Whether a transaction has more locks than the server has room for (max_locks_per_transaction).
pub fn is_out_of_locks(error: &Error) -> bool {
    let Error::Server(server) = error else {
        return false;
    };
    server.code() == Some(&tokio_postgres::error::SqlState::OUT_OF_MEMORY)
}

/// Whether rows contradict a foreign key.
pub fn is_orphan(error: &Error) -> bool {
    let Error::Server(server) = error else {
        return false;
    };
    server.code() == Some(&tokio_postgres::error::SqlState::FOREIGN_KEY_VIOLATION)
}
