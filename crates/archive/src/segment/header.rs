//! The lines before the first transaction: the origin of the segment, and the settings on which the meaning
//! of its text depends.

use super::grammar::{first_line, Comment, CommentWriter, Flaw, Key};
use crate::layout::SegmentName;
use crate::lsn::Lsn;
use crate::manifest::Entry;
use crate::time::Time;

/// The settings of a segment, valid on PostgreSQL 15 to 18, besides `client_encoding`. The text of values
/// must be produced under the same ones.
pub const SETTINGS: &[(&str, &str)] = &[
    ("standard_conforming_strings", "on"),
    ("escape_string_warning", "off"),
    ("client_min_messages", "warning"),
    ("DateStyle", "'ISO, MDY'"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "'UTC'"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "'C'"),
    ("xmloption", "content"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("check_function_bodies", "off"),
    ("row_security", "off"),
    ("search_path", "''"),
    ("default_tablespace", "''"),
    ("default_table_access_method", "heap"),
    ("default_transaction_isolation", "'read committed'"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("synchronous_commit", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("session_replication_role", "replica"),
];

/// The contents of the header comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Of the segment, as its first line says.
    pub format: u32,
    pub system_identifier: u64,
    pub timeline: u32,
    /// Of the first segment of a timeline that is not the chain's first: where the server's history left the timeline of
    /// the segment before. Nothing before it in the chain is above it.
    pub switched_at: Option<Lsn>,
    pub database_oid: u32,
    pub database: String,
    pub chain: u32,
    /// The end of the previous segment, or the slot's start.
    pub start_lsn: Lsn,
    /// 64-bit; every transaction of earlier segments has a smaller xid.
    pub next_xid: u64,
    pub opened_at: Time,
    /// As `server_version_num`.
    pub server_version: u32,
    pub encoding: String,
    /// The previous segment, if there is one.
    pub previous: Option<Previous>,
}

/// Name and checksum of the previous segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    /// The file name without a compression suffix.
    pub file: String,
    /// Hex, of the uncompressed bytes.
    pub sha256: String,
}

impl Previous {
    /// As in the manifest.
    pub fn of(entry: &Entry) -> Previous {
        let file = entry.file.rsplit('/').next().unwrap_or_default();
        Previous {
            file: file.to_owned(),
            sha256: entry.sha256.clone(),
        }
    }
}

impl Header {
    /// The name of the segment that it opens.
    pub fn name(&self) -> SegmentName {
        SegmentName::new(self.start_lsn, self.opened_at)
    }

    /// Whether the history that the segment continues had left this timeline before this LSN: what a base of there and then
    /// has is not in it. A base's line in the manifest says so, too, but a copy of the archive gets the manifest later.
    pub fn has_left(&self, timeline: u32, lsn: Lsn) -> bool {
        self.timeline > timeline && self.switched_at.unwrap_or(self.start_lsn) < lsn
    }

    /// The structural line.
    pub(super) fn comment(&self, key: Key) -> String {
        let (file, sha256) = self
            .previous
            .as_ref()
            .map_or(("none", "none"), |p| (&p.file, &p.sha256));
        let comment = CommentWriter::new(key, "header")
            .field("system_identifier", self.system_identifier)
            .field("timeline", self.timeline)
            .field("database_oid", self.database_oid)
            .field("database", &self.database)
            .field("chain", self.chain)
            .field("start_lsn", self.start_lsn)
            .field("next_xid", self.next_xid)
            .time("opened_at", self.opened_at)
            .field("server_version", self.server_version)
            .field("encoding", &self.encoding)
            .field("previous", file)
            .field("previous_sha256", sha256);
        let comment = match self.switched_at {
            Some(lsn) => comment.field("switched_at", lsn),
            None => comment,
        };
        comment.finish()
    }

    /// All lines before the first transaction.
    pub fn write(&self, key: Key) -> String {
        let (magic, comment) = (first_line(self.format), self.comment(key));
        let mut text = format!("{magic}\n{comment}\\restrict {}\n", key.as_str());
        text.push_str(&format!(
            "SET client_encoding = '{}';\n",
            self.encoding.replace('\'', "''")
        ));
        for (name, value) in SETTINGS {
            text.push_str(&format!("SET {name} = {value};\n"));
        }
        text
    }

    /// Parses the header comment of a segment of this format.
    pub fn read(comment: &Comment<'_>, format: u32) -> Result<Header, Flaw> {
        let previous = comment.optional("previous", |c, name| c.text(name))?;
        let sha256 = comment.optional("previous_sha256", |c, name| c.text(name))?;
        Ok(Header {
            format,
            system_identifier: comment.value("system_identifier")?,
            timeline: comment.value("timeline")?,
            switched_at: comment
                .has("switched_at")
                .then(|| comment.value("switched_at"))
                .transpose()?,
            database_oid: comment.value("database_oid")?,
            database: comment.text("database")?,
            chain: comment.value("chain")?,
            start_lsn: comment.value("start_lsn")?,
            next_xid: comment.value("next_xid")?,
            opened_at: comment.time("opened_at")?,
            server_version: comment.value("server_version")?,
            encoding: comment.text("encoding")?,
            previous: match (previous, sha256) {
                (Some(file), Some(sha256)) => Some(Previous { file, sha256 }),
                (None, None) => None,
                _ => return Err("header names a previous segment without its checksum".to_owned()),
            },
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::grammar::format_of;
    use super::*;
    use crate::time::parse_iso;

    #[test]
    fn headers_go_there_and_back() {
        let key = Key::parse(b"0123456789abcdef").unwrap();
        let first = Header {
            format: 1,
            system_identifier: 7_300_000_000_000_000_000,
            timeline: 1,
            switched_at: None,
            database_oid: 16384,
            database: "my \"db\"\n".to_owned(),
            chain: 2,
            start_lsn: Lsn(0x15E0F88),
            next_xid: 1 << 40,
            opened_at: parse_iso("2026-11-21T03:40:00.123456Z").unwrap(),
            server_version: 150018,
            encoding: "LATIN1".to_owned(),
            previous: None,
        };
        let previous = Previous {
            file: "x.sql".to_owned(),
            sha256: "ab".repeat(32),
        };
        let second = Header {
            format: 2,
            timeline: 3,
            switched_at: Some(Lsn(0x15E0F00)),
            previous: Some(previous),
            ..first.clone()
        };
        for header in [first, second] {
            let text = header.write(key);
            assert_eq!(
                format_of(text.lines().next().unwrap().as_bytes()),
                Some(header.format)
            );
            let line = text.lines().nth(1).unwrap();
            assert_eq!(Comment::key_of(line.as_bytes()), Some(key));
            let comment = Comment::parse(line.as_bytes(), key).unwrap();
            assert_eq!(Header::read(&comment, header.format), Ok(header));
            assert!(text.contains("\nSET client_encoding = 'LATIN1';\n"));
        }
    }
}
