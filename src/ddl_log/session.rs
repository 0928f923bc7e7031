//! The role, search path and settings under which a statement runs, on which the meaning of its text depends.

use archive::escape::percent_encode;
use archive::segment::SETTINGS;

use crate::output_plugin::ddl_history::MEMBER_OF;
use crate::pg::ddl::catalog::{current_role, is_usual, search_path};
use crate::pg::ddl::node::c_string;
use crate::pg::ddl::node::Sql;
use crate::pg::ddl::roles::memberships_of_current_role;
use crate::pg::server::guc;

/// Settings that change the meaning of a statement's text, or what it creates. (Not
/// standard_conforming_strings: the text is written so that it means the same under either.)
const ALWAYS: [&str; 6] = [
    "TimeZone",
    "xmloption",
    "array_nulls",
    "transform_null_equals",
    "default_tablespace",
    "default_table_access_method",
];

/// Settings that only matter if the text contains a constant to be parsed.
const FOR_CONSTANTS: [&str; 3] = ["DateStyle", "IntervalStyle", "lc_monetary"];

pub struct Session {
    pub role: Sql,
    pub is_superuser: bool,
    pub search_path: Sql,
    /// A JSON object of the settings that differ from a segment's header.
    pub settings: Sql,
}

/// The current session, as far as a replay of `text` depends on it.
pub fn session(text: &[u8]) -> Session {
    let mut session = with_settings(text);
    if !session.is_superuser {
        let end = session.settings.pop();
        push_memberships(&mut session.settings);
        session.settings.extend(end);
    }
    session
}

/// The same for a statement that is not replayed: for readers of its text.
pub fn session_for_words() -> Session {
    with_settings(b"")
}

fn with_settings(text: &[u8]) -> Session {
    let (role, is_superuser) = current_role();
    let has_constant = text.iter().any(|byte| matches!(byte, b'\'' | b'$'));
    let constants = if has_constant {
        &FOR_CONSTANTS[..]
    } else {
        &[]
    };
    let mut settings = b"{".to_vec();
    let names = ALWAYS.iter().chain(constants);
    for name in names.filter(|name| !is_usual(name)) {
        let Some(value) =
            guc::bytes(&c_string(name.as_bytes())).filter(|value| differs(name, value))
        else {
            continue;
        };
        if settings.len() > 1 {
            settings.push(b',');
        }
        push_json_text(&mut settings, name.as_bytes());
        settings.push(b':');
        push_json_text(&mut settings, &value);
    }
    settings.push(b'}');
    Session {
        role,
        is_superuser,
        search_path: search_path(),
        settings,
    }
}

/// The role may be missing at replay: a restore that creates it needs to know its memberships.
fn push_memberships(settings: &mut Sql) {
    let memberships = memberships_of_current_role();
    if memberships.is_empty() {
        return;
    }
    if settings.len() > 1 {
        settings.push(b',');
    }
    push_json_text(settings, MEMBER_OF.as_bytes());
    settings.extend_from_slice(b":[");
    for (place, of) in memberships.iter().enumerate() {
        if place > 0 {
            settings.push(b',');
        }
        push_json_text(settings, percent_encode(of).as_bytes());
    }
    settings.push(b']');
}

fn differs(name: &str, value: &[u8]) -> bool {
    if name == "TimeZone" && matches!(value, b"UTC" | b"Etc/UTC" | b"GMT" | b"Etc/GMT") {
        return false;
    }
    let header = SETTINGS.iter().find(|(header, _)| *header == name);
    header.is_none_or(|(_, header)| header.trim_matches('\'').as_bytes() != value)
}

fn push_json_text(out: &mut Sql, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}
