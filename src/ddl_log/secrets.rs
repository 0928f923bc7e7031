//! Keeps secrets out of ddl_history.query, which monitoring roles may read.
//!
//! Passwords of roles are never stored anywhere. Options of foreign servers and user mappings and
//! connection strings of subscriptions are masked here; the full text stands only in replay_text,
//! which nobody but superusers reads.

use super::statement_text::{StatementText, Token};
use crate::pg::ddl_node::Sql;

/// True for a statement of the usual kinds ([`super::plain`]) in which secrets may stand.
pub fn may_hold_secrets(tag: &str) -> bool {
    tag == "ALTER FOREIGN TABLE"
}

/// The statement as the user wrote it, without its secrets.
pub fn public_text(tag: &str, text: &StatementText) -> Sql {
    match tag {
        "CREATE ROLE" | "ALTER ROLE" => text.masked(follows_password),
        "CREATE SUBSCRIPTION" | "ALTER SUBSCRIPTION" => text.masked(follows_connection),
        "CREATE SERVER"
        | "ALTER SERVER"
        | "CREATE USER MAPPING"
        | "ALTER USER MAPPING"
        | "CREATE FOREIGN DATA WRAPPER"
        | "ALTER FOREIGN DATA WRAPPER"
        | "CREATE FOREIGN TABLE"
        | "ALTER FOREIGN TABLE" => text.masked(is_inside_options),
        _ => text.words.clone(),
    }
}

fn follows_password(tokens: &[Token], place: usize) -> bool {
    place > 0 && tokens[place - 1].is_keyword("password")
}

fn follows_connection(tokens: &[Token], place: usize) -> bool {
    place > 0 && tokens[place - 1].is_keyword("connection")
}

/// True inside the parentheses that follow OPTIONS.
fn is_inside_options(tokens: &[Token], place: usize) -> bool {
    let mut depth = 0;
    for at in (0..place).rev() {
        if tokens[at].is_char(b')') {
            depth += 1;
        } else if tokens[at].is_char(b'(') {
            if depth == 0 {
                return at > 0 && tokens[at - 1].is_keyword("options");
            }
            depth -= 1;
        }
    }
    false
}
