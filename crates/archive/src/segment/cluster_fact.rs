//! Facts about the cluster that a restore needs: roles and tablespaces.
//!
//! Segments never create or alter them. These comments let `restore.sh` create what is missing on the target,
//! and apply later changes to what it created.

use super::grammar::{Comment, CommentWriter, Flaw, Key};

/// One such fact, as a comment inside a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterFact {
    /// A role that the transaction created or needs. `superuser`: it acted as one.
    Role {
        name: Vec<u8>,
        superuser: bool,
    },
    /// `role` acted as a member of `of`.
    Member {
        role: Vec<u8>,
        of: Vec<u8>,
    },
    RoleRenamed {
        name: Vec<u8>,
        to: Vec<u8>,
    },
    RoleDropped {
        name: Vec<u8>,
    },
    /// A tablespace that the transaction created or needs.
    Tablespace {
        name: Vec<u8>,
    },
    TablespaceRenamed {
        name: Vec<u8>,
        to: Vec<u8>,
    },
}

impl ClusterFact {
    /// The comment's line.
    pub(crate) fn line(&self, key: Key) -> String {
        self.write(|kind| CommentWriter::new(key, kind)).finish()
    }

    /// The comment's kind and fields without a key, for code that does not write the segment.
    pub fn encode(&self) -> String {
        let mut text = self.write(CommentWriter::keyless).finish();
        text.truncate(text.trim_end().len());
        text
    }

    fn write(&self, begin: impl FnOnce(&'static str) -> CommentWriter) -> CommentWriter {
        match self {
            Self::Role { name, superuser } => begin("role")
                .bytes("name", name)
                .field("superuser", if *superuser { "on" } else { "off" }),
            Self::Member { role, of } => begin("member").bytes("name", role).bytes("of", of),
            Self::RoleRenamed { name, to } => {
                begin("role_renamed").bytes("name", name).bytes("to", to)
            }
            Self::RoleDropped { name } => begin("role_dropped").bytes("name", name),
            Self::Tablespace { name } => begin("tablespace").bytes("name", name),
            Self::TablespaceRenamed { name, to } => begin("tablespace_renamed")
                .bytes("name", name)
                .bytes("to", to),
        }
    }

    /// Parses the output of [`ClusterFact::encode`].
    pub fn decode(text: &str) -> Option<Self> {
        Self::read(&Comment::keyless(text))?.ok()
    }

    /// The fact in this comment; `None` if it is a comment of another kind.
    pub(crate) fn read(comment: &Comment<'_>) -> Option<Result<Self, Flaw>> {
        let name = || comment.bytes("name");
        Some(match comment.kind {
            "role" => Self::role(comment),
            "member" => name().and_then(|role| {
                let of = comment.bytes("of")?;
                Ok(Self::Member { role, of })
            }),
            "role_renamed" => name().and_then(|name| {
                let to = comment.bytes("to")?;
                Ok(Self::RoleRenamed { name, to })
            }),
            "role_dropped" => name().map(|name| Self::RoleDropped { name }),
            "tablespace" => name().map(|name| Self::Tablespace { name }),
            "tablespace_renamed" => name().and_then(|name| {
                let to = comment.bytes("to")?;
                Ok(Self::TablespaceRenamed { name, to })
            }),
            _ => return None,
        })
    }

    fn role(comment: &Comment<'_>) -> Result<Self, Flaw> {
        Ok(Self::Role {
            name: comment.bytes("name")?,
            superuser: comment.bytes("superuser")? == b"on",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_read_as_it_was_written() {
        let name = b"odd \"name\"\n=".to_vec();
        let to = b"-- @".to_vec();
        let facts = [
            ClusterFact::Role {
                name: name.clone(),
                superuser: true,
            },
            ClusterFact::Member {
                role: name.clone(),
                of: to.clone(),
            },
            ClusterFact::RoleRenamed {
                name: name.clone(),
                to: to.clone(),
            },
            ClusterFact::RoleDropped { name: name.clone() },
            ClusterFact::Tablespace { name: name.clone() },
            ClusterFact::TablespaceRenamed { name, to },
        ];
        for fact in facts {
            let text = fact.encode();
            assert!(!text.contains('\n'), "{text}");
            assert_eq!(ClusterFact::decode(&text), Some(fact));
        }
    }
}
