//! Masks secrets in ddl_history.query, which monitoring roles may read.
//!
//! Passwords of roles are never stored. Options of foreign servers and user mappings and connection strings
//! of subscriptions are masked here; the full text is only in replay_text, which only superusers can read.

use super::statement_text::{text_of, words_of, StatementText, Token};
use crate::pg::ddl::node::Sql;
use crate::pg::ddl::statement::Statement;

/// The statement as the user wrote it, without its secrets; if the text does not parse to the statement that
/// ran, the positions of secrets are unknown.
pub fn public_words(tag: &str, statement: &Statement) -> Sql {
    let tag = if statement.sets_foreign_options() {
        "ALTER FOREIGN TABLE"
    } else {
        tag
    };
    let not_shown = || format!("{tag} /* its text is not shown: it may hold secrets */");
    if masked(tag).is_none() {
        return if statement.has_place() {
            words_of(statement)
        } else {
            // Another statement in the same string may contain some.
            not_shown().into_bytes()
        };
    }
    let text = text_of(statement);
    if text.is_proven {
        public_text(tag, &text)
    } else {
        not_shown().into_bytes()
    }
}

/// The text as the user wrote it, without its secrets.
pub fn public_text(tag: &str, text: &StatementText) -> Sql {
    masked(tag).map_or_else(|| text.words.clone(), |is_secret| text.masked(is_secret))
}

/// Which string constants of a command are secrets, given their position among the tokens; `None` if there
/// are none.
fn masked(tag: &str) -> Option<fn(&[Token], usize) -> bool> {
    Some(match tag {
        "CREATE ROLE" | "ALTER ROLE" => follows_password,
        "CREATE SUBSCRIPTION" | "ALTER SUBSCRIPTION" => follows_connection,
        "CREATE SERVER"
        | "ALTER SERVER"
        | "CREATE USER MAPPING"
        | "ALTER USER MAPPING"
        | "CREATE FOREIGN DATA WRAPPER"
        | "ALTER FOREIGN DATA WRAPPER"
        | "CREATE FOREIGN TABLE"
        | "ALTER FOREIGN TABLE"
        | "IMPORT FOREIGN SCHEMA" => is_inside_options,
        _ => return None,
    })
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
