//! Schema changes between the rows: as effects where all that a statement touched is understood, as the
//! statement's text where it is not.

use archive::segment::{DdlBlock, EffectNote, Lost, What, Words};
use effects::class::catalog_name;
use effects::{Effect, Unhandled, OVER_OURS, TEMPORARY};

use super::super::frame;
use super::super::history::Statement;
use super::Writer;
use crate::effects::{does_more_than_catalogs_tell, is_told_by_catalogs, Stretch};
use crate::pg::effects::server_text::to_server_bytes;

/// The verb of an effect that empties a table whose rows come again behind it.
const REWRITE: &str = "rewrite";

/// How the last statement was written.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// There was none: the catalogs change by themselves (a superuser's UPDATE, a library that is away).
    #[default]
    None,
    Text,
    Effects,
}

/// What the statement that is held back did, so far.
#[derive(Default)]
pub struct Deeds {
    effects: Vec<Effect>,
    unhandled: Vec<Unhandled>,
    is_about_cluster: bool,
    /// What its text would do otherwise at restore; said where it travels as text.
    flags: Vec<String>,
}

impl Deeds {
    pub fn flag_text(&mut self, reason: String) {
        self.flags.push(reason);
    }

    /// True where the statement travels as its text.
    fn need_text(&self, command: &str) -> bool {
        self.is_about_cluster
            || self.unhandled.iter().any(|why| why.class != TEMPORARY)
            || does_more_than_catalogs_tell(command)
            || self.effects.is_empty() && self.unhandled.is_empty() && !is_told_by_catalogs(command)
    }
}

