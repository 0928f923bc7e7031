//! What is wanted of an archive (`--no-owner`, `--role`, …), and what the role of the target may make of it.
//!
//! A superuser may make everything. Another role owns the database and little else: what the server refuses it is left
//! out, with what depends on it, and its SQL is written for a superuser. Nothing here guesses what a server refuses: a
//! [`rehearsal`] asks it, in a transaction that is rolled back, before the first row.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`options`], [`role`] | what is wanted; what the role may do |
//! | [`tokens`], [`wording`], [`qualified`] | clauses and names in statements as pg_dump and we word them |
//! | [`filter`] | what of a statement is executed |
//! | [`extensions`] | those that are missing, and what depends on them |
//! | [`refusal`] | whether an error of the server says that something must be left out |
//! | [`left_out`] | what was left out, and left-out.sql |
//! | [`rehearsal`] | what will be left out, asked before the first row |
//! | [`still`] | triggers and rules that fire, and row security, for a role that cannot be a replica |
//! | [`keys`] | foreign keys, set aside for such a role |
//! | [`versions`] | what another major version makes of an archive |

pub mod extensions;
pub mod filter;
pub mod keys;
pub mod left_out;
pub mod options;
pub mod qualified;
pub mod refusal;
pub mod rehearsal;
pub mod role;
pub mod still;
mod tokens;
pub mod versions;
pub mod wording;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use archive::metadata::Metadata;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::{ToSql, Type};

use crate::connection::{guarded, Raw, Session};
use crate::error::{Error, Result};
use crate::quote::{ident, shown};
use crate::restore::target::encoding::encoded;
use left_out::LeftOut;
pub use options::Options;
use refusal::Subject;
pub use role::Role;

/// What is wanted, and permitted. Names are in the encoding of the database.
#[derive(Debug, Default)]
pub struct Rights {
    pub wanted: Options,
    pub role: Role,
    /// `--role`: the role at the source, the one here.
    renamed: Vec<(Vec<u8>, Vec<u8>)>,
    gives_to: RefCell<BTreeSet<Vec<u8>>>,
    tablespaces: BTreeSet<Vec<u8>>,
    /// The target is of another major version, which may not know what the source does.
    is_other_version: bool,
    /// What was left out so far.
    left_out: RefCell<LeftOut>,
    /// A rehearsal needed more locks than the server has room for.
    is_out_of_locks: Cell<bool>,
    /// Sentences for the user, each once.
    notes: RefCell<BTreeSet<String>>,
    /// Of a scratch database, what is only odd because it has the rows of a part alone: SQL and sentence.
    of_others: RefCell<Vec<(Vec<u8>, String)>>,
}

/// What a run leaves behind for one that goes on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    left_out: LeftOut,
    notes: BTreeSet<String>,
}

impl Rights {
    /// `session` is one whose client_encoding is UTF8; `metadata` is that of the base. Refuses a `--role` that does not
    /// exist.
    pub async fn of(
        wanted: &Options,
        role: &Role,
        session: &Session,
        metadata: &Metadata,
    ) -> Result<Rights> {
        let encoding = metadata.source.encoding.as_str();
        let names: Vec<&str> = wanted.roles.iter().map(|(_, new)| new.as_str()).collect();
        const MISSING: &str = "SELECT name FROM unnest($1) AS wanted (name) \
            WHERE name NOT IN (SELECT rolname FROM pg_catalog.pg_roles)";
        let missing = session
            .client
            .query_typed(MISSING, &[(&names, Type::TEXT_ARRAY)])
            .await?;
        if let Some(row) = missing.first() {
            let name: &str = row.get(0);
            let message =
                format!("the role \"{name}\" of --role does not exist on the target's server");
            return Err(Error::wrong_use(message, "Create it first."));
        }
        let (old, new): (Vec<String>, Vec<String>) = wanted.roles.iter().cloned().unzip();
        let old = encoded(session, &old, encoding).await?;
        let new = encoded(session, &new, encoding).await?;
        let gives_to = encoded(session, &role.gives_to, encoding).await?;
        let tablespaces = encoded(session, &role.tablespaces, encoding).await?;
        Ok(Rights {
            wanted: wanted.clone(),
            role: role.clone(),
            renamed: old.into_iter().zip(new).collect(),
            gives_to: RefCell::new(gives_to.into_iter().collect()),
            tablespaces: tablespaces.into_iter().collect(),
            is_other_version: versions::differ(metadata.server_version_num, session.version),
            ..Rights::default()
        })
    }

