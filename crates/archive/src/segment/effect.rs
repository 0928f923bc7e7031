//! The comments above a schema change: its effect, the original statement, or why it is written as text.
//!
//! An *effect* is the change of a statement in the catalogs, as SQL of our own; its comment names the object
//! and its prerequisites. *Words* are the original statement, for people: a restore does not read them. They
//! precede the effects of their statement, up to the next words or the end of the transaction. *Unhandled* is
//! in segments of earlier versions before a DDL block of a class of objects without known effects.
//!
//! ```text
//! -- @KEY words command=CREATE%20TABLE role=bob at=2026-11-21T03:40:00.000000Z text=create%20table%20t%28%29
//! -- @KEY effect lines=3 class=table oid=16401 verb=create identity=public.t needs=2615:2200,1247:16399
//! DO $rKEY$ BEGIN EXECUTE $sKEY$
//! CREATE TABLE public.t ()
//! $sKEY$; END $rKEY$;
//! -- @KEY unhandled class=operator%20family command=CREATE%20OPERATOR%20FAMILY
//! ```
//!
//! The length of a line is limited ([`super::grammar::LONGEST_COMMENT`]). A value that does not fit is
//! truncated, and a following field `…_cut` contains the number of missing bytes.

use super::grammar::{Comment, CommentWriter, Flaw, Key};
use crate::time::Time;

/// Maximum length in bytes of a class, a verb or a command, which are our own and never that long.
const LONGEST_WORD: usize = 100;
/// A role's name, encoded.
const LONGEST_ROLE: usize = 600;
/// An identity, encoded: a function of a hundred arguments has a long one.
const LONGEST_IDENTITY: usize = 2000;

/// The original statement, to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words<'a> {
    /// The command's tag.
    pub command: &'a str,
    /// The role that ran it.
    pub role: &'a [u8],
    /// When it ran, which is before its transaction committed.
    pub at: Option<Time>,
    /// The statement, of any bytes and any length.
    pub text: &'a [u8],
}

/// The subject of an effect, to be written. Objects are identified by the catalogs' OIDs at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectNote<'a> {
    /// The kind of object, in lower case: `table`, `operator family`.
    pub class: &'a str,
    pub oid: u32,
    /// The operation, in lower case: `create`, `alter`, `drop`.
    pub verb: &'a str,
    /// Its qualified and quoted name, in the database's encoding.
    pub identity: &'a [u8],
    /// The objects that must exist before: class OID and OID of each.
    pub needs: &'a [(u32, u32)],
}

/// [`Words`] that were parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedWords {
    pub command: String,
    pub role: Vec<u8>,
    pub at: Option<Time>,
    pub text: Vec<u8>,
    /// The number of missing bytes of the text.
    pub text_cut: u64,
}

/// An [`EffectNote`] that was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    pub class: String,
    pub oid: u32,
    pub verb: String,
    pub identity: Vec<u8>,
    /// The number of missing bytes of the identity.
    pub identity_cut: u64,
    pub needs: Vec<(u32, u32)>,
    /// The number of missing prerequisites.
    pub needs_cut: u64,
}

impl Words<'_> {
    pub(super) fn line(&self, key: Key) -> String {
        let line = CommentWriter::new(key, "words")
            .field("command", word(self.command))
            .cut("role", self.role, LONGEST_ROLE)
            .time_or_none("at", self.at);
        let room = line.room();
        line.cut("text", self.text, room).finish()
    }
}

impl TypedWords {
    pub fn read(comment: &Comment<'_>) -> Result<TypedWords, Flaw> {
        Ok(TypedWords {
            command: comment.text("command")?,
            role: comment.bytes("role")?,
            at: comment.optional("at", |c, name| c.time(name))?,
            text: comment.bytes("text")?,
            text_cut: comment.missing("text")?,
        })
    }
}

impl EffectNote<'_> {
    /// `lines`: of the following block.
    pub(super) fn line(&self, key: Key, lines: usize) -> String {
        CommentWriter::new(key, "effect")
            .field("lines", lines)
            .field("class", word(self.class))
            .field("oid", self.oid)
            .field("verb", word(self.verb))
            .cut("identity", self.identity, LONGEST_IDENTITY)
            .pairs("needs", self.needs)
            .finish()
    }
}

impl Effect {
    pub fn read(comment: &Comment<'_>) -> Result<Effect, Flaw> {
        Ok(Effect {
            class: comment.text("class")?,
            oid: comment.value("oid")?,
            verb: comment.text("verb")?,
            identity: comment.bytes("identity")?,
            identity_cut: comment.missing("identity")?,
            needs: comment.pairs("needs")?,
            needs_cut: comment.missing("needs")?,
        })
    }

    /// As a statement's command: `ALTER TABLE`.
    pub fn command(&self) -> String {
        format!("{} {}", self.verb, self.class).to_uppercase()
    }
}

