//! A line of `dump.toc`: an entry of a plain dump, and where it is.
//!
//! First line, lines, offset, dump id, OID of the catalog, OID, `sql` or `data`, type, schema, name; the last three
//! percent-encoded, `-` for no schema.

use std::path::Path;

use crate::error::{Error, Result};
use crate::escape::{percent_decode, percent_encode};

/// An entry of a dump. Texts are in the encoding of the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Number of its first line, from 1, and number of lines.
    pub line: u64,
    pub lines: u64,
    /// Offset of its first byte in the uncompressed dump. The entry ends where the next one begins.
    pub offset: u64,
    pub dump_id: i32,
    /// OIDs of the object's catalog and of the object; 0 for entries that are not separate objects.
    pub table_oid: u32,
    pub oid: u32,
    /// Rows or large objects.
    pub is_data: bool,
    /// Its kind: `TABLE`, `TABLE DATA`, `ACL`, …
    pub kind: Vec<u8>,
    pub schema: Option<Vec<u8>>,
    pub name: Vec<u8>,
}

impl Listed {
    /// The line, with its end.
    pub fn to_line(&self) -> String {
        let kind = if self.is_data { "data" } else { "sql" };
        format!(
            "{} {} {} {} {} {} {kind} {} {} {}\n",
            self.line,
            self.lines,
            self.offset,
            self.dump_id,
            self.table_oid,
            self.oid,
            percent_encode(&self.kind),
            self.schema
                .as_deref()
                .map_or("-".to_string(), percent_encode),
            percent_encode(&self.name),
        )
    }

    /// All lines of the file; `path` is for the error. Each entry must begin where the one before ends, in lines, and
    /// behind it in bytes.
    pub fn parse_all(text: &[u8], path: &Path) -> Result<Vec<Listed>> {
        let damaged = |offset: usize, why: &str| Error::damaged(path, offset as u64, why);
        let (mut all, mut at) = (Vec::<Listed>::new(), 0);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Some(listed) = Listed::parse(line) else {
                return Err(damaged(at, "a line could not be parsed"));
            };
            if all.last().is_some_and(|before| !before.joins(&listed)) {
                return Err(damaged(at, "an entry does not follow the one before it"));
            }
            at += line.len();
            all.push(listed);
        }
        Ok(all)
    }

    fn joins(&self, next: &Listed) -> bool {
        self.line.checked_add(self.lines) == Some(next.line) && self.offset < next.offset
    }

    fn parse(line: &[u8]) -> Option<Listed> {
        let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let words: Vec<&str> = line.split(' ').collect();
        let [first, lines, offset, dump_id, table_oid, oid, part, kind, schema, name] = words[..]
        else {
            return None;
        };
        let text = |word: &str| percent_decode(word.as_bytes());
        Some(Listed {
            line: first.parse().ok()?,
            lines: lines.parse().ok()?,
            offset: offset.parse().ok()?,
            dump_id: dump_id.parse().ok()?,
            table_oid: table_oid.parse().ok()?,
            oid: oid.parse().ok()?,
            is_data: match part {
                "data" => true,
                "sql" => false,
                _ => return None,
            },
            kind: text(kind)?,
            schema: match schema {
                "-" => None,
                name => Some(text(name)?),
            },
            name: text(name)?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn listed(line: u64, offset: u64, name: &[u8]) -> Listed {
        Listed {
            line,
            lines: 4,
            offset,
            dump_id: 215,
            table_oid: 1259,
            oid: 16384,
            is_data: true,
            kind: b"TABLE DATA".to_vec(),
            schema: Some(b"a b\n".to_vec()),
            name: name.to_vec(),
        }
    }

    fn parsed(text: &str) -> Result<Vec<Listed>> {
        Listed::parse_all(text.as_bytes(), Path::new("dump.toc"))
    }

    #[test]
    fn every_name_goes_there_and_back() {
        let every: Vec<u8> = (0..=255).collect();
        let without_schema = Listed {
            schema: None,
            is_data: false,
            ..listed(9, 200, b"")
        };
        let all = [listed(5, 100, &every), without_schema];
        let text: String = all.iter().map(Listed::to_line).collect();
        assert_eq!(parsed(&text).unwrap(), all);
    }

    #[test]
    fn what_is_not_a_line_or_does_not_follow_is_refused() {
        let line = listed(5, 100, b"t").to_line();
        for end in 1..line.len() {
            assert!(parsed(&line[..end]).is_err(), "{end}");
        }
        for (next, offset) in [(10, 200), (8, 200), (9, 100), (9, 99)] {
            let text = line.clone() + &listed(next, offset, b"t").to_line();
            assert!(parsed(&text).is_err(), "{next} {offset}");
        }
        assert!(parsed(&line.replace(" data ", " rows ")).is_err());
        assert!(parsed(&line.replace("a%20b", "a%2zb")).is_err());
        assert_eq!(parsed("").unwrap(), []);
    }
}
