//! Whose code of the target a superuser's restore would run.
//!
//! Whoever restores trusts the code that is stored in the source. The target is another matter: what the part needs and
//! the target has already is used as it is, and a stranger may have made it first. A function, a domain or a cast of his
//! would run as the superuser as soon as rows are checked, or a materialized view is filled. (A role that is no superuser
//! can lose its own privileges only, as with any use of that database.)

use std::collections::BTreeMap;

use effects::key::{catalog, Key};
use tokio_postgres::types::{ToSql, Type};

use super::addresses::{self, Owner};
use super::existing::Existing;
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::shown;

/// Refuses objects of the target that are used as they are, and belong neither to the role to which they belong at the
/// source, nor to a superuser.
pub async fn ensure_used(scratch: &Session, target: &Session, existing: &Existing) -> Result<()> {
    let mut by_class: BTreeMap<u32, Vec<(Key, u32)>> = BTreeMap::new();
    // Nothing in a schema runs because of its owner.
    let of_code = existing.there.iter();
    for (key, oid) in of_code.filter(|(key, _)| key.class != catalog::NAMESPACE) {
        by_class.entry(key.class).or_default().push((*key, *oid));
    }
    for (class, objects) in by_class {
        let here: Vec<u32> = objects.iter().map(|(key, _)| key.oid).collect();
        let there: Vec<u32> = objects.iter().map(|(_, oid)| *oid).collect();
        let here: BTreeMap<u32, Owner> = by_oid(scratch, class, &here).await?;
        let there: BTreeMap<u32, Owner> = by_oid(target, class, &there).await?;
        for (key, oid) in objects {
            let (owner, at_source) = (there.get(&oid), here.get(&key.oid));
            if let Some(owner) = owner.filter(|owner| is_stranger(owner, at_source)) {
                let what = described(scratch, key).await?;
                return Err(refusal(
                    &format!("{what}, which the part needs"),
                    &owner.name,
                ));
            }
        }
    }
    Ok(())
}

async fn by_oid(session: &Session, class: u32, oids: &[u32]) -> Result<BTreeMap<u32, Owner>> {
    let owners = addresses::owners(session, class, oids).await?;
    Ok(owners.into_iter().collect())
}

fn is_stranger(owner: &Owner, at_source: Option<&Owner>) -> bool {
    !owner.is_above && at_source.is_none_or(|other| other.name != owner.name)
}

async fn described(scratch: &Session, key: Key) -> Result<String> {
    let addresses = addresses::of(scratch, &[key]).await?;
    let what = addresses.into_iter().next().map(|address| address.what);
    Ok(what.unwrap_or_default())
}

fn refusal(what: &str, owner: &str) -> Error {
    let message = format!(
        "{what}, belongs to \"{}\" in the target, who is not its owner at the source: its code would run as a superuser",
        shown(owner.as_bytes())
    );
    let hint = "Restore as a role that is no superuser and owns what the part becomes, or into another database. (With \
                --no-owner nobody is known as the owner at the source.) Nothing was changed.";
    Error::failed(message, hint)
}

/// The same of the tables into which rows are inserted: their triggers and constraints are their owners'. `tables`: the OID
/// in the scratch database, and the name.
pub async fn ensure_tables(
    scratch: &Session,
    target: &Session,
    tables: &[(u32, &str)],
) -> Result<()> {
    // A partition, in which the rows arrive, has triggers of its own.
    const OIDS: &str =
        "SELECT t.n, c.oid FROM pg_catalog.unnest($1) WITH ORDINALITY AS t (name, n) \
        JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(t.name) \
            OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(t.name)))";
    let names: Vec<&str> = tables.iter().map(|(_, into)| *into).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&names, Type::TEXT_ARRAY)];
    let rows = target.client.query_typed(OIDS, &parameters).await?;
    let mut there = Vec::new();
    for row in &rows {
        let (number, oid): (i64, u32) = (row.try_get(0)?, row.try_get(1)?);
        let table = usize::try_from(number - 1).ok();
        there.extend(
            table
                .and_then(|at| tables.get(at))
                .map(|table| (table, oid)),
        );
    }
    let oids: Vec<u32> = there.iter().map(|(_, oid)| *oid).collect();
    let owners = by_oid(target, catalog::CLASS, &oids).await?;
    let here: Vec<u32> = tables.iter().map(|(oid, _)| *oid).collect();
    let here = by_oid(scratch, catalog::CLASS, &here).await?;
    for ((own, into), oid) in there {
        let owner = owners.get(&oid);
        if let Some(owner) = owner.filter(|owner| is_stranger(owner, here.get(own))) {
            return Err(refusal(
                &format!("table {into}, which gets rows"),
                &owner.name,
            ));
        }
    }
    ensure_triggers(scratch, target, &oids).await
}

