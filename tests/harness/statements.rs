//! The statements of a script, divided where psql divides them (PostgreSQL's psqlscan.l and mainloop.c, with
//! standard_conforming_strings on), as far as they need nothing that only psql does.

/// One statement as psql sends it: with its `;`, without empty lines, nor comments up to a line's end that precede it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub text: String,
    /// `\gexec` ended it: each of its values is a statement to be executed.
    pub makes_statements: bool,
}

/// Psql prints notifications, and sends what follows COPY FROM STDIN as data.
const WORDS_LEFT_TO_PSQL: [&str; 2] = ["listen", "stdin"];

/// It reads the script as these settings say, also if a function sets them.
const SETTINGS_LEFT_TO_PSQL: [&str; 2] = ["client_encoding", "standard_conforming_strings"];

/// `None` for a script that psql has to read: one with meta-commands other than `\gexec`, with what may be psql's
/// variables, or with something of the lists above.
pub(crate) fn split(script: &str) -> Option<Vec<Statement>> {
    let lower = script.to_ascii_lowercase();
    if SETTINGS_LEFT_TO_PSQL
        .iter()
        .any(|name| lower.contains(name))
    {
        return None;
    }
    let mut scanner = Scanner {
        text: script.as_bytes(),
        at: 0,
        parentheses: 0,
        blocks: 0,
        words: Words::default(),
        empty_lines: Vec::new(),
    };
    let mut found = Vec::new();
    loop {
        scanner.skip_blank();
        let start = scanner.at;
        if start == script.len() {
            return Some(found);
        }
        let end = scanner.statement()?;
        let mut text = String::new();
        let mut kept = start;
        for line_end in scanner.empty_lines.drain(..) {
            text.push_str(&script[kept..line_end]);
            kept = line_end + 1;
        }
        text.push_str(&script[kept..scanner.at]);
        found.push(Statement {
            text: text.trim_end_matches('\n').to_owned(),
            makes_statements: end == End::Gexec,
        });
        if end == End::Gexec {
            scanner.at += GEXEC.len();
        }
    }
}

const GEXEC: &[u8] = b"\\gexec";

#[derive(Debug, PartialEq, Eq)]
enum End {
    Semicolon,
    Gexec,
    Script,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    parentheses: usize,
    /// BEGIN and CASE in the body of a function of standard SQL that have no END yet.
    blocks: usize,
    words: Words,
    /// The line ends before them, which are not within quotes or comments.
    empty_lines: Vec<usize>,
}

impl Scanner<'_> {
    fn rest(&self) -> &[u8] {
        &self.text[self.at..]
    }

    fn skip_blank(&mut self) {
        while let Some(&byte) = self.text.get(self.at) {
            if byte.is_ascii_whitespace() {
                self.at += 1;
            } else if self.rest().starts_with(b"--") {
                self.at += line_length(self.rest());
            } else {
                return;
            }
        }
    }

    /// Goes to the end of a statement.
    fn statement(&mut self) -> Option<End> {
        (self.parentheses, self.blocks, self.words) = (0, 0, Words::default());
        while let Some(&byte) = self.text.get(self.at) {
            let rest = self.rest();
            let length = match byte {
                b'\n' => {
                    if rest.get(1) == Some(&b'\n') {
                        self.empty_lines.push(self.at);
                    }
                    1
                }
                b'-' if rest.starts_with(b"--") => line_length(rest),
                b'/' if rest.starts_with(b"/*") => comment_length(rest),
                b'\'' => quoted_length(rest, false),
                b'"' => quoted_length(rest, false),
                b'$' => dollar_length(rest),
                b'\\' => return is_gexec(rest).then_some(End::Gexec),
                b':' => colon_length(rest)?,
                b';' if self.parentheses == 0 && self.blocks == 0 => {
                    self.at += 1;
                    return Some(End::Semicolon);
                }
                b'(' => {
                    self.parentheses += 1;
                    1
                }
                b')' => {
                    self.parentheses = self.parentheses.saturating_sub(1);
                    1
                }
                byte if byte.is_ascii_digit() => word_length(rest),
                byte if is_of_name(byte) => self.word()?,
                _ => 1,
            };
            self.at += length;
        }
        Some(End::Script)
    }

    /// A word, or a string with a prefix.
    fn word(&mut self) -> Option<usize> {
        let rest = self.rest();
        if matches!(rest, [b'E' | b'e', b'\'', ..]) {
            return Some(1 + quoted_length(&rest[1..], true));
        }
        // The other prefixes (N, B, X, U&) change nothing about where a string ends.
        let length = word_length(rest);
        let word = rest[..length].to_ascii_lowercase();
        if WORDS_LEFT_TO_PSQL
            .iter()
            .any(|left| left.as_bytes() == word)
        {
            return None;
        }
        self.words.take(&word);
        if self.words.create_routine() && self.parentheses == 0 {
            match word.as_slice() {
                b"begin" => self.blocks += 1,
                b"case" if self.blocks > 0 => self.blocks += 1,
                b"end" => self.blocks = self.blocks.saturating_sub(1),
                _ => {}
            }
        }
        Some(length)
    }
}

