//! What of the things that the scratch database lacks, because its server does not let the role make them, is missed in
//! the part.
//!
//! The scratch database gets all definitions of the source. What of them the role is refused is of no interest but where
//! the part has it, or needs it: a relation of the part that is named ends the restore, all else is left out and told.

use std::collections::BTreeSet;

use archive::segment::DdlBlock;
use effects::key::{catalog, Key};
use tokio_postgres::types::{ToSql, Type};

use super::chosen::Chosen;
use super::options::{Options, Section};
use super::wanted::{Name, Wanted};
use crate::connection::Session;
use crate::error::Result;
use crate::quote::shown;
use crate::restore::rights::left_out::{LeftOut, Piece};
use crate::restore::rights::qualified;

/// What was refused, without what psql needs around it.
pub(super) fn said(piece: &Piece) -> &[u8] {
    DdlBlock::read(&piece.sql).statement
}

/// What the part is called, by the names of each time.
pub struct Known {
    /// Schemas of which everything is in the part.
    schemas: BTreeSet<Vec<u8>>,
    /// Schemas that are made.
    made_schemas: BTreeSet<Vec<u8>>,
    names: BTreeSet<qualified::Name>,
    oids: BTreeSet<u32>,
    /// Tables and sequences among them.
    with_rows: BTreeSet<u32>,
}

const NAMES: &str = "SELECT pg_catalog.convert_to(n.nspname::pg_catalog.text, $3), \
        pg_catalog.convert_to(x.name::pg_catalog.text, $3) \
    FROM (SELECT 1259::pg_catalog.oid AS class, oid, relnamespace AS schema, relname AS name FROM pg_catalog.pg_class \
        UNION ALL SELECT 1247, oid, typnamespace, typname FROM pg_catalog.pg_type \
        UNION ALL SELECT 1255, oid, pronamespace, proname FROM pg_catalog.pg_proc \
        UNION ALL SELECT 2617, oid, oprnamespace, oprname FROM pg_catalog.pg_operator \
        UNION ALL SELECT 3456, oid, collnamespace, collname FROM pg_catalog.pg_collation) AS x \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = x.schema \
    JOIN ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (class, oid) ON k.class = x.class AND k.oid = x.oid";

const SCHEMAS: &str = "SELECT oid, pg_catalog.convert_to(nspname::pg_catalog.text, $2) \
    FROM pg_catalog.pg_namespace WHERE oid = ANY ($1)";

