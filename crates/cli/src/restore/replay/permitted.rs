//! Schema changes by a role that may be refused them: each may fail, and what is refused is left out.

use archive::segment::Effect;

use super::effects::{name_of, run};
use crate::connection::{guarded, Session, RELEASE, ROLLBACK, SAVEPOINT};
use crate::error::Result;
use crate::quote::shown;
use crate::restore::rights::filter::Change;
use crate::restore::rights::left_out::{Key, Piece};
use crate::restore::rights::refusal::{self, Subject};
use crate::restore::rights::{wording, Rights};

/// What a change is about.
pub(super) struct About {
    pub what: String,
    class: String,
    verb: String,
    key: Option<Key>,
    needs: Vec<Key>,
}

impl About {
    pub fn effect(effect: &Effect) -> About {
        About {
            what: name_of(effect),
            class: effect.class.clone(),
            verb: effect.verb.clone(),
            key: catalog_of(&effect.class).map(|catalog| (catalog, effect.oid)),
            needs: effect.needs.clone(),
        }
    }

    /// Of a statement of the user's, or of a line about a large object.
    pub fn command(command: &str) -> About {
        About {
            what: command.to_owned(),
            class: command.to_owned(),
            verb: String::new(),
            key: None,
            needs: Vec::new(),
        }
    }

    /// Of a line about a large object.
    pub fn large_object(statement: &[u8]) -> About {
        let end = statement.len().min(60);
        About {
            // Its owner and privileges; a label's provider may be missing.
            verb: if statement.starts_with(b"SECURITY LABEL ") {
                "label"
            } else {
                "grant"
            }
            .to_owned(),
            ..About::command(&shown(&statement[..end]))
        }
    }

    fn piece(&self, change: &Change<'_>, reason: String, is_leaf: bool) -> Piece {
        let is_verb = matches!(
            self.verb.as_str(),
            "owner" | "grant" | "revoke" | "comment" | "label"
        );
        let is_leaf = is_leaf || is_verb || self.class == "default privileges";
        Piece {
            what: self.what.clone(),
            key: self.key,
            needs: self.needs.clone(),
            sql: change.block().write("left_out"),
            reason,
            is_leaf,
            is_table: self.class == "table" && self.verb == "create",
            is_part: matches!(
                self.class.as_str(),
                "trigger" | "rule" | "policy" | "constraint" | "index" | "user mapping"
            ),
            is_drop: false,
        }
    }
}

/// Executes a change in the open transaction, or leaves it out. In a rehearsal no other error counts: it has neither rows
/// nor commits, which some changes need.
pub(super) async fn attempt(
    session: &Session,
    rights: &Rights,
    about: &About,
    change: &Change<'_>,
    is_rehearsal: bool,
) -> Result<()> {
    let is_dropped = about.verb == "drop";
    if let Some(key) = about
        .key
        .filter(|key| is_dropped && rights.left_out().has(*key))
    {
        let dropped = Piece {
            is_drop: true,
            key: Some(key),
            ..about.piece(change, "it was left out".to_owned(), true)
        };
        rights.left_out().add(dropped);
        return Ok(());
    }
    if let Some(reason) = foreseen(rights, about, change) {
        rights.left_out().add(about.piece(change, reason, true));
        return Ok(());
    }
    let client = &session.client;
    let error = match guarded(client, run(session, &change.block())).await {
        Ok(()) => {
            let is_new = matches!(about.verb.as_str(), "create" | "replace" | "drop");
            if let Some(key) = about.key.filter(|_| is_new) {
                rights.left_out().forget(key);
            }
            return Ok(());
        }
        Err(error) => error,
    };
    let subject = Subject::of_change(&about.class, &about.verb);
    if refusal::is_there(&error, subject) {
        return Ok(());
    }
    let Some(reason) = rights.reason(&error, subject) else {
        if is_rehearsal {
            rights.pass_over(&error);
            return Ok(());
        }
        return Err(error);
    };
    let is_owner = change.before.is_empty() && wording::owner_of(&change.statement).is_some();
    let may_lend = is_owner && rights.is_limited();
    if may_lend && rights.lend(session, &change.statement).await? {
        return Ok(());
    }
    if let Some(without) = wording::without_leakproof(&change.statement) {
        client.batch_execute(SAVEPOINT).await?;
        let other = Change {
            statement: without.into(),
            ..change.clone()
        };
        if run(session, &other.block()).await.is_ok() {
            client.batch_execute(RELEASE).await?;
            let whole = Change {
                statement: wording::replacing(&change.statement).into(),
                ..change.clone()
            };
            rights.left_out().add(about.piece(&whole, reason, true));
            return Ok(());
        }
        client.batch_execute(ROLLBACK).await?;
    }
    rights.left_out().add(about.piece(change, reason, false));
    Ok(())
}

/// What need not be tried.
fn foreseen(rights: &Rights, about: &About, change: &Change<'_>) -> Option<String> {
    let owner = wording::owner_of(&change.statement);
    if let Some(owner) = owner.filter(|owner| !rights.may_give_to(owner)) {
        return Some(rights.cannot_give(&owner));
    }
    // The state of an internal trigger, found by its constraint.
    let is_internal = about.class == "trigger" && change.statement.starts_with(b"DO ");
    is_internal.then(|| "only a superuser changes when a constraint is checked".to_owned())
}

/// The catalog of a class of effects.
fn catalog_of(class: &str) -> Option<u32> {
    Some(match class {
        "function" | "aggregate" => 1255,
        "base type" | "domain" | "enum" | "range" | "multirange" => 1247,
        "table" | "foreign table" | "sequence" | "view" | "index" | "materialized view"
        | "composite type" => 1259,
        "cast" => 2605,
        "collation" => 3456,
        "conversion" => 2607,
        "rule" => 2618,
        "trigger" => 2620,
        "policy" => 3256,
        "constraint" => 2606,
        "statistics object" => 3381,
        "event trigger" => 3466,
        "default privileges" => 826,
        "publication" => 6104,
        "schema" => 2615,
        "foreign-data wrapper" => 2328,
        "server" => 1417,
        "user mapping" => 1418,
        "operator" => 2617,
        "operator family" => 2753,
        "operator class" => 2616,
        "text search parser" => 3601,
        "text search template" => 3764,
        "text search dictionary" => 3600,
        "text search configuration" => 3602,
        "language" => 2612,
        "access method" => 2601,
        "transform" => 3576,
        "subscription" => 6100,
        "extension" => 3079,
        _ => return None,
    })
}
