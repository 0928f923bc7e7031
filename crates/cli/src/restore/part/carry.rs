//! Carries a part from the scratch database into the target, in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use effects::key::{catalog, Key};
use effects::Effect;
use tokio_postgres::types::{ToSql, Type};

use super::chosen::{self, Chosen};
use super::definitions::{self, Definitions};
use super::existing::{self, Existing};
use super::graph::{Graph, Members};
use super::options::{Options, Section};
use super::rows;
use super::selection::Selection;
use super::shown::{Carried, Shown};
use super::wanted::Name;
use super::{cut, hashed, moved};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::{ident, identifier};
use crate::restore::plan::Plan;
use crate::restore::rights::refusal::is_orphan;
use crate::restore::target::{Found, Place};

/// Refuses, before anything is made, what the target has already.
pub async fn ensure_possible(found: &Found, plan: &Plan, options: &Options) -> Result<()> {
    if !found.exists() {
        let needs_tables = !options.has(Section::PreData);
        if needs_tables {
            let message = format!(
                "the target database \"{}\" does not exist",
                found.final_name()
            );
            return Err(Error::wrong_use(
                message,
                "Rows, indexes and constraints alone need a database with the tables.",
            ));
        }
        return Ok(());
    }
    let session = found.session();
    let schema = options.into_schema.as_deref();
    let names = plan.part.iter().flat_map(|part| &part.chosen);
    if schema.is_some() {
        moved::ensure_names_differ(names.clone())?;
    }
    if let (Some(schema), true) = (schema, options.has(Section::PreData)) {
        return existing::ensure_empty_schema(session, schema).await;
    }
    // Names of other encodings are looked for when the scratch database has converted them.
    let names = written(names, schema);
    if options.has(Section::PreData) {
        return existing::ensure_free(session, &names).await;
    }
    let tables = plan.part.iter().flat_map(|part| &part.tables);
    existing::ensure_tables(session, &written(tables, schema)).await
}

/// Names as SQL has them, in the schema of `--into-schema` if that is given.
fn written<'n>(names: impl Iterator<Item = &'n Name>, schema: Option<&str>) -> Vec<String> {
    names
        .filter_map(|name| {
            let quoted = match schema {
                Some(schema) => [identifier(schema).as_bytes(), b".", &ident(&name.name)].concat(),
                None => [&ident(&name.schema)[..], b".", &ident(&name.name)].concat(),
            };
            String::from_utf8(quoted).ok()
        })
        .collect()
}

/// From where, and where to.
pub struct Whereto<'a> {
    pub found: &'a Found,
    pub scratch_name: &'a str,
    /// It is only told.
    pub is_dry_run: bool,
}

/// Carries it over; sentences about what is not as at the source. The scratch database, in which `scratch` is, has reached the moment.
pub async fn over(
    mut scratch: Session,
    plan: &Plan,
    whereto: &Whereto<'_>,
    options: &Options,
    shown: &Shown,
) -> Result<Vec<String>> {
    let encoding = &plan.base.metadata.source.encoding;
    scratch.set_encoding(encoding).await?;
    // What the target reads is written under the same settings, also if no segment was replayed.
    for (name, value) in archive::segment::SETTINGS {
        let set = format!("SET {name} = {value}");
        scratch.client.batch_execute(&set).await?;
    }
    let Some(wanted) = &plan.part else {
        return Ok(Vec::new());
    };
    let selection = Selection::of_options(options)?;
    let mut chosen = chosen::find(&mut scratch, &selection, wanted).await?;
    if options.has(Section::Data) {
        hashed::look_for(&scratch, &mut chosen).await?;
    }
    let mut left_out = cut::off(&scratch, &mut chosen).await?;
    let set_aside = match &options.into_schema {
        Some(schema) => moved::move_all(&scratch, &mut chosen, schema).await?,
        None => None,
    };
    let graph = Graph::read(&scratch).await?;
    let relations: BTreeSet<u32> = chosen.relations.iter().map(|it| it.oid).collect();
    let members = graph.members(&relations, &chosen.schemas, options.has(Section::PostData));
    left_out.extend(members.left_out.iter().cloned());
    let needs_it = |oid: &u32| members.others.contains(&Key::new(catalog::NAMESPACE, *oid));
    if let Some(schema) = options
        .into_schema
        .as_ref()
        .filter(|_| set_aside.as_ref().is_some_and(needs_it))
    {
        let message =
            format!("the part needs other objects of the source's own schema \"{schema}\"");
        let hint = "Choose another name for --into-schema. Nothing was changed.";
        return Err(Error::failed(message, hint));
    }
    if options.into_schema.is_some() {
        moved::ensure_not_mentioned(&scratch, &members, &chosen).await?;
    }
    let found = whereto.found;
    let carrying = Carrying {
        scratch: &scratch,
        scratch_name: whereto.scratch_name,
        found,
        options,
        chosen: &chosen,
        graph: &graph,
        members: &members,
    };
    let facts = &plan.base.metadata.source;
    if whereto.is_dry_run {
        let target = if found.exists() {
            Some(found.open_for_part(facts).await?)
        } else {
            None
        };
        carrying.foresee(target.as_ref(), shown, &left_out).await?;
        return Ok(Vec::new());
    }
    let place = found.open_for_part(facts).await?;
    let carried = carrying.carry(&place, shown, &left_out).await;
    match carried {
        Ok(carried) => {
            found.keep(place).await?;
            shown.carried(&carried);
            Ok(carried.odd)
        }
        Err(error) => {
            // The error that counts is the first one.
            let _ = found.give_up(place).await;
            Err(error)
        }
    }
}

