//! Whether two databases contain bitwise identical values: every value's binary form, from its type's send
//! function.
//!
//! This checks what pg_dump's text may not show: a float's last bit, the sign of a zero, a numeric's scale, a
//! row in the wrong table. Values with OIDs that differ between databases (an array's element type, a
//! composite's fields, a `regclass`) are decomposed, or compared by name.

use crate::Cluster;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Every type of a column, and their component types. If the send function belongs to another type (refcursor
/// has text's), it does not accept this one: then the text is compared.
const TYPES: &str = "SELECT t.oid, t.typtype,
    CASE WHEN t.typcategory = 'A' AND t.typsend = 'array_send'::regproc THEN t.typelem ELSE 0 END,
    t.typbasetype,
    CASE WHEN t.typname NOT LIKE 'reg%' THEN (SELECT t.typsend::text FROM pg_proc p JOIN pg_type a
      ON a.oid = p.proargtypes[0] WHERE p.oid = t.typsend AND (a.oid = t.oid OR a.typtype = 'p')) END,
    format_type(t.oid, NULL),
    (SELECT string_agg(atttypid::text || ' ' || quote_ident(attname), E'\\x1f' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped)
    FROM pg_type t WHERE t.typtype IN ('b', 'c', 'd', 'e', 'r', 'm')";

/// Every permanent relation with rows of its own, with its columns.
const RELATIONS: &str = "SELECT c.oid::regclass,
    (SELECT string_agg(atttypid::text || ' ' || quote_ident(attname), E'\\x1f' ORDER BY attnum)
     FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
    FROM pg_class c
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.oid >= 16384 AND c.relispopulated
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY c.oid::regclass::text COLLATE \"C\"";

/// psql's column separator; no name contains it.
const SEPARATOR: &str = "\u{1e}";

struct Type {
    kind: String,
    element: u32,
    base: u32,
    /// Empty if the text has to be compared.
    send: String,
    name: String,
    fields: Vec<(u32, String)>,
}

/// Panics with the tables and columns that differ unless both databases contain the same bytes.
pub fn assert_same_bytes(source: (&Cluster, &str), target: (&Cluster, &str)) {
    let (left, right) = (digests(source.0, source.1), digests(target.0, target.1));
    if left == right {
        return;
    }
    let differing = |a: &[String], b: &[String], sign: char| -> String {
        let only = a.iter().filter(|line| !b.contains(line)).take(20);
        only.map(|line| format!("{sign} {line}\n")).collect()
    };
    panic!(
        "the restored database {} holds other bytes than its source (table, rows, digest of the \
         rows, of each column):\n{}{}",
        target.1,
        differing(&left, &right, '-'),
        differing(&right, &left, '+')
    );
}

impl Cluster {
    /// [`Cluster::assert_restores`], and every value is bitwise identical.
    pub fn assert_restores_to_the_byte(&self) {
        let restored = self.assert_restores();
        assert_same_bytes((self, self.database()), (self, &restored.database));
    }
}

/// One line for each relation.
fn digests(cluster: &Cluster, database: &str) -> Vec<String> {
    let types = types(cluster, database);
    let mut script = String::from("SET search_path = ''; SET jit = off;\n");
    for relation in rows(cluster, database, RELATIONS) {
        let columns = fields(relation.get(1).map_or("", String::as_str));
        let bytes = columns.iter().map(|(ty, name)| {
            let bytes = bytes(&types, *ty, &format!("t.{name}"));
            format!("coalesce(pg_catalog.md5({bytes}), 'null')")
        });
        let bytes: Vec<_> = bytes.collect();
        let digest =
            |what: &str| format!("md5(string_agg({what}, '' ORDER BY {what} COLLATE \"C\"))");
        let row = if bytes.is_empty() {
            "''".to_string()
        } else {
            bytes.join(" || ")
        };
        let single = columns.iter().zip(&bytes);
        let single = single.map(|((_, name), bytes)| {
            format!(
                ", '{} ' || left({}, 8)",
                name.replace('\'', "''"),
                digest(bytes)
            )
        });
        let name = &relation[0];
        writeln!(
            script,
            "SELECT {}, count(*), {}{} FROM ONLY {name} t;",
            format_args!("'{}'", name.replace('\'', "''")),
            digest(&format!("({row})")),
            single.collect::<String>()
        )
        .expect("a String takes text");
    }
    let digests = cluster.sql_in(database, &script);
    digests.lines().map(str::to_owned).collect()
}

/// SQL for the binary form of `value`, NULL where it is NULL.
fn bytes(types: &BTreeMap<u32, Type>, ty: u32, value: &str) -> String {
    let Some(found) = types.get(&ty) else {
        return format!("pg_catalog.convert_to({value}::text, 'UTF8')");
    };
    if found.kind == "d" {
        let base = &types[&found.base].name;
        return bytes(types, found.base, &format!("({value})::{base}"));
    }
    if found.kind == "c" {
        let fields = found.fields.iter().map(|(ty, name)| {
            let field = bytes(types, *ty, &format!("({value}).{name}"));
            format!("coalesce({field}, '\\xff')")
        });
        let fields: Vec<_> = fields.chain(["''::bytea".into()]).collect();
        // IS NULL would be true for a row of NULLs.
        return format!(
            "CASE WHEN {value} IS DISTINCT FROM NULL THEN {} END",
            fields.join(" || '\\xfe' || ")
        );
    }
    if found.element != 0 && !is_told_alike(types, found.element) {
        let element = bytes(types, found.element, "v");
        return format!(
            "pg_catalog.convert_to(coalesce(array_dims({value}), ''), 'UTF8') || coalesce((SELECT \
             string_agg(coalesce({element}, '\\xff'), '\\xfd') FROM (SELECT unnest({value}) AS v) s), '') \
             || CASE WHEN {value} IS NULL THEN NULL ELSE ''::bytea END"
        );
    }
    match found.send.as_str() {
        "" => format!("pg_catalog.convert_to({value}::text, 'UTF8')"),
        send => format!("{send}({value})"),
    }
}

/// Whether an element's type has the same OID, and the same bytes, in every database.
fn is_told_alike(types: &BTreeMap<u32, Type>, element: u32) -> bool {
    let is_plain = |ty: &Type| !ty.send.is_empty() && ty.kind != "c" && ty.kind != "d";
    element < 16384 && types.get(&element).is_some_and(is_plain)
}

fn types(cluster: &Cluster, database: &str) -> BTreeMap<u32, Type> {
    let number = |text: &str| text.parse().expect("an OID is a number");
    let types = rows(cluster, database, TYPES).into_iter().map(|row| {
        let ty = Type {
            kind: row[1].clone(),
            element: number(&row[2]),
            base: number(&row[3]),
            send: row[4].clone(),
            name: row[5].clone(),
            fields: fields(&row[6]),
        };
        (number(&row[0]), ty)
    });
    types.collect()
}

fn fields(list: &str) -> Vec<(u32, String)> {
    let fields = list
        .split('\u{1f}')
        .filter_map(|field| field.split_once(' '));
    fields
        .map(|(ty, name)| (ty.parse().expect("an OID is a number"), name.to_string()))
        .collect()
}

fn rows(cluster: &Cluster, database: &str, query: &str) -> Vec<Vec<String>> {
    let script = format!("SET search_path = '';\n\\pset fieldsep '{SEPARATOR}'\n{query};");
    let rows = cluster.sql_in(database, &script);
    let split = |line: &str| line.split(SEPARATOR).map(str::to_owned).collect();
    rows.lines().map(split).collect()
}
