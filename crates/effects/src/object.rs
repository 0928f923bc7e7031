//! The shape of an object class.

use std::fmt::Debug;

use crate::common::Common;
use crate::key::Key;
use crate::script::{Script, Unhandled};

/// One object as the catalogs have it. The struct is read from the JSON of its class's query.
pub trait Object: Clone + Debug + PartialEq {
    /// Owner, privileges, comment, labels, dependencies.
    fn common(&self) -> &Common;

    /// The word of CREATE, ALTER, DROP and COMMENT ON: `TABLE`, `FUNCTION`, `TRIGGER`, …
    fn kind(&self) -> &'static str;

    /// What stands behind that word: `public.t`, `public.f(integer)`, `trg ON public.t`, …
    fn target(&self) -> String;

    /// A text that two objects which cannot exist side by side have in common; none where names are free.
    /// Relations and types share one space (`r public.t`).
    fn occupies(&self) -> Option<String>;

    /// Statements that make it, from nothing: all but owner, privileges, comment and labels. Fails where
    /// `rest` is not what a plainly made object has.
    fn create(&self, script: &mut Script) -> Result<(), Unhandled>;

    /// Statements that give it the name and the schema of `to`; nothing where they are the same. What
    /// [`Object::target`] of `to` says holds afterwards.
    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled>;

    /// Statements that make `to` of it, all but name, owner, privileges, comment and labels. It is called
    /// by the name of `to` (`rename` has run). Fails where `rest` differs.
    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled>;

    /// Statements that end it. What hangs on it by a dependency has gone before.
    fn remove(&self, script: &mut Script) {
        script.push("drop", format!("DROP {} {}", self.kind(), self.target()));
    }

    /// What can only be said once other objects are there ([`Object::late_needs`]): the table that a
    /// sequence belongs to, the partitioned index that an index is attached to.
    fn late(&self, _before: Option<&Self>, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    /// What is said before anything else changes, by the old names: an identity is taken off its column, a
    /// sequence from the column that it belongs to. `after` is none where it goes, and not with another.
    fn early(&self, _after: Option<&Self>, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    /// What [`Object::late`] waits for.
    fn late_needs(&self) -> Vec<Key> {
        Vec::new()
    }

    /// What is whole only when [`Object::late`] has been said: the partitioned index of an attached one.
    fn completes(&self) -> Option<Key> {
        None
    }

    /// What must be whole before this one is made: the key that a foreign key refers to.
    fn needs_whole(&self) -> Option<Key> {
        None
    }

    /// Other keys by which dependencies mean this object: a table's row type, its defaults.
    fn aliases(&self) -> Vec<Key> {
        Vec::new()
    }

    /// Objects with which this one goes without a word of its own: an index's table, a constraint's table.
    fn dropped_with(&self) -> Vec<Key> {
        Vec::new()
    }

    /// True where `to`, another object under the same name, is this one built anew (REINDEX CONCURRENTLY),
    /// provided that what both complete ([`Object::completes`]) is the same, too: one becomes the other by
    /// what differs.
    fn is_remade_as(&self, _to: &Self) -> bool {
        false
    }

    /// True where no ALTER makes `to` of it: it is dropped, and made anew at its place. A sequence, as rows of
    /// a rewrite come, is not yet the identity's that it becomes.
    fn is_made_anew_as(&self, _to: &Self) -> bool {
        false
    }

    /// A new object that comes into being by the change of this one to `to`: the constraint of ADD CONSTRAINT …
    /// USING INDEX. It is said with the change of name.
    fn makes_by_change(&self, _to: &Self) -> Option<Key> {
        None
    }

    /// Objects whose alteration may drop and make this one anew ([`Object::rebuilds_dependents`]).
    fn rebuilt_with(&self) -> Vec<Key> {
        self.dropped_with()
    }

    /// The partition whose ATTACH (late) wants this one to be there. Where the partition is new, nothing else
    /// makes it ([`Object::made_with`]).
    fn wanted_by_attach_of(&self) -> Option<Key> {
        None
    }

    /// Objects that go with this one by a CASCADE in [`Object::remove`], where one needs the other: a base
    /// type and its functions.
    fn takes_along(&self) -> Vec<Key> {
        Vec::new()
    }

    /// The object whose making makes this one, too: the constraint of an index, the partitioned parent's
    /// trigger of a cloned one. Owner, privileges, comment and labels are still said.
    fn made_with(&self) -> Option<Key> {
        None
    }

    /// Under this name the word of GRANT knows it, where it has privileges.
    fn grant_kind(&self) -> &'static str {
        self.kind()
    }

    /// What stands behind that word.
    fn grant_target(&self) -> String {
        self.target()
    }

    /// The tablespace that it is in, quoted, where that is not the database's.
    fn tablespace(&self) -> Option<&str> {
        None
    }

    /// False where it has an owner that no ALTER … OWNER TO gives it (a constraint, an index).
    fn has_owner_of_its_own(&self) -> bool {
        self.common().owner.is_some()
    }

    /// Privileges of its parts (columns). They come behind its own, on which they can rest, and whose REVOKEs
    /// take them along ([`Script::revoked`]).
    fn finish_parts(&self, _before: Option<&Self>, _script: &mut Script) {}

    /// False where GRANT refuses it: a type of which there is but the name.
    fn can_have_privileges(&self) -> bool {
        true
    }

    /// True for an object that ALTER DEFAULT PRIVILEGES reaches when it is made.
    fn gets_default_privileges(&self) -> bool {
        false
    }

    /// True where making `to` of it makes PostgreSQL drop and make anew what is over its columns (ALTER
    /// COLUMN … TYPE).
    fn rebuilds_dependents(&self, _to: &Self) -> bool {
        false
    }

    /// True of a state in which nobody sees it but a function that its own CREATE calls: a partition before its
    /// bound has been computed. It is said when it is whole, with all that needs it.
    fn is_half_made(&self) -> bool {
        false
    }

    /// Takes note of the tables (by OID) whose rows come again behind the change to this state, in place of
    /// what the numbers of files tell: of the moments that a decoder sees, these tell nothing.
    fn set_rewritten(&mut self, _is_rewritten: &dyn Fn(u32) -> bool) {}
}
