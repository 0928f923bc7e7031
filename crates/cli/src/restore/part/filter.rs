//! Which lines of a segment a part is about. The reading thread asks; the rest is never handed over.
//!
//! Rows are chosen by the names that the wanted relations have at that place, which the effects change. Of the positions
//! of a sequence only the last before a schema change, or before the end, is kept.

use std::collections::{BTreeMap, HashMap, HashSet};

use archive::segment::grammar::SETVAL_PREFIX;
use archive::segment::Effect;
use archive_query::history::outline::sequence_of;
use archive_query::history::scanner::Words;
use archive_query::history::statement::{copied, head};
use memchr::memmem;

use super::wanted::{follow_schema, Kind, Name, Wanted};

/// What belongs to the database as a whole: how kinds of objects begin, as classes of effects and as pg_dump calls them.
pub const NOT_OF_A_PART: [&str; 8] = [
    "event trigger",
    "publication",
    "subscription",
    "default privileges",
    "default acl",
    "database",
    "blob",
    "large object",
];

/// Statements about large objects, as the output plugin writes them.
const OF_LARGE_OBJECTS: [&[u8]; 6] = [
    b"SELECT pg_catalog.lo",
    b"ALTER LARGE OBJECT ",
    b"COMMENT ON LARGE OBJECT ",
    b"SECURITY LABEL ",
    b"GRANT ",
    b"REVOKE ",
];

/// The state of the filter at a place.
pub struct Filter {
    wanted: HashSet<u32>,
    names: BTreeMap<u32, Name>,
    schemas: BTreeMap<u32, Vec<u8>>,
    /// Names as written, and whether they are wanted, since the last schema change.
    known: HashMap<Vec<u8>, bool>,
    /// The last position of each sequence: the sequence, line, statement.
    positions: Vec<(Vec<u8>, u64, Vec<u8>)>,
}

/// What becomes of a statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    AsItIs,
    /// In another form.
    As(Vec<u8>),
    Not,
}

impl Filter {
    /// At the base.
    pub fn new(wanted: &Wanted) -> Filter {
        let (oids, names) = if wanted.is_without_rows {
            Default::default()
        } else {
            (wanted.oids.clone(), wanted.names.clone())
        };
        Filter {
            wanted: oids.into_iter().collect(),
            names,
            schemas: wanted.schemas.clone(),
            known: HashMap::new(),
            positions: Vec::new(),
        }
    }

    /// Takes the effect into account; whether it is executed.
    pub fn takes_effect(&mut self, effect: &Effect) -> bool {
        self.known.clear();
        if effect.class == "schema" {
            follow_schema(&mut self.schemas, effect, |old, new| {
                let moved = self.names.values_mut().filter(|name| name.schema == old);
                moved.for_each(|name| name.schema = new.to_vec());
            });
            return true;
        }
        let is_wanted = self.wanted.contains(&effect.oid);
        if Kind::of(&effect.class).is_some() && is_wanted {
            match Name::read(&effect.identity).filter(|_| effect.verb != "drop") {
                Some(name) => self.names.insert(effect.oid, name),
                None => self.names.remove(&effect.oid),
            };
        }
        // The rows of other materialized views are of no use.
        let is_needed = effect.verb != "refresh" || is_wanted;
        let of_whole = |class: &&str| effect.class.starts_with(class);
        is_needed && !NOT_OF_A_PART.iter().any(of_whole)
    }

    /// Whether a statement in the user's words is executed.
    pub fn takes_ddl(&mut self, command: &str) -> bool {
        self.known.clear();
        let command = command.to_lowercase();
        !NOT_OF_A_PART.iter().any(|class| command.contains(class))
    }

    /// Of a statement of one line.
    pub fn statement(&mut self, line: u64, text: &[u8]) -> Taken {
        if text.starts_with(SETVAL_PREFIX.as_bytes()) {
            self.note_position(line, text);
            return Taken::Not;
        }
        if let Some((_, table)) = head(text) {
            return taken(self.is_wanted(table));
        }
        if text.starts_with(b"TRUNCATE ") {
            return self.truncate(text);
        }
        taken(!OF_LARGE_OBJECTS.iter().any(|start| text.starts_with(start)))
    }

