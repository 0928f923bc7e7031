//! Converts ddl_history's rows to DDL in the stream.
//!
//! The text of a statement is held back until the transaction's next change to another table: facts known
//! only after the statement (a temporary object, a value evaluated when it ran) are written to the same row
//! right after it, and are used here.

use chrono::{DateTime, Utc};
use serde_json::Value;

use archive::escape::percent_decode;
use archive::segment::{ClusterFact, DdlBlock, Mark, SETTINGS};

use super::frame;
use crate::pg::decoding::relation::{Column, Description};
use crate::pg::decoding::value::Row;
use crate::pg::text::quote;

/// The setting that contains the roles of which a statement's role was a member, percent-encoded.
pub const MEMBER_OF: &str = "member_of";

/// The command of a row for a role that is a superuser.
pub const SUPERUSER: &str = "CREATE ROLE SUPERUSER";

/// The command of a row for a change that cannot be captured exactly.
pub const FLAG: &str = "FLAG";

/// The command of a row for a statement that could not be recorded, for a plugin that only passes rows.
pub const LOST: &str = "LOST";

/// The command of a row for an object that a restore omits because it depends on this extension's own: kind
/// and name, a line end, its definition.
pub const LEFT_OUT: &str = "LEFT OUT";

/// The command of a row that incr_mark() has written. Its text is the name, in UTF-8, percent-encoded.
pub const MARK: &str = "MARK";

/// Positions of ddl_history's columns in [`Description::columns`].
pub struct HistoryColumns {
    id: usize,
    command: usize,
    executed_at: usize,
    executed_by: usize,
    query: usize,
    by_superuser: usize,
    search_path: usize,
    settings: usize,
    replay: usize,
    replay_text: usize,
}

impl HistoryColumns {
    pub fn find(columns: &[Column]) -> Option<Self> {
        let find = |name: &str| columns.iter().position(|c| c.name() == name.as_bytes());
        Some(Self {
            id: find("id")?,
            command: find("ddl_command")?,
            executed_at: find("executed_at")?,
            executed_by: find("executed_by")?,
            query: find("query")?,
            by_superuser: find("executed_by_superuser")?,
            search_path: find("search_path")?,
            settings: find("settings")?,
            replay: find("replay")?,
            replay_text: find("replay_text")?,
        })
    }
}

/// One row of ddl_history, as far as needed for replay.
#[derive(Clone, Debug)]
pub struct Statement {
    pub id: i64,
    pub command: String,
    pub executed_at: Option<DateTime<Utc>>,
    pub executed_by: Vec<u8>,
    /// What the user typed, secrets masked.
    pub query: Vec<u8>,
    pub by_superuser: bool,
    pub search_path: Vec<u8>,
    pub settings: Vec<u8>,
    pub replay: bool,
    pub text: Vec<u8>,
}

impl Statement {
    /// Parses a decoded row.
    pub fn read(columns: &HistoryColumns, description: &Description, row: &Row) -> Self {
        let text = |position: usize| {
            let column = &description.columns[position];
            let mut text = Vec::new();
            if let Some(value) = row.get(column.index) {
                // The parser has accepted a statement's text, so it fits.
                let _ = column.kind.output.push_text(value, &mut text);
            }
            text
        };
        Self {
            id: String::from_utf8_lossy(&text(columns.id))
                .parse()
                .unwrap_or_default(),
            command: String::from_utf8_lossy(&text(columns.command)).into_owned(),
            executed_at: time(&text(columns.executed_at)),
            executed_by: text(columns.executed_by),
            query: text(columns.query),
            by_superuser: text(columns.by_superuser) == b"true",
            search_path: text(columns.search_path),
            settings: text(columns.settings),
            replay: text(columns.replay) == b"true",
            text: text(columns.replay_text),
        }
    }

    /// TRUNCATE is decoded from its own WAL record, including tables reached by CASCADE.
    pub fn is_decoded_from_wal(&self) -> bool {
        self.command == "TRUNCATE TABLE"
    }

    /// The script of CREATE EXTENSION writes rows that are written again when the statement is replayed.
    pub fn brackets_rows(&self) -> bool {
        matches!(
            self.command.as_str(),
            "CREATE EXTENSION" | "ALTER EXTENSION"
        )
    }

