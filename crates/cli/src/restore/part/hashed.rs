//! Tables that are partitioned by hash of an enum.
//!
//! The hash of an enum's value is that of its OID, which a restore does not preserve. So pg_dump and the output plugin name
//! the root of the tree in the rows of such partitions (src/pg/decoding/partition.rs), and in which of them a row was at the
//! source is not in the archive. A part with one of them needs the rows of all of them, and can only have all.

use std::collections::BTreeSet;

use archive_query::history::literal::names_of;
use archive_query::history::scanner::Words;
use memchr::memmem;

use super::chosen::{self, Chosen};
use super::graph;
use super::wanted::{with_those_below, Parents};
use crate::connection::Session;
use crate::error::{Error, Result};

const KEY: &[u8] = b"PARTITION BY HASH (";

/// Whether a table may be one, by the statement that makes it, as pg_dump and the output plugin word it: a column of the key
/// has a type that is not PostgreSQL's own, which is qualified, or the key is an expression.
pub fn may_be(create: &[u8]) -> bool {
    let Some(at) = memmem::rfind(create, KEY) else {
        return false;
    };
    let (columns, mut key) = (&create[..at], Words::new(&create[at + KEY.len()..]));
    loop {
        let name = key.identifier();
        let is_of_users = name.is_none_or(|name| may_be_of_users(columns, name));
        // What follows a column: its collation, its operator class.
        let rest = key.rest();
        let end = memchr::memchr3(b',', b')', b'(', rest).unwrap_or(rest.len());
        if is_of_users || rest.get(end) == Some(&b'(') {
            return true;
        }
        key = Words::new(&rest[end..]);
        if !key.pass(b", ") {
            return false;
        }
    }
}

/// Whether a column has a qualified type. One that is not found may have.
fn may_be_of_users(columns: &[u8], name: &[u8]) -> bool {
    let begin = [name, b" "].concat();
    let mut is_found = false;
    for at in memmem::find_iter(columns, &begin) {
        let is_begun = at
            .checked_sub(1)
            .is_some_and(|before| b"( \n".contains(&columns[before]));
        let kind = Words::new(&columns[at + begin.len()..]).qualified();
        if let Some(kind) = kind.filter(|_| is_begun) {
            is_found = true;
            if names_of(kind).len() > 1 {
                return true;
            }
        }
    }
    !is_found
}

/// With all whose rows are needed for those of `wanted`, by OID: where one of these is below a table of `hashed`, or is one
/// itself, the tables above it, one of which the changes name, and all such tables of the tree with their partitions.
pub fn with_trees(
    mut wanted: BTreeSet<u32>,
    hashed: &BTreeSet<u32>,
    parents: &Parents,
) -> BTreeSet<u32> {
    let below = with_those_below(hashed, parents);
    let mut above = BTreeSet::new();
    let mut next: Vec<u32> = wanted.intersection(&below).copied().collect();
    while let Some(oid) = next.pop() {
        if above.insert(oid) {
            next.extend(parents.get(&oid).into_iter().flatten());
        }
    }
    let trees = with_those_below(&above, parents);
    wanted.extend(trees.intersection(&below));
    wanted.extend(above);
    wanted
}

/// As the output plugin looks for them: by hash of an enum, of an array or a domain of one.
const BY_ENUM: &str = "WITH RECURSIVE key (oid, kind) AS ( \
        SELECT partrelid, atttypid FROM pg_catalog.pg_partitioned_table JOIN pg_catalog.pg_attribute ON attrelid = partrelid \
        WHERE partstrat = 'h' AND attnum = ANY (partattrs) \
        UNION SELECT key.oid, CASE typtype WHEN 'd' THEN typbasetype ELSE typelem END \
        FROM key JOIN pg_catalog.pg_type AS t ON t.oid = kind WHERE typtype = 'd' OR typelem <> 0) \
    SELECT DISTINCT key.oid FROM key JOIN pg_catalog.pg_type AS t ON t.oid = kind WHERE typtype = 'e'";

