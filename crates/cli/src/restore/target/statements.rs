//! Single statements of the texts that pg_dumpall writes (globals.sql) and that pg_incrbackup writes (database.sql).
//!
//! Only what these two write is understood: names in double quotes, string constants with and without E, comments up to
//! the end of a line, and psql's `\restrict`. Statements with anything else that could divide them otherwise (dollar
//! quotes, comments in `/* */`, other meta-commands) are marked, for the caller to report and not to execute.

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Number of its first line, from 1.
    pub line: u64,
    /// Without the `;`.
    pub text: Vec<u8>,
    /// It is completely understood.
    pub is_plain: bool,
}

/// The statements of a text, in order. An error if it ends within one: number of the line where that begins.
pub fn split(text: &[u8]) -> Result<Vec<Statement>, u64> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    loop {
        let (blank, lines) = blank(&text[at..]);
        at += blank;
        line += lines;
        if at == text.len() {
            return Ok(found);
        }
        let (length, is_plain) = match text[at] {
            b'\\' => (end_of_line(&text[at..]), is_guard(&text[at..])),
            _ => statement(&text[at..]).ok_or(line)?,
        };
        let whole = &text[at..at + length];
        if !(whole.starts_with(b"\\") && is_plain) {
            found.push(Statement {
                line,
                text: whole.strip_suffix(b";").unwrap_or(whole).to_vec(),
                is_plain,
            });
        }
        line += lines_of(whole);
        at += length;
    }
}

/// The length of white space and comments, and the line ends in it.
fn blank(text: &[u8]) -> (usize, u64) {
    let mut at = 0;
    while at < text.len() {
        if text[at].is_ascii_whitespace() {
            at += 1;
        } else if text[at..].starts_with(b"--") {
            at += end_of_line(&text[at..]);
        } else {
            break;
        }
    }
    (at, lines_of(&text[..at]))
}

/// The length of a statement with its `;`, and whether it is plain. `None` if it has no end.
fn statement(text: &[u8]) -> Option<(usize, bool)> {
    let (mut at, mut is_plain) = (0, true);
    while at < text.len() {
        at += match text[at] {
            b'"' => quoted(&text[at..], false)?,
            b'\'' => {
                let is_escape = matches!(before(text, at, 1), Some(b'E' | b'e'));
                // X'…', B'…', U&'…', or a name that ends in E: nobody writes those here.
                let prefix = before(text, at, if is_escape { 2 } else { 1 });
                is_plain &= prefix.is_none_or(is_separator);
                quoted(&text[at..], is_escape)?
            }
            b';' => return Some((at + 1, is_plain)),
            b'-' if text[at..].starts_with(b"--") => end_of_line(&text[at..]),
            b'/' if text[at..].starts_with(b"/*") => {
                is_plain = false;
                1
            }
            b'$' | b'\\' => {
                is_plain = false;
                1
            }
            _ => 1,
        };
    }
    None
}

fn before(text: &[u8], at: usize, count: usize) -> Option<u8> {
    text.get(at.checked_sub(count)?).copied()
}

fn is_separator(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b'(' | b'=')
}

