//! The TIDs of the catalog rows of a transaction's objects, at each of its commands.
//!
//! Every row that it changed is known before it is decoded ([`super::events`]). So an object that it created,
//! or that it drops, has no other rows than these, at any command; and the result of an index search for
//! another object is valid until one of these rows is inserted or deleted. Rows are then fetched by TID,
//! which is much cheaper than an index search. The TIDs remain valid: the slot's catalog_xmin protects the
//! rows from VACUUM. But VACUUM FULL and CLUSTER move them, and can run between any two look-ups: a TID is
//! only valid in one file.

use std::cell::RefCell;

use effects::key::catalog::{ATTRDEF, CLASS, CONSTRAINT, TYPE};
use rustc_hash::{FxHashMap, FxHashSet};

use super::lives::Span;

/// Indexes of catalogs, by OID, with the columns of searches, and the owner of the rows found.
pub struct Search {
    pub catalog: u32,
    pub index: u32,
    pub columns: &'static [&'static str],
    owner: Owner,
}

/// The object that owns all rows of a search, and with which they are deleted.
#[derive(Clone, Copy)]
enum Owner {
    Class(u32),
    /// The keys are class and OID.
    ClassThenOid,
    OidThenClass,
}

macro_rules! searches {
    ($($catalog:literal, $index:literal, [$($column:literal),+], $owner:expr;)*) => {
        [$(Search { catalog: $catalog, index: $index, columns: &[$($column),+], owner: $owner },)*]
    };
}

/// The OIDs are those of catalog/pg_*.h: the same in all releases.
#[rustfmt::skip]
static SEARCHES: [Search; 15] = searches! {
    1259, 2662, ["oid"], Owner::Class(CLASS);                          // pg_class
    1247, 2703, ["oid"], Owner::Class(TYPE);                           // pg_type
    1249, 2659, ["attrelid"], Owner::Class(CLASS);                     // pg_attribute
    2604, 2656, ["adrelid"], Owner::Class(CLASS);                      // pg_attrdef
    2604, 2657, ["oid"], Owner::Class(ATTRDEF);
    2606, 2665, ["conrelid"], Owner::Class(CLASS);                     // pg_constraint
    2606, 2667, ["oid"], Owner::Class(CONSTRAINT);
    2606, 2579, ["conparentid"], Owner::Class(CONSTRAINT);
    2610, 2678, ["indrelid"], Owner::Class(CLASS);                     // pg_index
    2610, 2679, ["indexrelid"], Owner::Class(CLASS);
    2611, 2680, ["inhrelid"], Owner::Class(CLASS);                     // pg_inherits
    2611, 2187, ["inhparent"], Owner::Class(CLASS);
    2608, 2673, ["classid", "objid"], Owner::ClassThenOid;             // pg_depend
    2609, 2675, ["objoid", "classoid"], Owner::OidThenClass;           // pg_description
    3596, 3597, ["objoid", "classoid"], Owner::OidThenClass;           // pg_seclabel
};

/// Those of a catalog.
pub fn searches_in(catalog: u32) -> impl Iterator<Item = &'static Search> {
    SEARCHES
        .iter()
        .filter(move |search| search.catalog == catalog)
}

/// The index for searching the own row of an object of a class.
fn own_index(class: u32) -> Option<u32> {
    match class {
        CLASS => Some(2662),
        TYPE => Some(2703),
        ATTRDEF => Some(2657),
        CONSTRAINT => Some(2667),
        _ => None,
    }
}

/// A search: an index, and the values of its first columns, 0 for a second one that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wanted {
    pub index: u32,
    pub keys: [u32; 2],
}

impl Wanted {
    pub fn new(index: u32, keys: &[u32]) -> Wanted {
        let key = |at: usize| keys.get(at).copied().unwrap_or_default();
        Wanted {
            index,
            keys: [key(0), key(1)],
        }
    }

    fn search(self) -> Option<&'static Search> {
        SEARCHES.iter().find(|search| search.index == self.index)
    }

    fn own_row_of_owner(self) -> Option<Wanted> {
        let search = self.search()?;
        let [first, second] = self.keys;
        let (class, oid) = match search.owner {
            Owner::Class(class) => (class, first),
            Owner::ClassThenOid => (first, second),
            Owner::OidThenClass => (second, first),
        };
        own_index(class).map(|index| Wanted::new(index, &[oid]))
    }
}