impl Known {
    /// `makes`: objects of the scratch database that the target does not have; `encoding` is the archive's.
    pub async fn read(
        scratch: &Session,
        encoding: &str,
        wanted: &Wanted,
        chosen: &Chosen,
        makes: &[Key],
    ) -> Result<Known> {
        let (classes, oids): (Vec<u32>, Vec<u32>) =
            makes.iter().map(|key| (key.class, key.oid)).unzip();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
            (&classes, Type::OID_ARRAY),
            (&oids, Type::OID_ARRAY),
            (&encoding, Type::NAME),
        ];
        let mut names: BTreeSet<qualified::Name> = wanted
            .names
            .values()
            .chain(&wanted.at_end)
            .map(|name| (name.schema.clone(), name.name.clone()))
            .collect();
        for row in scratch.client.query_typed(NAMES, &parameters).await? {
            let (schema, name): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let schemas = wanted.names_of_schema(&schema).into_iter();
            names.extend(schemas.map(|schema| (schema, name.clone())));
        }
        let of_schemas = makes.iter().filter(|key| key.class == catalog::NAMESPACE);
        let made: BTreeSet<u32> = of_schemas.map(|key| key.oid).collect();
        let oids: Vec<u32> = chosen.schemas.union(&made).copied().collect();
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&oids, Type::OID_ARRAY), (&encoding, Type::NAME)];
        let (mut schemas, mut made_schemas) = (BTreeSet::new(), BTreeSet::new());
        for row in scratch.client.query_typed(SCHEMAS, &parameters).await? {
            let (oid, name): (u32, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            // What was refused has the names of its time.
            let names = wanted.names_of_schema(&name);
            if chosen.schemas.contains(&oid) {
                schemas.extend(names.iter().cloned());
            }
            if made.contains(&oid) {
                made_schemas.extend(names);
            }
        }
        Ok(Known {
            schemas,
            made_schemas,
            names,
            oids: wanted.oids.clone(),
            with_rows: wanted.with_rows.clone(),
        })
    }

    /// Of what was left out: what the part misses.
    pub fn missed(&self, left_out: LeftOut, options: &Options) -> LeftOut {
        let mut missed = LeftOut::default();
        missed.rows = left_out.rows;
        let pieces = left_out.pieces.into_iter();
        pieces
            .filter(|piece| self.has(piece, options))
            .for_each(|piece| missed.add(piece));
        missed
    }

    fn has(&self, piece: &Piece, options: &Options) -> bool {
        let is_post_data = piece.is_part || qualified::is_post_data(said(piece));
        let section = if is_post_data {
            Section::PostData
        } else {
            Section::PreData
        };
        if options.has(section) {
            return self.has_object(piece) || self.has_named(piece);
        }
        let is_of_data = options.has(Section::Data) && !is_post_data && !piece.is_leaf;
        is_of_data && self.has_rows(piece)
    }

    /// Whether rows or positions of the part are others without it: a table, a column with its values. In doubt, they are.
    fn has_rows(&self, piece: &Piece) -> bool {
        let is_wanted =
            |(class, oid): &(u32, u32)| *class == catalog::CLASS && self.with_rows.contains(oid);
        let is_view = qualified::is_view(said(piece));
        match &piece.key {
            Some(key) => {
                let may_have = key.0 == catalog::CLASS && !is_view;
                is_wanted(key) || may_have && piece.needs.iter().any(is_wanted)
            }
            // A statement of the user's, or an entry without an OID: a partition that is attached.
            None => !is_view && self.has_named(piece),
        }
    }

    /// By OIDs of the source.
    fn has_object(&self, piece: &Piece) -> bool {
        let is_wanted =
            |(class, oid): &(u32, u32)| *class == catalog::CLASS && self.oids.contains(oid);
        let needs_it = piece.is_part && piece.needs.iter().any(is_wanted);
        piece.key.as_ref().is_some_and(is_wanted) || needs_it
    }

    fn has_named(&self, piece: &Piece) -> bool {
        let said = said(piece);
        let names = qualified::names(said);
        let Some(first) = names.first() else {
            let schema = qualified::schema(said);
            return schema.is_some_and(|schema| self.made_schemas.contains(&schema));
        };
        // Statistics have names of their own, in front of the table's.
        let is_statistics = said.trim_ascii_start().starts_with(b"CREATE STATISTICS ");
        let is_on_it = is_statistics && names.iter().any(|name| self.names.contains(name));
        self.names.contains(first) || self.schemas.contains(&first.0) || is_on_it
    }

    /// Whether a statement is about something of the part.
    pub fn is_about(&self, sql: &[u8]) -> bool {
        let names = qualified::names(sql);
        let first = names.first();
        first.is_some_and(|name| self.names.contains(name) || self.schemas.contains(&name.0))
    }

    /// Whether something that could not be made is the part's: an index of another table, and a foreign key to one, are of
    /// no interest.
    pub fn has_sql(&self, sql: &[u8]) -> bool {
        let names = qualified::names(sql);
        let is_of_part =
            |name: &qualified::Name| self.names.contains(name) || self.schemas.contains(&name.0);
        let is_key = memchr::memmem::find(sql, b" FOREIGN KEY ").is_some();
        match &names[..] {
            [table, refers_to, ..] if is_key => is_of_part(table) && is_of_part(refers_to),
            [first, ..] => is_of_part(first) || names.iter().any(|name| self.names.contains(name)),
            [] => true,
        }
    }
}

/// Whether a statement of a dump or a segment makes a foreign key of which both tables are in the part. Between others rows
/// are missing.
pub fn is_key_of_part(part: &Wanted, sql: &[u8]) -> bool {
    let has = |(schema, name): &qualified::Name| {
        let is_it = |one: &Name| one.schema == *schema && one.name == *name;
        part.names.values().any(is_it) || part.at_end.iter().any(is_it)
    };
    let names = qualified::names(sql);
    matches!(&names[..], [table, refers_to, ..] if has(table) && has(refers_to))
}

