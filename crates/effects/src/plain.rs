//! Whether the catalog columns that no class understands have the values of a newly created object.

use serde_json::Value;

use crate::script::Unhandled;

/// The columns of a catalog row except `$known`, and except empty ones.
#[macro_export]
macro_rules! rest {
    ($row:literal, $known:expr) => {
        concat!(
            "(SELECT COALESCE(pg_catalog.jsonb_object_agg(e.key, e.value), '{}') FROM pg_catalog.jsonb_each(\
             pg_catalog.to_jsonb(", $row, ") OPERATOR(pg_catalog.-) '{", $known, "}'::pg_catalog.text[]) e \
             WHERE e.value::pg_catalog.text NOT IN ('null', 'false', '0', '\"0\"', '\"\"'))"
        )
    };
}

/// Fails, with its name, if a column of `rest` is neither empty (NULL, false, 0, an empty text, no function)
/// nor as in `usual`. An empty column of a later version is ignored.
pub fn ensure_plain(class: &str, rest: &Value, usual: &[(&str, Value)]) -> Result<(), Unhandled> {
    let is_plain = |(name, value): &(&String, &Value)| {
        let expected = usual.iter().find(|(column, _)| column == name);
        match expected {
            Some((_, expected)) => *value == expected,
            None => is_empty(value),
        }
    };
    let odd: Vec<&str> = rest
        .as_object()
        .into_iter()
        .flatten()
        .filter(|column| !is_plain(column))
        .map(|(name, _)| name.as_str())
        .collect();
    if odd.is_empty() {
        Ok(())
    } else {
        Err(Unhandled::new(class, odd.join(", ")))
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => matches!(text.trim(), "" | "0" | "-"),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_and_usual_columns_are_plain_and_others_are_told_by_name() {
        let usual = [("typlen", json!(4))];
        let ensure = |rest: Value| ensure_plain("enum", &rest, &usual);
        ensure(json!({"typlen": 4, "typelem": "0", "typmodin": "-", "new": null})).unwrap();
        ensure(json!({})).unwrap();
        let error = ensure(json!({"typlen": 0, "typispreferred": true})).unwrap_err();
        assert_eq!(error.what, "typlen, typispreferred");
    }
}