/// Of a tuple in its catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub block: u32,
    pub offset: u16,
}

/// Several tuples of a catalog, in the file in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// relfilenode; meaningless without TIDs.
    pub file: u32,
    pub at: Vec<Place>,
}

/// A row that the transaction inserted or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    pub wanted: Wanted,
    pub place: Place,
    pub span: Span,
}

/// All changes of the transaction in the catalogs of [`SEARCHES`].
#[derive(Debug, Default)]
pub struct ChangedRows {
    /// Sorted; `None` if they may be incomplete.
    changed: Option<Vec<Changed>>,
    /// The range of each search.
    of_one: FxHashMap<Wanted, (u32, u32)>,
    /// Own rows of objects that the transaction created or drops.
    whole: FxHashSet<Wanted>,
    /// The files in which they were found, by catalog.
    files: FxHashMap<u32, u32>,
    /// The results of searches.
    found: RefCell<FxHashMap<Wanted, Places>>,
}

impl ChangedRows {
    /// They must be complete; `files` are those of their catalogs.
    pub fn of(mut changed: Vec<Changed>, files: FxHashMap<u32, u32>) -> ChangedRows {
        changed.sort_unstable();
        let (mut of_one, mut whole) = (FxHashMap::default(), FxHashSet::default());
        let mut at = 0;
        for rows in changed.chunk_by(|a, b| a.wanted == b.wanted) {
            let (wanted, end) = (rows[0].wanted, at + rows.len() as u32);
            of_one.insert(wanted, (at, end));
            at = end;
            let is_made = rows.iter().all(|row| row.span.made.is_some());
            if is_made || rows.iter().all(|row| row.span.removed.is_some()) {
                whole.insert(wanted);
            }
        }
        ChangedRows {
            changed: Some(changed),
            of_one,
            whole,
            files,
            found: RefCell::default(),
        }
    }

    fn changed(&self, wanted: Wanted) -> Option<&[Changed]> {
        let all = self.changed.as_ref()?;
        let Some((begin, end)) = self.of_one.get(&wanted) else {
            return Some(&[]);
        };
        Some(&all[*begin as usize..*end as usize])
    }

    /// The transaction created the object that owns these rows, or drops it.
    fn has_all(&self, wanted: Wanted) -> bool {
        let own = wanted.own_row_of_owner();
        own.is_some_and(|own| self.whole.contains(&own))
    }

    /// The rows under a snapshot whose `curcid` is `command`, unordered; `None` if they have to be searched.
    pub fn places(&self, wanted: Wanted, command: u32) -> Option<Places> {
        let catalog = wanted.search()?.catalog;
        let changed = self.changed(wanted)?;
        let file = self.files.get(&catalog).copied().unwrap_or_default();
        let seen = changed.iter().filter(|row| row.span.is_seen_at(command));
        let seen = seen.map(|row| row.place);
        if self.has_all(wanted) {
            let at = seen.collect();
            return Some(Places { file, at });
        }
        let found = self.found.borrow();
        let found = found.get(&wanted)?;
        if changed.is_empty() {
            return Some(found.clone());
        }
        // These were found after a rewrite, and the changed ones before it.
        if !found.at.is_empty() && found.file != file {
            return None;
        }
        let mut moved: Vec<Place> = changed.iter().map(|row| row.place).collect();
        moved.sort_unstable();
        let kept = found.at.iter().copied();
        let kept = kept.filter(|place| moved.binary_search(place).is_err());
        let at = kept.chain(seen).collect();
        Some(Places { file, at })
    }

    /// Records the result of a search under a snapshot of this transaction, at any command.
    pub fn note(&self, wanted: Wanted, places: Places) {
        self.found.borrow_mut().insert(wanted, places);
    }
}

#[cfg(test)]
mod tests {
    use rustc_hash::FxHashMap;

    use super::{Changed, ChangedRows, Place, Places, Span, Wanted};

    const COLUMNS: u32 = 2659;
    const RELATION: u32 = 2662;
    const FILE: u32 = 5000;

    fn changed(rows: Vec<Changed>) -> ChangedRows {
        ChangedRows::of(rows, FxHashMap::from_iter([(1249, FILE), (1259, FILE)]))
    }