/// What is done in the target.
struct Foreseen {
    existing: Existing,
    definitions: Definitions,
    tables: Vec<rows::Copied>,
}

struct Carrying<'a> {
    scratch: &'a Session,
    scratch_name: &'a str,
    found: &'a Found,
    options: &'a Options,
    chosen: &'a Chosen,
    graph: &'a Graph,
    members: &'a Members,
}

impl Carrying<'_> {
    async fn carry(&self, place: &Place, shown: &Shown, left_out: &[String]) -> Result<Carried> {
        let target = &place.session;
        let foreseen = self.foresee(Some(place), shown, left_out).await?;
        target.client.batch_execute("BEGIN").await?;
        let carried = self.apply(target, &foreseen).await?;
        target.client.batch_execute("COMMIT").await?;
        Ok(carried)
    }

    /// Tells what will be done, and refuses what cannot be. `None`: the target is still to be created.
    async fn foresee(
        &self,
        place: Option<&Place>,
        shown: &Shown,
        left_out: &[String],
    ) -> Result<Foreseen> {
        let makes_tables = self.options.has(Section::PreData);
        let names: Vec<String> = self
            .chosen
            .relations
            .iter()
            .map(|it| it.written.clone())
            .collect();
        let needed = self.graph.needed_relations(self.members);
        let relations = self.graph.referenced_first(&self.chosen.relations);
        let tables = rows::tables(self.scratch, &relations, makes_tables).await?;
        if let Some(place) = place {
            let target = &place.session;
            if makes_tables {
                existing::ensure_free(target, &names).await?;
            } else {
                let with_post_data = self.options.has(Section::PostData);
                existing::ensure_there(target, &self.chosen.relations, with_post_data).await?;
            }
            existing::ensure_not_below_live(self.scratch, target, &needed).await?;
            if !makes_tables && self.options.has(Section::Data) {
                for table in &tables {
                    table.ensure_columns(target).await?;
                }
            }
        }
        let target = place.map(|place| &place.session);
        let existing = Existing::find(self.scratch, target, self.graph, self.members).await?;
        let target = place.map_or(self.scratch_name, |place| &place.name);
        let definitions = self.definitions(target, &existing).await?;
        let needed = chosen::written(self.scratch, &needed).await?.into_iter();
        let is_new = |oid: u32| !existing.has(Key::new(catalog::CLASS, oid));
        let without_rows: Vec<String> = needed
            .filter(|(oid, ..)| is_new(*oid) && makes_tables)
            .map(|(_, written, _)| written)
            .collect();
        shown.plan(
            &names,
            &definitions,
            &existing.words,
            &without_rows,
            left_out,
        );
        Ok(Foreseen {
            existing,
            definitions,
            tables,
        })
    }

    /// Of what the target does not have. `target` is a database with its default privileges: before it is created, any in which
    /// there are none.
    async fn definitions(&self, target: &str, existing: &Existing) -> Result<Definitions> {
        let makes_any = self.options.has(Section::PreData) || self.options.has(Section::PostData);
        if !makes_any {
            return Ok(Definitions::default());
        }
        let own = self.members.own.iter();
        let others = self
            .members
            .others
            .iter()
            .filter(|key| !existing.has(**key));
        let keys: Vec<Key> = own.chain(others).copied().collect();
        let conninfo = self.found.conninfo();
        let read = definitions::read_all(conninfo, self.scratch_name, target, keys, self.options);
        let mut definitions = read.await?;
        if self.options.has(Section::PreData) {
            let extensions = existing.extensions.iter();
            let made = extensions.map(|(name, _)| format!("extension {name}"));
            definitions.made.extend(made);
            definitions.made.sort();
        }
        Ok(definitions)
    }

    /// Everything, inside of the transaction: the rows of each table.
    async fn apply(
        &self,
        target: &Session,
        Foreseen {
            existing,
            definitions,
            tables,
        }: &Foreseen,
    ) -> Result<Carried> {
        let makes_tables = self.options.has(Section::PreData);
        settings(target, makes_tables).await?;
        let mut odd = Vec::new();
        if makes_tables {
            for (name, schema) in &existing.extensions {
                make_extension(target, name, schema).await?;
            }
        }
        for effect in &definitions.before {
            execute(target, effect, &mut odd).await?;
        }
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        if self.options.has(Section::Data) {
            for table in tables {
                let copied = table.copy(self.scratch, target).await;
                let count = copied.map_err(|error| {
                    Error::failed(format!("rows of {}: {error}", table.into), error.hint())
                })?;
                *counts.entry(table.into.clone()).or_default() += count;
            }
            self.positions(target, existing, makes_tables).await?;
        }
        for effect in &definitions.after {
            execute(target, effect, &mut odd).await?;
        }
        Ok(Carried {
            rows: counts.into_iter().collect(),
            odd,
        })
    }

    async fn positions(
        &self,
        target: &Session,
        existing: &Existing,
        makes_tables: bool,
    ) -> Result<()> {
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
        // One of a table that the target has under another name is not needed for rows.
        for name in names.iter().filter(|name| there.contains(name)) {
            rows::position(self.scratch, target, name, makes_tables).await?;
        }
        Ok(())
    }
}

