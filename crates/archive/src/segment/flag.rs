//! A flag: what could not be carried faithfully, in its place in the transaction.
//!
//! One that names what is *lost* opens a stretch: from here to the next base a restore has something
//! else than the source had. One without is a note (a character was replaced, say), which no base makes
//! better.
//!
//! ```text
//! -- @KEY flag reason=a%20value%20is%20not%20valid
//! -- @KEY flag reason=UPDATE%20on%20public.t%20… lost=rows class=table oid=16401 identity=public.t
//! -- @KEY flag reason=DDL%20could%20not%20be%20recorded lost=schema class=database oid=0 identity=
//! ```

use super::grammar::{Comment, CommentWriter, Flaw, Key};

/// Longer reasons are cut, so that the comment stays readable and below its limit.
const LONGEST_REASON: usize = 1000;
/// A class of objects is a word of ours.
const LONGEST_CLASS: usize = 100;
/// An identity, encoded.
const LONGEST_IDENTITY: usize = 600;

/// The class of an object that nobody can name: it may be any of the database.
pub const ANY: &str = "database";

/// What it is that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Changes of rows.
    Rows,
    /// A schema change.
    Schema,
}

impl What {
    /// As files have it.
    pub fn name(self) -> &'static str {
        match self {
            What::Rows => "rows",
            What::Schema => "schema",
        }
    }

    /// The other way round.
    pub fn parse(name: &str) -> Option<What> {
        [What::Rows, What::Schema]
            .into_iter()
            .find(|what| what.name() == name)
    }
}

/// Which object has lost something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lost {
    pub what: What,
    /// As effects name it; [`ANY`] where the object is not known.
    pub class: String,
    /// At the source; 0 where the object is not known.
    pub oid: u32,
    /// Qualified and quoted, in the database's encoding.
    pub identity: Vec<u8>,
}

impl Lost {
    /// Of an object that nobody can name.
    pub fn anything(what: What) -> Lost {
        Lost {
            what,
            class: ANY.to_owned(),
            oid: 0,
            identity: Vec::new(),
        }
    }

    pub(super) fn read(comment: &Comment<'_>) -> Result<Option<Lost>, Flaw> {
        if !comment.has("lost") {
            return Ok(None);
        }
        let what = comment.text("lost")?;
        let what = What::parse(&what).ok_or_else(|| format!("unknown loss {what}"))?;
        Ok(Some(Lost {
            what,
            class: comment.text("class")?,
            oid: comment.value("oid")?,
            identity: comment.bytes("identity")?,
        }))
    }
}

pub(super) fn line(key: Key, reason: &[u8], lost: Option<&Lost>) -> String {
    let reason = &reason[..reason.len().min(LONGEST_REASON)];
    let line = CommentWriter::new(key, "flag").bytes("reason", reason);
    let Some(lost) = lost else {
        return line.finish();
    };
    let class = &lost.class[..lost.class.floor_char_boundary(LONGEST_CLASS)];
    line.field("lost", lost.what.name())
        .field("class", class)
        .field("oid", lost.oid)
        .cut("identity", &lost.identity, LONGEST_IDENTITY)
        .finish()
}