/// The first four words of a statement, as far as CREATE FUNCTION or CREATE PROCEDURE consists of them.
#[derive(Default)]
struct Words {
    count: usize,
    first: [u8; 4],
}

impl Words {
    fn take(&mut self, word: &[u8]) {
        let is_known = matches!(
            word,
            b"create" | b"or" | b"replace" | b"function" | b"procedure"
        );
        if let Some(letter) = self.first.get_mut(self.count).filter(|_| is_known) {
            *letter = word[0];
        }
        self.count += 1;
    }

    fn create_routine(&self) -> bool {
        matches!(
            self.first,
            [b'c', b'f' | b'p', ..] | [b'c', b'o', b'r', b'f' | b'p']
        )
    }
}

fn is_gexec(rest: &[u8]) -> bool {
    let behind = rest.strip_prefix(GEXEC);
    behind.is_some_and(|behind| behind.first().is_none_or(u8::is_ascii_whitespace))
}

/// A cast, an assignment or a slice; `None` for what may be a variable of psql.
fn colon_length(rest: &[u8]) -> Option<usize> {
    match rest.get(1) {
        Some(b':' | b'=') => Some(2),
        Some(b'\'' | b'"' | b'{') => None,
        Some(byte) if is_of_name(*byte) => None,
        _ => Some(1),
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn word_length(rest: &[u8]) -> usize {
    let is_part = |byte: &&u8| is_of_name(**byte) || **byte == b'$';
    rest.iter().take_while(is_part).count()
}

fn line_length(rest: &[u8]) -> usize {
    let end = rest.iter().position(|byte| *byte == b'\n');
    end.unwrap_or(rest.len())
}

fn comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// A doubled quote ends one string and begins the next, which comes to the same.
fn quoted_length(rest: &[u8], has_escapes: bool) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' if has_escapes => at += 2,
            byte if byte == rest[0] && rest.get(at + 1) == Some(&byte) => at += 2,
            byte if byte == rest[0] => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `$tag$…$tag$`, or the dollar alone.
fn dollar_length(rest: &[u8]) -> usize {
    let name = rest[1..].iter().take_while(|byte| is_of_name(**byte));
    let tag = 1 + name.count();
    if rest.get(tag) != Some(&b'$') || rest[1].is_ascii_digit() {
        return 1;
    }
    let mark = &rest[..=tag];
    let inside = &rest[mark.len()..];
    let end = inside.windows(mark.len()).position(|part| part == mark);
    end.map_or(rest.len(), |end| end + 2 * mark.len())
}

/// Whether a script is run by psql in any case.
pub fn is_left_to_psql(script: &str) -> bool {
    split(script).is_none()
}
