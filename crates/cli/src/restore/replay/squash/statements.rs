//! The statements that apply net effects to a table; all names are quoted.

use super::apply::Into;
use super::definition::{Column, KeyColumn};

impl Into<'_> {
    pub(super) fn create(&self, used: &[usize]) -> Vec<u8> {
        let mut text = b"CREATE TEMPORARY TABLE incr_squash USING heap AS \
            SELECT 0::bigint AS n, ''::text AS kind, ''::text AS m"
            .to_vec();
        let keys = self.key.columns.iter().map(|part| part.column);
        let keys = keys.enumerate().map(|(nth, number)| (number, "k", nth));
        let used = used.iter().map(|number| (*number, "c", *number));
        for (number, letter, name) in keys.chain(used) {
            let column = &self.columns[number];
            text.extend_from_slice(b", (");
            text.extend_from_slice(&column.quoted);
            text.push(b')');
            if let Some((below, _)) = &column.domain {
                text.extend_from_slice(b"::");
                text.extend_from_slice(below);
            }
            text.extend_from_slice(format!(" AS {letter}{name}").as_bytes());
        }
        [&text[..], b" FROM ONLY ", self.name, b" WITH NO DATA"].concat()
    }

    /// Columns that are written, by their numbers.
    fn written(&self) -> impl Iterator<Item = (usize, &Column)> {
        let columns = self.columns.iter().enumerate();
        columns.filter(|(_, column)| !column.is_generated)
    }

    pub(super) fn create_old(&self) -> Vec<u8> {
        let mut text =
            b"CREATE TEMPORARY TABLE incr_squash_old USING heap AS SELECT 0::bigint AS n".to_vec();
        for (number, column) in self.written() {
            text.extend_from_slice(b", ");
            text.extend_from_slice(&column.quoted);
            text.extend_from_slice(format!(" AS c{number}").as_bytes());
        }
        [&text[..], b" FROM ONLY ", self.name, b" WITH NO DATA"].concat()
    }

    /// A row of the target is that of a change.
    fn is_it(&self) -> Vec<u8> {
        let part = |(nth, part): (usize, &KeyColumn)| {
            let column = &self.columns[part.column].quoted;
            let key = format!(" s.k{nth}");
            [b"t.", &column[..], b" ", &part.operator, key.as_bytes()].concat()
        };
        let parts = self.key.columns.iter().enumerate().map(part);
        parts.collect::<Vec<_>>().join(&b" AND "[..])
    }

    pub(super) fn delete(&self, is_alone: bool) -> Vec<u8> {
        [
            b"DELETE FROM ONLY ",
            self.name,
            b" AS t USING pg_temp.incr_squash AS s WHERE ",
            of_kind("d", is_alone).as_bytes(),
            &self.is_it(),
        ]
        .concat()
    }

    pub(super) fn take_out(&self, is_alone: bool) -> Vec<u8> {
        let columns: Vec<&[u8]> = self
            .written()
            .map(|(_, column)| &column.quoted[..])
            .collect();
        [
            b"WITH gone AS (DELETE FROM ONLY ",
            self.name,
            b" AS t USING pg_temp.incr_squash AS s WHERE ",
            of_kind("p", is_alone).as_bytes(),
            &self.is_it(),
            b" RETURNING s.n, t.",
            &columns.join(&b", t."[..]),
            b") INSERT INTO pg_temp.incr_squash_old SELECT * FROM gone",
        ]
        .concat()
    }

    /// The value of a column: what was set, else that of `old`, a column of what was there.
    fn value(&self, used: &[usize], is_masked: bool, number: usize, old: &[u8]) -> Vec<u8> {
        let Some(nth) = used.iter().position(|used| *used == number) else {
            return old.to_vec();
        };
        let set = format!("s.c{number}").into_bytes();
        let set = match &self.columns[number].domain {
            Some((_, domain)) => [&set[..], b"::", domain].concat(),
            None => set,
        };
        if !is_masked {
            return set;
        }
        let is_set = format!("CASE pg_catalog.substr(s.m, {}, 1) WHEN '1' THEN ", nth + 1);
        [is_set.as_bytes(), &set, b" ELSE ", old, b" END"].concat()
    }

    pub(super) fn update(&self, used: &[usize], is_masked: bool, is_alone: bool) -> Vec<u8> {
        let is_key = |number: &usize| {
            let mut parts = self.key.columns.iter();
            parts.any(|part| part.column == *number)
        };
        let assign = |number: usize| {
            let column = &self.columns[number].quoted;
            let old = [b"t.", &column[..]].concat();
            let value = self.value(used, is_masked, number, &old);
            [&column[..], b" = ", &value].concat()
        };
        let set = used
            .iter()
            .copied()
            .filter(|number| !is_key(number) && !self.columns[*number].is_identity_always);
        let mut set: Vec<Vec<u8>> = set.map(assign).collect();
        if set.is_empty() {
            // It is there.
            let column = &self.columns[self.key.columns[0].column].quoted;
            set.push([&column[..], b" = t.", column].concat());
        }
        [
            b"UPDATE ONLY ",
            self.name,
            b" AS t SET ",
            &set.join(&b", "[..]),
            b" FROM pg_temp.incr_squash AS s WHERE ",
            of_kind("u", is_alone).as_bytes(),
            &self.is_it(),
        ]
        .concat()
    }

    /// `(column, …)`
    pub(super) fn list(&self, numbers: &[usize]) -> Vec<u8> {
        let names = numbers
            .iter()
            .map(|number| &self.columns[*number].quoted[..]);
        let names: Vec<&[u8]> = names.collect();
        [b"(", &names.join(&b", "[..])[..], b")"].concat()
    }

    pub(super) fn put_back(&self, used: &[usize], is_masked: bool) -> Vec<u8> {
        let numbers: Vec<usize> = self.written().map(|(number, _)| number).collect();
        let values = numbers.iter().map(|number| {
            let old = format!("o.c{number}");
            self.value(used, is_masked, *number, old.as_bytes())
        });
        let values: Vec<Vec<u8>> = values.collect();
        [
            b"INSERT INTO ",
            self.name,
            b" ",
            &self.list(&numbers),
            b" OVERRIDING SYSTEM VALUE SELECT ",
            &values.join(&b", "[..]),
            b" FROM pg_temp.incr_squash AS s JOIN pg_temp.incr_squash_old AS o ON o.n = s.n",
        ]
        .concat()
    }

    pub(super) fn insert_new(&self, inserted: &[usize]) -> Vec<u8> {
        let values = inserted.iter().map(|number| format!("s.c{number}"));
        let values: Vec<String> = values.collect();
        [
            b"INSERT INTO ",
            self.name,
            b" ",
            &self.list(inserted),
            b" OVERRIDING SYSTEM VALUE SELECT ",
            values.join(", ").as_bytes(),
            b" FROM pg_temp.incr_squash AS s WHERE s.kind = 'b'",
        ]
        .concat()
    }

    /// Puts the first row that is not there into a table of its own.
    pub(super) fn missed(&self, kind: &str) -> Vec<u8> {
        [
            b"CREATE TEMPORARY TABLE incr_squash_missed USING heap AS SELECT s.n FROM pg_temp.incr_squash AS s WHERE s.kind = '",
            kind.as_bytes(),
            b"' AND NOT EXISTS (SELECT FROM ONLY ",
            self.name,
            b" AS t WHERE ",
            &self.is_it(),
            b") ORDER BY n LIMIT 1",
        ]
        .concat()
    }
}

/// The condition for rows of a kind, `AND` what follows. There is none for one that is alone: nothing is known of a temporary
/// table but its size, and of those with a condition few rows would be expected, and looked up one by one.
fn of_kind(kind: &str, is_alone: bool) -> String {
    let others = (!is_alone).then(|| format!("s.kind = '{kind}' AND "));
    others.unwrap_or_default()
}
