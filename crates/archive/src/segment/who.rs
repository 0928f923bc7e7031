//! Who made a transaction, where the server recorded it: fields of the transaction's comment, after its commit time.
//!
//! Versions before 0.4.0 read the fields that they know, and pass over these.

use super::grammar::{Comment, CommentWriter, Flaw};

/// Maximum length of each encoded value, so that all fit into the comment. The longest role name and application name have 63
/// bytes, and a host name 255.
const LONGEST: usize = 800;

/// The session of a transaction. In the database's encoding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// The role that the session logged in as, whatever `SET ROLE` and `SET SESSION AUTHORIZATION` said later.
    pub role: Vec<u8>,
    /// `application_name` at the commit; the client says it. Empty if it says none.
    pub application: Vec<u8>,
    /// The address of the client, `[local]` for a Unix socket. Empty for a process of the server.
    pub client: Vec<u8>,
}

impl Who {
    pub(super) fn add_to(&self, line: CommentWriter) -> CommentWriter {
        line.cut("role", &self.role, LONGEST)
            .cut("application", &self.application, LONGEST)
            .cut("client", &self.client, LONGEST)
    }

    /// Of a transaction's comment; `None` if it was not recorded.
    pub fn read(comment: &Comment<'_>) -> Result<Option<Who>, Flaw> {
        if !comment.has("role") {
            return Ok(None);
        }
        Ok(Some(Who {
            role: comment.bytes("role")?,
            application: comment.bytes("application")?,
            client: comment.bytes("client")?,
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::grammar::{Key, LONGEST_COMMENT};
    use super::*;

    fn written(who: &Who) -> String {
        let key = Key::parse(b"0123456789abcdef").unwrap();
        let line = CommentWriter::new(key, "transaction").field("xid", 748);
        who.add_to(line).finish()
    }

    fn read(line: &str) -> Option<Who> {
        let key = Key::parse(b"0123456789abcdef").unwrap();
        let comment = Comment::parse(line.trim_end().as_bytes(), key).unwrap();
        assert_eq!(comment.value::<u64>("xid"), Ok(748));
        Who::read(&comment).unwrap()
    }

    #[test]
    fn who_is_read_as_it_was_written_and_stays_on_its_line() {
        for text in [
            &b""[..],
            b"bob",
            b"a b\n;DROP TABLE t; -- \xe4 xid=1 client=x",
        ] {
            let who = Who {
                role: b"bob".to_vec(),
                application: text.to_vec(),
                client: text.to_vec(),
            };
            let line = written(&who);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert_eq!(read(&line), Some(who));
        }
    }

    #[test]
    fn what_was_not_recorded_is_none() {
        let key = Key::parse(b"0123456789abcdef").unwrap();
        let line = CommentWriter::new(key, "transaction").field("xid", 748);
        assert_eq!(read(&line.finish()), None);
    }

    #[test]
    fn the_longest_values_fit() {
        let all = vec![0xff; 2000];
        let who = Who {
            role: all.clone(),
            application: all.clone(),
            client: all,
        };
        assert!(written(&who).len() < LONGEST_COMMENT - 200);
    }
}
