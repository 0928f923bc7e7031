//! How pg_dump, pg_dumpall and a drill's clients connect to this server, and the settings of their sessions.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::pg::server;
use crate::settings;

/// The application name of the programs' sessions.
pub const NAME: &str = "pg_incrbackup base";

/// Connection parameters: the server's own socket, overridden by dump_conninfo. By the application's name, which is not,
/// others find the sessions of a worker's programs.
pub fn conninfo(database: &[u8]) -> OsString {
    let (host, port) = server::own_socket();
    let user = server::bootstrap_superuser();
    let defaults = [("host", host), ("port", port), ("user", user)];
    let mut text = Vec::new();
    for (keyword, value) in defaults.iter().filter(|(_, value)| !value.is_empty()) {
        text.extend([keyword.as_bytes(), b"=", &quote_bytes(value), b" "].concat());
    }
    text.extend(settings::dump_conninfo().unwrap_or_default().as_bytes());
    let (name, database) = (quote_bytes(NAME.as_bytes()), quote_bytes(database));
    text.extend([b" application_name=", &name[..], b" dbname=", &database[..]].concat());
    OsString::from_vec(text)
}

/// Settings of pg_dump's sessions: settings of the database or a role must neither make a session fail nor
/// change its results. pg_dump sets the others itself.
pub fn session_options() -> String {
    // The encoding of all text in an archive; what another lacks could not be dumped.
    let encoding = format!("client_encoding={}", server::database_encoding());
    let mut settings = vec![
        "role=none",
        "search_path=pg_catalog,pg_temp",
        "session_replication_role=origin",
        "standard_conforming_strings=on",
        "default_transaction_isolation=read\\ committed",
        "default_transaction_read_only=off",
        "default_transaction_deferrable=off",
        "client_min_messages=warning",
        "lc_messages=C",
        &encoding,
        // pg_dump sets it; pg_dumpall does not, and writes VALID UNTIL of roles in it, which the target reads by its own.
        "DateStyle=ISO",
        "quote_all_identifiers=off",
        "session_preload_libraries=",
        "local_preload_libraries=",
        "row_security=off",
        "statement_timeout=0",
        "lock_timeout=0",
        "idle_in_transaction_session_timeout=0",
        "idle_session_timeout=0",
    ];
    if server::VERSION_NUM >= 170_000 {
        settings.extend(["transaction_timeout=0", "event_triggers=off"]);
    }
    let options: Vec<String> = settings.iter().map(|s| format!("-c {s}")).collect();
    options.join(" ")
}

/// A value quoted for libpq's keyword=value format.
pub fn quote_value(value: &str) -> String {
    String::from_utf8(quote_bytes(value.as_bytes())).expect("ASCII is added to UTF-8")
}

/// The same of any bytes: names of the server are in the encodings of who gave them.
pub fn quote_bytes(value: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in value {
        if matches!(byte, b'\\' | b'\'') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'\'');
    quoted
}
