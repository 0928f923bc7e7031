//! Statements whose own text cannot be replayed, written anew.

use super::statement_text::StatementText;
use crate::pg::ddl_filled::{FilledColumn, FilledTable};
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
        push_column(&mut sql, place, column);
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

/// `CREATE TABLE` with columns and NOT NULL, which is what LIKE copies.
pub fn create_table_like(name: &[u8], columns: &[(FilledColumn, bool)]) -> Sql {
    let mut sql = [b"CREATE TABLE ", name, b" ("].concat();
    for (place, (column, is_not_null)) in columns.iter().enumerate() {
        push_column(&mut sql, place, column);
        if *is_not_null {
            sql.extend_from_slice(b" NOT NULL");
        }
    }
    sql.extend_from_slice(b"\n)");
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

/// A statement about this database, for the database that it is replayed in, whatever its name. None
/// where the text does not name a database behind the word DATABASE.
pub fn about_the_database(text: &StatementText) -> Option<Sql> {
    let word = text.tokens.iter().position(|t| t.is_keyword("database"))?;
    let name = text.tokens.get(word + 1)?;
    // GRANT … ON DATABASE a, b TO c
    let mut behind = word + 2;
    while text.tokens.get(behind).is_some_and(|t| t.is_char(b',')) {
        behind += 2;
    }
    let end = text
        .tokens
        .get(behind)
        .map_or(text.text.len(), |t| t.offset);
    let doubled = |text: &[u8]| -> Sql {
        let percent = |byte: &u8| vec![*byte; if *byte == b'%' { 2 } else { 1 }];
        text.iter().flat_map(percent).collect()
    };
    let mut format = doubled(&text.text[..name.offset]);
    format.extend_from_slice(b"%I ");
    format.extend(doubled(&text.text[end..]));
    let body = [
        b"BEGIN EXECUTE pg_catalog.format(",
        &quote::literal(&format)[..],
        b", pg_catalog.current_database()); END",
    ];
    Some([b"DO ", &quote::dollar_quoted(&body.concat())[..]].concat())
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