    /// A role that may CLUSTER (MAINTAIN is sufficient) may lack the privilege to alter the table, and its
    /// owner may lack access to it.
    /// The text is our own, its names are qualified, and it executes no code of others.
    fn runs_as_restorer(&self) -> bool {
        self.command == "CLUSTER"
    }

    /// A command about a role or a tablespace becomes a comment: segments never create them. Its text is then
    /// the name, or both names of a RENAME, percent-encoded.
    pub fn fact(&self) -> Option<ClusterFact> {
        let name = || self.text.clone();
        let renamed = || {
            let space = self.text.iter().position(|byte| *byte == b' ')?;
            percent_decode(&self.text[..space]).zip(percent_decode(&self.text[space + 1..]))
        };
        Some(match self.command.as_str() {
            "CREATE ROLE" | SUPERUSER => ClusterFact::Role {
                name: name(),
                superuser: self.command == SUPERUSER,
            },
            "DROP ROLE" => ClusterFact::RoleDropped { name: name() },
            "ALTER ROLE" => {
                let (name, to) = renamed()?;
                ClusterFact::RoleRenamed { name, to }
            }
            "CREATE TABLESPACE" => ClusterFact::Tablespace { name: name() },
            "ALTER TABLESPACE" => {
                let (name, to) = renamed()?;
                ClusterFact::TablespaceRenamed { name, to }
            }
            _ => return None,
        })
    }

    /// The mark that this row is; `None` for any other row.
    pub fn mark(&self) -> Option<Mark> {
        if self.command != MARK {
            return None;
        }
        Some(Mark {
            name: String::from_utf8(percent_decode(&self.text)?).ok()?,
            role: self.executed_by.clone(),
            at: self.executed_at,
        })
    }

    /// Facts about the role that ran the statement that a restore needs.
    pub fn role_facts(&self) -> Vec<ClusterFact> {
        if self.fact().is_some() || self.runs_as_restorer() {
            return Vec::new();
        }
        let role = &self.executed_by;
        let superuser = self.by_superuser.then(|| ClusterFact::Role {
            name: role.clone(),
            superuser: true,
        });
        let memberships = self.settings_object().remove(MEMBER_OF);
        let Some(Value::Array(memberships)) = memberships else {
            return superuser.into_iter().collect();
        };
        let member = |of: &Value| {
            Some(ClusterFact::Member {
                role: role.clone(),
                of: percent_decode(of.as_str()?.as_bytes())?,
            })
        };
        superuser
            .into_iter()
            .chain(memberships.iter().filter_map(member))
            .collect()
    }

    /// Appends the frame for the statement.
    pub fn push_frame(&self, out: &mut Vec<u8>) {
        if let Some(fact) = self.fact() {
            return frame::push_fact(out, &fact);
        }
        let role: &[u8] = if self.runs_as_restorer() {
            b""
        } else {
            &self.executed_by
        };
        frame::push_ddl(out, &self.command, role, &self.block().parts());
    }

    /// The statement between the settings it ran under and those of the segment. (RESET would not restore the
    /// latter: it goes back to the session's start.)
    pub fn block(&self) -> Block<'_> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        if !self.runs_as_restorer() {
            push_set(&mut before, b"ROLE", &quote::identifier(&self.executed_by));
            push_set(&mut after, b"ROLE", b"NONE");
        }
        push_set(
            &mut before,
            b"search_path",
            &search_path_list(&self.search_path),
        );
        push_set(&mut after, b"search_path", b"''");
        for (name, value) in self.other_settings() {
            let Some((_, header)) = SETTINGS.iter().find(|(n, _)| n.eq_ignore_ascii_case(&name))
            else {
                continue;
            };
            push_set(&mut before, name.as_bytes(), &quote::literal(&value));
            push_set(&mut after, name.as_bytes(), header.as_bytes());
        }
        Block {
            before,
            statement: trim_end(&self.text),
            after,
        }
    }

    /// The settings, with a character for each byte of their values: they are in the server's encoding.
    fn settings_object(&self) -> serde_json::Map<String, Value> {
        let settings: String = self.settings.iter().map(|byte| char::from(*byte)).collect();
        match serde_json::from_str(&settings) {
            Ok(Value::Object(settings)) => settings,
            _ => serde_json::Map::new(),
        }
    }

    fn other_settings(&self) -> Vec<(String, Vec<u8>)> {
        let byte = |character: char| u8::try_from(u32::from(character)).ok();
        let text = |value: Value| {
            value
                .as_str()?
                .chars()
                .map(byte)
                .collect::<Option<Vec<u8>>>()
        };
        self.settings_object()
            .into_iter()
            .filter_map(|(name, value)| Some((name, text(value)?)))
            .collect()
    }
}