    /// Of a COPY block, by its first line.
    pub fn takes_copy(&mut self, text: &[u8]) -> bool {
        copied(text).is_none_or(|table| self.is_wanted(table))
    }

    /// The positions that are due: line and statement.
    pub fn take_positions(&mut self) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
        let positions = self.positions.drain(..);
        positions.map(|(_, line, text)| (line, text))
    }

    /// Whether a segment that writes to these tables, by their names as written, has rows of wanted ones.
    pub fn touches<'n>(&mut self, mut tables: impl Iterator<Item = &'n [u8]>) -> bool {
        tables.any(|table| self.is_wanted(table))
    }

    /// A position of a segment that is passed over.
    pub fn passed_position(&mut self, text: &[u8]) {
        self.note_position(0, text);
    }

    pub fn has_positions(&self) -> bool {
        !self.positions.is_empty()
    }

    fn is_wanted(&mut self, written: &[u8]) -> bool {
        if let Some(known) = self.known.get(written) {
            return *known;
        }
        let is_wanted = Name::read(written).is_some_and(|name| self.has(&name));
        self.known.insert(written.to_vec(), is_wanted);
        is_wanted
    }

    fn has(&self, name: &Name) -> bool {
        self.names.values().any(|wanted| wanted == name)
    }

    fn note_position(&mut self, line: u64, text: &[u8]) {
        let sequence = sequence_of(text);
        self.positions.retain(|(other, ..)| *other != sequence);
        self.positions.push((sequence, line, text.to_vec()));
    }

    /// Of its tables the wanted ones. The others, which may refer to them, have no rows here: CASCADE finds nothing more.
    fn truncate(&mut self, text: &[u8]) -> Taken {
        let mut words = Words::new(text);
        words.pass(b"TRUNCATE ");
        words.pass(b"TABLE ");
        let (mut kept, mut is_all) = (Vec::new(), true);
        loop {
            let only: &[u8] = if words.pass(b"ONLY ") { b"ONLY " } else { b"" };
            let Some(table) = words.qualified() else {
                return Taken::AsItIs;
            };
            if self.is_wanted(table) {
                kept.push([only, table].concat());
            } else {
                is_all = false;
            }
            if !words.pass(b", ") {
                break;
            }
        }
        if is_all || kept.is_empty() {
            return taken(is_all);
        }
        let tables = kept.join(&b", "[..]);
        let restart: &[u8] = if memmem::find(words.rest(), b"RESTART IDENTITY").is_some() {
            b" RESTART IDENTITY"
        } else {
            b""
        };
        Taken::As([b"TRUNCATE ", &tables[..], restart, b" CASCADE;"].concat())
    }
}

