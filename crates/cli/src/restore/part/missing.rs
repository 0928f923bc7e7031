//! Relations of the part that are not in the scratch database, since the server does not let the role make them there.
//!
//! One that is named ends the restore. So does any table if its rows are wanted and no definitions are: nothing of it would
//! be told where it is there already. (Where definitions are wanted, what is left out is told with them.)

use std::collections::BTreeSet;

use tokio_postgres::types::{ToSql, Type};

use super::chosen::Chosen;
use super::missed::said;
use super::options::{Options, Section};
use super::wanted::{Name, Wanted};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::rights::left_out::{LeftOut, Piece};
use crate::restore::rights::qualified;

/// Fails if relations of the part are not there that must be, with the reasons that the server gave. `encoding` is the
/// archive's.
pub async fn ensure_none(
    (scratch, encoding): (&Session, &str),
    (wanted, chosen): (&Wanted, &Chosen),
    left_out: &LeftOut,
    options: &Options,
) -> Result<()> {
    let mut missing: BTreeSet<Name> = chosen.missing.iter().cloned().collect();
    if options.has(Section::Data) && !options.has(Section::PreData) {
        let there = tables(scratch, encoding).await?;
        let tables = wanted.tables.iter();
        missing.extend(tables.filter(|name| !there.contains(name)).cloned());
    }
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let names: Vec<String> = missing.iter().map(Name::shown).collect();
    let names = names.join(", ");
    let mut reasons = reasons(first, left_out);
    if reasons.is_empty() {
        // It was refused under another name.
        let is_it = |piece: &&Piece| piece.is_table && wanted.has_key(piece.key);
        let refused = left_out.pieces.iter().filter(is_it);
        let tables = refused.flat_map(|piece| qualified::names(said(piece)).into_iter().next());
        let name = |(schema, name)| Name { schema, name };
        let mut names: Vec<Name> = tables.map(name).collect();
        names.dedup();
        reasons = names
            .iter()
            .flat_map(|name| self::reasons(name, left_out))
            .collect();
    }
    if reasons.is_empty() {
        let message = format!("{names} could not be made in the scratch database");
        return Err(Error::failed(message, ""));
    }
    let mut message = format!("this server does not let the role make what is needed for {names}");
    for reason in reasons {
        message.push_str(&format!("\n    {reason}"));
    }
    let mut hint = "Restore as a superuser, or let one make what is missing in a database for --scratch (an extension)."
        .to_owned();
    if !missing.iter().all(|name| chosen.missing.contains(name)) {
        hint.push_str(" Or leave it out with --exclude-table.");
    }
    Err(Error::failed(message, hint))
}

/// All tables of the scratch database.
async fn tables(scratch: &Session, encoding: &str) -> Result<BTreeSet<Name>> {
    const TABLES: &str = "SELECT pg_catalog.convert_to(n.nspname::pg_catalog.text, $1), \
            pg_catalog.convert_to(c.relname::pg_catalog.text, $1) \
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
        WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p')";
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&encoding, Type::NAME)];
    let rows = scratch.client.query_typed(TABLES, &parameters).await?;
    let name = |row: &tokio_postgres::Row| {
        Ok(Name {
            schema: row.try_get(0)?,
            name: row.try_get(1)?,
        })
    };
    rows.iter().map(name).collect()
}

/// Why a relation is missing: what was refused of it, and of what that names.
fn reasons(name: &Name, left_out: &LeftOut) -> Vec<String> {
    let mut wanted = vec![(name.schema.clone(), name.name.clone())];
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        for piece in left_out.pieces.iter().filter(|piece| !piece.is_leaf) {
            let names = qualified::names(said(piece));
            if names.first() == Some(&name) {
                found.push(format!("{}: {}", piece.what, piece.reason));
                wanted.extend(names);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_relation_has_the_reasons_of_what_it_names() {
        let mut left_out = LeftOut::default();
        for sql in [
            "CREATE TYPE s.base (INPUT = s.base_in)",
            "CREATE FUNCTION s.base_in(cstring) RETURNS s.base LANGUAGE c AS 'x'",
            "CREATE TABLE s.t (a s.base)",
            "CREATE TABLE s.u (a int)",
        ] {
            left_out.add(Piece::new(sql, sql, "permission denied"));
        }
        let table = Name {
            schema: "s".into(),
            name: "t".into(),
        };
        let found = reasons(&table, &left_out);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("CREATE TABLE s.t"), "{found:?}");
    }
}
