//! OPTIONS of foreign data: wrappers, servers, user mappings, foreign tables and their columns.

use crate::text::literal;

/// Name (quoted where it must be) and value.
pub type FdwOption = (String, Option<String>);

/// A text[] of options as an array of [`FdwOption`]s, or NULL.
#[macro_export]
macro_rules! fdw_options {
    ($options:literal) => {
        concat!(
            "(SELECT pg_catalog.json_agg(pg_catalog.json_build_array(\
             pg_catalog.quote_ident(fo.option_name), fo.option_value) ORDER BY fo.ordinality) \
             FROM ROWS FROM (pg_catalog.pg_options_to_table(",
            $options,
            ")) WITH ORDINALITY \
             AS fo (option_name, option_value, ordinality))"
        )
    };
}

fn value(option: &FdwOption) -> String {
    literal(option.1.as_deref().unwrap_or_default())
}

/// ` OPTIONS (…)` for CREATE; nothing without any.
pub fn created(options: Option<&[FdwOption]>) -> String {
    let options = options.unwrap_or_default();
    if options.is_empty() {
        return String::new();
    }
    let each = |option: &FdwOption| format!("{} {}", option.0, value(option));
    let list: Vec<String> = options.iter().map(each).collect();
    format!(" OPTIONS ({})", list.join(", "))
}

/// ` OPTIONS (ADD …, SET …, DROP …)` for ALTER; nothing where they are the same. Their order means nothing.
pub fn altered(before: Option<&[FdwOption]>, after: Option<&[FdwOption]>) -> String {
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let find = |list: &[FdwOption], name: &str| list.iter().find(|o| o.0 == name).cloned();
    let mut changes = Vec::new();
    for option in before {
        match find(after, &option.0) {
            None => changes.push(format!("DROP {}", option.0)),
            Some(new) if new.1 != option.1 => {
                changes.push(format!("SET {} {}", new.0, value(&new)));
            }
            Some(_) => {}
        }
    }
    for option in after {
        if find(before, &option.0).is_none() {
            changes.push(format!("ADD {} {}", option.0, value(option)));
        }
    }
    if changes.is_empty() {
        return String::new();
    }
    format!(" OPTIONS ({})", changes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &[(&str, &str)]) -> Vec<FdwOption> {
        let each = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
        text.iter().map(each).collect()
    }

    #[test]
    fn options_differ_by_name_and_not_by_order() {
        let before = list(&[("a", "1"), ("b", "2"), ("\"C c\"", "3")]);
        let after = list(&[("d", "it's"), ("\"C c\"", "3"), ("a", "0")]);
        assert_eq!(
            altered(Some(&before), Some(&after)),
            " OPTIONS (SET a '0', DROP b, ADD d 'it''s')"
        );
        assert_eq!(altered(Some(&before), Some(&before)), "");
        let turned: Vec<_> = before.iter().rev().cloned().collect();
        assert_eq!(altered(Some(&before), Some(&turned)), "");
        assert_eq!(
            created(Some(&before)),
            " OPTIONS (a '1', b '2', \"C c\" '3')"
        );
        assert_eq!(created(None), "");
    }
}
