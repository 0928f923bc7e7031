//! The interface of an object class.

use std::fmt::Debug;

use crate::common::Common;
use crate::key::Key;
use crate::script::{Script, Unhandled};

/// One object as in the catalogs. The struct is read from the JSON of its class's query.
pub trait Object: Clone + Debug + PartialEq {
    /// Owner, privileges, comment, labels, dependencies.
    fn common(&self) -> &Common;

    /// The keyword in CREATE, ALTER, DROP and COMMENT ON: `TABLE`, `FUNCTION`, `TRIGGER`, …
    fn kind(&self) -> &'static str;

    /// The text after that keyword: `public.t`, `public.f(integer)`, `trg ON public.t`, …
    fn target(&self) -> String;

    /// A text that is the same for two objects which cannot exist at the same time; `None` if names are free.
    /// Relations and types share one name space (`r public.t`).
    fn occupies(&self) -> Option<String>;

    /// Statements that create it: everything except owner, privileges, comment and labels. Fails if `rest`
    /// differs from that of a newly created object.
    fn create(&self, script: &mut Script) -> Result<(), Unhandled>;

    /// Statements that give it the name and the schema of `to`; empty if they are the same. Afterwards
    /// [`Object::target`] of `to` is valid.
    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled>;

    /// Statements that change it to `to`, except name, owner, privileges, comment and labels. It already has
    /// the name of `to` (`rename` has run). Fails if `rest` differs.
    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled>;

    /// Statements that drop it. Its dependents were dropped before.
    fn remove(&self, script: &mut Script) {
        script.push("drop", format!("DROP {} {}", self.kind(), self.target()));
    }

    /// What can only be written once other objects exist ([`Object::late_needs`]): the table that owns a
    /// sequence, the partitioned index to which an index is attached.
    fn late(&self, _before: Option<&Self>, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    /// What is written before anything else changes, with the old names: an identity is removed from its
    /// column, a sequence from the column that owns it. `after` is `None` if it is dropped separately.
    fn early(&self, _after: Option<&Self>, _script: &mut Script) -> Result<(), Unhandled> {
        Ok(())
    }

    /// The objects for which [`Object::late`] waits.
    fn late_needs(&self) -> Vec<Key> {
        Vec::new()
    }

    /// Objects that are complete only after [`Object::late`]: the partitioned index of an attached one.
    fn completes(&self) -> Option<Key> {
        None
    }

    /// What must be complete before this one is created: the key that a foreign key references.
    fn needs_whole(&self) -> Option<Key> {
        None
    }

    /// Other keys by which dependencies refer to this object: a table's row type, its defaults.
    fn aliases(&self) -> Vec<Key> {
        Vec::new()
    }

    /// Objects with which this one is dropped without a statement of its own: an index's table, a
    /// constraint's table.
    fn dropped_with(&self) -> Vec<Key> {
        Vec::new()
    }

    /// True if `to`, another object with the same name, is this one re-created (REINDEX CONCURRENTLY),
    /// provided that what both complete ([`Object::completes`]) is the same, too: then only the differences
    /// are written.
    fn is_remade_as(&self, _to: &Self) -> bool {
        false
    }

    /// True if no ALTER changes it to `to`: it is dropped, and created again at its place. A sequence, when
    /// rows of a rewrite follow, is not yet that of the identity.
    fn is_recreated_as(&self, _to: &Self) -> bool {
        false
    }

    /// A new object that is created by the change of this one to `to`: the constraint of ADD CONSTRAINT …
    /// USING INDEX. It is written with the change of name.
    fn makes_by_change(&self, _to: &Self) -> Option<Key> {
        None
    }

    /// Objects whose ALTER may drop and re-create this one ([`Object::rebuilds_dependents`]).
    fn rebuilt_with(&self) -> Vec<Key> {
        self.dropped_with()
    }

    /// The partition whose ATTACH (late) requires this one. If the partition is new, nothing else creates it
    /// ([`Object::made_with`]).
    fn wanted_by_attach_of(&self) -> Option<Key> {
        None
    }

    /// Objects that are dropped with this one by a CASCADE in [`Object::remove`], because they depend on each
    /// other: a base type and its functions.
    fn takes_along(&self) -> Vec<Key> {
        Vec::new()
    }

    /// The object whose creation also creates this one: the constraint of an index, the partitioned parent's
    /// trigger of a clone. Owner, privileges, comment and labels are still written.
    fn made_with(&self) -> Option<Key> {
        None
    }

    /// Its keyword in GRANT, if it has privileges.
    fn grant_kind(&self) -> &'static str {
        self.kind()
    }

    /// The text after that keyword.
    fn grant_target(&self) -> String {
        self.target()
    }

    /// Its tablespace, quoted, if it is not the database's.
    fn tablespace(&self) -> Option<&str> {
        None
    }

    /// False if its owner cannot be changed by ALTER … OWNER TO (a constraint, an index).
    fn has_owner_of_its_own(&self) -> bool {
        self.common().owner.is_some()
    }

    /// Privileges of its parts (columns). They follow its own, on which they can depend, and whose REVOKEs
    /// also apply to them ([`Script::revoked`]).
    fn finish_parts(&self, _before: Option<&Self>, _script: &mut Script) {}

    /// False if GRANT refuses it: a shell type.
    fn can_have_privileges(&self) -> bool {
        true
    }

    /// True for an object to whose creation ALTER DEFAULT PRIVILEGES applies.
    fn gets_default_privileges(&self) -> bool {
        false
    }

    /// True if changing it to `to` makes PostgreSQL drop and re-create dependents of its columns (ALTER
    /// COLUMN … TYPE).
    fn rebuilds_dependents(&self, _to: &Self) -> bool {
        false
    }

    /// True in a state in which only a function called by its own CREATE sees it: a partition before its
    /// bound has been computed. It is written when it is complete, with its dependents.
    fn is_half_made(&self) -> bool {
        false
    }

    /// Records the tables (by OID) whose rows follow the change to this state; this replaces the comparison
    /// of file numbers, which do not show it at the points that a decoder sees.
    fn set_rewritten(&mut self, _is_rewritten: &dyn Fn(u32) -> bool) {}
}
