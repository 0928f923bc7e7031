//! A DDL block: a statement with arbitrary text, between statements that set and reset its environment.
//!
//! psql parses a segment before the server does, and differently: it counts `begin` and `end` even if a
//! function has such a name, and substitutes its variables in `a[1:ROW_COUNT]`. Therefore the text is a
//! literal, whose tag it does not contain, and plpgsql executes it:
//!
//! ```text
//! DO $rKEY$ BEGIN SET LOCAL ROLE bob; SET LOCAL search_path = public; EXECUTE $sKEY$
//! CREATE TABLE t(
//!   a int)
//! $sKEY$; END $rKEY$;
//! SET LOCAL ROLE NONE; SET LOCAL search_path = '';
//! ```
//!
//! The role is set inside of DO: it may lack the privilege to use plpgsql. Segments of versions before 0.3.0
//! contain the text itself there, followed by a line `;`; they can be read, too.

use memchr::memmem;

/// Its parts. The text before and after is on one line, and written by us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DdlBlock<'a> {
    /// Statements that set the role and the settings of the statement.
    pub before: &'a [u8],
    /// The statement, in its canonical form; further ones of ours may follow, after semicolons.
    pub statement: &'a [u8],
    /// Statements that reset what `before` has set.
    pub after: &'a [u8],
}

impl<'a> DdlBlock<'a> {
    /// A statement that needs no environment.
    pub fn alone(statement: &'a [u8]) -> DdlBlock<'a> {
        DdlBlock {
            statement,
            ..DdlBlock::default()
        }
    }

    /// The lines, the last one without its end. `key` is the prefix of the tags.
    pub fn write(&self, key: &str) -> Vec<u8> {
        let (run, sql) = self.tags(key);
        let space: &[u8] = if self.before.is_empty() { b"" } else { b" " };
        let mut text = [b"DO ", &run[..], b" BEGIN", space, self.before].concat();
        text.extend([b" EXECUTE ", &sql[..], b"\n", self.statement, b"\n"].concat());
        text.extend([&sql[..], b"; END ", &run, b";"].concat());
        if !self.after.is_empty() {
            text.push(b'\n');
            text.extend_from_slice(self.after);
        }
        text
    }

    /// Parses a block's lines, including those of older versions.
    pub fn read(text: &'a [u8]) -> DdlBlock<'a> {
        Self::read_literal(text)
            .or_else(|| Self::read_bare(text))
            .unwrap_or(DdlBlock::alone(text))
    }

    fn read_literal(text: &'a [u8]) -> Option<DdlBlock<'a>> {
        let (first, rest) = split_line(text)?;
        let word = first.strip_prefix(b"DO $r")?;
        let word = &word[..memchr::memchr(b'$', word)?];
        let (run, sql) = tags_of(word);
        let opening = [b"DO ", &run[..], b" BEGIN"].concat();
        let execute = [b" EXECUTE ", &sql[..]].concat();
        let before = first
            .strip_prefix(&opening[..])?
            .strip_suffix(&execute[..])?;
        let closing = [b"\n", &sql[..], b"; END ", &run, b";"].concat();
        let end = memmem::find(rest, &closing)?;
        let after = &rest[end + closing.len()..];
        Some(DdlBlock {
            before: before.strip_prefix(b" ").unwrap_or(before),
            statement: &rest[..end],
            after: after.strip_prefix(b"\n").unwrap_or(after),
        })
    }

    fn read_bare(text: &'a [u8]) -> Option<DdlBlock<'a>> {
        const END: &[u8] = b"\n;\n";
        let (before, rest) = split_line(text)?;
        let end = memmem::rfind(rest, END)?;
        Some(DdlBlock {
            before,
            statement: &rest[..end],
            after: &rest[end + END.len()..],
        })
    }

    /// Two tags that do not occur inside their literals.
    fn tags(&self, key: &str) -> (Vec<u8>, Vec<u8>) {
        let mut word = key.as_bytes().to_vec();
        loop {
            let (run, sql) = tags_of(&word);
            let holds = |tag: &[u8]| {
                [self.before, self.statement]
                    .iter()
                    .any(|text| memmem::find(text, tag).is_some())
            };
            if !holds(&run) && !holds(&sql) {
                return (run, sql);
            }
            word.push(b'_');
        }
    }
}

fn tags_of(word: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let tag = |letter: &[u8]| [b"$", letter, word, b"$"].concat();
    (tag(b"r"), tag(b"s"))
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'\n', text)?;
    Some((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_block_reads_as_a_person_would_write_it() {
        let block = DdlBlock {
            before: b"SET LOCAL ROLE bob;",
            statement: b"CREATE TABLE t()",
            after: b"SET LOCAL ROLE NONE;",
        };
        let text = String::from_utf8(block.write("12ab")).unwrap();
        assert_eq!(
            text,
            "DO $r12ab$ BEGIN SET LOCAL ROLE bob; EXECUTE $s12ab$\nCREATE TABLE t()\n\
             $s12ab$; END $r12ab$;\nSET LOCAL ROLE NONE;"
        );
    }

    #[test]
    fn any_statement_comes_back() {
        for statement in [
            "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS $$SELECT 1$$",
            "SELECT $s12ab$; END $r12ab$;\n$s12ab_$ -- $r12ab__$",
            "\n;\n\n$s12ab$; END $r12ab$;\n;\n",
            "SELECT '$s12ab",
            "",
        ] {
            for (before, after) in [("SET a = '$r12ab$';", "RESET a;"), ("", "")] {
                let block = DdlBlock {
                    before: before.as_bytes(),
                    statement: statement.as_bytes(),
                    after: after.as_bytes(),
                };
                let text = block.write("12ab");
                assert_eq!(DdlBlock::read(&text), block, "{statement}");
            }
        }
    }

    #[test]
    fn the_literal_ends_where_the_statement_does() {
        let block = DdlBlock::alone(b"SELECT 1 $s12ab$ $r12ab_$");
        let text = block.write("12ab");
        assert_eq!(memmem::find_iter(&text, b"$s12ab__$").count(), 2);
        assert_eq!(memmem::find_iter(&text, b"$r12ab__$").count(), 2);
    }

    #[test]
    fn blocks_of_older_versions_are_read() {
        let old = b"SET LOCAL ROLE bob;\nCREATE TABLE t(\n;\n)\n;\nSET LOCAL ROLE NONE;";
        assert_eq!(
            DdlBlock::read(old),
            DdlBlock {
                before: b"SET LOCAL ROLE bob;",
                statement: b"CREATE TABLE t(\n;\n)",
                after: b"SET LOCAL ROLE NONE;",
            }
        );
        let rewrite = b"DO $do$BEGIN TRUNCATE ONLY t; END$do$;";
        assert_eq!(DdlBlock::read(rewrite), DdlBlock::alone(rewrite));
    }
}