fn taken(is_wanted: bool) -> Taken {
    if is_wanted {
        Taken::AsItIs
    } else {
        Taken::Not
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(schema: &str, name: &str) -> Name {
        Name {
            schema: schema.into(),
            name: name.into(),
        }
    }

    fn effect(class: &str, oid: u32, verb: &str, identity: &str) -> Effect {
        Effect {
            class: class.to_owned(),
            oid,
            verb: verb.to_owned(),
            identity: identity.into(),
            identity_cut: 0,
            needs: Vec::new(),
            needs_cut: 0,
        }
    }

    fn filter() -> Filter {
        let wanted = Wanted {
            oids: [10, 11].into(),
            names: [(10, name("public", "t")), (11, name("a b", "x\"y"))].into(),
            schemas: [(5, b"a b".to_vec()), (2200, b"public".to_vec())].into(),
            ..Wanted::default()
        };
        Filter::new(&wanted)
    }

    fn takes(filter: &mut Filter, text: &str) -> bool {
        filter.statement(1, text.as_bytes()) != Taken::Not
    }

    #[test]
    fn rows_are_chosen_by_the_names_at_their_place() {
        let mut filter = filter();
        let row = |table: &str| format!("INSERT INTO {table} (a) VALUES (1);");
        assert!(takes(&mut filter, &row("public.t")));
        assert!(takes(&mut filter, &row("\"a b\".\"x\"\"y\"")));
        assert!(!takes(&mut filter, &row("public.u")));
        assert!(takes(
            &mut filter,
            "UPDATE ONLY public.t SET a = 2 WHERE a = 1;"
        ));
        assert!(!takes(
            &mut filter,
            "DELETE FROM public.u WHERE a = 'public.t';"
        ));
        assert!(filter.takes_copy(b"COPY public.t (a) FROM stdin;"));
        assert!(!filter.takes_copy(b"COPY public.u (a) FROM stdin;"));
        filter.takes_effect(&effect("table", 10, "rename", "public.u"));
        assert!(!takes(&mut filter, &row("public.t")) && takes(&mut filter, &row("public.u")));
        filter.takes_effect(&effect("schema", 5, "rename", "\"c.d\""));
        assert!(takes(&mut filter, &row("\"c.d\".\"x\"\"y\"")));
        filter.takes_effect(&effect("table", 10, "drop", "public.u"));
        // Another table of the same name.
        filter.takes_effect(&effect("table", 12, "create", "public.u"));
        assert!(!takes(&mut filter, &row("public.u")));
    }

    #[test]
    fn a_truncate_is_reduced_to_the_wanted_tables() {
        let of = |text: &str| filter().statement(1, text.as_bytes());
        assert_eq!(of("TRUNCATE public.t;"), Taken::AsItIs);
        assert_eq!(of("TRUNCATE public.u;"), Taken::Not);
        let reduced = b"TRUNCATE ONLY public.t, \"a b\".\"x\"\"y\" CASCADE;".to_vec();
        let text = "TRUNCATE ONLY public.t, ONLY public.u, \"a b\".\"x\"\"y\";";
        assert_eq!(of(text), Taken::As(reduced));
        let restarted = b"TRUNCATE public.t RESTART IDENTITY CASCADE;".to_vec();
        assert_eq!(
            of("TRUNCATE public.t, public.u RESTART IDENTITY;"),
            Taken::As(restarted)
        );
    }

    #[test]
    fn of_the_positions_of_a_sequence_the_last_one_is_kept() {
        let mut filter = filter();
        let first = "SELECT pg_catalog.setval('public.s', 1, true);";
        let guarded = "SELECT pg_catalog.setval(c.oid::pg_catalog.regclass, 7, true) FROM pg_catalog.pg_class AS c \
            WHERE n.nspname = 'public' AND c.relname = 's';";
        let other = "SELECT pg_catalog.setval('public.\"S\"', 9, true);";
        for text in [first, other, guarded, &first.replace('1', "33")] {
            assert_eq!(filter.statement(1, text.as_bytes()), Taken::Not);
        }
        let kept: Vec<String> = filter
            .take_positions()
            .map(|(_, text)| String::from_utf8(text).unwrap())
            .collect();
        assert_eq!(
            kept,
            [
                other.to_owned(),
                guarded.to_owned(),
                first.replace('1', "33")
            ]
        );
        assert!(!filter.has_positions());
    }

    #[test]
    fn what_belongs_to_the_whole_database_is_no_part() {
        let mut filter = filter();
        for class in [
            "event trigger",
            "publication",
            "subscription",
            "default privileges",
            "database",
        ] {
            assert!(
                !filter.takes_effect(&effect(class, 99, "create", "x")),
                "{class}"
            );
        }
        assert!(filter.takes_effect(&effect("function", 99, "create", "public.f()")));
        assert!(!filter.takes_effect(&effect("materialized view", 99, "refresh", "public.mv")));
        assert!(!filter.takes_ddl("CREATE SUBSCRIPTION") && filter.takes_ddl("CREATE EXTENSION"));
        assert!(!takes(&mut filter, "SELECT pg_catalog.lo_create(16475);"));
    }
}