    fn places(file: u32, offsets: &[u16]) -> Places {
        let at = offsets.iter().map(|offset| Place {
            block: 0,
            offset: *offset,
        });
        Places {
            file,
            at: at.collect(),
        }
    }

    fn row(index: u32, oid: u32, offset: u16, made: Option<u32>, removed: Option<u32>) -> Changed {
        Changed {
            wanted: Wanted::new(index, &[oid]),
            place: Place { block: 0, offset },
            span: Span { made, removed },
        }
    }

    fn offsets(rows: &ChangedRows, oid: u32, command: u32) -> Option<Vec<u16>> {
        let places = rows.places(Wanted::new(COLUMNS, &[oid]), command)?;
        let mut offsets: Vec<u16> = places.at.iter().map(|place| place.offset).collect();
        offsets.sort_unstable();
        Some(offsets)
    }

    #[test]
    fn a_new_and_a_dropped_object_have_no_rows_but_these() {
        let rows = changed(vec![
            row(RELATION, 1, 1, Some(0), None),
            row(COLUMNS, 1, 1, Some(1), None),
            row(COLUMNS, 1, 2, Some(1), Some(4)),
            row(RELATION, 2, 2, None, Some(3)),
            row(RELATION, 2, 3, Some(3), Some(6)),
            row(COLUMNS, 2, 5, None, Some(5)),
        ]);
        let of_new = |command| offsets(&rows, 1, command);
        assert_eq!(
            [of_new(1), of_new(2), of_new(5)],
            [Some(vec![]), Some(vec![1, 2]), Some(vec![1])]
        );
        let of_dropped = |command| offsets(&rows, 2, command);
        assert_eq!(
            [of_dropped(0), of_dropped(6)],
            [Some(vec![5]), Some(vec![])]
        );
        assert_eq!(offsets(&rows, 3, 0), None);
    }

    #[test]
    fn an_object_is_known_by_each_of_the_keys_that_its_rows_have() {
        let (depend, description, constraint, below) = (2673, 2675, 2667, 2579);
        let rows = changed(vec![
            row(RELATION, 7, 1, Some(0), None),
            row(constraint, 8, 1, Some(0), None),
        ]);
        let is_known = |index, keys: &[u32]| rows.places(Wanted::new(index, keys), 1).is_some();
        assert!(is_known(depend, &[1259, 7]) && !is_known(depend, &[7, 1259]));
        assert!(is_known(description, &[7, 1259]) && !is_known(description, &[1259, 7]));
        assert!(is_known(depend, &[2606, 8]) && !is_known(depend, &[2606, 7]));
        assert!(is_known(below, &[8]) && !is_known(below, &[7]));
    }

    #[test]
    fn what_a_search_found_holds_but_for_what_was_changed() {
        let rows = changed(vec![
            row(RELATION, 1, 1, None, Some(2)),
            row(RELATION, 1, 2, Some(2), None),
            row(COLUMNS, 1, 7, None, Some(3)),
            row(COLUMNS, 1, 9, Some(3), None),
        ]);
        assert_eq!(offsets(&rows, 1, 0), None);
        rows.note(Wanted::new(COLUMNS, &[1]), places(FILE, &[6, 7]));
        assert_eq!(offsets(&rows, 1, 3), Some(vec![6, 7]));
        assert_eq!(offsets(&rows, 1, 4), Some(vec![6, 9]));
    }

    #[test]
    fn what_was_found_in_another_file_does_not_go_with_what_was_changed() {
        let rows = changed(vec![
            row(RELATION, 1, 1, None, Some(2)),
            row(RELATION, 1, 2, Some(2), None),
            row(COLUMNS, 1, 9, Some(3), None),
        ]);
        rows.note(Wanted::new(COLUMNS, &[1]), places(FILE + 1, &[6, 7]));
        rows.note(Wanted::new(COLUMNS, &[2]), places(FILE + 1, &[8]));
        assert_eq!(offsets(&rows, 1, 4), None);
        let of_other = rows.places(Wanted::new(COLUMNS, &[2]), 4);
        assert_eq!(of_other, Some(places(FILE + 1, &[8])));
    }

    #[test]
    fn nothing_is_known_where_not_all_changes_are() {
        let rows = ChangedRows::default();
        rows.note(Wanted::new(COLUMNS, &[1]), Places::default());
        assert_eq!(offsets(&rows, 1, 0), None);
    }
}