    /// Whether the server may refuse the role something.
    pub fn is_limited(&self) -> bool {
        !self.role.is_superuser
    }

    /// Whether the server may refuse something, to the role or to anybody.
    pub fn is_guarded(&self) -> bool {
        self.is_limited() || self.is_other_version
    }

    /// Why something is left out at this error; `None` if it is another one.
    pub fn reason(&self, error: &Error, subject: Subject) -> Option<String> {
        let lacks_objects = self.left_out().lacks_objects();
        let unknown = self.is_other_version.then(|| refusal::unknown(error));
        let refused = refusal::reason(error, subject, lacks_objects);
        // Nothing is refused to a superuser.
        let refused = refused.filter(|_| self.is_limited() || lacks_objects);
        refused.or(unknown.flatten())
    }

    /// Triggers, rules and foreign keys act on rows as for anybody else.
    pub fn is_no_replica(&self) -> bool {
        self.is_limited() && !self.role.may_be_replica
    }

    /// A setting that the role may not set.
    pub fn lacks_setting(&self, name: &str) -> bool {
        name == "session_replication_role" && self.is_no_replica()
    }

    /// Everything is executed as it is.
    pub fn is_unlimited(&self) -> bool {
        let wanted = &self.wanted;
        let leaves_out = wanted.no_owner
            || wanted.no_privileges
            || wanted.no_tablespaces
            || wanted.no_publications
            || wanted.no_subscriptions
            || wanted.no_comments
            || wanted.no_security_labels;
        !leaves_out && self.renamed.is_empty() && !self.is_guarded()
    }

    /// What a role of the source is called here.
    pub fn renamed(&self, name: &[u8]) -> Option<Vec<u8>> {
        let found = self.renamed.iter().find(|(old, _)| old == name);
        found.map(|(_, new)| new.clone())
    }

    /// Roles of the source own nothing here, nor do they get privileges: they are not made. (Those that policies and user
    /// mappings name are, when they come.)
    pub fn needs_no_roles(&self) -> bool {
        self.wanted.no_owner && self.wanted.no_privileges
    }

    /// Roles are made, and follow what became of them at the source.
    pub fn follows_roles(&self) -> bool {
        !self.is_limited() || self.role.may_create_roles
    }

    /// Executes a change of owner that was refused: the owner may lack a privilege that can be lent. False, with the
    /// transaction as it was, if that is refused too.
    pub async fn lend(&self, session: &Session, statement: &[u8]) -> Result<bool> {
        const GIVE: &str = "SELECT pg_temp.incr_give($1, $2, $3)";
        let statement = statement.trim_ascii();
        let statement = statement.strip_suffix(b";").unwrap_or(statement);
        let (place, owner) = (wording::place_of(statement), wording::owner_of(statement));
        let (place, owner) = (place.unwrap_or_default(), owner.unwrap_or_default());
        let texts = [Raw(statement), Raw(&place), Raw(&owner)];
        let texts = texts.each_ref().map(|text| {
            let text: (&(dyn ToSql + Sync), Type) = (text, Type::TEXT);
            text
        });
        let client = &session.client;
        let given = async { Ok(client.query_typed(GIVE, &texts).await?) };
        match guarded(client, given).await {
            Err(error) if error.is_of_server() => Err(error),
            given => Ok(given.is_ok()),
        }
    }

    /// Whether something can be given to the role.
    pub fn may_give_to(&self, name: &[u8]) -> bool {
        !self.is_limited() || self.gives_to.borrow().contains(name)
    }

    /// A role that was just made gets objects: the role becomes a member of it.
    pub async fn join(&self, session: &Session, name: &[u8]) -> Result<()> {
        let options = match session.version {
            160_000.. => " WITH INHERIT TRUE, SET TRUE",
            _ => "",
        };
        let grant = [
            b"GRANT ",
            &ident(name)[..],
            b" TO CURRENT_USER",
            options.as_bytes(),
        ]
        .concat();
        session.statement(&grant).await?;
        self.gives_to.borrow_mut().insert(name.to_vec());
        Ok(())
    }

    /// A role has got a name, which it may have had before: whether something can be given to it is asked.
    pub async fn is_called(&self, session: &Session, name: &[u8]) -> Result<()> {
        const MAY: &str =
            "SELECT pg_catalog.pg_has_role(oid, 'USAGE') AND pg_catalog.pg_has_role(oid, $2) \
            FROM pg_catalog.pg_roles WHERE rolname = $1";
        let values: [(&(dyn ToSql + Sync), Type); 2] = [
            (&Raw(name), Type::NAME),
            (&role::membership(session), Type::TEXT),
        ];
        let rows = session.client.query_typed(MAY, &values).await?;
        let may = rows.first().is_some_and(|row| row.get(0));
        let mut gives_to = self.gives_to.borrow_mut();
        if may {
            gives_to.insert(name.to_vec());
        } else {
            gives_to.remove(name);
        }
        Ok(())
    }

