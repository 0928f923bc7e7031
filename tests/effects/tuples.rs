//! Rows of catalogs, read by psql: the reading of classes that take them without a server's own code.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use effects::acl::Grant;
use effects::key::FIRST_NORMAL_OID;
use effects::tuples::{Definition, Kind, Scan, Tuples, Value};
use harness::Cluster;

thread_local! {
    /// The columns that this server's catalogs have.
    static COLUMNS: RefCell<HashMap<(PathBuf, &'static str), HashSet<String>>> = RefCell::default();
    /// Rows that initdb made and no test changes.
    static BUILT_IN: RefCell<HashMap<BuiltIn, Rows>> = RefCell::default();
    /// What never changes on a server: its version, and names as quote_ident has them.
    static KNOWN: RefCell<HashMap<(PathBuf, String), String>> = RefCell::default();
}

pub struct Sql<'a> {
    cluster: &'a Cluster,
    database: &'static str,
    /// Of users' objects, all at once: by where the scan's columns stand.
    users: HashMap<usize, ByKeys>,
}

type Rows = Vec<Vec<Value>>;
/// Where a scan's columns stand, and the keys.
type BuiltIn = (PathBuf, usize, Vec<u32>);
type ByKeys = HashMap<Vec<u32>, Rows>;

impl<'a> Sql<'a> {
    pub fn new(cluster: &'a Cluster, database: &'static str) -> Sql<'a> {
        Sql {
            cluster,
            database,
            users: HashMap::new(),
        }
    }

    /// The wanted rows of a catalog, by their key columns.
    fn read(
        &self,
        scan: &'static Scan,
        keys: usize,
        there: &HashSet<String>,
        wanted: &str,
    ) -> Result<ByKeys, String> {
        let of = |(name, kind): &(&str, Kind)| {
            if there.contains(*name) {
                column(name, *kind)
            } else {
                "NULL".to_owned()
            }
        };
        let key = |name: &&str| column(name, Kind::Number);
        let columns: Vec<String> = scan.keys[..keys]
            .iter()
            .map(key)
            .chain(scan.columns.iter().map(of))
            .collect();
        let sql = format!(
            "SELECT pg_catalog.json_build_array({}) FROM pg_catalog.{} c WHERE {wanted}{}",
            columns.join(", "),
            scan.name,
            match scan.then {
                Some(column) => format!(" AND c.{column} >= 1 ORDER BY c.{column}"),
                None => String::new(),
            }
        );
        let mut rows = ByKeys::new();
        for line in self.query(&sql)?.lines() {
            let wrong = |error| format!("{error}: {line}");
            let mut row: Vec<serde_json::Value> = serde_json::from_str(line).map_err(wrong)?;
            let values = row.split_off(keys).into_iter().zip(scan.columns);
            let values = values.map(|(json, (_, kind))| value(json, *kind));
            let values = values.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
            let keys = row.into_iter().map(serde_json::from_value);
            let keys = keys.collect::<Result<Vec<u32>, _>>().map_err(wrong)?;
            rows.entry(keys).or_default().push(values);
        }
        Ok(rows)
    }

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
        // pg_depend's index begins with the catalog that the object is in.
        let of = usize::from(scan.name == "pg_depend");
        let is_users = keys[of] >= FIRST_NORMAL_OID;
        if is_users {
            let place = scan.columns.as_ptr() as usize;
            if !self.users.contains_key(&place) {
                let wanted = format!("c.{} >= {FIRST_NORMAL_OID}", scan.keys[of]);
                let all = self.read(scan, keys.len(), &there, &wanted)?;
                self.users.insert(place, all);
            }
            return Ok(self.users[&place].get(keys).cloned().unwrap_or_default());
        }
        let key = (
            self.cluster.root().to_owned(),
            scan.columns.as_ptr() as usize,
            keys.to_vec(),
        );
        let stays = matches!(scan.name, "pg_type" | "pg_am");
        if let Some(known) = BUILT_IN.with_borrow(|known| known.get(&key).cloned()) {
            return Ok(known);
        }
        let is = |(column, oid): (&&str, &u32)| format!("c.{column} = {oid}");
        let wanted: Vec<String> = scan.keys.iter().zip(keys).map(is).collect();
        let mut found = self.read(scan, keys.len(), &there, &wanted.join(" AND "))?;
        let found = found.remove(keys).unwrap_or_default();
        if stays {
            BUILT_IN.with_borrow_mut(|known| known.insert(key, found.clone()));
        }
        Ok(found)
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
        let sql = format!("pg_catalog.format_type({oid}, {modifier})");
        if oid < FIRST_NORMAL_OID {
            return Ok(self.known(&sql));
        }
        self.answer(&sql)?.ok_or_else(|| "NULL".to_owned())
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