/// Whoever may make a trigger on a table need not be its owner: the function of one that fires belongs to a superuser, to
/// the table's owner, or to its owner at the source.
async fn ensure_triggers(scratch: &Session, target: &Session, tables: &[u32]) -> Result<()> {
    const FIRING: &str = "SELECT pg_catalog.quote_ident(t.tgname), t.tgrelid::pg_catalog.regclass::pg_catalog.text, \
            p.oid::pg_catalog.regprocedure::pg_catalog.text, r.rolname::pg_catalog.text \
        FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid \
        JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner \
        WHERE t.tgrelid = ANY ($1) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') \
            AND NOT r.rolsuper AND r.oid <> c.relowner ORDER BY 2, 1";
    const SAME: &str =
        "SELECT FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner \
        WHERE p.oid = pg_catalog.to_regprocedure($1) AND r.rolname = $2";
    let tables = tables.to_vec();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&tables, Type::OID_ARRAY)];
    for row in target.client.query_typed(FIRING, &parameters).await? {
        let (name, table): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (function, owner): (String, String) = (row.try_get(2)?, row.try_get(3)?);
        let same: [(&(dyn ToSql + Sync), Type); 2] =
            [(&function, Type::TEXT), (&owner, Type::TEXT)];
        if scratch.client.query_typed(SAME, &same).await?.is_empty() {
            let what = format!("function {function} of the trigger {name} on {table}");
            return Err(refusal(&what, &owner));
        }
    }
    Ok(())
}

/// Refuses event triggers that fire even in a restore (ENABLE ALWAYS or REPLICA), and whose function somebody can replace
/// who is no superuser. From PostgreSQL 17 on none fires (event_triggers).
pub async fn ensure_events(target: &Session) -> Result<()> {
    const FIRING: &str = "SELECT pg_catalog.quote_ident(e.evtname), r.rolname::pg_catalog.text \
        FROM pg_catalog.pg_event_trigger AS e JOIN pg_catalog.pg_proc AS p ON p.oid = e.evtfoid \
        JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner \
        WHERE e.evtenabled IN ('A', 'R') AND e.evtevent <> 'login' AND NOT r.rolsuper ORDER BY 1";
    if target.version >= 170_000 {
        return Ok(());
    }
    let rows = target.client.query_typed(FIRING, &[]).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let (name, owner): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let (name, owner) = (shown(name.as_bytes()), shown(owner.as_bytes()));
    let message = format!(
        "the event trigger {name} of the target fires in every session, and its function belongs to \"{owner}\": it would run as a superuser"
    );
    let hint =
        "Restore as a role that is no superuser, or give the function to one. Nothing was changed.";
    Err(Error::failed(message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_neither_the_owner_at_the_source_nor_above() {
        let owner = |name: &str, is_above| Owner {
            name: name.to_owned(),
            is_above,
        };
        let alice = owner("alice", false);
        assert!(!is_stranger(&alice, Some(&alice)));
        assert!(is_stranger(&owner("mallory", false), Some(&alice)));
        assert!(is_stranger(&alice, None));
        assert!(!is_stranger(&owner("postgres", true), Some(&alice)));
    }
}
