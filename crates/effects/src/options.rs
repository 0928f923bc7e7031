//! Options: storage parameters (WITH, SET, RESET), and those of foreign data (OPTIONS).

use crate::text::literal;

/// Name (quoted if necessary) and value.
pub type Setting = (String, Option<String>);

/// As returned by the classes' queries.
pub type Options = Option<Vec<Setting>>;

/// A text[] of options as an array of [`Setting`]s in its order, or NULL; `$only` excludes some.
#[macro_export]
macro_rules! options {
    ($options:literal) => {
        $crate::options!($options, "")
    };
    ($options:literal, $only:literal) => {
        concat!(
            "(SELECT pg_catalog.json_agg(pg_catalog.json_build_array(\
             pg_catalog.quote_ident(fo.option_name), fo.option_value) ORDER BY fo.ordinality) \
             FROM ROWS FROM (pg_catalog.pg_options_to_table(",
            $options,
            ")) WITH ORDINALITY \
             AS fo (option_name, option_value, ordinality)",
            $only,
            ")"
        )
    };
}

/// The options of a column. The version of each column that newer minor releases (15.20) store among them
/// (`pg_attver`) only matters to the server.
#[macro_export]
macro_rules! column_options {
    () => {
        $crate::options!("a.attoptions", " WHERE fo.option_name <> 'pg_attver'")
    };
}

/// Those of a table and, with the prefix `toast.`, those of its TOAST table.
pub fn with_toast(own: &Options, toast: &Options) -> Vec<Setting> {
    let toast = toast.iter().flatten();
    let toast = toast.map(|(name, value)| (format!("toast.{name}"), value.clone()));
    own.iter().flatten().cloned().chain(toast).collect()
}

/// `a='b', c`.
pub fn listed(options: &[Setting]) -> String {
    let words = options.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={}", literal(value)),
        None => name.clone(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// ` WITH (…)` for CREATE; nothing without any.
pub fn with(options: &[Setting]) -> String {
    match options {
        [] => String::new(),
        _ => format!(" WITH ({})", listed(options)),
    }
}

/// `RESET (…)` and `SET (…)`, the clauses of ALTER that change one list to another.
pub fn changes(before: &[Setting], after: &[Setting]) -> Vec<String> {
    let is_gone = |name: &&str| !after.iter().any(|(other, _)| other == name);
    let names = before.iter().map(|(name, _)| name.as_str());
    let reset: Vec<&str> = names.filter(is_gone).collect();
    let new = after.iter().filter(|option| !before.contains(option));
    let set: Vec<Setting> = new.cloned().collect();
    let mut clauses = Vec::new();
    if !reset.is_empty() {
        clauses.push(format!("RESET ({})", reset.join(", ")));
    }
    if !set.is_empty() {
        clauses.push(format!("SET ({})", listed(&set)));
    }
    clauses
}

fn value(option: &Setting) -> String {
    literal(option.1.as_deref().unwrap_or_default())
}

/// ` OPTIONS (…)` for CREATE; nothing without any.
pub fn created(options: Option<&[Setting]>) -> String {
    let options = options.unwrap_or_default();
    if options.is_empty() {
        return String::new();
    }
    let each = |option: &Setting| format!("{} {}", option.0, value(option));
    let list: Vec<String> = options.iter().map(each).collect();
    format!(" OPTIONS ({})", list.join(", "))
}

/// ` OPTIONS (ADD …, SET …, DROP …)` for ALTER; empty if they are the same. Their order does not matter.
pub fn altered(before: Option<&[Setting]>, after: Option<&[Setting]>) -> String {
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let find = |list: &[Setting], name: &str| list.iter().find(|o| o.0 == name).cloned();
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

    fn list(text: &[(&str, &str)]) -> Vec<Setting> {
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

    #[test]
    fn foreign_options_are_added_set_and_dropped() {
        let (from, to) = (
            list(&[("a", "1"), ("b", "2")]),
            list(&[("b", "it's"), ("c", "")]),
        );
        assert_eq!(
            altered(Some(&from), Some(&to)),
            " OPTIONS (DROP a, SET b 'it''s', ADD c '')"
        );
        assert_eq!(altered(None, None), "");
    }
}
