//! Extensions that the target's server does not offer, and what depends on them.
//!
//! Nothing in an archive lists the members of an extension. But every definition qualifies the names that it uses: one in
//! the schema of an extension that nothing in the archive defines is a member's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use archive::metadata::ExtensionFact;
use archive::segment::Effect;

use super::tokens::tokens;
use crate::error::{Error, Result};
use crate::quote::shown;
use crate::restore::base::{survey, Loading};
use crate::restore::plan::Plan;
use crate::restore::replay::rehearsal;

/// How many dependents of an extension a message names.
const NAMED: usize = 20;

type Name = (Vec<u8>, Vec<u8>);

/// What the archive defines, and who uses what.
#[derive(Debug, Default)]
struct Uses {
    schemas: BTreeSet<Vec<u8>>,
    defined: BTreeSet<Name>,
    used: BTreeMap<Name, Vec<String>>,
}

/// The error that names them.
pub async fn missing(
    loading: &Loading<'_>,
    plan: &Arc<Plan>,
    missing: &[ExtensionFact],
) -> Result<Error> {
    let schemas = missing.iter().map(|it| it.schema.clone().into_bytes());
    let mut uses = Uses {
        schemas: schemas.collect(),
        ..Uses::default()
    };
    survey::definitions(loading, &mut |entry, text| {
        if entry.kind == b"EXTENSION" || entry.name.starts_with(b"EXTENSION ") {
            return;
        }
        let name = entry
            .name
            .split(|byte| *byte == b'(')
            .next()
            .unwrap_or_default();
        let schema = entry.schema.clone().unwrap_or_default();
        uses.define((schema, name.to_vec()));
        let what = format!("{} {}", shown(&entry.kind), shown(&entry.name));
        uses.note(&what, text);
    })
    .await?;
    let mut visit = |effect: &Effect, text: &[u8]| {
        uses.identity(&effect.identity);
        uses.note(
            &format!("{} {}", effect.class, shown(&effect.identity)),
            text,
        );
    };
    rehearsal::visit(&loading.storage, plan, &mut visit).await?;
    let mut message = "the server does not offer ".to_owned();
    for (nth, extension) in missing.iter().enumerate() {
        let comma = if nth > 0 { "\nand " } else { "" };
        let (name, version) = (&extension.name, &extension.version);
        message.push_str(&format!(
            "{comma}the extension \"{name}\" (version {version} at the source){}",
            uses.words(extension)
        ));
    }
    let hint = "Install what provides it on the target's server; nothing was changed there.";
    Ok(Error::failed(message, hint))
}

impl Uses {
    fn define(&mut self, name: Name) {
        if self.schemas.contains(&name.0) {
            self.defined.insert(name);
        }
    }

    /// Of an effect: `public.f(integer)`, `t ON public.u`.
    fn identity(&mut self, identity: &[u8]) {
        for name in self.names_in(identity) {
            self.defined.insert(name);
        }
    }

    /// Names in the schemas; a member that is an operator has none.
    fn names_in(&self, text: &[u8]) -> BTreeSet<Name> {
        let tokens = tokens(text).unwrap_or_default();
        let qualified = tokens.windows(3).filter(|three| three[1].is_mark(b'.'));
        let named = qualified.filter_map(|three| {
            let schema = three[0]
                .name(text)
                .filter(|name| self.schemas.contains(name))?;
            Some((schema, three[2].name(text).unwrap_or_default()))
        });
        named.collect()
    }

    fn note(&mut self, what: &str, text: &[u8]) {
        for name in self.names_in(text) {
            let users = self.used.entry(name).or_default();
            if users.last().is_none_or(|last| last != what) {
                users.push(what.to_owned());
            }
        }
    }

    /// Who uses what is in the extension's schema, and not defined.
    fn words(&self, extension: &ExtensionFact) -> String {
        let of_it = self.used.iter().filter(|(name, _)| {
            name.0 == extension.schema.as_bytes() && !self.defined.contains(*name)
        });
        let users: BTreeSet<&String> = of_it.flat_map(|(_, users)| users).collect();
        if users.is_empty() {
            return String::new();
        }
        let more = users.len().saturating_sub(NAMED);
        let named: Vec<&str> = users.iter().take(NAMED).map(|it| it.as_str()).collect();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!(", on which depend: {}{more}", named.join(", "))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_uses_what_nobody_defines_depends_on_the_extension() {
        let mut uses = Uses {
            schemas: [b"public".to_vec()].into(),
            ..Uses::default()
        };
        uses.define((b"public".to_vec(), b"t".to_vec()));
        uses.note(
            "TABLE t",
            b"CREATE TABLE public.t (a public.hstore, b text DEFAULT 'public.x')",
        );
        uses.note(
            "VIEW v",
            b"CREATE VIEW other.v AS SELECT public.t.a FROM public.t",
        );
        uses.note(
            "INDEX i",
            b"CREATE INDEX i ON public.t USING gist (a OPERATOR(public.->) 'x')",
        );
        let hstore = ExtensionFact {
            name: "hstore".into(),
            version: "1.8".into(),
            schema: "public".into(),
        };
        assert_eq!(uses.words(&hstore), ", on which depend: INDEX i, TABLE t");
    }
}
