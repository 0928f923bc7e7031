//! New names for objects, and for parts of an object with unique names.

use crate::object::Object;
use crate::script::Script;

/// The methods of [`crate::Object`] for the name of an object with a schema and a name. `$space` is the
/// prefix for [`crate::Object::occupies`], `$behind` what always follows the name.
macro_rules! named_in_schema {
    ($kind:literal, $space:literal) => {
        $crate::renames::named_in_schema!($kind, $space, |_object| "");
    };
    ($kind:literal, $space:literal, |$object:ident| $behind:expr) => {
        fn common(&self) -> &$crate::common::Common {
            &self.common
        }

        fn kind(&self) -> &'static str {
            $kind
        }

        fn target(&self) -> String {
            let $object = self;
            $crate::text::qualified(&self.schema, &self.name) + &$behind
        }

        fn occupies(&self) -> Option<String> {
            Some(format!(concat!($space, " {}"), self.target()))
        }

        fn rename(&self, to: &Self, script: &mut $crate::Script) -> Result<(), $crate::Unhandled> {
            let $object = self;
            let (from, to) = ((&*self.schema, &*self.name), (&*to.schema, &*to.name));
            $crate::renames::move_to($kind, from, to, &$behind, script);
            Ok(())
        }
    };
}
pub(crate) use named_in_schema;

/// The same for an object without a schema.
macro_rules! named {
    ($kind:literal, $space:literal) => {
        fn common(&self) -> &$crate::common::Common {
            &self.common
        }

        fn kind(&self) -> &'static str {
            $kind
        }

        fn target(&self) -> String {
            self.name.clone()
        }

        fn occupies(&self) -> Option<String> {
            Some(format!(concat!($space, " {}"), self.name))
        }

        fn rename(&self, to: &Self, script: &mut $crate::Script) -> Result<(), $crate::Unhandled> {
            $crate::renames::give_name(self, &self.name, &to.name, script);
            Ok(())
        }
    };
}
pub(crate) use named;

/// `ALTER kind target RENAME TO`, if the name has changed.
pub fn give_name(object: &impl Object, from: &str, to: &str, script: &mut Script) {
    if from != to {
        let (kind, target) = (object.kind(), object.target());
        script.push("rename", format!("ALTER {kind} {target} RENAME TO {to}"));
    }
}

/// `ALTER kind … RENAME TO` and `SET SCHEMA` for an object of `from` (schema and name, quoted) to `to`.
/// `behind` is what follows the name: the arguments of a routine.
pub fn move_to(
    kind: &str,
    from: (&str, &str),
    to: (&str, &str),
    behind: &str,
    script: &mut Script,
) {
    let ((old_schema, old_name), (schema, name)) = (from, to);
    if old_name != name {
        script.push(
            "rename",
            format!("ALTER {kind} {old_schema}.{old_name}{behind} RENAME TO {name}"),
        );
    }
    if old_schema != schema {
        script.push(
            "rename",
            format!("ALTER {kind} {old_schema}.{name}{behind} SET SCHEMA {schema}"),
        );
    }
}

/// The pairs of an old and a new name in an order in which each new name is free, with an intermediate name
/// if names are exchanged. `free` returns an unused name, derived from a used one.
pub fn in_order(
    mut pairs: Vec<(String, String)>,
    free: impl Fn(&str) -> String,
) -> Vec<(String, String)> {
    pairs.retain(|(old, new)| old != new);
    let mut ordered = Vec::with_capacity(pairs.len());
    while !pairs.is_empty() {
        let is_free = |(_, new): &(String, String)| pairs.iter().all(|(old, _)| old != new);
        match pairs.iter().position(is_free) {
            Some(next) => ordered.push(pairs.remove(next)),
            None => {
                let between = free(&pairs[0].0);
                ordered.push((pairs[0].0.clone(), between.clone()));
                pairs[0].0 = between;
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(pairs: &[(&str, &str)]) -> Vec<String> {
        let pairs = pairs
            .iter()
            .map(|(old, new)| ((*old).to_owned(), (*new).to_owned()));
        in_order(pairs.collect(), |name| format!("{name}~"))
            .into_iter()
            .map(|(old, new)| format!("{old}>{new}"))
            .collect()
    }

    #[test]
    fn a_name_is_given_once_it_is_free() {
        assert_eq!(
            ordered(&[("a", "b"), ("b", "c"), ("d", "d")]),
            ["b>c", "a>b"]
        );
        assert_eq!(ordered(&[("a", "b"), ("b", "a")]), ["a>a~", "b>a", "a~>b"]);
    }
}
