//! A point with a name: `mark` comments, which incr_mark() writes into its transaction.

use super::grammar::{Comment, CommentWriter, Flaw, Key};
use crate::time::Time;

/// Maximum length of an encoded role name: 63 bytes in any encoding.
const LONGEST_ROLE: usize = 200;

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// In UTF-8, whatever the database's encoding is: it is compared with what a person types.
    pub name: String,
    /// Who made it, in the database's encoding.
    pub role: Vec<u8>,
    /// When it was made, which is before the commit.
    pub at: Option<Time>,
}

impl Mark {
    pub(super) fn line(&self, key: Key) -> String {
        CommentWriter::new(key, "mark")
            .bytes("name", self.name.as_bytes())
            .cut("role", &self.role, LONGEST_ROLE)
            .time_or_none("at", self.at)
            .finish()
    }

    pub(super) fn read(comment: &Comment<'_>) -> Result<Mark, Flaw> {
        Ok(Mark {
            name: comment.text("name")?,
            role: comment.bytes("role")?,
            at: comment.optional("at", |c, name| c.time(name))?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::grammar::LONGEST_COMMENT;
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let key = Key::random().unwrap();
        let mark = Mark {
            name: "before release 42 = \"ä\"".to_owned(),
            role: b"bob the \xe4".to_vec(),
            at: Some(crate::time::calendar()),
        };
        let line = mark.line(key);
        let comment = Comment::parse(line.trim_end().as_bytes(), key).unwrap();
        assert_eq!(Mark::read(&comment), Ok(mark));
    }

    #[test]
    fn the_longest_name_fits() {
        let mark = Mark {
            name: "\u{1F418}".repeat(250),
            role: vec![0xff; 63],
            at: Some(crate::time::calendar()),
        };
        assert!(mark.line(Key::random().unwrap()).len() <= LONGEST_COMMENT);
    }
}
