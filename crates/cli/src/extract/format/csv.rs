//! CSV as COPY writes it (CopyAttributeOutCSV of PostgreSQL's commands/copyto.c): a comma, double quotes where necessary,
//! nothing for NULL, and "" for an empty text.

use archive_query::history::Value;

pub fn push_row(out: &mut Vec<u8>, values: &[Value<'_>]) {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if let Value::Text(text) = value {
            push(out, text, values.len() == 1);
        }
    }
    out.push(b'\n');
}

fn push(out: &mut Vec<u8>, text: &[u8], is_alone: bool) {
    let is_special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    // Alone on its line it would be the end of the rows.
    let is_end = is_alone && text == b"\\.";
    if !text.is_empty() && !is_end && !text.iter().any(is_special) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_copy_does() {
        let row = |values: &[Value<'_>]| {
            let mut out = Vec::new();
            push_row(&mut out, values);
            String::from_utf8_lossy(&out).into_owned()
        };
        let text = |text: &'static str| Value::text(text);
        assert_eq!(row(&[text("a"), Value::Null, text("")]), "a,,\"\"\n");
        assert_eq!(
            row(&[text("a,b"), text("a\"b"), text("a\nb")]),
            "\"a,b\",\"a\"\"b\",\"a\nb\"\n"
        );
        assert_eq!(
            row(&[text(" a "), text("NULL"), text("\\N")]),
            " a ,NULL,\\N\n"
        );
        assert_eq!(row(&[text("\\.")]), "\"\\.\"\n");
        assert_eq!(row(&[text("\\."), Value::Null]), "\\.,\n");
        assert_eq!(row(&[]), "\n");
    }
}
