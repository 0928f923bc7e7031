//! Event triggers.

use serde::Deserialize;

use super::rule::state_word;
use crate::common::Common;
use crate::object::Object;
use crate::renames::named;
use crate::script::{no_rest, same_rest, Script, Unhandled};
use crate::text::literal;

pub const QUERY: &str = concat!(
    "SELECT r.oid, pg_catalog.row_to_json(r)::pg_catalog.text FROM (SELECT e.oid, \
     pg_catalog.quote_ident(e.evtname) AS name, e.evtevent AS event, e.evttags AS tags, \
     e.evtfoid::pg_catalog.int8 AS function_oid, \
     pg_catalog.concat(pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(p.proname)) AS function, \
     e.evtenabled::pg_catalog.text AS enabled, ",
    crate::common_columns!("3466", "e.oid", "e.evtowner", "NULL::pg_catalog.aclitem[]", "NULL"),
    ", ", crate::rest!("e", "oid,evtname,evtevent,evtowner,evtfoid,evtenabled,evttags"), " AS rest \
     FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid \
     JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE e.oid = ANY ($1)) r"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct EventTrigger {
    pub name: String,
    pub event: String,
    pub tags: Option<Vec<String>>,
    pub function_oid: u32,
    /// Qualified.
    pub function: String,
    /// The letter of pg_event_trigger.evtenabled.
    pub enabled: String,
    pub common: Common,
    pub rest: serde_json::Value,
}

impl EventTrigger {
    fn enable(&self, before: &str, script: &mut Script) -> Result<(), Unhandled> {
        if self.enabled != before {
            let word = state_word("event trigger", &self.enabled)?;
            script.push("alter", format!("ALTER EVENT TRIGGER {} {word}", self.name));
        }
        Ok(())
    }
}

impl Object for EventTrigger {
    named!("EVENT TRIGGER", "event trigger");

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        no_rest("event trigger", &self.rest)?;
        let tags: Vec<String> = self.tags.iter().flatten().map(|tag| literal(tag)).collect();
        let when = if tags.is_empty() {
            String::new()
        } else {
            format!(" WHEN TAG IN ({})", tags.join(", "))
        };
        script.push(
            "create",
            format!(
                "CREATE EVENT TRIGGER {} ON {}{when} EXECUTE FUNCTION {}()",
                self.name,
                crate::text::quoted(&self.event),
                self.function
            ),
        );
        self.enable("O", script)
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("event trigger", &self.rest, &to.rest)?;
        let what = |e: &EventTrigger| (e.event.clone(), e.tags.clone(), e.function_oid);
        if what(self) != what(to) {
            let what = "its event or function has changed";
            return Err(Unhandled::new("event trigger", what));
        }
        to.enable(&self.enabled, script)
    }
}
