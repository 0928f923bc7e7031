//! Finds the position of each entry in the text that pg_restore produces from an archive, while the text is
//! written.
//!
//! pg_restore writes an entry as a comment with its name, its definition, and its own statements about owner,
//! tablespace and access method; rows as a comment, a COPY statement and lines up to `\.`. Definition and
//! COPY statement are known exactly. In all other text, names from the source are in double quotes, or
//! without line ends, so a line that begins with `--` outside of these is pg_restore's comment. Any
//! unexpected text is an error: positions are never guessed.

use std::collections::{HashMap, HashSet};
use std::io;

use super::listed::Listed;
use super::toc::{Entry, Toc};

const COMMENT: &[u8] = b"--\n";
const COMPLETE: &[u8] = b"-- PostgreSQL database dump complete\n";
const END_OF_ROWS: &[u8] = b"\\.\n";
/// pg_restore's prefixes for an entry's definition, its rows, its statistics.
const NAMES: [(&[u8], Part); 3] = [
    (b"-- Name: ", Part::Definition),
    (b"-- Data for Name: ", Part::Rows),
    (b"-- Statistics for Name: ", Part::Definition),
];
/// Maximum part of a line of rows that is examined.
const KEPT_OF_ROW: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Definition,
    Rows,
}

/// The position of an entry in the text. It ends where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Number of its first line, from 1, and number of lines.
    pub line: u64,
    pub lines: u64,
    /// Offset of its first byte.
    pub offset: u64,
    /// True for rows and large objects.
    pub is_data: bool,
    entry: usize,
}

/// The state of the walk.
#[derive(Debug)]
enum State {
    /// In pg_restore's own statements; true inside double quotes.
    Own(bool),
    /// In known text.
    Known {
        text: Vec<u8>,
        at: usize,
    },
    Rows,
}

/// Processes the text chunk by chunk.
pub struct Walk<'a> {
    toc: &'a Toc,
    /// The entries that may follow, by pg_restore's comment.
    expected: HashMap<Vec<u8>, Vec<usize>>,
    seen: HashSet<(usize, Part)>,
    places: Vec<Place>,
    state: State,
    /// Rows follow the known text.
    rows_follow: bool,
    /// Position of a comment whose second line has not been read yet.
    comment: Option<(u64, u64)>,
    is_complete: bool,
    /// The end of the last entry has been read.
    is_closed: bool,
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// Number of the current line, and the offset of its first byte.
    number: u64,
    offset: u64,
    /// Number of bytes so far.
    read: u64,
}

impl<'a> Walk<'a> {
    /// For the text of the entries `kept` of `toc`.
    pub fn new(toc: &'a Toc, kept: &[i32]) -> Walk<'a> {
        let kept: HashSet<_> = kept.iter().collect();
        let mut expected: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, entry) in toc.entries.iter().enumerate() {
            if kept.contains(&entry.dump_id) {
                expected.entry(name_of(entry)).or_default().push(at);
            }
        }
        Walk {
            toc,
            expected,
            seen: HashSet::new(),
            places: Vec::new(),
            state: State::Own(false),
            rows_follow: false,
            comment: None,
            is_complete: false,
            is_closed: true,
            line: Vec::new(),
            number: 1,
            offset: 0,
            read: 0,
        }
    }

