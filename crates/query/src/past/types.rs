//! User-defined types, as far as the text of a value changes with them: labels of enums, attributes of composite types.

use std::collections::BTreeMap;

use memchr::memmem;

use super::quoting::written;
use crate::history::literal::names_of;
use crate::history::scanner::Words;
use crate::history::Value;

/// The definitions of types, by their names as written.
#[derive(Debug, Default)]
pub struct Types(BTreeMap<Vec<u8>, Vec<u8>>);

/// What a statement does to the values of a type.
#[derive(Debug, PartialEq)]
pub enum Retyped {
    /// A label of an enum has another text.
    Label {
        type_: Vec<u8>,
        from: Vec<u8>,
        to: Vec<u8>,
    },
    /// The attributes of a composite type are others.
    Attributes { type_: Vec<u8> },
}

impl Types {
    /// Takes a type of a base: its name, qualified and quoted, and what it is made of.
    pub fn add(&mut self, name: &[u8], definition: &[u8]) {
        self.0.insert(plain(name), definition.to_vec());
    }

    /// Takes a statement of an effect into account; what it does to values.
    pub fn follow(&mut self, statement: &[u8]) -> Option<Retyped> {
        let mut words = Words::new(statement);
        if words.pass(b"CREATE TYPE ") || words.pass(b"CREATE DOMAIN ") {
            let name = words.qualified()?;
            self.add(name, words.rest());
            return None;
        }
        if !words.pass(b"ALTER TYPE ") && !words.pass(b"ALTER DOMAIN ") {
            return None;
        }
        let type_ = plain(words.qualified()?);
        if words.pass(b" RENAME VALUE ") {
            let (from, to) = (
                words.literal()?,
                words.expect(b" TO ").and_then(|()| words.literal())?,
            );
            let (Value::Text(from), Value::Text(to)) = (from, to) else {
                return None;
            };
            let (from, to) = (from.into_owned(), to.into_owned());
            return Some(Retyped::Label { type_, from, to });
        }
        let attributes: [&[u8]; 3] = [
            b" ADD ATTRIBUTE ",
            b" DROP ATTRIBUTE ",
            b" ALTER ATTRIBUTE ",
        ];
        if attributes.iter().any(|word| words.rest().starts_with(word)) {
            return Some(Retyped::Attributes { type_ });
        }
        let to = if words.pass(b" RENAME TO ") {
            let name = written(&names_of(words.identifier()?).pop()?);
            let schema = written(&names_of(&type_).into_iter().next()?);
            [&schema[..], b".", &name].concat()
        } else if words.pass(b" SET SCHEMA ") {
            let schema = written(&names_of(words.identifier()?).pop()?);
            let name = written(&names_of(&type_).pop()?);
            [&schema[..], b".", &name].concat()
        } else {
            return None;
        };
        if let Some(definition) = self.0.remove(&type_) {
            self.0.insert(to, definition);
        }
        None
    }

    /// Whether values of a type may have values of `other` in them, or are such.
    pub fn uses(&self, type_: &[u8], other: &[u8]) -> bool {
        self.uses_within(type_, other, 0)
    }

    fn uses_within(&self, type_: &[u8], other: &[u8], depth: usize) -> bool {
        let quoted: Vec<Vec<u8>> = names_of(other)
            .iter()
            .map(|name| [b"\"", &name[..], b"\""].concat())
            .collect();
        let is_named = memmem::find(type_, other).is_some()
            || memmem::find(type_, &quoted.join(&b'.')).is_some();
        if is_named {
            return true;
        }
        depth < 16
            && self.0.iter().any(|(name, definition)| {
                memmem::find(type_, name).is_some()
                    && self.uses_within(definition, other, depth + 1)
            })
    }
}

/// A qualified name, without quotes that are not necessary.
fn plain(name: &[u8]) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = names_of(name).iter().map(|part| written(part)).collect();
    parts.join(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_found_within_others() {
        let mut types = Types::default();
        types.add(b"public.mood", b"'a', 'b'");
        types.add(b"public.pair", b"m public.mood, n integer");
        assert_eq!(types.follow(b"CREATE DOMAIN public.d AS public.pair"), None);
        for (type_, uses) in [
            ("public.mood", true),
            ("public.mood[]", true),
            ("public.pair", true),
            ("public.d", true),
            ("text", false),
            ("public.other", false),
        ] {
            assert_eq!(
                types.uses(type_.as_bytes(), b"public.mood"),
                uses,
                "{type_}"
            );
        }
        let renamed = types.follow(b"ALTER TYPE public.mood RENAME VALUE 'a' TO 'it''s'");
        let label = Retyped::Label {
            type_: b"public.mood".to_vec(),
            from: b"a".to_vec(),
            to: b"it's".to_vec(),
        };
        assert_eq!(renamed, Some(label));
        let type_ = b"public.pair".to_vec();
        let added = types.follow(b"ALTER TYPE public.pair ADD ATTRIBUTE x integer");
        assert_eq!(added, Some(Retyped::Attributes { type_ }));
    }
}
