//! Leaves this extension out of pg_dump's plain output, for servers before 17.
//!
//! A restored database has neither the extension nor its table. pg_dump 17 has
//! `--exclude-extension`; before, the only switch is `--extension=OTHER`, which also drops every
//! event trigger, publication, cast, foreign server and default privilege from the dump (tried on
//! 15.18). So the entries are taken out of the text here. A filter must not take words inside a
//! function body, a comment or a row for an entry, so it follows quotes, dollar quotes, comments and
//! COPY blocks. An entry is, as pg_dump writes it: `--`, `-- Name: …; Type: …; Schema: …`, `--`, an
//! empty line, statements, an empty line.

use std::io::{self, Write};

/// What to leave out.
#[derive(Clone, Debug, Default)]
pub struct LeftOut {
    extension: String,
    schema: String,
    /// Members as pg_dump names them, up to the argument list: `FUNCTION incr_flush(`,
    /// `TABLE ddl_history`.
    members: Vec<String>,
}

impl LeftOut {
    /// The extension itself and the privileges granted on its members.
    pub fn extension(name: &str, schema: &str, members: &[String]) -> LeftOut {
        LeftOut {
            extension: name.to_string(),
            schema: schema.to_string(),
            members: members.to_vec(),
        }
    }

    /// True for the header line of an entry left out.
    fn has(&self, header: &[u8]) -> bool {
        let header = String::from_utf8_lossy(header);
        let Some(named) = header.strip_prefix("-- Name: ") else {
            return false;
        };
        let extension = &self.extension;
        let acl = format!("; Type: ACL; Schema: {}; ", self.schema);
        named.starts_with(&format!("{extension}; Type: EXTENSION; "))
            || named.starts_with(&format!("EXTENSION {extension}; Type: COMMENT; "))
            || named.contains(&acl) && self.members.iter().any(|member| is_named(named, member))
    }

    /// The table of contents that `pg_restore --list` shows, without the entries left out: for
    /// `pg_restore --use-list`.
    pub fn filter_list(&self, list: &str) -> String {
        list.lines()
            .filter(|line| !self.has_listed(line))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// True for a line like `2; 3079 16385 EXTENSION - pg_incrbackup `.
    fn has_listed(&self, line: &str) -> bool {
        let Some(entry) = line
            .split_once("; ")
            .and_then(|(_, rest)| rest.splitn(3, ' ').nth(2))
        else {
            return false;
        };
        let extension = &self.extension;
        let on_member = entry.strip_prefix(&format!("ACL {} ", self.schema));
        entry.trim_end() == format!("EXTENSION - {extension}")
            || entry.trim_end() == format!("COMMENT - EXTENSION {extension}")
            || on_member.is_some_and(|named| self.members.iter().any(|m| is_named(named, m)))
    }
}

/// True when `text` begins with the name `member` and not with a longer one.
fn is_named(text: &str, member: &str) -> bool {
    let rest = text.strip_prefix(member);
    rest.is_some_and(|rest| member.ends_with('(') || rest.starts_with([';', ' ']))
}

/// Where in the text the filter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Statement,
    /// Inside `'…'`; true for an E string, where a backslash escapes.
    Quoted(bool),
    Name,
    Dollar(Vec<u8>),
    Comment(u32),
    Copy,
}

/// What becomes of the lines of the current entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// The rest of the header and the empty line behind it.
    DroppedHeader,
    /// Statements up to the next empty line.
    DroppedBody,
}

/// Writes what it is given to `out`, without the entries left out.
pub struct Filter<W: Write> {
    out: W,
    left_out: LeftOut,
    place: Place,
    fate: Fate,
    /// A `--` line whose meaning the next line tells.
    holds_header: bool,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

impl<W: Write> Filter<W> {
    pub fn new(out: W, left_out: LeftOut) -> Filter<W> {
        Filter {
            out,
            left_out,
            place: Place::Statement,
            fate: Fate::Kept,
            holds_header: false,
            line: Vec::new(),
        }
    }

