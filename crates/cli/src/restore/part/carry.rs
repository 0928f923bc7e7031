//! Carries a part from the scratch database into the target, in one transaction.

use std::collections::BTreeSet;
use std::path::Path;

use effects::key::{catalog, Key};

use super::chosen::{self, Chosen};
use super::definitions::{self, Definitions};
use super::existing::{self, Existing};
use super::graph::{Graph, Members};
use super::missed::{self, Known};
use super::options::{Options, Section};
use super::rows;
use super::selection::Selection;
use super::shown::{Carried, Shown, ToCarry};
use super::wanted::Wanted;
use super::{cut, hashed, left, missing, moved, permitted, trusted};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::plan::Plan;
use crate::restore::rights::left_out::LeftOut;
use crate::restore::rights::Rights;
use crate::restore::target::server::drop_statement;
use crate::restore::target::{Found, Place};

/// From where, and where to.
pub struct Whereto<'a> {
    pub found: &'a Found,
    pub rights: &'a Rights,
    pub scratch_name: &'a str,
    /// It is only told.
    pub is_dry_run: bool,
    /// Where the SQL of what is left out is written; `None` if it is not, since its names are not those of the target.
    pub left_out: Option<&'a Path>,
}

/// What was carried over.
#[derive(Default)]
pub struct Over {
    /// Sentences about what is not as at the source.
    pub odd: Vec<String>,
    /// What the part misses, since the server does not let the role make it.
    pub missed: LeftOut,
    /// What it is called.
    pub known: Option<Known>,
}

/// Carries it over. The scratch database, in which `scratch` is, has reached the moment.
pub async fn over(
    mut scratch: Session,
    plan: &Plan,
    whereto: &Whereto<'_>,
    options: &Options,
    shown: &Shown,
) -> Result<Over> {
    let encoding = &plan.base.metadata.source.encoding;
    scratch.set_encoding(encoding).await?;
    // What the target reads is written under the same settings, also if no segment was replayed.
    let settings = archive::segment::SETTINGS.iter();
    for (name, value) in settings.filter(|(name, _)| !whereto.rights.lacks_setting(name)) {
        let set = format!("SET {name} = {value}");
        scratch.client.batch_execute(&set).await?;
    }
    let Some(wanted) = &plan.part else {
        return Ok(Over::default());
    };
    let selection = Selection::of_options(options)?;
    let mut chosen = chosen::find(&mut scratch, &selection, wanted).await?;
    let refused = whereto.rights.take_left_out();
    let (of_scratch, of_part) = ((&scratch, &encoding[..]), (wanted, &chosen));
    missing::ensure_none(of_scratch, of_part, &refused, options).await?;
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
        encoding,
        whereto,
        options,
        wanted,
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
        let (foreseen, over) = carrying
            .foresee(target.as_ref(), shown, (left_out, refused))
            .await?;
        drop(foreseen);
        return Ok(over);
    }
    let place = found.open_for_part(facts).await?;
    let carried = carrying.carry(&place, shown, (left_out, refused)).await;
    match carried {
        Ok((carried, mut over)) => {
            let kept = found.keep(place).await;
            shown.carried(&carried);
            over.odd.extend(carried.odd);
            // The rows are there, under another name.
            over.odd.extend(
                kept.err()
                    .map(|error| left::warning("it has not got its name", &error)),
            );
            Ok(over)
        }
        Err(error) => {
            let name = place.name.clone();
            match found.give_up(place).await {
                Ok(()) => Err(error),
                Err(why) => {
                    let drop = drop_statement(&name);
                    let left = format!("The database \"{name}\" is left ({why}): {drop}");
                    let hint = format!("{} {left}", error.hint());
                    Err(error.with_hint(hint.trim_start().to_owned()))
                }
            }
        }
    }
}

/// What is done in the target.
pub(super) struct Foreseen {
    pub(super) existing: Existing,
    pub(super) definitions: Definitions,
    pub(super) tables: Vec<rows::Copied>,
}

pub(super) struct Carrying<'a> {
    pub(super) scratch: &'a Session,
    /// The archive's.
    encoding: &'a str,
    pub(super) whereto: &'a Whereto<'a>,
    pub(super) options: &'a Options,
    wanted: &'a Wanted,
    chosen: &'a Chosen,
    pub(super) graph: &'a Graph,
    pub(super) members: &'a Members,
}

/// Sentences about what the part leaves out, and what the server has refused in the scratch database.
type LeftBehind = (Vec<String>, LeftOut);

