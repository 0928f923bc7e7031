//! What is done in the target, in one transaction: definitions, rows, positions of sequences.

use std::collections::BTreeMap;

use super::apply::Applying;
use super::carry::{Carrying, Foreseen};
use super::existing::{self, Existing};
use super::options::Section;
use super::shown::Carried;
use super::{chosen, rows, trusted};
use crate::connection::Session;
use crate::error::{Error, Result};

impl Carrying<'_> {
    /// Everything, inside of the transaction: the rows of each table.
    pub(super) async fn apply(&self, target: &Session, foreseen: &Foreseen) -> Result<Carried> {
        let Foreseen {
            existing,
            definitions,
            ..
        } = foreseen;
        let makes_tables = self.options.has(Section::PreData);
        let mut applying = Applying::begin(target, self.whereto.rights).await?;
        if makes_tables {
            for (name, schema) in &existing.extensions {
                applying.extension(name, schema).await?;
            }
        }
        for effect in &definitions.before {
            applying.effect(effect).await?;
        }
        if self.whereto.found.role.is_superuser && !definitions.before.is_empty() {
            // Whoever owns a schema may have replaced meanwhile what was there: rows would run it.
            let (graph, members) = (self.graph, self.members);
            let used = Existing::find(self.scratch, Some(target), graph, members).await?;
            trusted::ensure_used(self.scratch, target, &used).await?;
        }
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        if self.options.has(Section::Data) {
            if !makes_tables {
                applying.begin_rows().await?;
            }
            counts = self.copy(target, foreseen, &mut applying.odd).await?;
            if !makes_tables {
                applying.end_rows().await?;
            }
        }
        for effect in &definitions.after {
            applying.effect(effect).await?;
        }
        // These stay when the transaction is rolled back, so as late as possible: before owners are changed.
        if self.options.has(Section::Data) {
            let odd = self.positions(target, existing, makes_tables).await?;
            applying.odd.extend(odd);
        }
        for effect in &definitions.last {
            applying.effect(effect).await?;
        }
        Ok(Carried {
            rows: counts.into_iter().collect(),
            odd: applying.odd,
        })
    }

    /// The rows of each table.
    async fn copy(
        &self,
        target: &Session,
        foreseen: &Foreseen,
        odd: &mut Vec<String>,
    ) -> Result<BTreeMap<String, u64>> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for table in &foreseen.tables {
            let copied = table.copy(self.scratch, target).await;
            let (there, inserted) = copied.map_err(|error| {
                Error::failed(format!("rows of {}: {error}", table.into), error.hint())
            })?;
            if inserted != there {
                odd.push(format!(
                    "{inserted} of {there} rows were inserted into {}: a trigger of the target passed over the others",
                    table.into
                ));
            }
            *counts.entry(table.into.clone()).or_default() += inserted;
        }
        Ok(counts)
    }

    async fn positions(
        &self,
        target: &Session,
        existing: &Existing,
        makes_tables: bool,
    ) -> Result<Vec<String>> {
        let own = self.members.own.iter();
        let made = self.members.others.iter();
        let made = made.filter(|key| makes_tables && !existing.has(**key));
        let sequences: Vec<u32> = own
            .chain(made)
            .filter(|key| self.graph.is_sequence(**key))
            .map(|key| key.oid)
            .collect();
        let written = chosen::written(self.scratch, &sequences).await?;
        let names: Vec<String> = written.into_iter().map(|(_, written, _)| written).collect();
        let there = existing::relations(target, &names).await?;
        let mut odd = Vec::new();
        // One of a table that the target has under another name is not needed for rows.
        for name in names.iter().filter(|name| there.contains(name)) {
            odd.extend(rows::position(self.scratch, target, name, makes_tables).await?);
        }
        Ok(odd)
    }
}