    /// Writes the rest and gives back the writer.
    pub fn finish(mut self) -> io::Result<W> {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            self.line(&rest)?;
        }
        self.release_header()?;
        Ok(self.out)
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.place == Place::Copy {
            if line == b"\\.\n" {
                self.place = Place::Statement;
            }
            return self.out.write_all(line);
        }
        let starts_anew = self.place == Place::Statement;
        if starts_anew && self.fate == Fate::Kept && self.begins_entry(line)? {
            return Ok(());
        }
        let is_copy =
            starts_anew && line.starts_with(b"COPY ") && line.ends_with(b" FROM stdin;\n");
        self.place = follow(std::mem::replace(&mut self.place, Place::Statement), line);
        if is_copy {
            self.place = Place::Copy;
        }
        match self.fate {
            Fate::Kept => self.out.write_all(line),
            Fate::DroppedHeader => {
                if line == b"\n" {
                    self.fate = Fate::DroppedBody;
                }
                Ok(())
            }
            Fate::DroppedBody => {
                if starts_anew && line == b"\n" {
                    self.fate = Fate::Kept;
                }
                Ok(())
            }
        }
    }

    /// Handles the two lines that open an entry; true when `line` needs nothing more.
    fn begins_entry(&mut self, line: &[u8]) -> io::Result<bool> {
        if line == b"--\n" && !self.holds_header {
            self.holds_header = true;
            return Ok(true);
        }
        if self.holds_header && self.left_out.has(line) {
            self.holds_header = false;
            self.fate = Fate::DroppedHeader;
            return Ok(true);
        }
        self.release_header()?;
        Ok(false)
    }