    /// Why something cannot be given to a role.
    pub fn cannot_give(&self, name: &[u8]) -> String {
        let (role, owner) = (&self.role.name, shown(name));
        format!("the role \"{role}\" cannot give it to \"{owner}\" (--no-owner does not try to)")
    }

    /// Makes the roles that a policy or a user mapping names, if they are missing and may be made.
    pub async fn make_roles(&self, session: &Session, text: &[u8]) -> Result<()> {
        const IS_THERE: &str =
            "SELECT pg_catalog.to_regrole(pg_catalog.quote_ident($1)) IS NOT NULL";
        for name in wording::roles_named(text) {
            let value: (&(dyn ToSql + Sync), Type) = (&Raw(&name), Type::TEXT);
            let rows = session.client.query_typed(IS_THERE, &[value]).await?;
            let is_word = [
                &b"public"[..],
                b"current_user",
                b"session_user",
                b"current_role",
            ];
            if !rows[0].get::<_, bool>(0) && !is_word.contains(&&name[..]) {
                let create = [b"CREATE ROLE ", &ident(&name)[..], b" NOLOGIN"].concat();
                session.statement(&create).await?;
            }
        }
        Ok(())
    }

    /// Whether nothing is made in a tablespace: everything that the source has there is in the database's own.
    pub fn passes_over_tablespace(&self, name: &[u8]) -> bool {
        let is_passed_over = self.wanted.no_tablespaces
            || self.is_limited() && !name.is_empty() && !self.tablespaces.contains(name);
        if is_passed_over && !self.wanted.no_tablespaces {
            self.note(format!(
                "the tablespace \"{}\" is not there, or the role may create nothing in it: what the source has there is in \
                 the database's own (--no-tablespaces asks for that)",
                shown(name)
            ));
        }
        is_passed_over
    }

    /// An error of a rehearsal, which does not count: it has neither rows nor commits, which some statements need.
    pub fn pass_over(&self, error: &Error) {
        if refusal::is_out_of_locks(error) {
            self.is_out_of_locks.set(true);
        }
    }

    /// Whether a rehearsal could not show everything.
    pub fn is_out_of_locks(&self) -> bool {
        self.is_out_of_locks.get()
    }

    /// Notes a sentence for the user, which makes the restore incomplete.
    pub fn note(&self, sentence: String) {
        self.notes.borrow_mut().insert(sentence);
        self.touch();
    }

    /// What is not as at the source in a scratch database alone.
    pub fn note_of_others(&self, sql: &[u8], sentence: String) {
        self.of_others.borrow_mut().push((sql.to_vec(), sentence));
    }

    pub fn take_notes_of_others(&self) -> Vec<(Vec<u8>, String)> {
        std::mem::take(&mut *self.of_others.borrow_mut())
    }

    /// Something is to be kept with the next commit.
    pub fn touch(&self) {
        self.left_out.borrow_mut().is_changed = true;
    }

    /// What was left out and noted so far, if it is not as it was kept last.
    pub fn changed(&self) -> Option<Kept> {
        let mut left_out = self.left_out.borrow_mut();
        std::mem::take(&mut left_out.is_changed).then(|| Kept {
            left_out: left_out.clone(),
            notes: self.notes.borrow().clone(),
        })
    }

    /// Goes on with what an earlier run has kept.
    pub fn take_up(&self, kept: Kept) {
        *self.left_out.borrow_mut() = kept.left_out;
        *self.notes.borrow_mut() = kept.notes;
    }

    pub fn take_notes(&self) -> Vec<String> {
        let notes = std::mem::take(&mut *self.notes.borrow_mut());
        notes.into_iter().collect()
    }

    /// What was left out so far; it is borrowed, so nothing may be awaited meanwhile.
    pub fn left_out(&self) -> std::cell::RefMut<'_, LeftOut> {
        self.left_out.borrow_mut()
    }

    /// The same in the end, and it is forgotten here.
    pub fn take_left_out(&self) -> LeftOut {
        let mut left_out = std::mem::take(&mut *self.left_out.borrow_mut());
        left_out.settle();
        left_out
    }
}
