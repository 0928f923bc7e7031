//! Whether a text of SQL is within something quoted at the end of a line, by PostgreSQL's lexical rules (scan.l), with
//! standard_conforming_strings on.

/// What is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Lexer {
    #[default]
    Plain,
    /// `"…`
    Name,
    /// `'…`, or `E'…`, in which a backslash escapes.
    Text { has_escapes: bool },
    /// `$tag$…`: the tag with its dollars.
    Dollar(Vec<u8>),
    /// `/* …`, nested.
    Comment { depth: usize },
}

impl Lexer {
    pub fn is_plain(&self) -> bool {
        *self == Lexer::Plain
    }

    /// Takes a whole line, with its end. Returns the last byte outside of comments that is not white space.
    pub fn line(&mut self, line: &[u8]) -> Option<u8> {
        let (mut at, mut last) = (0, None);
        while at < line.len() {
            if !matches!(self, Lexer::Comment { .. }) && !line[at].is_ascii_whitespace() {
                last = Some(line[at]);
            }
            at += match self {
                Lexer::Plain if line[at..].starts_with(b"--") => {
                    return before_comment(line, at);
                }
                Lexer::Plain => self.plain(line, at),
                Lexer::Name => self.end_at(line[at] == b'"', 1),
                Lexer::Text { has_escapes } => match line[at] {
                    b'\\' if *has_escapes => 2,
                    b'\'' if line.get(at + 1) == Some(&b'\'') => 2,
                    byte => self.end_at(byte == b'\'', 1),
                },
                Lexer::Dollar(tag) => {
                    let (is_end, length) = (line[at..].starts_with(tag), tag.len());
                    self.end_at(is_end, if is_end { length } else { 1 })
                }
                Lexer::Comment { depth } => {
                    if line[at..].starts_with(b"/*") {
                        *depth += 1;
                        2
                    } else if line[at..].starts_with(b"*/") {
                        *depth -= 1;
                        let is_end = *depth == 0;
                        self.end_at(is_end, 2)
                    } else {
                        1
                    }
                }
            };
        }
        last
    }

    fn end_at(&mut self, is_end: bool, length: usize) -> usize {
        if is_end {
            *self = Lexer::Plain;
        }
        length
    }

    fn plain(&mut self, line: &[u8], at: usize) -> usize {
        let before = |count: usize| at.checked_sub(count).map(|at| line[at]);
        match line[at] {
            b'"' => *self = Lexer::Name,
            b'\'' => {
                let has_escapes =
                    matches!(before(1), Some(b'E' | b'e')) && !before(2).is_some_and(is_of_name);
                *self = Lexer::Text { has_escapes };
            }
            b'/' if line[at..].starts_with(b"/*") => {
                *self = Lexer::Comment { depth: 1 };
                return 2;
            }
            b'$' if !before(1).is_some_and(is_of_name) => {
                if let Some(tag) = tag(&line[at..]) {
                    *self = Lexer::Dollar(tag.to_vec());
                    return tag.len();
                }
            }
            _ => {}
        }
        1
    }
}

/// `$tag$` at the beginning of `text`.
fn tag(text: &[u8]) -> Option<&[u8]> {
    let length = text[1..].iter().position(|byte| *byte == b'$')?;
    let name = &text[1..=length];
    let is_tag =
        name.iter().all(|byte| is_of_name(*byte)) && !name.first().is_some_and(u8::is_ascii_digit);
    is_tag.then(|| &text[..length + 2])
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn before_comment(line: &[u8], at: usize) -> Option<u8> {
    line[..at]
        .iter()
        .rev()
        .find(|byte| !byte.is_ascii_whitespace())
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_after(text: &str) -> Lexer {
        let mut lexer = Lexer::default();
        for line in text.split_inclusive('\n') {
            lexer.line(line.as_bytes());
        }
        lexer
    }

    #[test]
    fn what_is_open_is_known_at_the_end_of_every_line() {
        for text in [
            "SELECT 'it''s\n--';\n",
            "SELECT E'a\\'\n''b\\\\';\n",
            "SELECT 'a\\';\n",
            "SELECT \"a\"\"\n'b\" FROM $x$ '\" $y$ $$ \n $x$;\n",
            "-- it's \"\nSELECT 1; -- $$\n",
            "/* a /* ' */ \n\" */ SELECT a$b$c;\n",
            "SELECT $1, a.$$ ' $$;\n",
            "SELECT type'x', ne'\\';\n",
        ] {
            assert_eq!(open_after(text), Lexer::Plain, "{text}");
        }
        for text in [
            "SELECT '\n",
            "SELECT \"a\"\"\n",
            "$a$ $b$ $$\n",
            "/* /* */\n",
            "SELECT E'\\'\n",
        ] {
            assert!(!open_after(text).is_plain(), "{text}");
        }
    }

    #[test]
    fn the_last_byte_is_that_of_the_statement() {
        let last = |line: &str| Lexer::default().line(line.as_bytes());
        assert_eq!(last("SELECT 1; -- x\n"), Some(b';'));
        assert_eq!(last("-- x;\n"), None);
        assert_eq!(last("SELECT 1\n"), Some(b'1'));
        assert_eq!(last("\n"), None);
    }
}