    fn release_header(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.holds_header) {
            self.out.write_all(b"--\n")?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Filter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_whole = piece.ends_with(b"\n");
            if is_whole && self.line.is_empty() {
                self.line(piece)?;
                continue;
            }
            self.line.extend_from_slice(piece);
            if is_whole {
                let line = std::mem::take(&mut self.line);
                self.line(&line)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Where the text stands after `line`, by the rules of PostgreSQL's lexer.
fn follow(mut place: Place, line: &[u8]) -> Place {
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        at += match &mut place {
            Place::Statement => {
                let (next, length) = open(line, at);
                if length == 0 {
                    return Place::Statement;
                }
                place = next;
                length
            }
            Place::Quoted(true) if rest[0] == b'\\' => 2,
            Place::Quoted(_) => close(&mut place, rest, b"'"),
            Place::Name => close(&mut place, rest, b"\""),
            Place::Dollar(tag) => {
                let tag = tag.clone();
                close(&mut place, rest, &tag)
            }
            Place::Comment(depth) if rest.starts_with(b"/*") => {
                *depth += 1;
                2
            }
            Place::Comment(depth) if rest.starts_with(b"*/") => {
                *depth -= 1;
                if *depth == 0 {
                    place = Place::Statement;
                }
                2
            }
            Place::Comment(_) | Place::Copy => 1,
        };
    }
    place
}

/// Ends the place where `end` comes; a doubled quote just opens again at once.
fn close(place: &mut Place, rest: &[u8], end: &[u8]) -> usize {
    if rest.starts_with(end) {
        *place = Place::Statement;
        end.len()
    } else {
        1
    }
}

/// What the text at `at` of a statement opens, and its length; length 0 for a line comment.
fn open(line: &[u8], at: usize) -> (Place, usize) {
    let rest = &line[at..];
    let before = at.checked_sub(1).map(|at| line[at]);
    let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    match rest[0] {
        b'\'' => {
            let two_before = at.checked_sub(2).map(|at| line[at]);
            let is_escaped =
                matches!(before, Some(b'E' | b'e')) && !two_before.is_some_and(in_word);
            (Place::Quoted(is_escaped), 1)
        }
        b'"' => (Place::Name, 1),
        b'-' if rest.starts_with(b"--") => (Place::Statement, 0),
        b'/' if rest.starts_with(b"/*") => (Place::Comment(1), 2),
        b'$' if !before.is_some_and(in_word) => match dollar_tag(rest) {
            Some(tag) => (Place::Dollar(tag.to_vec()), tag.len()),
            None => (Place::Statement, 1),
        },
        _ => (Place::Statement, 1),
    }
}

/// `$tag$` at the beginning of `text`.
fn dollar_tag(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().skip(1).position(|byte| *byte == b'$')? + 2;
    let tag = &text[1..end - 1];
    let is_tag = tag
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
        && !tag.first().is_some_and(u8::is_ascii_digit);
    is_tag.then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENSION: &str =
        "--\n-- Name: pg_incrbackup; Type: EXTENSION; Schema: -; Owner: -\n--\n\n\
        CREATE EXTENSION IF NOT EXISTS pg_incrbackup WITH SCHEMA public;\n\n\n";
    const COMMENT: &str =
        "--\n-- Name: EXTENSION pg_incrbackup; Type: COMMENT; Schema: -; Owner: \n\
        --\n\nCOMMENT ON EXTENSION pg_incrbackup IS 'it''s\n\nours';\n\n\n";
    const ACL: &str =
        "--\n-- Name: FUNCTION incr_flush(timeout interval); Type: ACL; Schema: public; \
        Owner: postgres\n--\n\nREVOKE ALL ON FUNCTION x;\nGRANT ALL ON FUNCTION x;\n\n\n";

    fn filtered(text: &str, chunk: usize) -> String {
        let members = ["FUNCTION incr_flush(".to_string()];
        let left_out = LeftOut::extension("pg_incrbackup", "public", &members);
        let mut filter = Filter::new(Vec::new(), left_out);
        for piece in text.as_bytes().chunks(chunk) {
            filter.write_all(piece).expect("memory takes it");
        }
        String::from_utf8(filter.finish().expect("memory takes it")).expect("text stays text")
    }

    #[test]
    fn entries_of_the_extension_go_and_settings_between_them_stay() {
        let text = format!("SET a = 1;\n\n{EXTENSION}{COMMENT}SET b = 2;\n\n--\n-- Name: t; Type: TABLE\n--\n\nCREATE TABLE t();\n\n{ACL}--\n-- done\n--\n");
        let wanted = "SET a = 1;\n\n\nSET b = 2;\n\n--\n-- Name: t; Type: TABLE\n--\n\nCREATE TABLE t();\n\n\n--\n-- done\n--\n";
        for chunk in [1, 7, 100_000] {
            let lines = |text: &str| {
                text.lines()
                    .filter(|l| !l.is_empty())
                    .map(str::to_string)
                    .collect::<Vec<_>>()
            };
            assert_eq!(lines(&filtered(&text, chunk)), lines(wanted));
        }
    }

    #[test]
    fn a_list_loses_the_same_entries() {
        let members = [
            "FUNCTION incr_flush(".to_string(),
            "TABLE ddl_history".to_string(),
        ];
        let left_out = LeftOut::extension("pg_incrbackup", "public", &members);
        let list = "; Archive\n2; 3079 16385 EXTENSION - pg_incrbackup \n\
            3380; 0 0 COMMENT - EXTENSION pg_incrbackup \n\
            3; 3079 16500 EXTENSION - pg_incrbackup_more \n\
            9; 0 0 ACL public FUNCTION incr_flush(timeout interval) postgres\n\
            10; 0 0 ACL public TABLE ddl_history postgres\n\
            11; 0 0 ACL public TABLE ddl_history_too postgres\n";
        let kept = "; Archive\n3; 3079 16500 EXTENSION - pg_incrbackup_more \n\
            11; 0 0 ACL public TABLE ddl_history_too postgres\n";
        assert_eq!(left_out.filter_list(list), kept);
    }

    #[test]
    fn the_same_words_inside_quotes_bodies_comments_and_rows_stay() {
        for (before, after) in [
            ("COMMENT ON SCHEMA s IS '\n", "';\n"),
            ("COMMENT ON SCHEMA s IS E'\\'\n", "';\n"),
            ("COMMENT ON SCHEMA \"a'b\" IS 'x''\n", "';\n"),
            ("CREATE FUNCTION f() AS $x$ '$y$\n", "$x$;\n"),
            ("/* /* \n */ \n", "*/\n"),
            ("COPY t (a) FROM stdin;\n", "\\.\n"),
        ] {
            let text = format!("{before}{EXTENSION}{after}");
            assert_eq!(filtered(&text, 5), text);
            let behind = format!("{text}{EXTENSION}SELECT 1;\n");
            assert!(filtered(&behind, 5).ends_with("SELECT 1;\n"));
            assert!(filtered(&behind, 5).len() < behind.len() - 100, "{before}");
        }
    }
}
