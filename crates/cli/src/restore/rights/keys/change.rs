//! Changes of constraints, as effects word them.

use super::kept::Kept;
use crate::restore::rights::tokens::{tokens, Token};

/// The table of `ALTER TABLE [IF EXISTS] [ONLY] a.b …`, all tokens, and where the rest begins.
pub(super) fn subject(statement: &[u8]) -> Option<(Vec<u8>, Vec<Token>, usize)> {
    let words = tokens(statement)?;
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.is(statement, word));
    if !is(0, "ALTER") || !is(1, "TABLE") {
        return None;
    }
    let first = if is(2, "ONLY") { 3 } else { 2 };
    let mut last = first;
    while words.get(last + 1)?.is_mark(b'.') {
        last += 2;
    }
    let place = words.get(first)?.place.start..words.get(last)?.place.end;
    Some((statement[place].to_vec(), words, last + 1))
}

/// A change of a constraint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// As in SQL, and the constraint's name before.
    pub table: Vec<u8>,
    pub name: Vec<u8>,
    pub what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    Dropped,
    Renamed(Vec<u8>),
    Validated,
    /// DEFERRABLE, INITIALLY DEFERRED.
    Deferrable(bool, bool),
    Enforced(bool),
    Commented(Option<Vec<u8>>),
}

impl What {
    pub(super) fn apply(self, kept: &mut Kept) {
        match self {
            What::Dropped => {}
            What::Renamed(name) => kept.name = name,
            What::Validated => kept.is_valid = true,
            What::Deferrable(deferrable, deferred) => {
                (kept.is_deferrable, kept.is_deferred) = (deferrable, deferred);
            }
            What::Enforced(is_enforced) => {
                (kept.is_enforced, kept.is_valid) = (is_enforced, is_enforced);
            }
            What::Commented(comment) => kept.comment = comment,
        }
    }
}

impl Change {
    pub(super) fn of(verb: &str, text: &[u8]) -> Option<Change> {
        if verb == "comment" {
            return Change::comment(text);
        }
        let (table, words, at) = subject(text)?;
        let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.is(text, word));
        let last = words.last()?;
        let has = |word: &str| words[at..].iter().any(|it| it.is(text, word));
        let is_drop = is(at, "DROP");
        let name_at = if is_drop && is(at + 2, "IF") {
            at + 4
        } else {
            at + 2
        };
        let what = if is_drop {
            What::Dropped
        } else if is(at, "RENAME") {
            What::Renamed(last.name(text)?)
        } else if is(at, "VALIDATE") {
            What::Validated
        } else if is(at, "ALTER") && has("ENFORCED") {
            What::Enforced(!has("NOT"))
        } else if is(at, "ALTER") && has("DEFERRABLE") {
            What::Deferrable(!has("NOT"), has("DEFERRED"))
        } else {
            return None;
        };
        let name = words.get(name_at)?.name(text)?;
        is(at + 1, "CONSTRAINT").then_some(Change { table, name, what })
    }

    /// `COMMENT ON CONSTRAINT a ON b.c IS …`
    fn comment(text: &[u8]) -> Option<Change> {
        let words = tokens(text)?;
        let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.is(text, word));
        let is_it = is(0, "COMMENT") && is(2, "CONSTRAINT") && is(4, "ON");
        let said = words
            .iter()
            .position(|it| it.is(text, "IS"))
            .filter(|_| is_it)?;
        let table = text[words.get(5)?.place.start..words[said - 1].place.end].to_vec();
        let value = words.get(said + 1)?;
        Some(Change {
            table,
            name: words.get(3)?.name(text)?,
            what: What::Commented(value.constant(text)),
        })
    }
}

/// The parent and the partition of `ALTER TABLE a DETACH PARTITION b`.
pub(super) fn detached_in(statement: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (parent, words, at) = subject(statement)?;
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.is(statement, word));
    if !is(at, "DETACH") || !is(at + 1, "PARTITION") {
        return None;
    }
    let mut last = at + 2;
    while words.get(last + 1).is_some_and(|it| it.is_mark(b'.')) {
        last += 2;
    }
    let child = words.get(at + 2)?.place.start..words.get(last)?.place.end;
    Some((parent, statement[child].to_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Noted;
    use super::*;

    #[test]
    fn a_change_of_a_constraint_is_found_out() {
        for (verb, text, what) in [
            (
                "drop",
                "ALTER TABLE s.\"t t\" DROP CONSTRAINT \"k;\"",
                What::Dropped,
            ),
            (
                "drop",
                "ALTER TABLE s.\"t t\" DROP CONSTRAINT IF EXISTS \"k;\"",
                What::Dropped,
            ),
            (
                "rename",
                "ALTER TABLE s.\"t t\" RENAME CONSTRAINT \"k;\" TO \"n\"",
                What::Renamed(b"n".to_vec()),
            ),
            (
                "alter",
                "ALTER TABLE s.\"t t\" VALIDATE CONSTRAINT \"k;\"",
                What::Validated,
            ),
            (
                "alter",
                "ALTER TABLE s.\"t t\" ALTER CONSTRAINT \"k;\" DEFERRABLE INITIALLY DEFERRED",
                What::Deferrable(true, true),
            ),
            (
                "alter",
                "ALTER TABLE s.\"t t\" ALTER CONSTRAINT \"k;\" NOT DEFERRABLE",
                What::Deferrable(false, false),
            ),
            (
                "alter",
                "ALTER TABLE s.\"t t\" ALTER CONSTRAINT \"k;\" NOT ENFORCED",
                What::Enforced(false),
            ),
            (
                "comment",
                "COMMENT ON CONSTRAINT \"k;\" ON s.\"t t\" IS 'it''s'",
                What::Commented(Some(b"it's".to_vec())),
            ),
            (
                "comment",
                "COMMENT ON CONSTRAINT \"k;\" ON s.\"t t\" IS NULL",
                What::Commented(None),
            ),
        ] {
            let change = Change::of(verb, text.as_bytes()).unwrap();
            let expected = Change {
                table: b"s.\"t t\"".to_vec(),
                name: b"k;".to_vec(),
                what,
            };
            assert_eq!(change, expected, "{text}");
        }
        assert_eq!(Change::of("alter", b"ALTER TABLE a ENABLE TRIGGER b"), None);
    }

    #[test]
    fn a_key_is_known_by_its_table_and_its_name() {
        let text =
            b"ALTER TABLE ONLY a.b\n    ADD CONSTRAINT \"c c\" FOREIGN KEY (d) REFERENCES e(f)";
        let noted = Noted::of(text, 7, true).unwrap();
        assert_eq!(
            (&noted.table[..], &noted.name[..]),
            (&b"a.b"[..], &b"c c"[..])
        );
        assert_eq!(Noted::of(b"ALTER TABLE a.b ALTER c", 7, true), None);
        let detached = detached_in(b"ALTER TABLE a.b DETACH PARTITION \"c\".d").unwrap();
        assert_eq!(detached, (b"a.b".to_vec(), b"\"c\".d".to_vec()));
    }
}
