//! Tables filled by a query: their rows are decoded, so the query must not run again.

use crate::pg::ddl::filled::{FilledColumn, FilledTable};
use crate::pg::ddl::node::Sql;
use crate::pg::text::quote;

/// `CREATE TABLE` with the columns of a query, for CREATE TABLE AS and SELECT INTO.
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
        push_column(&mut sql, place, column);
    }
    sql.extend_from_slice(if table.columns.is_empty() {
        b")"
    } else {
        b"\n)"
    });
    push_storage(&mut sql, table);
    sql
}

fn push_column(sql: &mut Sql, place: usize, column: &FilledColumn) {
    sql.extend_from_slice(if place == 0 { b"\n  " } else { b",\n  " });
    sql.extend_from_slice(&quote::identifier(&column.name));
    sql.push(b' ');
    sql.extend_from_slice(&column.type_name);
    if let Some(collation) = &column.collation {
        sql.extend_from_slice(b" COLLATE ");
        sql.extend_from_slice(collation);
    }
}

/// `CREATE MATERIALIZED VIEW` with the query as the server parsed it.
pub fn create_materialized_view(view: &FilledTable) -> Sql {
    let mut sql = b"CREATE MATERIALIZED VIEW ".to_vec();
    if view.if_not_exists {
        sql.extend_from_slice(b"IF NOT EXISTS ");
    }
    sql.extend_from_slice(&view.name);
    let names = view
        .columns
        .iter()
        .map(|column| quote::identifier(&column.name));
    let names: Vec<Sql> = names.collect();
    if !names.is_empty() {
        sql.extend([b" (", &names.join(b", ".as_slice())[..], b")"].concat());
    }
    push_storage(&mut sql, view);
    sql.extend_from_slice(b" AS\n");
    sql.extend_from_slice(view.view_query.as_deref().unwrap_or_default());
    sql.extend_from_slice(if view.is_without_data {
        b"\nWITH NO DATA"
    } else {
        b"\nWITH DATA"
    });
    sql
}

/// Access method, options and tablespace.
fn push_storage(sql: &mut Sql, table: &FilledTable) {
    if let Some(method) = &table.access_method {
        sql.extend_from_slice(&[b" USING ", &quote::identifier(method)[..]].concat());
    }
    push_options(sql, &table.options);
    if let Some(tablespace) = &table.tablespace {
        sql.extend_from_slice(&[b" TABLESPACE ", &quote::identifier(tablespace)[..]].concat());
    }
}

/// ` WITH (name = 'value', …)`, empty without options.
fn push_options(sql: &mut Sql, options: &[(Sql, Option<Sql>)]) {
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
