//! INSERT statements, one a line, as segments have them.

use archive::literal::push_literal;
use archive_query::history::Value;
use archive_query::past::Column;

use super::list;

/// The statements of a table.
pub struct Inserts {
    settings: Vec<u8>,
    /// What is before the values.
    head: Vec<u8>,
    /// Whether a column's values may stand without quotes.
    are_numbers: Vec<bool>,
}

impl Inserts {
    pub fn new(table: &[u8], columns: &[&Column], encoding: &str) -> Inserts {
        let encoding = encoding.replace('\'', "''");
        let settings = format!(
            "-- Rows of one table as of a moment, by pg_incrbackup extract.\nSET client_encoding = '{encoding}';\n\
             SET standard_conforming_strings = on;\nSET DateStyle = 'ISO, MDY';\nSET IntervalStyle = postgres;\n\
             SET TimeZone = 'UTC';\nSET lc_monetary = 'C';\nSET xmloption = content;\nSET array_nulls = on;\n"
        );
        let head = [b"INSERT INTO ", table, b" ", &list(columns)];
        let head = match columns {
            [] => [b"INSERT INTO ", table, b" DEFAULT VALUES;\n"].concat(),
            // Allowed for every table, and necessary for columns that are GENERATED ALWAYS AS IDENTITY.
            _ => [&head.concat()[..], b" OVERRIDING SYSTEM VALUE VALUES ("].concat(),
        };
        let is_number = |column: &&Column| {
            let plain = [&b"smallint"[..], b"integer", b"bigint"];
            plain.contains(&&column.type_[..]) || column.type_.starts_with(b"numeric")
        };
        Inserts {
            settings: settings.into_bytes(),
            head,
            are_numbers: columns.iter().map(is_number).collect(),
        }
    }

    pub fn push_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.settings);
    }

    pub fn push_row(&self, out: &mut Vec<u8>, values: &[Value<'_>]) {
        out.extend_from_slice(&self.head);
        if values.is_empty() {
            return;
        }
        for (at, (value, is_number)) in values.iter().zip(&self.are_numbers).enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            match value {
                Value::Null => out.extend_from_slice(b"null"),
                Value::Text(text) if *is_number && is_plain(text) => out.extend_from_slice(text),
                Value::Text(text) => push_literal(out, text),
            }
        }
        out.extend_from_slice(b");\n");
    }
}

/// Digits, not as many as a number may have: what SQL reads as another type is in quotes.
fn is_plain(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_digit = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    !digits.is_empty()
        && digits.len() < 19
        && digits.iter().all(is_digit)
        && !matches!(text, b"-2147483648")
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive_query::past::shape::definition::read;

    fn written(table: &str, values: &[Value<'_>]) -> String {
        let definition = read(table.as_bytes()).expect("it is a table");
        let columns: Vec<&Column> = definition.columns.iter().collect();
        let inserts = Inserts::new(b"public.t", &columns, "UTF8");
        let mut out = Vec::new();
        inserts.push_row(&mut out, values);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn statements_are_those_of_segments() {
        let values = [
            Value::text("-5"),
            Value::text("it's \\"),
            Value::Null,
            Value::text("NaN"),
        ];
        assert_eq!(
            written("CREATE TABLE public.t (a integer, \"B\" text, c date, n numeric(9,2))", &values),
            "INSERT INTO public.t (a, \"B\", c, n) OVERRIDING SYSTEM VALUE VALUES (-5, E'it''s \\\\', null, 'NaN');\n"
        );
        assert_eq!(
            written("CREATE TABLE public.t ()", &[]),
            "INSERT INTO public.t DEFAULT VALUES;\n"
        );
    }
}