/// Finds the relations of a part whose rows go by the root. Refuses a part that has some of the partitions of such a table:
/// which rows are theirs is not known.
pub async fn look_for(scratch: &Session, chosen: &mut Chosen) -> Result<()> {
    let rows = scratch.client.query_typed(BY_ENUM, &[]).await?;
    let hashed = rows.iter().map(|row| Ok(row.try_get(0)?));
    let hashed: BTreeSet<u32> = hashed.collect::<Result<_>>()?;
    if hashed.is_empty() {
        return Ok(());
    }
    let above = graph::partitions(scratch).await?;
    let is_chosen: BTreeSet<u32> = chosen.relations.iter().map(|it| it.oid).collect();
    for partition in above.keys() {
        let ancestors = std::iter::successors(above.get(partition), |oid| above.get(oid));
        let Some(table) = ancestors.filter(|oid| hashed.contains(oid)).last() else {
            continue;
        };
        if is_chosen.contains(partition) != is_chosen.contains(table) {
            return Err(some_of(scratch, *table, *partition).await?);
        }
        let own = chosen.relations.iter_mut().find(|it| it.oid == *partition);
        own.into_iter().for_each(|it| it.is_by_root = true);
    }
    Ok(())
}

async fn some_of(scratch: &Session, table: u32, partition: u32) -> Result<Error> {
    let names = chosen::written(scratch, &[table, partition]).await?;
    let name = |wanted: u32| {
        let mut found = names.iter().filter(|(oid, ..)| *oid == wanted);
        found.next().map_or("", |(_, written, _)| written)
    };
    let (table, partition) = (name(table), name(partition));
    let message = format!(
        "which rows of {table} were in {partition} is not in the archive: it is partitioned by hash of an enum, and the hash \
         is another one after a restore"
    );
    let hint = format!("Choose all of it: --table '{table}'. Nothing was changed.");
    Ok(Error::failed(message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_the_key_tells_by_either_wording() {
        for (create, may) in [
            ("CREATE TABLE public.t (m public.mood, i integer) PARTITION BY HASH (m)", true),
            ("CREATE TABLE public.t (m public.mood, i integer) PARTITION BY HASH (i)", false),
            ("CREATE TABLE public.t (m public.mood, i integer) PARTITION BY HASH (i, m)", true),
            ("CREATE TABLE public.t (i integer, am public.mood) PARTITION BY LIST (am)", false),
            ("CREATE TABLE public.t (a text COLLATE \"C\", am public.x) PARTITION BY HASH (a COLLATE \"C\")", false),
            ("CREATE TABLE public.t (a text) PARTITION BY HASH (lower(a))", true),
            ("CREATE TABLE public.t (a text) PARTITION BY HASH (((a || 'x'::text)))", true),
            ("CREATE TABLE public.t OF public.k PARTITION BY HASH (a)", true),
            (
                "CREATE TABLE \"public\".\"t\" (\n    \"i\" integer NOT NULL,\n    \"M x\" \"public\".\"mood\"[]\n)\n\
                 PARTITION BY HASH (\"M x\");\n\n\nALTER TABLE \"public\".\"t\" OWNER TO \"a\";\n",
                true,
            ),
            (
                "CREATE TABLE \"public\".\"t\" (\n    \"i\" integer,\n    \"m\" \"public\".\"mood\"\n)\nPARTITION BY HASH (\"i\");\n",
                false,
            ),
            ("CREATE TABLE public.t (a text)", false),
        ] {
            assert_eq!(may_be(create.as_bytes()), may, "{create}");
        }
    }

    #[test]
    fn all_of_a_tree_is_needed_but_what_is_written_by_its_own_name() {
        // 1 is by range: 2 is by hash with 21 and 22, and 3 has its own rows. 9 is another table.
        let above = [(2, 1), (3, 1), (21, 2), (22, 2)];
        let mut parents: Parents = above.map(|(oid, parent)| (oid, [parent].into())).into();
        parents.insert(1, BTreeSet::new());
        parents.insert(9, BTreeSet::new());
        let hashed = [2].into();
        let with = |oid: u32| with_trees([oid].into(), &hashed, &parents);
        assert_eq!(with(21), [1, 2, 21, 22].into());
        assert_eq!(with(3), [3].into());
        assert_eq!(with(9), [9].into());
        assert_eq!(
            with_trees([2, 21, 22].into(), &hashed, &parents),
            [1, 2, 21, 22].into()
        );
    }
}
