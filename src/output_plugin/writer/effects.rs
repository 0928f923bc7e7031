//! Schema changes between the rows, as their effects. A few statements are written as text: those whose
//! effects the catalogs do not show completely.

use archive::segment::{ClusterFact, DdlBlock, EffectNote, Lost, What, Words};
use effects::{Effect, Unhandled};

use super::super::ddl_history::Statement;
use super::super::frame;
use super::Writer;
use crate::effects::{has_effects_beyond_catalogs, is_visible_in_catalogs, Stretch};
use crate::pg::effects::server_text::to_server_bytes;

/// The verb of an effect that truncates a table whose rows follow.
const REWRITE: &str = "rewrite";

/// Maximum number of flags of one statement that name an object; beyond, one says that anything may be lost.
const MOST_NAMED: usize = 100;

/// The effects of the statement that is held back, so far.
#[derive(Default)]
pub struct HeldEffects {
    effects: Vec<Effect>,
    unhandled: Vec<Unhandled>,
    /// The rows of a table that it rewrites follow.
    is_rewriting: bool,
}

impl HeldEffects {
    /// True if the statement is written as text. There is also a text if the statement was recorded by
    /// another version of the library or for another plugin.
    fn need_text(&self, statement: &Statement) -> bool {
        let command = statement.command.as_str();
        let did_nothing = self.effects.is_empty() && self.unhandled.is_empty();
        statement.replay
            && !statement.text.is_empty()
            && (has_effects_beyond_catalogs(command)
                || did_nothing && !is_visible_in_catalogs(command))
    }
}

impl Writer<'_> {
    /// Accepts the effects of a range of commands on the catalogs.
    pub fn schema_changed(&mut self, mut stretch: Stretch) {
        // If it is only known at its end that a table was rewritten (SET LOGGED), its rows have been written
        // already.
        if let (Ok(effects), false) = (&mut stretch.effects, stretch.is_rewriting) {
            // Only those of this range: a later statement can rewrite the same table without a row.
            let refilled = std::mem::take(&mut self.state.refilled);
            effects.retain(|effect| {
                effect.verb != REWRITE || !refilled.contains(&effect.key.oid.into())
            });
        }
        // Effects of an extension's script are repeated by its statement.
        if self.state.bracket.is_some() {
            return;
        }
        let words = self.state.held.as_ref().map(|held| held.query.clone());
        for left_out in &stretch.left_out {
            let mut note = to_server_bytes(&format!("{}\n", left_out.object));
            match left_out.definition.as_str() {
                "" => note.extend(words.as_deref().unwrap_or_default()),
                definition => note.extend(to_server_bytes(definition)),
            }
            self.leave_out_object(&note);
        }
        if self.state.held.is_some() {
            let held_effects = &mut self.state.held_effects;
            held_effects.is_rewriting = stretch.is_rewriting;
            match stretch.effects {
                Ok(effects) => held_effects.effects.extend(effects),
                Err(unhandled) => held_effects.unhandled.push(unhandled),
            }
            return;
        }
        match stretch.effects {
            Ok(effects) => self.write_effects(&effects, None, stretch.is_rewriting),
            Err(unhandled) => self.lose_change(unhandled, "a schema change"),
        }
    }

    /// Reported once, although this is called for each row.
    fn lose_change(&mut self, unhandled: Unhandled, what: &str) {
        if self.state.missing.as_ref() == Some(&unhandled) {
            return;
        }
        let object = unhandled.object.as_ref();
        let lost = Lost {
            what: What::Schema,
            class: unhandled.class.clone(),
            oid: object.map_or(0, |(key, _)| key.oid),
            identity: object.map_or_else(Vec::new, |(_, name)| to_server_bytes(name)),
        };
        let reason = format!("{what} is left out: {unhandled}");
        self.lose(&lost, &reason);
        if unhandled.along.len() > MOST_NAMED {
            let count = unhandled.along.len();
            let along = format!("{reason}; this affects {count} other objects");
            self.lose(&Lost::anything(What::Schema), &along);
        } else {
            for along in &unhandled.along {
                let lost = Lost {
                    what: What::Schema,
                    class: along.class.clone(),
                    oid: along.key.oid,
                    identity: to_server_bytes(&along.identity),
                };
                self.lose(&lost, &format!("{reason}; this affects further objects"));
            }
        }
        self.state.missing = Some(unhandled);
    }

    /// Writes the statement that was held back.
    pub(in super::super) fn release_held(&mut self) {
        let Some(statement) = self.state.held.take() else {
            return;
        };
        let held_effects = std::mem::take(&mut self.state.held_effects);
        if statement.fact().is_some() || held_effects.need_text(&statement) {
            self.state.has_text = true;
            return self.write_text(&statement);
        }
        if !held_effects.effects.is_empty() {
            self.write_effects(
                &held_effects.effects,
                Some(&statement),
                held_effects.is_rewriting,
            );
        }
        for unhandled in held_effects.unhandled {
            self.lose_change(unhandled, &statement.command);
        }
    }

    fn write_effects(
        &mut self,
        effects: &[Effect],
        statement: Option<&Statement>,
        is_rewriting: bool,
    ) {
        // A truncation by an earlier rewrite, which had no rows, does not apply to the next one.
        self.state.emptied.clear();
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
        for tablespace in effects
            .iter()
            .filter_map(|effect| effect.tablespace.as_ref())
        {
            let name = to_server_bytes(tablespace);
            self.fact(ClusterFact::Tablespace { name });
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
            if effect.verb == REWRITE && is_rewriting {
                self.state.emptied.push(effect.key.oid.into());
            }
        }
    }
}

/// An effect's statement, executed as the grantor if that is not the owner. The restoring role may also be an
/// ordinary role that is a member of all others: SET SESSION AUTHORIZATION would fail for it.
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