/// Of the transaction: what texts and rows mean, and that neither triggers nor rules of the target act on what is made.
async fn settings(target: &Session, makes_tables: bool) -> Result<()> {
    let functions = include_str!("../base/functions.sql");
    target.client.batch_execute(functions).await?;
    for (name, value) in archive::segment::SETTINGS {
        let set = format!("SET LOCAL {name} = {value}");
        target.client.batch_execute(&set).await?;
    }
    if !makes_tables {
        // Rows come into tables that are in use: their triggers and foreign keys hold.
        let set = "SET LOCAL session_replication_role = origin; SET LOCAL search_path = \"$user\", public";
        target.client.batch_execute(set).await?;
    }
    Ok(())
}

async fn make_extension(target: &Session, name: &str, schema: &str) -> Result<()> {
    let (quoted, schema) = (identifier(name), identifier(schema));
    let exists = format!("CREATE SCHEMA IF NOT EXISTS {schema}");
    let create = format!("CREATE EXTENSION {quoted} SCHEMA {schema}");
    for statement in [exists, create] {
        let made = target.client.batch_execute(&statement).await;
        made.map_err(|error| {
            Error::failed(format!("extension {quoted}: {}", Error::from(error)), "")
        })?;
    }
    Ok(())
}

/// One that rows contradict holds for new rows only: those of the target, or of partitions that are not in the part, are
/// others than the source's.
async fn foreign_key(target: &Session, sql: &str, odd: &mut Vec<String>) -> Result<()> {
    match target.attempt(sql.as_bytes()).await {
        Err(error) if is_orphan(&error) && !sql.ends_with(" NOT VALID") => {
            let later = format!("{sql} NOT VALID");
            match target.attempt(later.as_bytes()).await {
                Ok(_) => odd.push(format!("a foreign key is NOT VALID: {error}: {sql}")),
                Err(_) => odd.push(format!("a foreign key is not there: {error}: {sql}")),
            }
            Ok(())
        }
        done => done.map(|_| ()),
    }
}

async fn execute(target: &Session, effect: &Effect, odd: &mut Vec<String>) -> Result<()> {
    let done = match &effect.grantor {
        Some(grantor) => {
            let set = format!("SET LOCAL ROLE {grantor}");
            target.client.batch_execute(&set).await?;
            let done = target.statement(effect.sql.as_bytes()).await;
            if done.is_ok() {
                target.client.batch_execute("SET LOCAL ROLE NONE").await?;
            }
            done.map(|_| ())
        }
        None if effect.class == "constraint" && effect.sql.contains(" FOREIGN KEY ") => {
            foreign_key(target, &effect.sql, odd).await
        }
        None if effect.verb == "owner" && effect.class == "foreign-data wrapper" => {
            let text: [(&(dyn ToSql + Sync), Type); 1] = [(&effect.sql, Type::TEXT)];
            let rows = target
                .client
                .query_typed("SELECT pg_temp.incr_own($1)", &text)
                .await;
            rows.map(|_| ()).map_err(Error::from)
        }
        None => target.statement(effect.sql.as_bytes()).await.map(|_| ()),
    };
    done.map_err(|error| {
        let (verb, class, identity) = (effect.verb, effect.class, &effect.identity);
        Error::failed(format!("{verb} {class} {identity}: {error}"), error.hint())
    })
}
