//! What a role without privileges cannot create, according to the source's catalogs: only these objects may
//! be missing or differ on a throwaway server without the drill failing.
//!
//! Entries of pg_dump's table of contents contain the OID of their object and their dependencies. Some are of
//! kinds that only superusers can create; these, and what depends on them, directly or not, are left out. If
//! such an object was restored nevertheless, it is compared like all others.

use std::collections::{BTreeMap, BTreeSet};

use archive::dump::{self, Toc};

use super::definitions::Object;
use crate::pg::failure::Failure;
use crate::pg::server::query;

/// `class/oid` of all objects that only a superuser can create (except members of extensions, which are
/// created with them): functions in untrusted languages, or with attributes that only a superuser may set;
/// objects that consist of C functions; objects that observe other users' statements.
const ROOTS: &str = "SELECT concat_ws(',', \
  (SELECT string_agg('1255/' || p.oid, ',') FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang \
     WHERE p.oid >= 16384 AND (NOT l.lanpltrusted AND p.prokind <> 'a' OR p.proleakproof OR p.prosupport <> 0 \
       OR EXISTS (SELECT FROM pg_settings AS s, unnest(p.proconfig) AS c WHERE s.context <> 'user' \
         AND lower(split_part(c, '=', 1)) = lower(s.name)))), \
  (SELECT string_agg('1255/' || aggfnoid::oid, ',') FROM pg_aggregate \
     WHERE aggfnoid >= 16384 AND 'internal'::regtype IN (aggtranstype, aggmtranstype)), \
  (SELECT string_agg('1247/' || oid, ',') FROM pg_type WHERE oid >= 16384 AND typtype = 'b' AND typcategory <> 'A'), \
  (SELECT string_agg('2612/' || oid, ',') FROM pg_language WHERE oid >= 16384), \
  (SELECT string_agg('2328/' || oid, ',') FROM pg_foreign_data_wrapper WHERE oid >= 16384), \
  (SELECT string_agg('2601/' || oid, ',') FROM pg_am WHERE oid >= 16384), \
  (SELECT string_agg('2616/' || oid, ',') FROM pg_opclass WHERE oid >= 16384), \
  (SELECT string_agg('2753/' || oid, ',') FROM pg_opfamily WHERE oid >= 16384), \
  (SELECT string_agg('2605/' || oid, ',') FROM pg_cast WHERE oid >= 16384 AND castmethod = 'b'), \
  (SELECT string_agg('3576/' || oid, ',') FROM pg_transform WHERE oid >= 16384), \
  (SELECT string_agg('3601/' || oid, ',') FROM pg_ts_parser WHERE oid >= 16384), \
  (SELECT string_agg('3764/' || oid, ',') FROM pg_ts_template WHERE oid >= 16384), \
  (SELECT string_agg('3466/' || oid, ',') FROM pg_event_trigger), \
  (SELECT string_agg('6100/' || s.oid, ',') FROM pg_subscription AS s), \
  (SELECT string_agg('6104/' || oid, ',') FROM pg_publication WHERE puballtables), \
  (SELECT string_agg('6237/' || oid, ',') FROM pg_publication_namespace))";

/// Kinds of entries that only a superuser can create, or for which it depends on the server whether others
/// can.
const KINDS: [&str; 2] = ["SECURITY LABEL", "PROCEDURAL LANGUAGE"];
/// `pg_extension`, and `pg_class`.
const EXTENSION: u32 = 3079;
const RELATION: u32 = 1259;

/// An object by catalog and OID.
type Id = (u32, u32);

/// The relevant catalog contents, read under the snapshot's locks.
#[derive(Default)]
pub struct Catalogs {
    roots: BTreeSet<Id>,
}

impl Catalogs {
    /// Needs a transaction.
    pub fn read() -> Result<Catalogs, Failure> {
        let roots = query::one::<String>(ROOTS, &[])?;
        Ok(Catalogs {
            roots: ids(&roots.unwrap_or_default()),
        })
    }
}

fn ids(text: &str) -> BTreeSet<Id> {
    let one = |word: &str| {
        let (class, object) = word.split_once('/')?;
        Some((class.parse().ok()?, object.parse().ok()?))
    };
    text.split(',').filter_map(one).collect()
}

/// An entry of a dump's table of contents.
#[derive(Debug)]
struct Entry {
    id: Id,
    /// Kind, schema, name, owner, as in the header of the entry's text, separated by blanks.
    words: String,
    depends_on: Vec<i32>,
}

/// The table of contents of the source's definitions.
pub struct TableOfContents {
    entries: BTreeMap<i32, Entry>,
    catalogs: Catalogs,
}

impl TableOfContents {
    pub fn of(toc: &Toc, catalogs: Catalogs) -> TableOfContents {
        let entries = toc.entries.iter().map(|entry| (entry.dump_id, read(entry)));
        TableOfContents {
            entries: entries.collect(),
            catalogs,
        }
    }

