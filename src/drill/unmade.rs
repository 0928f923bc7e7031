//! What a role without privileges can't make, as the source's catalogs tell: the only things that may be missing
//! or differ on a throwaway server without the drill having failed.
//!
//! Entries of pg_dump's table of contents carry the OID of their object and the entries that they depend on.
//! Some are of kinds that PostgreSQL lets only superusers make; what depends on them, directly or not, is as
//! unmade. What of these came out the same nevertheless is compared like all else.

use std::collections::{BTreeMap, BTreeSet};

use super::definitions::Object;
use crate::pg::failure::Failure;
use crate::pg::query;
use crate::pg::server;

/// `class/oid` of all objects that only a superuser makes (extensions' own apart, which come with them):
/// functions in languages that are not trusted, or that are marked as only a superuser may; what is made of
/// C functions; what watches others' statements.
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

/// Our extension and its members, and the names of those as entries of privileges have them: those carry no OID.
const OWN: &str = "SELECT concat_ws(',', '3079/' || e.oid, \
    (SELECT string_agg(classid::oid || '/' || objid, ',') FROM pg_depend \
      WHERE refclassid = 'pg_extension'::regclass AND refobjid = e.oid AND deptype = 'e')) \
  FROM pg_extension AS e WHERE extname = 'pg_incrbackup'";
const OWN_PRIVILEGES: &str = "SELECT string_agg(kind || n.nspname || ' ' || name, E'\\n') FROM ( \
    SELECT d.refobjid, relnamespace AS namespace, 'ACL ' AS kind, \
        CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || relname AS name \
      FROM pg_depend AS d JOIN pg_class AS c ON c.oid = objid \
      WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e' \
    UNION ALL SELECT d.refobjid, pronamespace, 'ACL ', 'FUNCTION ' || proname || '(' || oidvectortypes(proargtypes) || ')' \
      FROM pg_depend AS d JOIN pg_proc AS p ON p.oid = objid \
      WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e') AS member \
  JOIN pg_namespace AS n ON n.oid = namespace JOIN pg_extension AS e ON e.oid = refobjid WHERE extname = 'pg_incrbackup'";

/// Kinds of entries that only a superuser makes, or of which it depends on the server whether others may.
const KINDS: [&str; 2] = ["SECURITY LABEL", "PROCEDURAL LANGUAGE"];
/// `pg_extension`, and `pg_class`.
const EXTENSION: u32 = 3079;
const RELATION: u32 = 1259;

/// An object by catalog and OID.
type Id = (u32, u32);

/// What the catalogs say, read under the snapshot's locks.
#[derive(Default)]
pub struct Catalogs {
    roots: BTreeSet<Id>,
    own: BTreeSet<Id>,
    own_privileges: BTreeSet<String>,
}

