//! A value's text as an SQL literal, depending on its type.

use crate::pg::decoding::value::Form;
use archive::literal::push_literal;

/// The context of the literal. Beside a comparison operator an unquoted float would be parsed as numeric and
/// compared in another type, so it is quoted there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Value,
    Comparison,
}

/// Appends `text`, the output of a type's output function, as a literal.
pub fn push(out: &mut Vec<u8>, form: Form, text: &[u8], place: Place) {
    let bare = match form {
        Form::Integer => !is_most_negative(text),
        Form::Float => place == Place::Value && is_finite(text) && text != b"-0",
        Form::Numeric => is_finite(text),
        Form::Boolean => true,
        Form::Bits => {
            out.push(b'B');
            out.push(b'\'');
            out.extend_from_slice(text);
            out.push(b'\'');
            return;
        }
        Form::Quoted | Form::Hex => false,
    };
    if bare {
        out.extend_from_slice(text);
    } else {
        push_literal(out, text);
    }
}

/// SQL parses `-9223372036854775808` as minus a number that exceeds bigint.
fn is_most_negative(text: &[u8]) -> bool {
    matches!(text, b"-2147483648" | b"-9223372036854775808")
}

fn is_finite(text: &[u8]) -> bool {
    text.last().is_some_and(u8::is_ascii_digit)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;

    fn written(form: Form, text: &str, place: Place) -> String {
        let mut out = Vec::new();
        push(&mut out, form, text.as_bytes(), place);
        String::from_utf8(out).expect("ASCII in, ASCII out")
    }

    #[pg_test]
    fn numbers_stand_bare_unless_sql_would_read_another_value() {
        assert_eq!(written(Form::Integer, "-5", Place::Value), "-5");
        assert_eq!(
            written(Form::Integer, "-9223372036854775808", Place::Value),
            "'-9223372036854775808'"
        );
        assert_eq!(written(Form::Float, "-0", Place::Value), "'-0'");
        assert_eq!(written(Form::Float, "0.1", Place::Value), "0.1");
        assert_eq!(written(Form::Float, "0.1", Place::Comparison), "'0.1'");
        assert_eq!(written(Form::Numeric, "NaN", Place::Value), "'NaN'");
        assert_eq!(written(Form::Bits, "0101", Place::Value), "B'0101'");
    }

    #[pg_test]
    fn a_literal_never_holds_a_raw_line_end() {
        assert_eq!(
            written(Form::Quoted, "a'b\nc\\", Place::Value),
            "E'a''b\\nc\\\\'"
        );
        assert_eq!(written(Form::Quoted, "plain", Place::Value), "'plain'");
    }
}
