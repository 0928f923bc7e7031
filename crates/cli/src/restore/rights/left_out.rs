//! What the role is not permitted to make: kept with its SQL and the reason, and written for a superuser.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::quote::{ident, shown};

/// An object at the source: OID of its catalog, and its OID.
pub type Key = (u32, u32);

/// A statement that was not executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// `EVENT TRIGGER e`, `owner of TABLE public.t`: readable.
    pub what: String,
    /// The object that it is about; `None` if that is not known.
    pub key: Option<Key>,
    pub needs: Vec<Key>,
    /// As psql executes it, in the encoding of the database.
    pub sql: Vec<u8>,
    pub reason: String,
    /// An owner, privileges, a comment: nothing depends on it.
    pub is_leaf: bool,
    /// A table: its rows are missing, too.
    pub is_table: bool,
    /// It goes with the object that it needs: a trigger with its table.
    pub is_part: bool,
    /// It drops the object, which is only worth a word if something that is left needs it.
    pub is_drop: bool,
}

impl Piece {
    /// A statement about no object that is known, on which something may depend.
    pub fn new(
        what: impl Into<String>,
        sql: impl Into<Vec<u8>>,
        reason: impl Into<String>,
    ) -> Piece {
        Piece {
            what: what.into(),
            key: None,
            needs: Vec::new(),
            sql: sql.into(),
            reason: reason.into(),
            is_leaf: false,
            is_table: false,
            is_part: false,
            is_drop: false,
        }
    }

    /// An owner or privileges, of which there may be many for one reason.
    fn is_of_roles(&self) -> bool {
        let starts = ["owner ", "ACL ", "DEFAULT ACL ", "grant ", "revoke "];
        starts.iter().any(|start| self.what.starts_with(start))
    }
}

/// All of them, in the order of the source.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LeftOut {
    pub pieces: Vec<Piece>,
    /// Rows of the base and changes of rows that were passed over, since their table was.
    pub rows: u64,
    /// It is not as it was kept last.
    #[serde(skip)]
    pub(super) is_changed: bool,
    /// One of the pieces is a table: asked for each row.
    lacks_tables: bool,
}

impl LeftOut {
    pub fn add(&mut self, piece: Piece) {
        // Each set of globals says again what the one before it said.
        if piece.key.is_none() && self.pieces.contains(&piece) {
            return;
        }
        self.lacks_tables |= piece.is_table;
        self.pieces.push(piece);
        self.is_changed = true;
    }

    /// Rows, or changes of rows, have no table.
    pub fn add_rows(&mut self, count: u64) {
        self.rows += count;
        self.is_changed = true;
    }