/// The length of a quoted name or string at the beginning of `text`.
pub fn quoted(text: &[u8], has_escapes: bool) -> Option<usize> {
    let mark = text[0];
    let mut at = 1;
    loop {
        match *text.get(at)? {
            b'\\' if has_escapes => at += 2,
            byte if byte == mark && text.get(at + 1) == Some(&mark) => at += 2,
            byte if byte == mark => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn end_of_line(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1)
}

fn lines_of(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// `\restrict` and `\unrestrict` only say something to psql.
fn is_guard(line: &[u8]) -> bool {
    let word = [&b"\\restrict "[..], b"\\unrestrict "]
        .iter()
        .find_map(|start| line[..end_of_line(line)].strip_prefix(*start));
    word.is_some_and(|key| key.trim_ascii().iter().all(u8::is_ascii_alphanumeric))
}

/// Takes what is known off the beginning of a statement.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a>(pub &'a [u8]);

impl<'a> Words<'a> {
    /// True if `words` were there.
    pub fn eat(&mut self, words: &str) -> bool {
        match self.0.strip_prefix(words.as_bytes()) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// An identifier, unquoted.
    pub fn name(&mut self) -> Option<Vec<u8>> {
        if self.0.first() == Some(&b'"') {
            let length = quoted(self.0, false)?;
            let (name, rest) = self.0.split_at(length);
            self.0 = rest;
            let mut inner = name[1..length - 1].to_vec();
            let mut at = 0;
            while let Some(found) = memchr::memchr(b'"', &inner[at..]) {
                inner.remove(at + found);
                at += found + 1;
            }
            return Some(inner);
        }
        let is_end = |byte: &u8| {
            byte.is_ascii_whitespace() || matches!(byte, b';' | b',' | b'(' | b'"' | b'\'')
        };
        let length = self.0.iter().position(is_end).unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(length);
        self.0 = rest;
        (length > 0).then(|| name.to_vec())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let all = split(text.as_bytes()).unwrap();
        assert!(all.iter().all(|statement| statement.is_plain), "{text}");
        let texts = all
            .into_iter()
            .map(|it| String::from_utf8(it.text).unwrap());
        texts.collect()
    }

    #[test]
    fn a_mark_within_quotes_divides_nothing() {
        for statement in [
            r#"CREATE ROLE "a;b""#,
            "ALTER ROLE \"x\n;--\"\"y\" WITH LOGIN",
            r#"ALTER ROLE "$x$" WITH PASSWORD 'it''s; $$ \'"#,
            r"COMMENT ON ROLE a IS E'back\\slash\'; \n''x'",
            r#"COMMENT ON ROLE "it's" IS 'say "hello;'"#,
            "ALTER ROLE \"\\\" SET search_path TO 'a\\', \"b;\"",
            "COMMENT ON ROLE \"\\restrict x\" IS '\n\\unrestrict y\n-- no comment\n/* nor this */'",
        ] {
            let text = format!("-- it's a \"comment;\n\n{statement};\n\n{statement};\n");
            assert_eq!(texts(&text), [statement, statement]);
        }
    }

    #[test]
    fn several_statements_may_be_on_a_line() {
        let line = "SET SESSION AUTHORIZATION \"a;\"; GRANT x TO y; RESET SESSION AUTHORIZATION;";
        let parts = [
            "SET SESSION AUTHORIZATION \"a;\"",
            "GRANT x TO y",
            "RESET SESSION AUTHORIZATION",
        ];
        assert_eq!(texts(line), parts);
    }

    #[test]
    fn lines_are_counted() {
        let text =
            "\\restrict x1\n\n-- a\nSET a = 'b\nc';\n\n  SET d = e;SET f = g;\n\\unrestrict x1\n";
        let lines: Vec<u64> = split(text.as_bytes())
            .unwrap()
            .iter()
            .map(|it| it.line)
            .collect();
        assert_eq!(lines, [4, 7, 7]);
    }

    #[test]
    fn what_is_not_understood_is_marked() {
        for text in [
            "DO $$ BEGIN END $$;",
            "SELECT 1 /* ; */;",
            "\\! rm -rf x\n",
            "\\restrict a; DROP TABLE b\n",
            "SET a = U&'x';",
            "SET a = B'1';",
            "SELECT 1 \\gexec\n;",
        ] {
            let all = split(text.as_bytes()).unwrap();
            assert!(all.iter().any(|statement| !statement.is_plain), "{text}");
        }
    }

    #[test]
    fn a_torn_text_is_an_error() {
        for text in [
            "SET a = 'b",
            "SET a",
            "\n\nALTER ROLE \"x;\n",
            "SET a = E'\\'",
        ] {
            assert!(split(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(split(b"SET a;\n\nSET 'b"), Err(3));
    }

    #[test]
    fn names_are_read_as_the_server_reads_them() {
        for (text, name, rest) in [
            ("bob;", "bob", ";"),
            (r#""a ""b"" \;" TO c"#, r#"a "b" \;"#, " TO c"),
            ("\"x\ny\"", "x\ny", ""),
            ("a b", "a", " b"),
            (r#""""""#, r#"""#, ""),
        ] {
            let mut words = Words(text.as_bytes());
            assert_eq!(words.name().unwrap(), name.as_bytes(), "{text}");
            assert_eq!(words.0, rest.as_bytes(), "{text}");
        }
        assert_eq!(Words(b"\"open").name(), None);
        assert_eq!(Words(b" x").name(), None);
    }
}
