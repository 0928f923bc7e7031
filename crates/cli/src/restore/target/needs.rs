//! Which roles and tablespaces a restore needs, and which of them were renamed.
//!
//! Names are bytes in the encoding of the database.

use std::collections::{BTreeMap, BTreeSet};

use super::globals_sql::GlobalsSql;
use crate::restore::plan::Needs;

/// A role that has another name from a set of globals on. They are identified by OID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The number of the set among those after the base, from 1.
    pub set: usize,
    pub old: Vec<u8>,
    pub new: Vec<u8>,
    /// Nobody had that name before.
    pub is_new: bool,
}

/// What is known of roles and tablespaces.
pub struct Known<'a> {
    /// globals.sql as of the base; with `--globals`, also the later ones.
    pub globals: Vec<GlobalsSql>,
    /// That own something or have privileges in the base.
    pub of_base: Vec<Vec<u8>>,
    /// That the later sets' database.sql name.
    pub of_sets: Vec<Vec<u8>>,
    pub of_segments: &'a Needs,
    /// In which something of the base is.
    pub tablespaces: Vec<Vec<u8>>,
    pub renames: Vec<Rename>,
    pub with_globals: bool,
}

/// A role to create if it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub name: Vec<u8>,
    pub is_superuser: bool,
}

/// A tablespace to create if it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tablespace {
    pub name: Vec<u8>,
    /// The result of a rename: only made here if its old name exists already.
    pub renamed_from: Option<Vec<u8>>,
    /// That of the source, as a string constant.
    pub location: Option<Vec<u8>>,
}

impl Known<'_> {
    /// The roles that base and segments need, and whether they were superusers. With `--globals`, all of the cluster as of
    /// the base; those of later come when they come.
    pub fn roles(&self) -> Vec<Role> {
        let first = self.globals.first();
        let mut superusers: BTreeSet<&Vec<u8>> =
            first.into_iter().flat_map(|it| &it.superusers).collect();
        let mut needed: BTreeSet<&Vec<u8>> = self.of_base.iter().collect();
        if self.with_globals || self.of_base.is_empty() {
            needed.extend(first.into_iter().flat_map(GlobalsSql::roles));
        }
        if !self.with_globals {
            let becomes =
                |name: &Vec<u8>| self.renames.iter().any(|it| it.is_new && it.new == *name);
            for (name, is_superuser) in &self.of_segments.roles {
                if *is_superuser && !becomes(name) {
                    superusers.insert(name);
                }
            }
            let segments = self.of_segments.roles.keys();
            let later = self.of_sets.iter().chain(segments);
            needed.extend(later.filter(|name| !becomes(name)));
        }
        let is_made = |name: &&Vec<u8>| {
            !name.starts_with(b"pg_") && !matches!(name.as_slice(), b"" | b"public" | b"none")
        };
        let roles = needed.into_iter().filter(is_made).map(|name| Role {
            name: name.clone(),
            is_superuser: superusers.contains(name),
        });
        roles.collect()
    }

    /// All roles that any globals.sql creates: those that exist before are left as they are.
    pub fn of_cluster(&self) -> BTreeSet<Vec<u8>> {
        self.globals
            .iter()
            .flat_map(GlobalsSql::roles)
            .cloned()
            .collect()
    }

    /// Memberships among `made`: the role, the member. With `--globals` they come with its statements.
    pub fn members(&self, made: &BTreeSet<Vec<u8>>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let first = self.globals.first().filter(|_| !self.with_globals);
        let members = first.into_iter().flat_map(GlobalsSql::members);
        let both = members.filter(|(role, member)| made.contains(*role) && made.contains(*member));
        both.map(|(role, member)| (role.clone(), member.clone()))
            .collect()
    }

    /// Tablespaces, each once.
    pub fn spaces(&self) -> Vec<Tablespace> {
        let mut found: BTreeMap<&Vec<u8>, Tablespace> = BTreeMap::new();
        let mut add = |name, renamed_from: Option<&Vec<u8>>, location: Option<&Vec<u8>>| {
            found.entry(name).or_insert_with(|| Tablespace {
                name: name.clone(),
                renamed_from: renamed_from.cloned(),
                location: location.cloned(),
            });
        };
        if self.with_globals {
            for (name, location) in self.globals.iter().flat_map(|it| &it.spaces) {
                add(name, None, Some(location));
            }
        }
        for name in &self.tablespaces {
            add(name, None, None);
        }
        for (name, renamed_from) in &self.of_segments.tablespaces {
            add(name, renamed_from.as_ref(), None);
        }
        found.into_values().collect()
    }
}