fn word(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_WORD)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::grammar::LONGEST_COMMENT;
    use super::*;
    use crate::time::parse_iso;

    fn key() -> Key {
        Key::parse(b"0123456789abcdef").unwrap()
    }

    /// The one line, parsed like the scanner does.
    fn read<T>(line: &str, read: impl Fn(&Comment<'_>) -> Result<T, Flaw>) -> T {
        let line = line.strip_suffix('\n').unwrap();
        assert!(!line.contains(['\n', '\r', '\0']), "{line:?}");
        assert!(line.len() <= LONGEST_COMMENT, "{} bytes", line.len());
        read(&Comment::parse(line.as_bytes(), key()).unwrap()).unwrap()
    }

    /// Bytes that look random and are the same in each run.
    fn bytes(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    fn hostile() -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = [
            &b""[..],
            b" ",
            b"none",
            b"a\nb\r\n-- @0123456789abcdef footer end_lsn=0/0",
            b"\\! rm -rf x\n\\q",
            b"x needs=1:2 text=y text_cut=9 class=z",
            b"SELECT a[1:PORT], :'x', $$\0$$ %41%",
            b"\xff\xfe\x80",
        ]
        .map(<[u8]>::to_vec)
        .into();
        all.push((0..=255).collect());
        for length in [1, 7, 63, 500, 1300, 1400, 3900, 4000, 4096, 5000, 100_000] {
            all.push(bytes(length as u64, length));
            all.push(vec![b'x'; length]);
            all.push(vec![b'\n'; length]);
        }
        all
    }

    #[test]
    fn any_words_stay_on_one_line_and_come_back() {
        for text in hostile() {
            for (role, at) in [
                (&b"bob"[..], None),
                (&text[..], parse_iso("2026-11-21T03:40:00.123456Z")),
            ] {
                let words = Words {
                    command: "CREATE TABLE",
                    role,
                    at,
                    text: &text,
                };
                let read = read(&words.line(key()), TypedWords::read);
                assert_eq!((read.command.as_str(), read.at), (words.command, at));
                assert!(role.starts_with(&read.role));
                assert!(role.len() > 200 || role == read.role);
                assert!(text.starts_with(&read.text));
                assert_eq!(read.text.len() as u64 + read.text_cut, text.len() as u64);
                assert!(
                    text.len() > 1000 || read.text_cut == 0,
                    "a short text is whole"
                );
            }
        }
    }

    #[test]
    fn any_identity_stays_on_one_line_and_comes_back() {
        let few = [(2615, 2200), (u32::MAX, u32::MAX)];
        let many: Vec<(u32, u32)> = (0..5000).map(|n| (1259, u32::MAX - n)).collect();
        for identity in hostile() {
            for needs in [&[][..], &few, &many] {
                let note = EffectNote {
                    class: "operator family",
                    oid: u32::MAX,
                    verb: "create",
                    identity: &identity,
                    needs,
                };
                let line = note.line(key(), usize::MAX);
                let read = read(&line, Effect::read);
                assert_eq!(read.class, note.class);
                assert_eq!((read.verb.as_str(), read.oid), ("create", u32::MAX));
                assert!(identity.starts_with(&read.identity));
                let whole = read.identity.len() as u64 + read.identity_cut;
                assert_eq!(whole, identity.len() as u64);
                assert!(identity.len() > 600 || read.identity_cut == 0);
                assert!(needs.starts_with(&read.needs));
                let whole = read.needs.len() as u64 + read.needs_cut;
                assert_eq!(whole, needs.len() as u64);
                assert!(needs.len() > 2 || read.needs_cut == 0);
            }
        }
    }

    #[test]
    fn lines_read_as_a_person_would_write_them() {
        let note = EffectNote {
            class: "table",
            oid: 16401,
            verb: "create",
            identity: b"public.t",
            needs: &[(2615, 16390), (1247, 16399)],
        };
        assert_eq!(
            note.line(key(), 3),
            "-- @0123456789abcdef effect lines=3 class=table oid=16401 verb=create \
             identity=public.t needs=2615:16390,1247:16399\n"
        );
        let words = Words {
            command: "CREATE TABLE",
            role: b"bob",
            at: None,
            text: b"create table t()",
        };
        assert_eq!(
            words.line(key()),
            "-- @0123456789abcdef words command=CREATE%20TABLE role=bob at=none \
             text=create%20table%20t%28%29\n"
        );
    }

    #[test]
    fn pairs_that_are_none_are_a_flaw() {
        for bad in ["x", "1", "1:", "1:2,", "1:2,3", "-1:2", "1:99999999999"] {
            let line =
                format!("-- @0123456789abcdef effect class=t oid=1 verb=v identity=i needs={bad}");
            let comment = Comment::parse(line.as_bytes(), key()).unwrap();
            assert!(Effect::read(&comment).is_err(), "{bad}");
        }
    }
}
