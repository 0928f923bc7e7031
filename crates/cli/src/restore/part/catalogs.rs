//! The states of objects in a database, read for [`effects`] through a session of its own.
//!
//! [`effects`] asks one question after the other and waits for each answer, so it runs in a thread.

use std::collections::{HashMap, HashSet};

use effects::acl::Grant;
use effects::key::FIRST_NORMAL_OID;
use effects::tuples::{Definition, Kind, Scan, Tuples, Value};
use effects::Source;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use tokio_postgres::types::Type;

use crate::connection::Session;
use crate::error::{Error, Result};

type Rows = Vec<Vec<Value>>;
type ByKeys = HashMap<Vec<u32>, Rows>;
type Read<T> = std::result::Result<T, String>;

/// Names in definitions are qualified, whatever the session's settings are.
const SETTINGS: &str = "SET search_path = ''; SET jit = off; SET quote_all_identifiers = off";

/// Runs `work` with the catalogs of a database, in a thread.
pub async fn with<T: Send + 'static>(
    conninfo: &str,
    database: &str,
    work: impl FnOnce(&mut Catalogs) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (conninfo, database) = (conninfo.to_owned(), database.to_owned());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("catalogs".to_owned());
    let started = thread.spawn(move || {
        let done = Catalogs::open(&conninfo, &database).and_then(|mut it| work(&mut it));
        // Who asked may have failed meanwhile.
        let _ = sender.send(done);
    });
    started.map_err(|error| Error::failed(format!("could not start a thread: {error}"), ""))?;
    let ended = |_| Error::failed("the reading of the catalogs ended without a result", "");
    receiver.await.map_err(ended)?
}

/// The catalogs of a database.
pub struct Catalogs {
    session: Session,
    runtime: Runtime,
    /// The columns that this server's catalogs have.
    columns: HashMap<&'static str, HashSet<String>>,
    /// Rows of users' objects, all of a catalog at once: by where the scan's columns stand.
    users: HashMap<usize, ByKeys>,
    /// Answers that do not change while nobody changes the database.
    known: HashMap<String, String>,
}

impl Catalogs {
    fn open(conninfo: &str, database: &str) -> Result<Catalogs> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::failed(format!("could not start: {error}"), ""))?;
        let session = runtime.block_on(async {
            let session = Session::open(conninfo, Some(database)).await?;
            session.client.batch_execute(SETTINGS).await?;
            Ok::<_, Error>(session)
        })?;
        Ok(Catalogs {
            session,
            runtime,
            columns: HashMap::new(),
            users: HashMap::new(),
            known: HashMap::new(),
        })
    }

    /// The texts of a query's first column.
    fn texts(&self, sql: &str) -> Read<Vec<Option<String>>> {
        let rows = self.session.client.query_typed(sql, &[]);
        let rows = self.runtime.block_on(rows);
        let rows = rows.map_err(|error| Error::from(error).to_string())?;
        let texts = rows.iter().map(|row| row.try_get(0));
        texts
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| error.to_string())
    }

    /// The answer to a query of one row and one column; NULL is `None`.
    fn answer<T: DeserializeOwned>(&self, sql: &str) -> Read<Option<T>> {
        let sql = format!("SELECT pg_catalog.to_json({sql})::pg_catalog.text");
        let Some(json) = self.texts(&sql)?.pop().flatten() else {
            return Ok(None);
        };
        serde_json::from_str(&json).map_err(|error| format!("{error}: {json}"))
    }

    /// The same as text, asked once.
    fn known(&mut self, sql: &str) -> Read<String> {
        if let Some(known) = self.known.get(sql) {
            return Ok(known.clone());
        }
        let answer: Option<String> = self.answer(&format!("({sql})::pg_catalog.text"))?;
        let answer = answer.ok_or_else(|| format!("{sql} is NULL"))?;
        self.known.insert(sql.to_owned(), answer.clone());
        Ok(answer)
    }

    fn columns(&mut self, catalog: &'static str) -> Read<HashSet<String>> {
        if let Some(columns) = self.columns.get(catalog) {
            return Ok(columns.clone());
        }
        let sql = format!(
            "SELECT attname::pg_catalog.text FROM pg_catalog.pg_attribute \
             WHERE attrelid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND attnum > 0"
        );
        let columns: HashSet<String> = self.texts(&sql)?.into_iter().flatten().collect();
        self.columns.insert(catalog, columns.clone());
        Ok(columns)
    }

    /// The wanted rows of a catalog, by their key columns.
    fn scan(&mut self, scan: &'static Scan, keys: usize, wanted: &str) -> Read<ByKeys> {
        let there = self.columns(scan.name)?;
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
        let then = scan.then.map_or_else(String::new, |column| {
            format!(" AND c.{column} >= 1 ORDER BY c.{column}")
        });
        let sql = format!(
            "SELECT pg_catalog.json_build_array({})::pg_catalog.text FROM pg_catalog.{} c WHERE {wanted}{then}",
            columns.join(", "),
            scan.name,
        );
        let mut rows = ByKeys::new();
        for json in self.texts(&sql)?.into_iter().flatten() {
            let wrong = |error| format!("{error}: {json}");
            let mut row: Vec<serde_json::Value> = serde_json::from_str(&json).map_err(wrong)?;
            let values = row.split_off(keys).into_iter().zip(scan.columns);
            let values = values.map(|(json, (_, kind))| value(json, *kind));
            let values = values
                .collect::<std::result::Result<Vec<_>, _>>()
                .map_err(wrong)?;
            let keys = row.into_iter().map(serde_json::from_value);
            let keys = keys
                .collect::<std::result::Result<Vec<u32>, _>>()
                .map_err(wrong)?;
            rows.entry(keys).or_default().push(values);
        }
        Ok(rows)
    }
}

