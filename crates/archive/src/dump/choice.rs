//! The parts of a dump that a base keeps.
//!
//! A restored database contains neither this extension nor its tables, so objects that need them cannot be
//! created there: the extension, and everything that DROP EXTENSION … CASCADE would drop. The catalogs
//! determine these objects ([`Gone`]); here their entries are found by the OIDs in each entry, and entries
//! that are not separate objects (rows, comments, privileges, …) by the entry on which they depend.

use std::collections::{HashMap, HashSet};

use super::toc::{Entry, Toc};

/// OID of pg_class.
const RELATIONS: u32 = 1259;

/// What would be dropped with the extension.
#[derive(Debug, Clone, Default)]
pub struct Gone {
    /// By the OIDs of the catalog and the object: its description.
    pub objects: HashMap<(u32, u32), String>,
    /// Which of them is the extension.
    pub extension: Option<(u32, u32)>,
    /// Its functions and tables.
    pub members: Vec<Member>,
    /// Defaults and checks in the definition of a table that is kept.
    pub parts: Vec<Part>,
    /// Statements that create and drop stand-ins for the functions that those call.
    pub stand_ins: Vec<(Vec<u8>, Vec<u8>)>,
    /// Statements to run before those are dropped, so that no domain and no column is dropped with them.
    pub drop_first: Vec<Vec<u8>>,
}

/// A part of a table or a domain that would be dropped with the extension.
#[derive(Debug, Clone)]
pub struct Part {
    /// OIDs of the catalog and the object.
    pub identity: (u32, u32),
    /// Those of the table or the domain.
    pub whole: (u32, u32),
    /// Its description.
    pub name: String,
    /// The statement that adds it.
    pub definition: Vec<u8>,
}

/// A function or a table of the extension. In a dump, privileges on one depend on an entry that does not
/// exist, and have no OID: they are identified by the name, which is unique.
#[derive(Debug, Clone)]
pub struct Member {
    pub schema: Vec<u8>,
    /// `FUNCTION`, `TABLE`, `SEQUENCE`.
    pub kind: &'static str,
    pub name: Vec<u8>,
}

/// The entries of a dump, divided. Each list is in the dump's order.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Dump ids of entries that are restored.
    pub kept: Vec<i32>,
    /// Dump ids of entries that are not, although they are not the extension's own.
    pub left_out: Vec<i32>,
    /// Their objects, as descriptions.
    pub names: Vec<String>,
    /// Definitions of parts without an entry.
    pub parts: Vec<Vec<u8>>,
    /// The dump id of the first entry that contains one of them: the stand-ins must exist before it.
    pub first_with_parts: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ours,
    LeftOut,
}

/// Divides the entries of `toc`.
pub fn choose(toc: &Toc, gone: &Gone) -> Choice {
    let ids: HashSet<i32> = toc.entries.iter().map(|entry| entry.dump_id).collect();
    let mut fates = HashMap::new();
    let mut count = None;
    // An entry may precede the one on which it depends.
    while count != Some(fates.len()) {
        count = Some(fates.len());
        for entry in &toc.entries {
            if let Some(fate) = fate(entry, gone, &ids, &fates) {
                fates.entry(entry.dump_id).or_insert(fate);
            }
        }
    }
    let mut choice = Choice::default();
    for entry in toc.entries.iter().filter(|entry| entry.is_printed()) {
        match fates.get(&entry.dump_id) {
            None => choice.kept.push(entry.dump_id),
            Some(Fate::Ours) => {}
            Some(Fate::LeftOut) => {
                choice.left_out.push(entry.dump_id);
                let name = gone.objects.get(&(entry.table_oid, entry.oid));
                choice.names.extend(name.cloned());
            }
        }
    }
    let is_entry = |part: &Part| {
        // The default of a domain is not an object: it is identified as the domain itself.
        let mut entries = toc.entries.iter();
        part.identity != part.whole
            && entries.any(|entry| (entry.table_oid, entry.oid) == part.identity)
    };
    let is_kept = |entry: &&Entry| entry.is_printed() && !fates.contains_key(&entry.dump_id);
    let holds_part = |entry: &&Entry| {
        let identity = (entry.table_oid, entry.oid);
        gone.parts.iter().any(|part| part.whole == identity)
    };
    let mut kept = toc.entries.iter().filter(is_kept);
    choice.first_with_parts = kept.find(holds_part).map(|entry| entry.dump_id);
    for part in gone.parts.iter().filter(|part| !is_entry(part)) {
        choice.names.push(part.name.clone());
        choice.parts.push(part.definition.clone());
    }
    choice
}

fn fate(
    entry: &Entry,
    gone: &Gone,
    ids: &HashSet<i32>,
    fates: &HashMap<i32, Fate>,
) -> Option<Fate> {
    let identity = (entry.table_oid, entry.oid);
    if Some(identity) == gone.extension {
        return Some(Fate::Ours);
    }
    if entry.table_oid != 0 {
        return gone
            .objects
            .contains_key(&identity)
            .then_some(Fate::LeftOut);
    }
    let needs = &entry.dependencies;
    if let Some(fate) = needs.iter().find_map(|id| fates.get(id)) {
        return Some(*fate);
    }
    // Row security and configuration of a table of ours; privileges on members.
    let of_member = entry.oid != 0 && gone.objects.contains_key(&(RELATIONS, entry.oid))
        || !needs.is_empty()
            && needs.iter().all(|id| !ids.contains(id))
            && gone.members.iter().any(|member| member.has(entry));
    of_member.then_some(Fate::Ours)
}