/// A statement with its surrounding settings.
pub struct Block<'a> {
    before: Vec<u8>,
    statement: &'a [u8],
    after: Vec<u8>,
}

impl Block<'_> {
    pub fn parts(&self) -> DdlBlock<'_> {
        DdlBlock {
            before: &self.before,
            statement: self.statement,
            after: &self.after,
        }
    }
}

fn push_set(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    if !out.is_empty() {
        out.push(b' ');
    }
    // SET ROLE has a grammar of its own, without an equals sign.
    let sign: &[u8] = if name == b"ROLE" { b" " } else { b" = " };
    out.extend_from_slice(&[b"SET LOCAL ", name, sign, value, b";"].concat());
}

/// A timestamptz as its output function writes it under a segment's settings.
fn time(text: &[u8]) -> Option<DateTime<Utc>> {
    let text = std::str::from_utf8(text).ok()?;
    let time = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").ok()?;
    Some(time.to_utc())
}

fn trim_end(text: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b';';
    let length = text
        .iter()
        .rposition(|byte| !is_end(byte))
        .map_or(0, |last| last + 1);
    &text[..length]
}

/// The value of search_path as a list for SET, with each element quoted by us.
///
/// The stored value is the user's own (`set_config` accepts `a;DROP/**/…` as one unquoted name), so it is
/// split by the rules of SplitIdentifierString (utils/adt/varlena.c) and never copied.
pub fn search_path_list(path: &[u8]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = split_identifiers(path)
        .iter()
        .map(|name| quote::identifier(name))
        .collect();
    if names.is_empty() {
        return b"''".to_vec();
    }
    names.join(b", ".as_slice())
}

fn split_identifiers(list: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let mut name = Vec::new();
    let (mut quoted, mut was_quoted) = (false, false);
    let mut bytes = list.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if quoted && bytes.peek() == Some(&b'"') => {
                name.push(b'"');
                bytes.next();
            }
            b'"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            b',' if !quoted => {
                names.push(std::mem::take(&mut name));
                was_quoted = false;
            }
            byte if quoted => name.push(byte),
            byte if byte.is_ascii_whitespace() => {}
            byte if was_quoted => name.push(byte),
            byte => name.push(byte.to_ascii_lowercase()),
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;

    fn list(path: &str) -> String {
        String::from_utf8(search_path_list(path.as_bytes())).expect("ASCII in, ASCII out")
    }

    #[pg_test]
    fn a_search_path_cannot_smuggle_sql() {
        assert_eq!(list("\"$user\", public"), "\"$user\", public");
        assert_eq!(list("a;DROP/**/TABLE/**/x"), "\"a;drop/**/table/**/x\"");
        assert_eq!(list("\"odd\"\"name\",B"), "\"odd\"\"name\", b");
        assert_eq!(list(""), "''");
    }

    #[pg_test]
    fn a_statement_stands_between_its_settings() {
        let statement = Statement {
            id: 1,
            command: "CREATE TABLE".to_owned(),
            executed_at: time(b"2026-11-28 13:00:00.5+00"),
            executed_by: b"bob".to_vec(),
            query: b"create table t();".to_vec(),
            by_superuser: false,
            search_path: b"public".to_vec(),
            settings: br#"{"standard_conforming_strings":"off"}"#.to_vec(),
            replay: true,
            text: b"CREATE TABLE t() -- done;\n;".to_vec(),
        };
        let expected = "DO $r$ BEGIN SET LOCAL ROLE bob; SET LOCAL search_path = public; \
            SET LOCAL standard_conforming_strings = 'off'; EXECUTE $s$\n\
            CREATE TABLE t() -- done\n$s$; END $r$;\n\
            SET LOCAL ROLE NONE; SET LOCAL search_path = ''; \
            SET LOCAL standard_conforming_strings = on;";
        let text = statement.block().parts().write("");
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }
}