impl Source for Catalogs {
    type Error = String;

    fn read(&mut self, query: &'static str, oids: &[u32]) -> Read<Vec<(u32, String)>> {
        let query =
            format!("SELECT a::pg_catalog.int8, b::pg_catalog.text FROM ({query}) AS q (a, b)");
        let oids = oids.to_vec();
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 1] =
            [(&oids, Type::OID_ARRAY)];
        let rows = self.session.client.query_typed(&query, &parameters);
        let rows = self.runtime.block_on(rows);
        let rows = rows.map_err(|error| Error::from(error).to_string())?;
        let row = |row: &tokio_postgres::Row| {
            let oid: i64 = row.try_get(0)?;
            Ok((oid as u32, row.try_get(1)?))
        };
        let rows = rows.iter().map(row);
        rows.collect::<std::result::Result<_, tokio_postgres::Error>>()
            .map_err(|error| error.to_string())
    }

    fn with_tuples<R>(
        &mut self,
        _objects: usize,
        mut look: impl FnMut(&mut dyn Tuples) -> Read<R>,
    ) -> Read<R> {
        look(self)
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

fn value(json: serde_json::Value, kind: Kind) -> std::result::Result<Value, serde_json::Error> {
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

impl Tuples for Catalogs {
    fn version(&self) -> u32 {
        self.session.version
    }

    fn rows(&mut self, scan: &'static Scan, keys: &[u32]) -> Read<Rows> {
        // pg_depend's index begins with the catalog that the object is in.
        let of = usize::from(scan.name == "pg_depend");
        if keys[of] >= FIRST_NORMAL_OID {
            let place = scan.columns.as_ptr() as usize;
            if !self.users.contains_key(&place) {
                let wanted = format!("c.{} >= {FIRST_NORMAL_OID}", scan.keys[of]);
                let all = self.scan(scan, keys.len(), &wanted)?;
                self.users.insert(place, all);
            }
            let of_place = self.users.get(&place);
            return Ok(of_place
                .and_then(|all| all.get(keys))
                .cloned()
                .unwrap_or_default());
        }
        let is = |(column, oid): (&&str, &u32)| format!("c.{column} = {oid}");
        let wanted: Vec<String> = scan.keys.iter().zip(keys).map(is).collect();
        let mut found = self.scan(scan, keys.len(), &wanted.join(" AND "))?;
        Ok(found.remove(keys).unwrap_or_default())
    }

    fn quoted(&mut self, name: &str) -> String {
        let asked = self.known(&format!("pg_catalog.quote_ident({})", literal(name)));
        // In double quotes it means the same.
        asked.unwrap_or_else(|_| crate::quote::identifier(name))
    }

    fn role(&mut self, oid: u32) -> Read<Option<String>> {
        self.answer(&format!(
            "(SELECT pg_catalog.quote_ident(r.rolname) FROM pg_catalog.pg_roles r WHERE r.oid = {oid})"
        ))
    }

    fn default_privileges(&mut self, kind: char, owner: u32) -> Read<Vec<Grant>> {
        let acl = format!("pg_catalog.acldefault('{kind}', {owner})");
        Ok(self.answer(&grants(&acl))?.unwrap_or_default())
    }

    fn expression(&mut self, tree: &str, table: u32) -> Read<Option<String>> {
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

    fn type_name(&mut self, oid: u32, modifier: Option<i32>) -> Read<String> {
        let modifier = modifier.map_or("NULL".to_owned(), |number| number.to_string());
        self.known(&format!("pg_catalog.format_type({oid}, {modifier})"))
    }

    fn definition(&mut self, of: Definition, oid: u32) -> Read<Option<String>> {
        let function = match of {
            Definition::PartitionKey => "partkeydef",
            Definition::Index => "indexdef",
            Definition::Constraint => "constraintdef",
        };
        self.answer(&format!("pg_catalog.pg_get_{function}({oid})"))
    }
}