impl Member {
    /// With and without --quote-all-identifiers; a member's name needs no quotes.
    fn has(&self, entry: &Entry) -> bool {
        let quoted = [b"\"".as_slice(), &self.name, b"\""].concat();
        entry.namespace.as_ref() == Some(&self.schema)
            && [&self.name, &quoted].into_iter().any(|name| {
                let named = |kind: &str, end: &[u8]| [kind.as_bytes(), b" ", name, end].concat();
                match self.kind {
                    "FUNCTION" => entry.tag.starts_with(&named(self.kind, b"(")),
                    kind => {
                        entry.tag == named(kind, b"")
                            || entry.tag.starts_with(&named("COLUMN", b"."))
                    }
                }
            })
    }
}

impl Entry {
    /// False for entries that pg_restore never writes for an existing database: settings that it writes
    /// itself, the database, and entries without content.
    pub fn is_printed(&self) -> bool {
        let is_special = matches!(
            self.kind.as_slice(),
            b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH" | b"DATABASE" | b"DATABASE PROPERTIES"
        );
        let is_of_database = matches!(
            self.kind.as_slice(),
            b"ACL" | b"COMMENT" | b"SECURITY LABEL"
        ) && self.tag.starts_with(b"DATABASE ");
        !is_special && !is_of_database && (self.has_data || !self.definition.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(
        dump_id: i32,
        identity: (u32, u32),
        kind: &str,
        tag: &str,
        dependencies: &[i32],
    ) -> Entry {
        Entry {
            dump_id,
            table_oid: identity.0,
            oid: identity.1,
            kind: kind.into(),
            tag: tag.into(),
            definition: b"x".to_vec(),
            namespace: Some(b"public".to_vec()),
            dependencies: dependencies.to_vec(),
            ..Entry::default()
        }
    }

    fn gone() -> Gone {
        let objects = [
            ((3079, 100), "extension pg_incrbackup"),
            ((1259, 101), "table public.ddl_history"),
            ((1259, 200), "view public.backup_health"),
            ((6106, 300), "publication relation p"),
        ];
        let member = |kind, name: &str| Member {
            schema: b"public".to_vec(),
            kind,
            name: name.into(),
        };
        Gone {
            objects: objects.map(|(id, name)| (id, name.to_string())).into(),
            extension: Some((3079, 100)),
            members: vec![
                member("FUNCTION", "incr_flush"),
                member("TABLE", "ddl_history"),
            ],
            parts: Vec::new(),
            stand_ins: Vec::new(),
            drop_first: Vec::new(),
        }
    }

    fn chosen(entries: Vec<Entry>) -> Choice {
        choose(&Toc { entries }, &gone())
    }

    #[test]
    fn the_extension_goes_with_what_is_said_of_it_and_of_its_members() {
        let choice = chosen(vec![
            entry(2, (3079, 100), "EXTENSION", "pg_incrbackup", &[]),
            entry(3, (0, 0), "COMMENT", "EXTENSION \"pg_incrbackup\"", &[2]),
            entry(
                4,
                (0, 0),
                "ACL",
                "FUNCTION \"incr_flush\"(interval)",
                &[900],
            ),
            entry(5, (0, 0), "ACL", "TABLE ddl_history", &[901]),
            entry(6, (0, 0), "ACL", "COLUMN \"ddl_history\".\"id\"", &[901, 5]),
            entry(7, (0, 101), "ROW SECURITY", "ddl_history", &[901]),
            entry(8, (3079, 102), "EXTENSION", "pg_trgm", &[]),
            entry(
                9,
                (0, 0),
                "ACL",
                "FUNCTION \"similarity\"(text, text)",
                &[902],
            ),
        ]);
        assert_eq!(choice.kept, [8, 9]);
        assert!(choice.left_out.is_empty() && choice.names.is_empty());
    }

    #[test]
    fn what_needs_it_goes_with_what_hangs_on_it_and_is_named() {
        let choice = chosen(vec![
            entry(1, (1259, 199), "TABLE", "mine", &[]),
            entry(2, (1259, 200), "VIEW", "backup_health", &[]),
            entry(3, (0, 0), "ACL", "VIEW \"backup_health\"", &[2]),
            entry(4, (0, 199), "TABLE DATA", "mine", &[1]),
            entry(5, (6106, 300), "PUBLICATION TABLE", "p ddl_history", &[6]),
            entry(6, (6104, 301), "PUBLICATION", "p", &[]),
        ]);
        assert_eq!(choice.kept, [1, 4, 6]);
        assert_eq!(choice.left_out, [2, 3, 5]);
        assert_eq!(
            choice.names,
            ["view public.backup_health", "publication relation p"]
        );
    }

    #[test]
    fn no_name_poses_as_the_extension_or_as_a_member() {
        let choice = chosen(vec![
            entry(
                1,
                (1259, 10),
                "TABLE",
                "pg_incrbackup; Type: EXTENSION; x",
                &[],
            ),
            entry(2, (0, 0), "COMMENT", "EXTENSION \"pg_incrbackup\"", &[1]),
            // A user's function of the same name: it has an entry.
            entry(3, (1255, 11), "FUNCTION", "incr_flush(text)", &[]),
            entry(4, (0, 0), "ACL", "FUNCTION \"incr_flush\"(text)", &[3]),
            entry(5, (3079, 12), "EXTENSION", "pg_incrbackup", &[]),
        ]);
        assert_eq!(choice.kept, [1, 2, 3, 4, 5]);
    }
}