impl Writer<'_> {
    /// Takes what a stretch of commands did to the catalogs.
    pub fn schema_changed(&mut self, mut stretch: Stretch) {
        // Where it shows only at its end that a table was rewritten (SET LOGGED), its rows are there already.
        if let (Ok(effects), false) = (&mut stretch.effects, stretch.is_rewriting) {
            let refilled = &self.state.refilled;
            effects.retain(|effect| {
                effect.verb != REWRITE || !refilled.contains(&effect.key.oid.into())
            });
        }
        // What an extension's script does, its statement does again.
        if self.state.bracket.is_some() {
            return;
        }
        for left_out in &stretch.left_out {
            let note = format!("{}\n{}", left_out.object, left_out.definition);
            self.leave_out_object(&to_server_bytes(&note));
        }
        if self.state.held.is_some() {
            let deeds = &mut self.state.deeds;
            deeds.is_about_cluster |= stretch.is_about_cluster;
            match stretch.effects {
                Ok(effects) => deeds.effects.extend(effects),
                Err(unhandled) => deeds.unhandled.push(unhandled),
            }
            return;
        }
        match (self.state.way, stretch.effects) {
            // Its text does it.
            (Way::Text, _) => {}
            (_, Ok(effects)) => self.write_effects(&effects, None),
            // The session that records leaves it out, and lists it.
            (_, Err(unhandled)) if unhandled.class == OVER_OURS => {
                self.state.left_out = Some(unhandled);
            }
            (_, Err(unhandled)) => self.flag_left_out(unhandled),
        }
    }

    /// The same is said once, though it is asked for at each row.
    fn flag_left_out(&mut self, unhandled: Unhandled) {
        if self.state.missing.as_ref() != Some(&unhandled) {
            let reason = "a schema change is left out, of which no statement is known";
            self.lose_change(&unhandled, reason);
            self.state.missing = Some(unhandled);
        }
    }

    fn lose_change(&mut self, unhandled: &Unhandled, reason: &str) {
        let object = unhandled.object.as_ref();
        let lost = Lost {
            what: What::Schema,
            class: unhandled.class.clone(),
            oid: object.map_or(0, |(key, _)| key.oid),
            identity: object.map_or_else(Vec::new, |(_, name)| to_server_bytes(name)),
        };
        self.lose(&lost, &format!("{reason}: {unhandled}"));
    }

    /// What is over our own and no session has recorded in this transaction was left out by none. It is not lost:
    /// bases are without it, too.
    pub(super) fn tell_unrecorded(&mut self) {
        let left_out = self.state.left_out.take();
        let Some(unhandled) = left_out.filter(|_| !self.state.is_recorded) else {
            return;
        };
        let object = unhandled.object.as_ref();
        let object = object.map(|(key, name)| format!("{} {name}", catalog_name(key.class)));
        let note = format!("{}\n", object.unwrap_or(unhandled.what));
        self.leave_out_object(&to_server_bytes(&note));
    }

    /// Writes the statement that was held back.
    pub(in super::super) fn release_held(&mut self) {
        let Some(statement) = self.state.held.take() else {
            return;
        };
        let deeds = std::mem::take(&mut self.state.deeds);
        self.state.released = Some(statement.clone());
        if statement.fact().is_some()
            || !self.options.follows_catalogs
            || deeds.need_text(&statement.command)
        {
            if statement.text.is_empty() {
                return self.flag_untold(deeds, &statement);
            }
            self.state.way = Way::Text;
            for reason in &deeds.flags {
                self.flag_ddl(reason);
            }
            self.tell_unhandled(&deeds.unhandled, &statement.command);
            return self.write_text(&statement);
        }
        self.state.way = Way::Effects;
        if !deeds.effects.is_empty() {
            self.write_effects(&deeds.effects, Some(&statement));
        }
        // Its text names what is gone: no restore can run it.
        if let Some(unhandled) = deeds.unhandled.first() {
            self.flag_ddl(&format!("{} is left out: {unhandled}", statement.command));
        }
    }

    /// Something was not understood of a statement whose text would come to something else.
    fn flag_untold(&mut self, deeds: Deeds, statement: &Statement) {
        self.state.way = Way::Effects;
        if !deeds.effects.is_empty() {
            self.write_effects(&deeds.effects, Some(statement));
        }
        let unfollowed = || Unhandled::new("schema change", "its effects are not followed");
        let unhandled = deeds.unhandled.into_iter().next();
        let reason = format!("{} is left out", statement.command);
        self.lose_change(&unhandled.unwrap_or_else(unfollowed), &reason);
    }

    /// Drops the statement that was held back: the session that ran it says that all it did goes with the
    /// session. What the catalogs tell beyond that is written.
    pub(super) fn forget_held(&mut self) {
        let statement = self.state.held.take();
        let deeds = std::mem::take(&mut self.state.deeds);
        if self.options.follows_catalogs && !deeds.effects.is_empty() {
            self.state.way = Way::Effects;
            self.write_effects(&deeds.effects, statement.as_ref());
        }
    }

    fn tell_unhandled(&mut self, unhandled: &[Unhandled], command: &str) {
        if !self.options.framing {
            return;
        }
        let mut told: Vec<&str> = Vec::new();
        for Unhandled { class, what, .. } in unhandled {
            if !told.contains(&class.as_str()) {
                told.push(class);
                pgrx::debug1!("pg_incrbackup: {command} travels as text: {class}: {what}");
                self.line.clear();
                frame::push_unhandled(&mut self.line.sql, class, command);
                self.send_line();
            }
        }
    }

    fn write_effects(&mut self, effects: &[Effect], statement: Option<&Statement>) {
        self.end_run();
        if !self.options.framing {
            for effect in effects {
                let block = Block::of(effect);
                self.send_statement(&block.parts().write(""));
            }
            return;
        }
        let roles = effects.iter().flat_map(|effect| &effect.roles);
        for role in roles {
            self.needed_role_fact(to_server_bytes(role));
        }
        if let Some(statement) = statement {
            self.line.clear();
            let words = Words {
                command: &statement.command,
                role: &statement.executed_by,
                at: statement.executed_at,
                text: &statement.query,
            };
            frame::push_words(&mut self.line.sql, &words);
            self.send_line();
        }
        for effect in effects {
            let needs: Vec<(u32, u32)> = effect.needs.iter().map(|key| (*key).into()).collect();
            let identity = to_server_bytes(&effect.identity);
            let note = EffectNote {
                class: effect.class,
                oid: effect.key.oid,
                verb: effect.verb,
                identity: &identity,
                needs: &needs,
            };
            let block = Block::of(effect);
            self.line.clear();
            frame::push_effect(&mut self.line.sql, &note, &block.parts());
            self.send_line();
        }
    }
}

/// An effect's statement, as whoever grants where that is not the owner. A role that is no superuser, and a
/// member of all others, restores as well: the session's authorization could not change for it.
struct Block {
    before: Vec<u8>,
    statement: Vec<u8>,
    after: Vec<u8>,
}

impl Block {
    fn of(effect: &Effect) -> Block {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        if let Some(grantor) = &effect.grantor {
            before = b"SET LOCAL ROLE ".to_vec();
            before.extend(to_server_bytes(grantor));
            before.push(b';');
            after = b"SET LOCAL ROLE NONE;".to_vec();
        }
        Block {
            before,
            statement: to_server_bytes(&effect.sql),
            after,
        }
    }

    fn parts(&self) -> DdlBlock<'_> {
        DdlBlock {
            before: &self.before,
            statement: &self.statement,
            after: &self.after,
        }
    }
}
