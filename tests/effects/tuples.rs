//! Rows of catalogs, read by psql: the reading of classes that take them without a server's own code.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use effects::acl::Grant;
use effects::tuples::{Definition, Kind, Scan, Tuples, Value};
use harness::Cluster;

thread_local! {
    /// The columns that this server's catalogs have.
    static COLUMNS: RefCell<HashMap<(PathBuf, &'static str), HashSet<String>>> = RefCell::default();
    /// What never changes on a server: its version, and names as quote_ident has them.
    static KNOWN: RefCell<HashMap<(PathBuf, String), String>> = RefCell::default();
}

pub struct Sql<'a> {
    pub cluster: &'a Cluster,
    pub database: &'static str,
}

impl Sql<'_> {
    fn query(&self, sql: &str) -> Result<String, String> {
        crate::reader::query(self.cluster, self.database, sql)
    }

    /// The answer to a query of one row and one column of type json; psql writes NULL as nothing.
    fn answer<T: serde::de::DeserializeOwned>(&self, sql: &str) -> Result<Option<T>, String> {
        let found = self.query(&format!("SELECT pg_catalog.to_json({sql})"))?;
        match found.trim_end_matches('\n') {
            "" => Ok(None),
            json => serde_json::from_str(json).map_err(|error| format!("{error}: {json}")),
        }
    }

    /// The answer to a query that is always the same, as text.
    fn known(&self, sql: &str) -> String {
        let key = (self.cluster.root().to_owned(), sql.to_owned());
        if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).cloned()) {
            return known;
        }
        let answer = self.answer::<String>(&format!("({sql})::pg_catalog.text"));
        let answer = answer.expect("it has an answer").expect("it is not NULL");
        KNOWN.with_borrow_mut(|known| known.insert(key, answer.clone()));
        answer
    }

    fn columns(&self, catalog: &'static str) -> HashSet<String> {
        let key = (self.cluster.root().to_owned(), catalog);
        COLUMNS.with_borrow_mut(|known| {
            let read = || {
                let sql = format!(
                    "SELECT attname FROM pg_catalog.pg_attribute \
                     WHERE attrelid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND attnum > 0"
                );
                let names = self.query(&sql).expect("a catalog has columns");
                names.lines().map(str::to_owned).collect()
            };
            known.entry(key).or_insert_with(read).clone()
        })
    }
}

/// A column as an element of a row's JSON array.
fn column(name: &str, kind: Kind) -> String {
    match kind {
        Kind::Number => format!("c.{name}::pg_catalog.int8"),
        Kind::Flag => format!("c.{name}"),
        Kind::Text => format!("c.{name}::pg_catalog.text"),
        Kind::List => format!("pg_catalog.to_json(c.{name})"),
        Kind::Grants => grants(&format!("c.{name}")),
    }
}

fn grants(acl: &str) -> String {
    effects::grants!("$acl").replace("$acl", acl)
}

fn value(json: serde_json::Value, kind: Kind) -> Result<Value, serde_json::Error> {
    use serde_json::from_value;
    Ok(match kind {
        _ if json.is_null() => Value::Null,
        Kind::Number => Value::Number(from_value(json)?),
        Kind::Flag => Value::Flag(from_value(json)?),
        Kind::Text => Value::Text(from_value(json)?),
        Kind::List => Value::List(from_value(json)?),
        Kind::Grants => Value::Grants(from_value(json)?),
    })
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Tuples for Sql<'_> {
    fn version(&self) -> u32 {
        let version = self.known("pg_catalog.current_setting('server_version_num')");
        version.parse().expect("it is a number")
    }

    fn rows(&mut self, scan: &'static Scan, keys: &[u32]) -> Result<Vec<Vec<Value>>, String> {
        let there = self.columns(scan.name);
        if let Some(others) = scan.others {
            let is_known = |name: &&String| {
                others.contains(&name.as_str()) || scan.columns.iter().any(|(own, _)| own == name)
            };
            assert!(there.iter().all(|name| is_known(&name)), "{there:?}");
        }
        let of = |(name, kind): &(&str, Kind)| match there.contains(*name) {
            true => column(name, *kind),
            false => "NULL".to_owned(),
        };
        let columns: Vec<String> = scan.columns.iter().map(of).collect();
        let is = |(column, oid): (&&str, &u32)| format!("c.{column} = {oid}");
        let wanted: Vec<String> = scan.keys.iter().zip(keys).map(is).collect();
        let sql = format!(
            "SELECT pg_catalog.json_build_array({}) FROM pg_catalog.{} c WHERE {}{}",
            columns.join(", "),
            scan.name,
            wanted.join(" AND "),
            match scan.name {
                "pg_attribute" => " ORDER BY c.attnum",
                "pg_inherits" => " ORDER BY c.inhseqno",
                _ => "",
            }
        );
        let mut rows = Vec::new();
        for line in self.query(&sql)?.lines() {
            let read = serde_json::from_str::<Vec<serde_json::Value>>(line).and_then(|row| {
                let values = row.into_iter().zip(scan.columns);
                values.map(|(json, (_, kind))| value(json, *kind)).collect()
            });
            rows.push(read.map_err(|error| format!("{error}: {line}"))?);
        }
        Ok(rows)
    }

    fn quoted(&mut self, name: &str) -> String {
        self.known(&format!("pg_catalog.quote_ident({})", literal(name)))
    }

    fn role(&mut self, oid: u32) -> Result<Option<String>, String> {
        self.answer(&format!(
            "(SELECT pg_catalog.quote_ident(r.rolname) FROM pg_catalog.pg_roles r WHERE r.oid = {oid})"
        ))
    }

    fn default_privileges(&mut self, kind: char, owner: u32) -> Result<Vec<Grant>, String> {
        let acl = format!("pg_catalog.acldefault('{kind}', {owner})");
        Ok(self.answer(&grants(&acl))?.unwrap_or_default())
    }

    fn expression(&mut self, tree: &str, table: u32) -> Result<Option<String>, String> {
        // No text becomes a pg_node_tree: it is looked for where it stands.
        let tree = literal(tree);
        self.answer(&format!(
            "coalesce((SELECT pg_catalog.pg_get_expr(d.adbin, {table}) FROM pg_catalog.pg_attrdef d \
             WHERE d.adrelid = {table} AND d.adbin::pg_catalog.text = {tree} LIMIT 1), \
             (SELECT pg_catalog.pg_get_expr(i.indpred, {table}) FROM pg_catalog.pg_index i \
             WHERE i.indrelid = {table} AND i.indpred::pg_catalog.text = {tree} LIMIT 1), \
             (SELECT pg_catalog.pg_get_expr(c.relpartbound, {table}) FROM pg_catalog.pg_class c \
             WHERE c.oid = {table} AND c.relpartbound::pg_catalog.text = {tree}))"
        ))
    }

    fn type_name(&mut self, oid: u32, modifier: Option<i32>) -> Result<String, String> {
        let modifier = modifier.map_or("NULL".to_owned(), |number| number.to_string());
        let name = self.answer(&format!("pg_catalog.format_type({oid}, {modifier})"))?;
        name.ok_or_else(|| "NULL".to_owned())
    }

    fn definition(&mut self, of: Definition, oid: u32) -> Result<Option<String>, String> {
        let function = match of {
            Definition::PartitionKey => "partkeydef",
            Definition::Index => "indexdef",
            Definition::Constraint => "constraintdef",
        };
        self.answer(&format!("pg_catalog.pg_get_{function}({oid})"))
    }
}