/// Renames from one list of roles to the next, each `OID NAME`: that of the base first, then one for each later set.
pub fn renames(lists: &[Vec<Vec<u8>>]) -> Vec<Rename> {
    let mut was: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut before: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut renames = Vec::new();
    for (set, list) in lists.iter().enumerate() {
        let mut now = Vec::new();
        for line in list {
            let Some(at) = memchr::memchr(b' ', line) else {
                continue;
            };
            let (oid, name) = (line[..at].to_vec(), line[at + 1..].to_vec());
            now.push(name.clone());
            match was.insert(oid, name.clone()) {
                Some(old) if old != name => renames.push(Rename {
                    set,
                    old,
                    is_new: !before.contains(&name),
                    new: name,
                }),
                _ => {}
            }
        }
        before.extend(now);
    }
    renames
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bytes(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    fn needs() -> Needs {
        Needs {
            roles: [(b"late".to_vec(), true), (b"renamed".to_vec(), false)].into(),
            tablespaces: [(b"ts2".to_vec(), Some(b"ts".to_vec()))].into(),
            ..Needs::default()
        }
    }

    fn known(needs: &Needs) -> Known<'_> {
        let sql = "CREATE ROLE boss;\nALTER ROLE boss WITH SUPERUSER LOGIN;\nCREATE ROLE bob;\nCREATE ROLE \"other;\";\n\
            GRANT bob TO \"other;\";\nGRANT bob TO boss;\nCREATE TABLESPACE ts OWNER bob LOCATION '/x';\n";
        Known {
            globals: vec![GlobalsSql::parse(sql.as_bytes()).unwrap()],
            of_base: bytes(&["boss", "bob", "pg_monitor"]),
            of_segments: needs,
            tablespaces: bytes(&["ts"]),
            renames: renames(&[bytes(&["1 bob"]), bytes(&["1 renamed"])]),
            of_sets: Vec::new(),
            with_globals: false,
        }
    }

    fn names(known: &Known<'_>) -> Vec<String> {
        let roles = known.roles().into_iter();
        let shown = roles.map(|it| {
            let mark = if it.is_superuser { "!" } else { "" };
            String::from_utf8(it.name).unwrap() + mark
        });
        shown.collect()
    }

    #[test]
    fn needed_are_those_of_the_base_and_of_segments_unless_a_rename_makes_them() {
        assert_eq!(names(&known(&needs())), ["bob", "boss!", "late!"]);
        let members =
            known(&needs()).members(&bytes(&["bob", "boss", "late"]).into_iter().collect());
        assert_eq!(members, [(b"bob".to_vec(), b"boss".to_vec())]);
    }

    #[test]
    fn with_globals_it_is_all_of_the_cluster_as_of_the_base() {
        let needs = needs();
        let known = Known {
            with_globals: true,
            ..known(&needs)
        };
        assert_eq!(names(&known), ["bob", "boss!", "other;"]);
        assert_eq!(known.members(&known.of_cluster()), []);
        let spaces = known.spaces();
        assert_eq!(spaces[0].location.as_deref(), Some(&b"'/x'"[..]));
    }

    #[test]
    fn a_base_that_names_no_roles_needs_all() {
        let needs = needs();
        let known = Known {
            of_base: Vec::new(),
            ..known(&needs)
        };
        assert_eq!(names(&known), ["bob", "boss!", "late!", "other;"]);
    }

    #[test]
    fn a_tablespace_that_is_the_result_of_a_rename_says_so() {
        let spaces = known(&needs()).spaces();
        assert_eq!(spaces.len(), 2);
        assert_eq!(spaces[0].renamed_from, None);
        assert_eq!(spaces[0].location, None);
        assert_eq!(spaces[1].renamed_from.as_deref(), Some(&b"ts"[..]));
    }

    #[test]
    fn renames_are_found_by_oid_with_the_number_of_the_set() {
        let lists = [
            bytes(&["10 postgres", "5 a", "6 b"]),
            bytes(&["10 postgres", "5 b", "6 a", "7 c d"]),
            bytes(&["5 b", "7 e"]),
        ];
        let found: Vec<(usize, Vec<u8>, Vec<u8>, bool)> = renames(&lists)
            .into_iter()
            .map(|it| (it.set, it.old, it.new, it.is_new))
            .collect();
        let expected = [
            (1, b"a".to_vec(), b"b".to_vec(), false),
            (1, b"b".to_vec(), b"a".to_vec(), false),
            (2, b"c d".to_vec(), b"e".to_vec(), true),
        ];
        assert_eq!(found, expected);
    }
}