impl Catalogs {
    /// Needs a transaction.
    pub fn read() -> Result<Catalogs, Failure> {
        let text = |query: &'static str| -> Result<String, Failure> {
            Ok(query::one::<String>(query, &[])?.unwrap_or_default())
        };
        Ok(Catalogs {
            roots: ids(&text(ROOTS)?),
            own: ids(&text(OWN)?),
            own_privileges: text(OWN_PRIVILEGES)?.lines().map(str::to_string).collect(),
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
    /// Kind, schema, name, owner, as the listing writes them: with a blank between them.
    words: String,
    depends_on: Vec<u32>,
}

/// The table of contents of the source's definitions.
pub struct TableOfContents {
    entries: BTreeMap<u32, Entry>,
    catalogs: Catalogs,
}

impl TableOfContents {
    /// Of what `pg_restore --list --verbose` writes.
    pub fn of(listing: &str, catalogs: Catalogs) -> TableOfContents {
        let (mut entries, mut last) = (BTreeMap::<u32, Entry>::new(), None);
        for line in listing.lines() {
            let depends_on = line
                .strip_prefix(';')
                .map(str::trim_start)
                .and_then(|rest| rest.strip_prefix("depends on:"));
            if let (Some(numbers), Some(last)) = (depends_on, last) {
                let numbers = numbers
                    .split_whitespace()
                    .filter_map(|n| n.parse::<u32>().ok());
                if let Some(entry) = entries.get_mut(&last) {
                    entry.depends_on.extend(numbers);
                }
            } else if let Some((number, entry)) = entry(line) {
                entries.insert(number, entry);
                last = Some(number);
            }
        }
        TableOfContents { entries, catalogs }
    }

    /// A list for `pg_restore --use-list` without our own extension.
    pub fn without_own_extension(&self) -> String {
        let lines = self.entries.iter().filter(|(_, entry)| !self.is_own(entry));
        lines
            .map(|(number, entry)| {
                format!("{number}; {} {} {}\n", entry.id.0, entry.id.1, entry.words)
            })
            .collect()
    }

    fn is_own(&self, entry: &Entry) -> bool {
        let is_member = |id: &Id| self.catalogs.own.contains(id);
        // Comments and privileges have no OID; what has only our extension to depend on is the extension's.
        let hangs_on_own = || {
            let on = |number: &u32| self.entries.get(number).is_some_and(|on| is_member(&on.id));
            entry.id == (0, 0) && entry.depends_on.iter().any(on)
        };
        let mut privileges = self.catalogs.own_privileges.iter();
        is_member(&entry.id)
            || hangs_on_own()
            || privileges.any(|own| entry.words.starts_with(&format!("{own} ")))
    }

    /// What can't be made where these extensions are missing.
    pub fn unmade(&self, has_extension: impl Fn(&str) -> bool) -> Unmade {
        let is_root = |entry: &Entry| {
            let kind = |kind: &&str| entry.words.starts_with(*kind);
            // Of an extension's member or of something of PostgreSQL's own: the superuser's.
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
        let mut found: BTreeSet<u32> = roots.map(|(number, _)| *number).collect();
        loop {
            let needs = |entry: &Entry| entry.depends_on.iter().any(|on| found.contains(on));
            let more = self.entries.iter().filter(|(_, entry)| needs(entry));
            let more: Vec<u32> = more.map(|(number, _)| *number).collect();
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

/// `215; 1259 16385 TABLE public t postgres`
fn entry(line: &str) -> Option<(u32, Entry)> {
    let (number, rest) = line.split_once("; ")?;
    let mut parts = rest.splitn(3, ' ');
    let id = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let entry = Entry {
        id,
        words: parts.next()?.to_string(),
        depends_on: Vec::new(),
    };
    Some((number.parse().ok()?, entry))
}

/// What may be missing, or another: words of entries, and the OID of a relation.
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

/// `pg_restore --list --verbose` needs no server; the version is that of the source's programs.
pub fn exclusion() -> Option<&'static str> {
    (server::VERSION_NUM >= 170_000).then_some("--exclude-extension=pg_incrbackup")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = ";\n; Archive created at 2026\n;     dbname: app\n;\n\
        2; 3079 16385 EXTENSION - hstore \n\
        3; 0 0 COMMENT - EXTENSION hstore \n;\tdepends on: 2\n\
        5; 1255 16400 FUNCTION public fast(integer) postgres\n\
        6; 1259 16401 TABLE public needy postgres\n;\tdepends on: 5\n\
        7; 1259 16402 VIEW public seen postgres\n;\tdepends on: 6\n\
        8; 1259 16403 TABLE public a; b postgres\n\
        9; 0 0 ACL public FUNCTION incr_status() postgres\n;\tdepends on: 44\n\
        10; 0 0 ACL public TABLE needy postgres\n;\tdepends on: 6\n";

    fn contents() -> TableOfContents {
        let catalogs = Catalogs {
            roots: ids("1255/16400,3466/5"),
            own: BTreeSet::new(),
            own_privileges: ["ACL public FUNCTION incr_status()".to_string()].into(),
        };
        TableOfContents::of(LISTING, catalogs)
    }

    #[test]
    fn what_needs_something_that_is_not_made_is_not_made() {
        let unmade = contents().unmade(|_| true);
        let words: Vec<&str> = unmade.objects.keys().map(String::as_str).collect();
        assert_eq!(
            words,
            [
                "ACL public FUNCTION incr_status() postgres",
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

    #[test]
    fn our_own_extension_is_no_part_of_the_definitions() {
        let list = contents().without_own_extension();
        assert!(
            !list.contains("incr_status") && list.contains("8; 1259 16403 TABLE public a; b"),
            "{list}"
        );
    }
}