/// Functions that are SECURITY DEFINER and will belong to the restoring role, with its name: whoever calls one has its
/// rights, where it may have had others at the source.
pub async fn definers(scratch: &Session, makes: &[Key]) -> Result<Vec<String>> {
    const DEFINERS: &str =
        "SELECT pg_catalog.format('function %s: \"%s\"', oid::pg_catalog.regprocedure, current_user) \
        FROM pg_catalog.pg_proc \
        WHERE oid = ANY ($1) AND prosecdef \
            AND proowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) ORDER BY 1";
    let functions = makes.iter().filter(|key| key.class == catalog::PROC);
    let oids: Vec<u32> = functions.map(|key| key.oid).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
    let rows = scratch.client.query_typed(DEFINERS, &parameters).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// For people: what is left out.
pub fn lines(left_out: &LeftOut) -> Vec<String> {
    let mut lines = left_out.lines();
    if left_out.rows > 0 {
        lines.push(left_out.rows_left_out());
    }
    lines.iter().map(|line| shown(line.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(schema: &str, name: &str) -> qualified::Name {
        (schema.into(), name.into())
    }

    /// The part is table s.t, OID 10, called s.old in the base, the function s.f, and all of schema w.
    fn known() -> Known {
        Known {
            schemas: [b"w".to_vec()].into(),
            made_schemas: [b"w".to_vec()].into(),
            names: [name("s", "t"), name("s", "old"), name("s", "f")].into(),
            oids: [10, 12].into(),
            with_rows: [10].into(),
        }
    }

    fn piece(key: Option<(u32, u32)>, sql: &str) -> Piece {
        Piece {
            key,
            ..Piece::new(sql, sql, "permission denied")
        }
    }

    #[test]
    fn only_what_the_part_has_or_needs_is_missed() {
        let has = |piece: &Piece| known().has(piece, &Options::default());
        for sql in [
            "ALTER TABLE s.old OWNER TO a",
            "CREATE TRIGGER x BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION o.f()",
            "GRANT EXECUTE ON FUNCTION s.f(integer) TO a",
            "CREATE STATISTICS o.st ON a, b FROM s.t",
            "CREATE FUNCTION w.g() RETURNS int LANGUAGE c AS 'x'",
            "GRANT USAGE ON SCHEMA w TO a",
        ] {
            assert!(has(&piece(None, sql)), "{sql}");
        }
        for sql in [
            "ALTER TABLE o.t OWNER TO a",
            "CREATE VIEW o.v AS SELECT FROM s.t",
            "GRANT USAGE ON SCHEMA s TO a",
            "CREATE OPERATOR FAMILY o.x USING btree",
        ] {
            assert!(!has(&piece(None, sql)), "{sql}");
        }
        // Under a name that it had between the two: by its OID, and what is a part of it.
        let of_it = piece(
            Some((catalog::CLASS, 10)),
            "ALTER TABLE s.between OWNER TO a",
        );
        assert!(has(&of_it));
        let mut policy = piece(
            Some((catalog::POLICY, 11)),
            "CREATE POLICY p ON s.between TO a",
        );
        policy.needs = vec![(catalog::CLASS, 10)];
        assert!(!has(&policy));
        policy.is_part = true;
        assert!(has(&policy));
    }

    #[test]
    fn what_rows_are_without_it_is_missed_whatever_its_section_is() {
        let options = Options {
            data_only: true,
            ..Options::default()
        };
        let has = |piece: &Piece| known().has(piece, &options);
        let of = |oid: u32, sql: &str| piece(Some((catalog::CLASS, oid)), sql);
        let mut owned = of(11, "ALTER SEQUENCE s.q OWNED BY s.t.a");
        owned.needs = vec![(catalog::CLASS, 10)];
        for piece in [
            of(10, "CREATE TABLE s.t (a o.x)"),
            of(10, "ALTER TABLE s.between ADD COLUMN b o.x DEFAULT 'a'"),
            piece(None, "ALTER TABLE ONLY s.t ATTACH PARTITION s.u DEFAULT"),
            owned,
        ] {
            assert!(has(&piece), "{}", piece.what);
        }
        let mut policy = piece(Some((catalog::POLICY, 11)), "CREATE POLICY p ON s.t TO a");
        (policy.needs, policy.is_part) = (vec![(catalog::CLASS, 10)], true);
        let mut owner = of(10, "ALTER TABLE s.t OWNER TO a");
        owner.is_leaf = true;
        let mut view = of(12, "CREATE VIEW s.v AS SELECT a FROM s.t");
        view.needs = vec![(catalog::CLASS, 10)];
        let function = "CREATE FUNCTION s.f() RETURNS s.t LANGUAGE c AS 'x'";
        let function = piece(Some((catalog::PROC, 13)), function);
        for piece in [policy, owner, view, function, of(14, "CREATE TABLE s.u ()")] {
            assert!(!has(&piece), "{}", piece.what);
        }
    }

    #[test]
    fn a_key_is_of_the_part_with_both_tables() {
        let sql = |to: &str| {
            format!("ALTER TABLE ONLY s.t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES {to}(b)")
        };
        assert!(known().has_sql(sql("s.old").as_bytes()));
        assert!(!known().has_sql(sql("o.other").as_bytes()));
        assert!(!known().has_sql(b"CREATE INDEX i ON o.other USING btree (a)"));
    }
}