    /// Processes the next bytes.
    pub fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        let mut end = self.read;
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let is_whole = piece.ends_with(b"\n");
            end += piece.len() as u64;
            if is_whole && self.line.is_empty() {
                self.line(piece)?;
            } else if matches!(self.state, State::Rows) {
                let room = KEPT_OF_ROW.saturating_sub(self.line.len());
                self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            } else {
                self.line.extend_from_slice(piece);
            }
            if is_whole {
                if !self.line.is_empty() {
                    let line = std::mem::take(&mut self.line);
                    self.line(&line)?;
                }
                self.number += 1;
                self.offset = end;
            }
        }
        self.read = end;
        Ok(())
    }

    /// The entries whose rows (or large objects) have begun, from the entry number `from` of the text on, and how many entries
    /// there are by now.
    pub fn begun(&self, from: usize) -> (impl Iterator<Item = &Entry>, usize) {
        let places = self.places.iter().skip(from);
        let begun = places.filter(|place| place.is_data);
        let entries = begun.map(|place| &self.toc.entries[place.entry]);
        (entries, self.places.len())
    }

    /// The positions, in the order of the text. Fails unless it was complete and contained every entry.
    pub fn finish(self) -> io::Result<Vec<Place>> {
        if !self.is_complete || !self.line.is_empty() || !matches!(self.state, State::Own(false)) {
            return Err(self.unexpected("the end of the text"));
        }
        let missing = self.expected.values().flatten().find(|at| {
            let seen = |part| self.seen.contains(&(**at, part));
            !seen(Part::Definition) && !seen(Part::Rows)
        });
        match missing {
            Some(at) => {
                let id = self.toc.entries[*at].dump_id;
                Err(self.unexpected(&format!("no text of entry {id}")))
            }
            None => Ok(self.places),
        }
    }

    /// A complete line; of a long one in rows, its beginning.
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        match &mut self.state {
            State::Rows => {
                if line == END_OF_ROWS {
                    self.state = State::Own(false);
                }
                Ok(())
            }
            State::Known { text, at } => {
                if !text[*at..].starts_with(line) {
                    return Err(self.unexpected("text that differs from the archive"));
                }
                *at += line.len();
                if *at == text.len() {
                    self.state = if self.rows_follow {
                        State::Rows
                    } else {
                        State::Own(false)
                    };
                }
                Ok(())
            }
            State::Own(false) if line.starts_with(b"--") => self.comment(line),
            State::Own(is_quoted) => {
                let marks = line.iter().filter(|byte| **byte == b'"').count();
                *is_quoted ^= marks % 2 == 1;
                self.comment = None;
                Ok(())
            }
        }
    }

    /// A line of a comment of pg_restore.
    fn comment(&mut self, line: &[u8]) -> io::Result<()> {
        let begun = self.comment.take();
        if line == COMMENT && begun.is_none() {
            self.comment = Some((self.number, self.offset));
            return Ok(());
        }
        let Some((number, offset)) = begun else {
            return Ok(());
        };
        if line == COMPLETE {
            self.is_complete = true;
            self.close(number);
            return Ok(());
        }
        for (start, part) in NAMES {
            if let Some(name) = line.strip_prefix(start) {
                return self.begin(name, part, number, offset);
            }
        }
        Ok(())
    }

    fn begin(&mut self, name: &[u8], part: Part, number: u64, offset: u64) -> io::Result<()> {
        let seen = &self.seen;
        let candidates = self.expected.get(name);
        let found = candidates
            .and_then(|all| all.iter().find(|at| !seen.contains(&(**at, part))))
            .copied();
        let Some(at) = found else {
            let shown = String::from_utf8_lossy(name).trim_end().to_string();
            return Err(self.unexpected(&format!("an unexpected entry: {shown}")));
        };
        self.seen.insert((at, part));
        self.close(number);
        let toc = self.toc;
        let entry = &toc.entries[at];
        self.places.push(Place {
            line: number,
            lines: 0,
            offset,
            is_data: part == Part::Rows,
            entry: at,
        });
        self.is_closed = false;
        let mut text = [COMMENT, b"\n"].concat();
        if entry.is_verbatim() && !entry.definition.is_empty() {
            text.extend_from_slice(&entry.definition);
            text.extend_from_slice(b"\n\n");
        }
        self.rows_follow = part == Part::Rows && !entry.copy_statement.is_empty();
        if self.rows_follow {
            text.extend_from_slice(&entry.copy_statement);
        }
        self.state = State::Known { text, at: 0 };
        Ok(())
    }

    /// The previous entry ends before line `number`.
    fn close(&mut self, number: u64) {
        if let (false, Some(place)) = (self.is_closed, self.places.last_mut()) {
            place.lines = number - place.line;
        }
        self.is_closed = true;
    }

    fn unexpected(&self, what: &str) -> io::Error {
        let text = format!(
            "unexpected output of pg_restore at line {}: {what}",
            self.number
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

impl Place {
    /// Its line of `dump.toc`.
    pub fn to_line(&self, toc: &Toc) -> String {
        let entry = &toc.entries[self.entry];
        let listed = Listed {
            line: self.line,
            lines: self.lines,
            offset: self.offset,
            dump_id: entry.dump_id,
            table_oid: entry.table_oid,
            oid: entry.oid,
            is_data: self.is_data,
            kind: entry.kind.clone(),
            schema: entry.namespace.clone().filter(|name| !name.is_empty()),
            name: entry.tag.clone(),
        };
        listed.to_line()
    }
}

impl Entry {
    /// False if pg_restore writes the definition as several statements, because it is a list (17 and later:
    /// large objects come in groups).
    fn is_verbatim(&self) -> bool {
        let is_group = self.kind == b"ACL" && self.tag.starts_with(b"LARGE OBJECTS");
        self.kind != b"BLOB METADATA" && !is_group
    }
}

/// pg_restore's comment for an entry, after `Name: `.
fn name_of(entry: &Entry) -> Vec<u8> {
    let or_none = |name: &Option<Vec<u8>>| name.as_deref().map_or(b"-".to_vec(), on_one_line);
    let mut name = on_one_line(&entry.tag);
    for (word, value) in [
        ("Type", entry.kind.clone()),
        ("Schema", or_none(&entry.namespace)),
        ("Owner", or_none(&entry.owner)),
    ] {
        name.extend(format!("; {word}: ").bytes());
        name.extend(value);
    }
    if let Some(tablespace) = entry.tablespace.as_ref().filter(|name| !name.is_empty()) {
        name.extend(b"; Tablespace: ");
        name.extend(on_one_line(tablespace));
    }
    name.push(b'\n');
    name
}

/// Like pg_dump's sanitize_line().
fn on_one_line(text: &[u8]) -> Vec<u8> {
    let blank = |byte: &u8| match byte {
        b'\n' | b'\r' => b' ',
        other => *other,
    };
    text.iter().map(blank).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(dump_id: i32, kind: &str, tag: &str, definition: &str) -> Entry {
        Entry {
            dump_id,
            table_oid: 1259,
            oid: dump_id as u32,
            kind: kind.into(),
            tag: tag.into(),
            definition: definition.into(),
            namespace: Some(b"public".to_vec()),
            owner: Some(b"bob".to_vec()),
            ..Entry::default()
        }
    }

    const TRAP: &str = "--\n-- Name: v; Type: VIEW; Schema: public; Owner: bob\n--\n\n";

    fn toc() -> Toc {
        let body = format!("CREATE FUNCTION f() AS $$ \"'\n{TRAP}$$;\n");
        let rows = Entry {
            has_data: true,
            copy_statement: b"COPY public.t (a) FROM stdin;\n".to_vec(),
            ..entry(4, "TABLE DATA", "t\n", "")
        };
        let large_objects = Entry {
            has_data: true,
            ..entry(5, "BLOBS", "BLOBS", "")
        };
        let entries = vec![
            entry(1, "FUNCTION", "f()", &body),
            entry(2, "TABLE", "t\n", "CREATE TABLE t;\n"),
            entry(3, "VIEW", "v", "CREATE VIEW v;\n"),
            rows,
            large_objects,
        ];
        Toc { entries }
    }

    /// pg_restore's output for it; an owner's name contains a comment.
    fn text() -> String {
        let toc = toc();
        let definition = |at: usize| String::from_utf8(toc.entries[at].definition.clone()).unwrap();
        format!(
            "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\nSET a = 1;\n\n\
             --\n-- Name: f(); Type: FUNCTION; Schema: public; Owner: bob\n--\n\n{}\n\n\
             ALTER FUNCTION f() OWNER TO \"b\"\"\n{TRAP}b\";\n\nSET default_tablespace = '';\n\n\
             --\n-- Name: t ; Type: TABLE; Schema: public; Owner: bob\n--\n\n{}\n\n\
             {TRAP}{}\n\n\
             --\n-- Data for Name: t ; Type: TABLE DATA; Schema: public; Owner: bob\n--\n\n\
             COPY public.t (a) FROM stdin;\n{TRAP}\"\n\\.\\\n\\.\n\n\n\
             --\n-- Data for Name: BLOBS; Type: BLOBS; Schema: public; Owner: bob\n--\n\n\
             BEGIN;\nSELECT 1;\nCOMMIT;\n\n\
             --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n\n",
            definition(0),
            definition(1),
            definition(2),
        )
    }

    fn walked(text: &str, kept: &[i32], chunk: usize) -> io::Result<Vec<Place>> {
        let toc = toc();
        let mut walk = Walk::new(&toc, kept);
        for piece in text.as_bytes().chunks(chunk) {
            walk.take(piece)?;
        }
        walk.finish()
    }

    #[test]
    fn every_entry_is_found_whatever_its_text_looks_like_and_wherever_chunks_end() {
        let text = text();
        let lines: Vec<&str> = text.lines().collect();
        for chunk in 1..text.len() {
            let places = walked(&text, &[1, 2, 3, 4, 5], chunk).unwrap();
            let entries: Vec<usize> = places.iter().map(|place| place.entry).collect();
            assert_eq!(entries, [0, 1, 2, 3, 4], "in chunks of {chunk}");
            for place in &places {
                let first = lines[place.line as usize];
                assert!(first.contains("Name: "), "{first}");
                assert!(text[place.offset as usize..].starts_with(&format!("--\n{first}\n")));
            }
            for pair in places.windows(2) {
                assert_eq!(pair[0].line + pair[0].lines, pair[1].line);
            }
            let end = places[4].line + places[4].lines;
            assert_eq!(lines[end as usize], "-- PostgreSQL database dump complete");
            let is_data: Vec<bool> = places.iter().map(|place| place.is_data).collect();
            assert_eq!(is_data, [false, false, false, true, true]);
        }
    }

    #[test]
    fn a_place_is_a_line_of_words() {
        let places = walked(&text(), &[1, 2, 3, 4, 5], 4096).unwrap();
        let line = places[3].to_line(&toc());
        assert!(
            line.ends_with(" 4 1259 4 data TABLE%20DATA public t%0A\n"),
            "{line}"
        );
        assert!(places[0].to_line(&toc()).starts_with("9 "));
    }

    #[test]
    fn what_is_not_as_the_archive_says_is_refused() {
        let all = &[1, 2, 3, 4, 5];
        let refused = |text: &str, kept: &[i32]| walked(text, kept, 7).unwrap_err().to_string();
        assert!(refused(&text().replace("CREATE VIEW", "CREATE WIEV"), all).contains("line "));
        assert!(refused(&text(), &[1, 2, 4, 5]).contains("unexpected"));
        assert!(refused(&text().replace("dump complete", "dump"), all).contains("the end"));
        let half = text();
        assert!(refused(&half[..half.len() / 2], all).contains("the end"));
        let missing = text().replace("-- Data for Name: BLOBS", "-- Blobs");
        assert!(refused(&missing, all).contains("no text of entry 5"));
    }
}
