//! COPY's text format (CopyAttributeOutText of PostgreSQL's commands/copyto.c).

use archive_query::history::Value;

pub fn push_row(out: &mut Vec<u8>, values: &[Value<'_>]) {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b'\t');
        }
        match value {
            Value::Null => out.extend_from_slice(b"\\N"),
            Value::Text(text) => push(out, text),
        }
    }
    out.push(b'\n');
}

fn push(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        let escaped: &[u8] = match byte {
            8 => b"\\b",
            12 => b"\\f",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            11 => b"\\v",
            b'\\' => b"\\\\",
            other => {
                out.push(*other);
                continue;
            }
        };
        out.extend_from_slice(escaped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_field_is_escaped() {
        let mut out = Vec::new();
        let values = [
            Value::text("a\tb\\\n\x08\x0b\x0c\r"),
            Value::Null,
            Value::text(""),
        ];
        push_row(&mut out, &values);
        assert_eq!(out, b"a\\tb\\\\\\n\\b\\v\\f\\r\t\\N\t\n");
    }
}
