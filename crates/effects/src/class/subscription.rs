//! Subscriptions: owner and comment. All else stays with the text, since a replay must not connect anywhere.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::script::{same_rest, Script, Unhandled};

/// The catalog is shared: those of this database. `rest` leaves out what the apply worker writes by itself,
/// but not whether there are two phases, and whether it is enabled: a restored one is not.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT s.oid, \
     pg_catalog.quote_ident(s.subname) AS name, ",
    crate::common_columns!("6100", "s.oid", "s.subowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(s) - '{oid,subdbid,subname,subowner,subskiplsn,subtwophasestate,subenabled}'::pg_catalog.text[] \
     OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('two_phase', s.subtwophasestate <> 'd') AS rest \
     FROM pg_catalog.pg_subscription s WHERE s.oid = ANY ($1) AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d \
     WHERE d.datname = pg_catalog.current_database())) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Subscription {
    pub name: String,
    pub common: Common,
    /// Where it connects to, too, with its password.
    pub rest: serde_json::Value,
}

impl Object for Subscription {
    fn common(&self) -> &Common {
        &self.common
    }

    fn kind(&self) -> &'static str {
        "SUBSCRIPTION"
    }

    fn target(&self) -> String {
        self.name.clone()
    }

    fn occupies(&self) -> Option<String> {
        Some(format!("subscription {}", self.name))
    }

    fn create(&self, _script: &mut Script) -> Result<(), Unhandled> {
        Err(Unhandled::new("subscription", "a new one"))
    }

    fn rename(&self, _to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        Err(Unhandled::new("subscription", "a new name"))
    }

    fn alter(&self, to: &Self, _script: &mut Script) -> Result<(), Unhandled> {
        same_rest("subscription", &self.rest, &to.rest)
    }

    fn remove(&self, script: &mut Script) {
        script.fail(Unhandled::new("subscription", "its end"));
    }
}