    /// What cannot be created if these extensions are missing.
    pub fn unmade(&self, has_extension: impl Fn(&str) -> bool) -> Unmade {
        let is_root = |entry: &Entry| {
            let kind = |kind: &&str| entry.words.starts_with(*kind);
            // A member of an extension or an object of PostgreSQL itself: owned by the superuser.
            let is_of_no_entry = || {
                let mut on = entry.depends_on.iter();
                (entry.words.starts_with("ACL ") || entry.words.starts_with("COMMENT "))
                    && !on.any(|number| self.entries.contains_key(number))
            };
            let is_missing = || {
                let name = entry.words.strip_prefix("EXTENSION - ");
                entry.id.0 == EXTENSION && name.is_some_and(|name| !has_extension(name.trim_end()))
            };
            self.catalogs.roots.contains(&entry.id)
                || KINDS.iter().any(kind)
                || is_of_no_entry()
                || is_missing()
        };
        let roots = self.entries.iter().filter(|(_, entry)| is_root(entry));
        let mut found: BTreeSet<i32> = roots.map(|(number, _)| *number).collect();
        loop {
            let needs = |entry: &Entry| entry.depends_on.iter().any(|on| found.contains(on));
            let more = self.entries.iter().filter(|(_, entry)| needs(entry));
            let more: Vec<i32> = more.map(|(number, _)| *number).collect();
            let before = found.len();
            found.extend(more);
            if found.len() == before {
                break;
            }
        }
        let found = found.iter().filter_map(|number| self.entries.get(number));
        Unmade {
            objects: found
                .map(|entry| {
                    let table = (entry.id.0 == RELATION).then_some(entry.id.1);
                    (entry.words.clone(), table)
                })
                .collect(),
        }
    }
}

fn read(entry: &dump::Entry) -> Entry {
    // pg_dump writes no line end into a header (sanitize_line of pg_backup_archiver.c).
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(['\n', '\r'], " ");
    let or_dash = |name: &Option<Vec<u8>>| name.as_deref().map_or("-".to_string(), text);
    Entry {
        id: (entry.table_oid, entry.oid),
        words: format!(
            "{} {} {} {}",
            text(&entry.kind),
            or_dash(&entry.namespace),
            text(&entry.tag),
            entry.owner.as_deref().map_or(String::new(), text)
        ),
        depends_on: entry.dependencies.clone(),
    }
}

/// What may be missing or differ: descriptions of entries, and the OIDs of relations.
pub struct Unmade {
    objects: BTreeMap<String, Option<u32>>,
}

impl Unmade {
    /// Whether this object of a plain dump is one of them.
    pub fn has(&self, object: &Object) -> bool {
        self.objects.contains_key(object.words())
    }

    /// OID of the relation that it is.
    pub fn relation(&self, object: &Object) -> Option<u32> {
        self.objects.get(object.words()).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number, catalog, object, description, and dependencies.
    const ENTRIES: [(i32, u32, u32, &str, &[i32]); 8] = [
        (2, 3079, 16385, "EXTENSION - hstore ", &[]),
        (3, 0, 0, "COMMENT - EXTENSION hstore ", &[2]),
        (
            5,
            1255,
            16400,
            "FUNCTION public fast(integer) postgres",
            &[],
        ),
        (6, 1259, 16401, "TABLE public needy postgres", &[5]),
        (7, 1259, 16402, "VIEW public seen postgres", &[6]),
        (8, 1259, 16403, "TABLE public a; b postgres", &[]),
        (
            9,
            0,
            0,
            "ACL public FUNCTION of_an_extension() postgres",
            &[44],
        ),
        (10, 0, 0, "ACL public TABLE needy postgres", &[6]),
    ];

    fn contents() -> TableOfContents {
        let entries = ENTRIES.map(|(number, class, object, words, depends_on)| {
            let entry = Entry {
                id: (class, object),
                words: words.to_string(),
                depends_on: depends_on.to_vec(),
            };
            (number, entry)
        });
        TableOfContents {
            entries: entries.into(),
            catalogs: Catalogs {
                roots: ids("1255/16400,3466/5"),
            },
        }
    }

    #[test]
    fn what_needs_something_that_is_not_made_is_not_made() {
        let unmade = contents().unmade(|_| true);
        let words: Vec<&str> = unmade.objects.keys().map(String::as_str).collect();
        assert_eq!(
            words,
            [
                "ACL public FUNCTION of_an_extension() postgres",
                "ACL public TABLE needy postgres",
                "FUNCTION public fast(integer) postgres",
                "TABLE public needy postgres",
                "VIEW public seen postgres"
            ]
        );
        assert_eq!(
            unmade.objects["TABLE public needy postgres"],
            Some(16401),
            "its rows are left out with it"
        );
        let unmade = contents().unmade(|_| false);
        assert!(unmade.objects.contains_key("EXTENSION - hstore "));
    }
}
