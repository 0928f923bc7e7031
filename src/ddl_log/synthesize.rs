//! Statements whose own text cannot be replayed, written anew.

use crate::pg::ddl_filled::FilledTable;
use crate::pg::ddl_node::Sql;
use crate::pg::quote;

/// `CREATE TABLE` with the columns of a query, for CREATE TABLE AS and SELECT INTO: the rows are
/// decoded, so the query must not run again.
pub fn create_table(table: &FilledTable) -> Sql {
    let mut sql = b"CREATE ".to_vec();
    if table.is_unlogged {
        sql.extend_from_slice(b"UNLOGGED ");
    }
    sql.extend_from_slice(b"TABLE ");
    if table.if_not_exists {
        sql.extend_from_slice(b"IF NOT EXISTS ");
    }
    sql.extend_from_slice(&table.name);
    sql.extend_from_slice(b" (");
    for (place, column) in table.columns.iter().enumerate() {
        sql.extend_from_slice(if place == 0 { b"\n  " } else { b",\n  " });
        sql.extend_from_slice(&quote::identifier(&column.name));
        sql.push(b' ');
        sql.extend_from_slice(&column.type_name);
        if let Some(collation) = &column.collation {
            sql.extend_from_slice(b" COLLATE ");
            sql.extend_from_slice(collation);
        }
    }
    sql.extend_from_slice(if table.columns.is_empty() {
        b")"
    } else {
        b"\n)"
    });
    if let Some(method) = &table.access_method {
        sql.extend_from_slice(&[b" USING ", &quote::identifier(method)[..]].concat());
    }
    push_options(&mut sql, &table.options);
    if let Some(tablespace) = &table.tablespace {
        sql.extend_from_slice(&[b" TABLESPACE ", &quote::identifier(tablespace)[..]].concat());
    }
    sql
}

/// ` WITH (name = 'value', …)`, nothing for no options.
pub fn push_options(sql: &mut Sql, options: &[(Sql, Option<Sql>)]) {
    for (place, (name, value)) in options.iter().enumerate() {
        sql.extend_from_slice(if place == 0 { b" WITH (" } else { b", " });
        sql.extend_from_slice(name);
        if let Some(value) = value {
            sql.extend_from_slice(&[b" = ", &quote::literal(value)[..]].concat());
        }
    }
    if !options.is_empty() {
        sql.push(b')');
    }
}

/// `DROP … a, b` of only these objects.
pub fn drop_relations(tag: &str, names: &[Sql], missing_ok: bool, cascade: bool) -> Sql {
    let mut sql = tag.as_bytes().to_vec();
    if missing_ok {
        sql.extend_from_slice(b" IF EXISTS");
    }
    sql.push(b' ');
    sql.extend_from_slice(&names.join(b", ".as_slice()));
    if cascade {
        sql.extend_from_slice(b" CASCADE");
    }
    sql
}
