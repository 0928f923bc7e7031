//! Which databases of a cluster are meant to be backed up: the value of `pg_incrbackup.databases`.
//!
//! A list of names, separated by commas. In a name without quotes `*` stands for any characters, so that `*` alone is every
//! database; a name in double quotes is taken as it is, and `""` in it is a double quote. A `!` before a name excludes what
//! it matches, wherever it stands in the list. Upper and lower case differ, as in pg_hba.conf.
//!
//! A list that only excludes selects nothing, and says which databases are meant to have no backup.

use std::str::FromStr;

/// A parsed list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    wanted: Vec<Pattern>,
    excluded: Vec<Pattern>,
}

/// A name, as the texts between its wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Vec<u8>>);

impl Selection {
    /// True if databases are selected.
    pub fn selects_any(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// True for a database that is to be backed up. The name is in whatever encoding it was created in.
    pub fn selects(&self, name: &[u8]) -> bool {
        self.wanted.iter().any(|pattern| pattern.matches(name)) && !self.excludes(name)
    }

    /// True for a database that is meant to have no backup.
    pub fn excludes(&self, name: &[u8]) -> bool {
        self.excluded.iter().any(|pattern| pattern.matches(name))
    }

    /// The names in the list, without wildcards, of which one may not exist.
    pub fn named(&self) -> impl Iterator<Item = &[u8]> {
        self.wanted
            .iter()
            .filter_map(|pattern| match &pattern.0[..] {
                [name] => Some(name.as_slice()),
                _ => None,
            })
    }
}

impl FromStr for Selection {
    type Err = String;

    /// The error describes what is wrong, for the detail of a message.
    fn from_str(text: &str) -> Result<Selection, String> {
        let mut selection = Selection::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let is_excluded = rest.starts_with('!');
            rest = rest.strip_prefix('!').unwrap_or(rest).trim_start();
            let (pattern, after) = Pattern::begin_of(rest)?;
            let patterns = if is_excluded {
                &mut selection.excluded
            } else {
                &mut selection.wanted
            };
            patterns.push(pattern);
            rest = after.trim_start();
            let Some(next) = rest.strip_prefix(',') else {
                if rest.is_empty() {
                    break;
                }
                return Err(format!("There is no comma before \"{rest}\"."));
            };
            rest = next.trim_start();
            if rest.is_empty() {
                return Err("There is no name behind the last comma.".into());
            }
        }
        Ok(selection)
    }
}

impl Pattern {
    /// The name with which the text begins, and what is behind it.
    fn begin_of(text: &str) -> Result<(Pattern, &str), String> {
        if let Some(quoted) = text.strip_prefix('"') {
            return Pattern::quoted(quoted);
        }
        let end = text.find(|sign: char| sign == ',' || sign.is_whitespace());
        let (name, after) = text.split_at(end.unwrap_or(text.len()));
        if name.is_empty() {
            return Err("A name is empty.".into());
        }
        if name.contains(['"', '!']) {
            return Err(format!("The name {name} needs double quotes."));
        }
        let between = name.split('*').map(|part| part.as_bytes().to_vec());
        Ok((Pattern(between.collect()), after))
    }

    /// The same for the text behind a double quote.
    fn quoted(text: &str) -> Result<(Pattern, &str), String> {
        let (mut name, mut rest) = (Vec::new(), text);
        loop {
            let Some(end) = rest.find('"') else {
                return Err("A name has no closing double quote.".into());
            };
            name.extend_from_slice(&rest.as_bytes()[..end]);
            rest = &rest[end + 1..];
            let Some(more) = rest.strip_prefix('"') else {
                break;
            };
            name.push(b'"');
            rest = more;
        }
        if name.is_empty() {
            return Err("A name is empty.".into());
        }
        Ok((Pattern(vec![name]), rest))
    }

    fn matches(&self, name: &[u8]) -> bool {
        let Some((first, others)) = self.0.split_first() else {
            return false;
        };
        let Some(mut rest) = name.strip_prefix(first.as_slice()) else {
            return false;
        };
        let Some((last, between)) = others.split_last() else {
            return rest.is_empty();
        };
        for part in between {
            let mut places = 0..=rest.len().saturating_sub(part.len());
            let Some(at) = places.find(|at| rest[*at..].starts_with(part)) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Selection {
        text.parse().expect("a valid list")
    }

    #[test]
    fn a_star_is_every_database_but_those_excluded() {
        let all = list("*, !scratch,!template1 ");
        assert!(all.selects_any() && all.selects(b"shop") && all.selects(b"Scratch"));
        assert!(!all.selects(b"scratch") && all.excludes(b"scratch"));
        assert!(!list("!shop, *").selects(b"shop"));
    }

    #[test]
    fn names_are_compared_byte_for_byte() {
        let two = list("shop, \"Web, \"\"old\"\" shop\"");
        assert!(two.selects(b"shop") && two.selects(b"Web, \"old\" shop"));
        assert!(!two.selects(b"Shop") && !two.selects(b"shops"));
        assert!(list("\"*\"").selects(b"*") && !list("\"*\"").selects(b"shop"));
        assert!(list("*\u{e9}").selects("caf\u{e9}".as_bytes()));
        assert!(!list("*\u{e9}").selects(b"caf\xe9"));
        let mixed = list("shop, t*, !x");
        assert_eq!(mixed.named().collect::<Vec<_>>(), [b"shop"]);
    }

    #[test]
    fn a_star_in_a_name_stands_for_any_characters() {
        let some = list("tenant_*, *_live, a*b*c");
        for name in [
            "tenant_",
            "tenant_1",
            "shop_live",
            "abc",
            "aXbYc",
            "abbc",
            "abcbc",
        ] {
            assert!(some.selects(name.as_bytes()), "{name}");
        }
        for name in ["tenant", "my_tenant_1", "shop_live2", "acb", "ab", "ac"] {
            assert!(!some.selects(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn nothing_is_selected_by_an_empty_list_or_one_that_only_excludes() {
        assert!(!list("").selects_any() && !list("  ").selects(b"shop"));
        let none = list("!postgres");
        assert!(!none.selects_any() && !none.selects(b"shop") && none.excludes(b"postgres"));
    }

    #[test]
    fn what_is_no_list_is_refused_with_the_reason() {
        let refusal = |text: &str| text.parse::<Selection>().expect_err(text);
        assert!(refusal("shop,").contains("last comma"));
        assert!(refusal("shop live").contains("no comma before \"live\""));
        assert!(refusal("\"shop").contains("closing"));
        assert!(refusal("a,,b").contains("empty"));
        assert!(refusal("!").contains("empty") && refusal("\"\"").contains("empty"));
        assert!(refusal("a\"b\"").contains("double quotes"));
        assert!(refusal("!!a").contains("double quotes"));
    }
}
