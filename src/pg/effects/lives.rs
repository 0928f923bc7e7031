//! When the objects of a transaction exist, according to their own catalog rows.
//!
//! An object whose row the transaction did not touch is not known here; it may exist or not.

use effects::Key;

/// From the command that inserted a row to the one that deleted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// `None`: before the transaction.
    pub made: Option<u32>,
    /// `None`: not by the transaction.
    pub removed: Option<u32>,
}

/// One version of an object's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub key: Key,
    pub span: Span,
    /// The letter of its kind, if the catalog has several ([`super::owner::Rule::kind`]).
    pub kind: Option<char>,
}

impl Span {
    /// Visible to a snapshot whose `curcid` is `command`.
    pub fn is_seen_at(&self, command: u32) -> bool {
        self.made.is_none_or(|made| made < command)
            && self.removed.is_none_or(|removed| removed >= command)
    }
}

/// The versions of all rows, sorted.
#[derive(Debug, Default)]
pub struct Lives(Vec<Version>);

impl Lives {
    pub fn of(mut versions: Vec<Version>) -> Lives {
        versions.sort_unstable();
        Lives(versions)
    }

    fn versions(&self, key: Key) -> &[Version] {
        let from = self.0.partition_point(|version| version.key < key);
        let rest = &self.0[from..];
        &rest[..rest.partition_point(|version| version.key == key)]
    }

    /// True for an object that certainly does not exist under a snapshot whose `curcid` is `command`.
    pub fn is_absent(&self, key: Key, command: u32) -> bool {
        let versions = self.versions(key);
        !versions.is_empty()
            && !versions
                .iter()
                .any(|version| version.span.is_seen_at(command))
    }

    /// Its kind at that command, if known.
    pub fn kind(&self, key: Key, command: u32) -> Option<char> {
        let mut versions = self.versions(key).iter();
        versions
            .find(|version| version.span.is_seen_at(command))?
            .kind
    }
}

#[cfg(test)]
mod tests {
    use effects::key::catalog::CLASS;
    use effects::Key;

    use super::{Lives, Span, Version};

    fn relation(oid: u32) -> Key {
        Key::new(CLASS, oid)
    }

    fn version(oid: u32, made: Option<u32>, removed: Option<u32>) -> Version {
        Version {
            key: relation(oid),
            span: Span { made, removed },
            kind: Some('r'),
        }
    }

    #[test]
    fn an_object_is_there_from_its_first_row_to_its_last() {
        let lives = Lives::of(vec![
            version(1, Some(2), Some(4)),
            version(1, Some(4), Some(7)),
        ]);
        let absent = (0..10).filter(|command| lives.is_absent(relation(1), *command));
        assert_eq!(absent.collect::<Vec<_>>(), [0, 1, 2, 8, 9]);
    }

    #[test]
    fn a_row_that_was_not_touched_tells_nothing() {
        let lives = Lives::of(vec![version(2, None, Some(3)), version(2, Some(3), None)]);
        assert!((0..9).all(|command| !lives.is_absent(relation(2), command)));
        assert!(!lives.is_absent(relation(3), 0));
        assert_eq!(lives.kind(relation(2), 5), Some('r'));
        assert_eq!(lives.kind(relation(3), 5), None);
    }
}