    /// For people.
    pub fn rows_left_out(&self) -> String {
        let rows = self.rows;
        format!("{rows} rows and changes of rows of tables that are left out")
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether an object is missing on which others may depend.
    pub fn lacks_objects(&self) -> bool {
        self.pieces.iter().any(|piece| !piece.is_leaf)
    }

    pub fn lacks_tables(&self) -> bool {
        self.lacks_tables
    }

    /// What is said of the database itself uses its name in the end.
    pub fn rename_database(&mut self, from: &str, to: &str) {
        let (from, to) = (ident(from.as_bytes()), ident(to.as_bytes()));
        for piece in self.pieces.iter_mut().filter(|piece| piece.key.is_none()) {
            let Some(at) = memchr::memmem::find(&piece.sql, &from) else {
                continue;
            };
            let rest = &piece.sql[at + from.len()..];
            piece.sql = [&piece.sql[..at], &to, rest].concat();
        }
    }

    pub fn has(&self, key: Key) -> bool {
        self.is_missing(key)
    }

    /// Whether the object itself is missing, and not only its owner or privileges.
    fn is_missing(&self, key: Key) -> bool {
        let mut of_it = self.pieces.iter().filter(|piece| piece.key == Some(key));
        of_it.any(|piece| !piece.is_leaf)
    }

    /// What the source has dropped is not left out, unless something that is needs it until then.
    pub fn settle(&mut self) {
        loop {
            let dropped = self.pieces.iter().filter(|piece| piece.is_drop);
            let unneeded = dropped
                .filter_map(|piece| piece.key)
                .find(|key| !self.is_needed(*key));
            match unneeded {
                Some(key) => self.forget(key),
                None => return,
            }
        }
    }

    fn is_needed(&self, key: Key) -> bool {
        let needs = |piece: &&Piece| piece.key != Some(key) && piece.needs.contains(&key);
        self.pieces
            .iter()
            .filter(needs)
            .any(|piece| !self.goes_with(piece, key))
    }

    /// Whether something that needs an object is dropped with it: its part, or, as the functions of a base type, what it
    /// needs itself.
    fn goes_with(&self, piece: &Piece, key: Key) -> bool {
        let is_needed_by = |other: &Piece| {
            other.key == Some(key) && piece.key.is_some_and(|key| other.needs.contains(&key))
        };
        piece.is_part || self.pieces.iter().any(is_needed_by)
    }

    /// Nothing of an object is left out any more, nor of what goes with it.
    pub fn forget(&mut self, key: Key) {
        let mut gone = vec![key];
        while let Some(key) = gone.pop() {
            let is_of_it = |piece: &Piece| {
                piece.key == Some(key) || piece.needs.contains(&key) && self.goes_with(piece, key)
            };
            let (of_it, kept): (Vec<Piece>, Vec<Piece>) =
                self.pieces.iter().cloned().partition(is_of_it);
            self.pieces = kept;
            self.is_changed |= !of_it.is_empty();
            self.lacks_tables = self.pieces.iter().any(|piece| piece.is_table);
            let keys = of_it.into_iter().filter_map(|piece| piece.key);
            gone.extend(keys.filter(|other| *other != key));
        }
    }

    /// Lines for people: what is alike is counted.
    pub fn lines(&self) -> Vec<String> {
        let mut found: Vec<(String, &str, usize)> = Vec::new();
        let mut counted: HashMap<&str, usize> = HashMap::new();
        for piece in &self.pieces {
            let is_counted = piece.is_of_roles();
            match counted.get(piece.reason.as_str()).filter(|_| is_counted) {
                Some(at) => found[*at].2 += 1,
                None => {
                    if is_counted {
                        counted.insert(&piece.reason, found.len());
                    }
                    found.push((piece.what.clone(), &piece.reason, 1));
                }
            }
        }
        let line = |(what, reason, count): (String, &str, usize)| match count {
            1 => format!("{what}: {reason}"),
            count => format!("{what}, and {} others: {reason}", count - 1),
        };
        found.into_iter().map(line).collect()
    }

    /// Fails if the file exists: it is never overwritten.
    pub fn ensure_writable(path: &Path) -> Result<()> {
        if !path.exists() || is_device(path) {
            return Ok(());
        }
        let message = format!(
            "\"{}\" exists, and what this server refuses is to be written there",
            path.display()
        );
        Err(Error::failed(
            message,
            "Move it away, or name another file with --left-out.",
        ))
    }

    /// Writes the file, readable by its owner only.
    pub fn write(&self, path: &Path, encoding: &str) -> Result<()> {
        let failed = |error: std::io::Error| {
            let message = format!("could not write \"{}\": {error}", path.display());
            Error::failed(
                message,
                "What it was to contain: the objects that are listed as left out.",
            )
        };
        // Of an earlier run, which was killed behind this.
        let is_written = |written: Vec<u8>| {
            key_in(&written).is_some_and(|key| self.text(encoding, key) == written)
        };
        if !is_device(path) && std::fs::read(path).is_ok_and(is_written) {
            return Ok(());
        }
        let key = archive::segment::Key::random().map_err(failed)?;
        let text = self.text(encoding, key.as_str());
        if is_device(path) {
            let file = OpenOptions::new().write(true).open(path);
            let written = file.and_then(|mut file| file.write_all(&text));
            return written.map_err(failed);
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// `key`: what psql needs to know to execute meta-commands again (CVE-2025-8714), as in a dump.
    fn text(&self, encoding: &str, key: &str) -> Vec<u8> {
        let mut text = format!(
            "-- What the server refused, in the order of the source, with its reasons. What the role was not permitted to\n\
             -- make, a superuser makes: run it in the restored database, with psql. Names are those of the time of each\n\
             -- statement.\n\n\
             \\restrict {key}\n\nSET client_encoding = '{encoding}';\nSET search_path = '';\nSET check_function_bodies = off;\n\
             SET xmloption = content;\nSET default_tablespace = '';\n"
        )
        .into_bytes();
        for piece in &self.pieces {
            let reason = piece.reason.replace('\n', " ");
            let said = shown(format!("{}: {reason}", piece.what).as_bytes());
            text.extend(format!("\n-- {said}\n").into_bytes());
            let sql = piece.sql.trim_ascii();
            text.extend_from_slice(sql);
            if !sql.ends_with(b";") {
                text.push(b';');
            }
            text.push(b'\n');
            if piece.is_table {
                text.extend_from_slice(
                    b"-- Its rows are not here: a restore by a superuser has them.\n",
                );
            }
        }
        text.extend(format!("\n\\unrestrict {key}\n").into_bytes());
        text
    }
}

/// `/dev/null`, or a terminal.
fn is_device(path: &Path) -> bool {
    let found = std::fs::metadata(path);
    found.is_ok_and(|found| found.file_type().is_char_device())
}

/// The key of a file that was written.
fn key_in(written: &[u8]) -> Option<&str> {
    let mut lines = written.split(|byte| *byte == b'\n');
    let key = lines.find_map(|line| line.strip_prefix(b"\\restrict "))?;
    std::str::from_utf8(key).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn piece(oid: u32, needs: &[Key], what: &str) -> Piece {
        Piece {
            key: Some((1247, oid)),
            needs: needs.to_vec(),
            ..Piece::new(what, format!("CREATE {what}"), "must be superuser")
        }
    }

    fn drop(oid: u32) -> Piece {
        Piece {
            is_drop: true,
            ..piece(oid, &[], "drop")
        }
    }

    #[test]
    fn what_the_source_drops_is_not_listed_unless_something_needs_it() {
        let mut all = LeftOut::default();
        all.add(piece(1, &[], "TYPE a"));
        all.add(piece(2, &[(1247, 1)], "TABLE t"));
        all.add(Piece {
            is_part: true,
            ..piece(3, &[(1247, 2)], "TRIGGER o")
        });
        all.add(piece(4, &[], "TYPE b"));
        all.add(drop(1));
        all.settle();
        assert_eq!(all.pieces.len(), 5, "a column of that type was dropped");
        all.add(drop(2));
        all.settle();
        assert_eq!(all.lines(), ["TYPE b: must be superuser"]);
        assert!(all.has((1247, 4)) && !all.has((1247, 3)));
    }

    #[test]
    fn owners_that_cannot_be_given_are_one_line() {
        let mut all = LeftOut::default();
        for oid in 1..=3 {
            all.add(Piece {
                is_leaf: true,
                ..piece(oid, &[], "owner of t")
            });
        }
        all.add(piece(9, &[], "TYPE b"));
        assert_eq!(
            all.lines(),
            [
                "owner of t, and 2 others: must be superuser",
                "TYPE b: must be superuser"
            ]
        );
        assert!(all.lacks_objects() && !all.lacks_tables());
    }

    #[test]
    fn a_file_is_private_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("left-out.sql");
        let mut all = LeftOut::default();
        all.add(Piece {
            what: "a\n\\! id".into(),
            ..piece(1, &[], "x")
        });
        LeftOut::ensure_writable(&path).unwrap();
        all.write(&path, "UTF8").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("-- a?\\! id: must be superuser\nCREATE x;\n"),
            "{text}"
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A run that goes on comes here again.
        all.write(&path, "UTF8").unwrap();
        all.add(piece(2, &[], "y"));
        assert!(all.write(&path, "UTF8").is_err());
        assert!(LeftOut::ensure_writable(&path).is_err());
        // Who does not want it, says so.
        let nowhere = Path::new("/dev/null");
        LeftOut::ensure_writable(nowhere).unwrap();
        all.write(nowhere, "UTF8").unwrap();
    }
}
