//! Names as PostgreSQL's quote_identifier writes them, from names in any form.

use crate::history::ddl::TableName;

/// Keywords that are quoted as names: those of PostgreSQL 18 that are not unreserved (parser/kwlist.h).
const KEYWORDS: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean \
    both case cast char character check coalesce collate collation column concurrently constraint create cross \
    current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal default \
    deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full grant greatest \
    group grouping having ilike in initially inner inout int integer intersect interval into is isnull join json json_array \
    json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize json_table json_value lateral \
    leading least left like limit localtime localtimestamp merge_action national natural nchar none normalize not notnull null \
    nullif numeric offset on only or order out outer overlaps overlay placing position precision primary real references \
    returning right row select session_user setof similar smallint some substring symmetric system_user table tablesample then \
    time timestamp to trailing treat trim true union unique user using values varchar variadic verbose when where window with \
    xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable ";

/// A name in SQL, in quotes where they are necessary.
pub fn written(name: &[u8]) -> Vec<u8> {
    let starts = name
        .first()
        .is_some_and(|first| first.is_ascii_lowercase() || *first == b'_');
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    if starts && name.iter().all(is_plain) && !is_keyword(name) {
        return name.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in name {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
    out
}

/// `schema.table`.
pub fn written_table(name: &TableName) -> Vec<u8> {
    [written(&name.schema), written(&name.table)].join(&b'.')
}

fn is_keyword(name: &[u8]) -> bool {
    let spaced = [b" ", name, b" "].concat();
    memchr::memmem::find(KEYWORDS.as_bytes(), &spaced).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_it_is_necessary() {
        for (name, sql) in [
            ("orders", "orders"),
            ("order", "\"order\""),
            ("_x9", "_x9"),
            ("9x", "\"9x\""),
            ("A b", "\"A b\""),
            ("a\"b", "\"a\"\"b\""),
            ("user", "\"user\""),
            ("xmltable", "\"xmltable\""),
            ("action", "action"),
        ] {
            assert_eq!(written(name.as_bytes()), sql.as_bytes());
        }
    }
}
