//! A flag: a change that could not be captured exactly, in its place in the transaction.
//!
//! A flag that names what is *lost* opens an incomplete range: from here to the next base a restored database
//! differs from the source. One without is a note (a character was replaced, for example), which does not
//! need a base.
//!
//! ```text
//! -- @KEY flag reason=a%20value%20is%20not%20valid
//! -- @KEY flag reason=UPDATE%20on%20public.t%20… lost=rows class=table oid=16401 identity=public.t
//! -- @KEY flag reason=DDL%20could%20not%20be%20recorded lost=schema class=database oid=0 identity=
//! ```

use super::grammar::{Comment, CommentWriter, Flaw, Key};

/// Longer reasons are truncated, so that the comment remains readable and below its limit.
const LONGEST_REASON: usize = 1000;
/// Maximum length of a class of objects, which is our own.
const LONGEST_CLASS: usize = 100;
/// An identity, encoded.
const LONGEST_IDENTITY: usize = 600;

/// The class of an unknown object: it may be any of the database.
pub const ANY: &str = "database";

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Changes of rows.
    Rows,
    /// A schema change.
    Schema,
}

impl What {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            What::Rows => "rows",
            What::Schema => "schema",
        }
    }

    /// The reverse.
    pub fn parse(name: &str) -> Option<What> {
        [What::Rows, What::Schema]
            .into_iter()
            .find(|what| what.name() == name)
    }
}

/// The object that has lost something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lost {
    pub what: What,
    /// As in effects; [`ANY`] if the object is unknown.
    pub class: String,
    /// At the source; 0 if the object is unknown.
    pub oid: u32,
    /// Qualified and quoted, in the database's encoding.
    pub identity: Vec<u8>,
}

impl Lost {
    /// For an unknown object.
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