impl Carrying<'_> {
    async fn carry(
        &self,
        place: &Place,
        shown: &Shown,
        left: LeftBehind,
    ) -> Result<(Carried, Over)> {
        let target = &place.session;
        let (foreseen, over) = self.foresee(Some(place), shown, left).await?;
        if self.whereto.rights.is_limited() {
            let of_part = self.members.own.iter().chain(&self.members.others);
            let relations = of_part.filter(|key| key.class == catalog::CLASS);
            let oids: Vec<u32> = relations.map(|key| key.oid).collect();
            rows::open(self.scratch, &oids).await?;
        }
        target.client.batch_execute("BEGIN").await?;
        let carried = self.apply(target, &foreseen).await?;
        left::commit(target).await?;
        Ok((carried, over))
    }

    /// Tells what will be done, and refuses what cannot be. `None`: the target is still to be created.
    async fn foresee(
        &self,
        place: Option<&Place>,
        shown: &Shown,
        (mut left_out, refused): LeftBehind,
    ) -> Result<(Foreseen, Over)> {
        let makes_tables = self.options.has(Section::PreData);
        let relations = self.graph.referenced_first(&self.chosen.relations);
        let tables = rows::tables(self.scratch, &relations, makes_tables).await?;
        let needed = self.graph.needed_relations(self.members);
        let names: Vec<String> = self
            .chosen
            .relations
            .iter()
            .map(|it| it.written.clone())
            .collect();
        if let Some(place) = place {
            self.ensure_fits(&place.session, &names, &needed).await?;
            if !makes_tables && self.options.has(Section::Data) {
                self.ensure_rows_fit(&place.session, &tables).await?;
            }
        }
        let target = place.map(|place| &place.session);
        let existing = Existing::find(self.scratch, target, self.graph, self.members).await?;
        let makes = self.makes(&existing);
        if let Some(target) = target {
            self.ensure_safe(target, &existing, &makes).await?;
        }
        let database = place.map_or(self.whereto.scratch_name, |place| &place.name);
        let keys = makes.clone();
        let mut definitions = self.definitions(database, &existing, keys).await?;
        let mut owners = Vec::new();
        if let Some(target) = target.filter(|_| self.whereto.rights.is_limited()) {
            owners = definitions.without_owners(target).await?;
            left_out.extend(owners.iter().cloned());
        }
        let needed = chosen::written(self.scratch, &needed).await?.into_iter();
        let is_new = |oid: u32| !existing.has(Key::new(catalog::CLASS, oid));
        let without_rows: Vec<String> = needed
            .filter(|(oid, ..)| is_new(*oid) && makes_tables)
            .map(|(_, written, _)| written)
            .collect();
        let rights = self.whereto.rights;
        let definers = if rights.is_limited() || rights.wanted.no_owner {
            missed::definers(self.scratch, &makes).await?
        } else {
            Vec::new()
        };
        let known = Known::read(
            self.scratch,
            self.encoding,
            self.wanted,
            self.chosen,
            &makes,
        );
        let known = known.await?;
        let of_others = self.whereto.rights.take_notes_of_others();
        let of_part = of_others.into_iter().filter(|(sql, _)| known.is_about(sql));
        left_out.extend(of_part.map(|(_, sentence)| sentence));
        let missed = known.missed(refused, self.options);
        shown.plan(&ToCarry {
            relations: &names,
            definitions: &definitions,
            used: &existing.words,
            without_rows: &without_rows,
            definers: &definers,
            left_out: &left_out,
        });
        shown.will_leave_out(&missed, self.whereto.left_out);
        if let Some(file) = self.whereto.left_out.filter(|_| !missed.is_empty()) {
            LeftOut::ensure_writable(file)?;
        }
        let foreseen = Foreseen {
            existing,
            definitions,
            tables,
        };
        let over = Over {
            odd: owners,
            missed,
            known: Some(known),
        };
        Ok((foreseen, over))
    }

    /// Refuses what the target has already, or lacks.
    async fn ensure_fits(&self, target: &Session, names: &[String], needed: &[u32]) -> Result<()> {
        if self.options.has(Section::PreData) {
            existing::ensure_free(target, names).await?;
        } else {
            let with_post_data = self.options.has(Section::PostData);
            existing::ensure_there(target, &self.chosen.relations, with_post_data).await?;
        }
        existing::ensure_not_below_live(self.scratch, target, needed).await
    }

    /// Refuses rows that the tables of the target do not take.
    async fn ensure_rows_fit(&self, target: &Session, tables: &[rows::Copied]) -> Result<()> {
        let role = &self.whereto.found.role;
        for table in tables {
            table.ensure_columns(target).await?;
            if !role.is_superuser {
                table.ensure_permitted(target, role).await?;
            }
        }
        if !role.is_superuser {
            return Ok(());
        }
        let tables: Vec<(u32, &str)> = tables
            .iter()
            .map(|table| (table.root, &table.into[..]))
            .collect();
        trusted::ensure_tables(self.scratch, target, &tables).await
    }

    /// Refuses definitions that the role may not make, and code of others that it would run.
    async fn ensure_safe(
        &self,
        target: &Session,
        existing: &Existing,
        makes: &[Key],
    ) -> Result<()> {
        let role = &self.whereto.found.role;
        let makes_any = self.options.has(Section::PreData) || self.options.has(Section::PostData);
        if !makes_any {
            return Ok(());
        }
        if role.is_superuser {
            trusted::ensure_events(target).await?;
            return trusted::ensure_used(self.scratch, target, existing).await;
        }
        let called = self.graph.functions_of_triggers(self.members);
        let there = (existing, &called[..]);
        permitted::ensure_may_make(self.scratch, target, role, makes, there).await
    }

    /// What the target does not have.
    fn makes(&self, existing: &Existing) -> Vec<Key> {
        let own = self.members.own.iter();
        let others = self.members.others.iter();
        own.chain(others.filter(|key| !existing.has(**key)))
            .copied()
            .collect()
    }

    /// Of what the target does not have. `target` is a database with its default privileges: before it is created, any in
    /// which there are none.
    async fn definitions(
        &self,
        target: &str,
        existing: &Existing,
        keys: Vec<Key>,
    ) -> Result<Definitions> {
        let makes_any = self.options.has(Section::PreData) || self.options.has(Section::PostData);
        if !makes_any {
            return Ok(Definitions::default());
        }
        let Whereto {
            found,
            rights,
            scratch_name,
            ..
        } = self.whereto;
        let databases = (*scratch_name, target);
        let read = definitions::read_all(found.conninfo(), databases, keys, self.options, rights);
        let mut definitions = read.await?;
        if self.options.has(Section::PreData) {
            let extensions = existing.extensions.iter();
            let made = extensions.map(|(name, _)| format!("extension {name}"));
            definitions.made.extend(made);
            definitions.made.sort();
        }
        Ok(definitions)
    }
}
