//! Subscriptions, as pg_dump writes them: a restore does not connect to a publisher, which still serves the
//! original.
//!
//! So they are created without connecting, which leaves them disabled and creates no slot; the name of the
//! original's slot is kept, for when one is enabled. Connection strings contain passwords: statements with
//! one have the verb `secret`.

use serde::Deserialize;

use crate::common::Common;
use crate::object::Object;
use crate::renames::named;
use crate::script::{no_rest, Script, Unhandled};
use crate::text::literal;

/// The catalog is shared: those of this database. Where a publisher's stream is skipped (`subskiplsn`),
/// whether the worker runs (`subenabled`) and the progress of two-phase commit only apply to the original.
pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT s.oid, \
     pg_catalog.quote_ident(s.subname) AS name, s.subconninfo AS connection, s.subslotname AS slot, \
     (SELECT pg_catalog.json_agg(pg_catalog.quote_ident(p.name) ORDER BY p.ordinality) \
        FROM ROWS FROM (pg_catalog.unnest(s.subpublications)) WITH ORDINALITY AS p (name, ordinality)) AS publications, \
     s.subbinary AS binary, s.substream::pg_catalog.text AS streaming, s.subsynccommit AS synchronous_commit, \
     s.subdisableonerr AS disable_on_error, s.subtwophasestate <> 'd' AS two_phase, \
     pg_catalog.to_jsonb(s) -> 'subpasswordrequired' AS password_required, \
     pg_catalog.to_jsonb(s) -> 'subrunasowner' AS run_as_owner, \
     pg_catalog.to_jsonb(s) ->> 'suborigin' AS origin, pg_catalog.to_jsonb(s) -> 'subfailover' AS failover, ",
    crate::common_columns!("6100", "s.oid", "s.subowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", pg_catalog.to_jsonb(s) - '{oid,subdbid,subname,subowner,subconninfo,subslotname,subpublications,subbinary,\
     substream,subsynccommit,subdisableonerr,subtwophasestate,subpasswordrequired,subrunasowner,suborigin,\
     subfailover,subskiplsn,subenabled}'::pg_catalog.text[] AS rest \
     FROM pg_catalog.pg_subscription s WHERE s.oid = ANY ($1) AND s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d \
     WHERE d.datname = pg_catalog.current_database())) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Subscription {
    pub name: String,
    /// Its connection string, with the password.
    pub connection: String,
    pub slot: Option<String>,
    /// Quoted.
    pub publications: Vec<String>,
    pub binary: bool,
    /// A letter from 16 on.
    pub streaming: String,
    pub synchronous_commit: String,
    pub disable_on_error: bool,
    pub two_phase: bool,
    /// These and `origin` from 16 on.
    pub password_required: Option<bool>,
    pub run_as_owner: Option<bool>,
    pub origin: Option<String>,
    /// From 17 on.
    pub failover: Option<bool>,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl Subscription {
    /// The options that ALTER SUBSCRIPTION sets without connecting, including those with their default value.
    fn settable(&self) -> Result<Vec<String>, Unhandled> {
        let slot = match &self.slot {
            Some(slot) => literal(slot),
            None => "NONE".to_owned(),
        };
        let streaming = match self.streaming.as_str() {
            "true" | "t" => "on",
            "false" | "f" => "off",
            "p" => "parallel",
            other => {
                let what = format!("streaming {other}");
                return Err(Unhandled::new("subscription", what));
            }
        };
        let mut options = vec![
            format!("slot_name = {slot}"),
            format!("binary = {}", self.binary),
            format!("streaming = {streaming}"),
            format!("synchronous_commit = {}", literal(&self.synchronous_commit)),
            format!("disable_on_error = {}", self.disable_on_error),
        ];
        let flags = [
            ("password_required", self.password_required),
            ("run_as_owner", self.run_as_owner),
        ];
        for (name, value) in flags {
            options.extend(value.map(|value| format!("{name} = {value}")));
        }
        options.extend(
            self.origin
                .as_ref()
                .map(|origin| format!("origin = {}", literal(origin))),
        );
        Ok(options)
    }

    /// Options whose change accesses the slot.
    fn of_slot(&self) -> (bool, Option<bool>) {
        (self.two_phase, self.failover)
    }

    /// False if the connection string may lack a password.
    fn has_password(&self) -> bool {
        let mut words = self.connection.split_ascii_whitespace();
        words.any(|word| word.starts_with("password=") && word.len() > "password=".len())
    }

    /// A statement with the connection string.
    fn say_secret(&self, before: &str, behind: &str, script: &mut Script) {
        let connection = literal(&self.connection);
        let sql = format!(
            "{before} SUBSCRIPTION {} CONNECTION {connection}{behind}",
            self.name
        );
        script.push("secret", sql);
    }
}

impl Object for Subscription {
    named!("SUBSCRIPTION", "subscription");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("subscription", &self.rest)?;
        let mut options = vec!["connect = false".to_owned()];
        options.extend(self.settable()?);
        let (two_phase, failover) = self.of_slot();
        options.push(format!("two_phase = {two_phase}"));
        options.extend(failover.map(|failover| format!("failover = {failover}")));
        let (publications, options) = (self.publications.join(", "), options.join(", "));
        let behind = format!(" PUBLICATION {publications} WITH ({options})");
        self.say_secret("CREATE", &behind, script);
        Ok(())
    }

    fn is_recreated_as(&self, to: &Self) -> bool {
        self.of_slot() != to.of_slot()
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("subscription", &to.rest)?;
        let what = format!("ALTER SUBSCRIPTION {}", to.name);
        // Whether a password is required determines which connection strings are accepted.
        let before = self.settable()?;
        let mut changed = to.settable()?;
        changed.retain(|option| !before.contains(option));
        if !changed.is_empty() {
            script.push("alter", format!("{what} SET ({})", changed.join(", ")));
        }
        if self.connection != to.connection {
            // A connection without one is refused unless the owner is a superuser (16 and later), as the
            // owner may have been when it was set.
            let lacks = to.password_required == Some(true) && !to.has_password();
            if lacks {
                script.push("alter", format!("{what} SET (password_required = false)"));
            }
            to.say_secret("ALTER", "", script);
            if lacks {
                script.push("alter", format!("{what} SET (password_required = true)"));
            }
        }
        if self.publications != to.publications {
            let publications = to.publications.join(", ");
            let sql = format!("{what} SET PUBLICATION {publications} WITH (refresh = false)");
            script.push("alter", sql);
        }
        Ok(())
    }

    /// The slot belongs to the original.
    fn remove(&self, script: &mut Script) {
        if self.slot.is_some() {
            let sql = format!("ALTER SUBSCRIPTION {} SET (slot_name = NONE)", self.name);
            script.push("alter", sql);
        }
        script.push("drop", format!("DROP SUBSCRIPTION {}", self.name));
    }
}
