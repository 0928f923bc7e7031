//! Materialized views.

use serde::Deserialize;

use super::view::View;
use super::view_column;
use crate::common::Common;
use crate::key::{catalog, Key};
use crate::object::Object;
use crate::options::{changes, with, with_toast, Options, Setting};
use crate::script::{same_rest, Script, Unhandled};

pub const QUERY: &str = crate::view_query!(
    concat!(
        "(SELECT pg_catalog.quote_ident(x.amname) FROM pg_catalog.pg_am x WHERE x.oid = c.relam) AS method, \
         (SELECT pg_catalog.quote_ident(x.spcname) FROM pg_catalog.pg_tablespace x WHERE x.oid = c.reltablespace) AS tablespace, \
         (SELECT pg_catalog.quote_ident(x.spcname) FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace x \
            ON x.oid = d.dattablespace WHERE d.datname = pg_catalog.current_database()) AS usual_tablespace, \
         (SELECT ", crate::options!("x.reloptions"), " FROM pg_catalog.pg_class x WHERE x.oid = c.reltoastrelid) AS toast_options, \
         c.relispopulated AS is_populated, c.relreplident::pg_catalog.text AS replica_identity, "
    ),
    ",relam,reltablespace,relispopulated,relreplident",
    "m"
);

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MaterializedView {
    #[serde(flatten)]
    pub view: View,
    pub method: Option<String>,
    /// `None` for that of the database.
    pub tablespace: Option<String>,
    pub usual_tablespace: Option<String>,
    pub toast_options: Options,
    pub is_populated: bool,
    /// The letter of pg_class.relreplident.
    pub replica_identity: String,
}

impl MaterializedView {
    /// Its options and, with the prefix `toast.`, those of its TOAST table.
    fn options(&self) -> Vec<Setting> {
        with_toast(&self.view.options, &self.toast_options)
    }

    fn what(&self) -> String {
        format!("ALTER MATERIALIZED VIEW {}", self.target())
    }

    /// A restore records it, and refreshes it once, at its end.
    fn refresh(&self, script: &mut Script) {
        let none = if self.is_populated {
            ""
        } else {
            " WITH NO DATA"
        };
        script.push(
            "refresh",
            format!("REFRESH MATERIALIZED VIEW {}{none}", self.target()),
        );
    }

    fn set_replica_identity(&self, before: &str, script: &mut Script) -> Result<(), Unhandled> {
        let word = match self.replica_identity.as_str() {
            same if same == before => return Ok(()),
            "d" => "DEFAULT",
            "f" => "FULL",
            "n" => "NOTHING",
            _ => return Err(unhandled("an index as replica identity")),
        };
        script.push("alter", format!("{} REPLICA IDENTITY {word}", self.what()));
        Ok(())
    }
}

fn unhandled(what: &str) -> Unhandled {
    Unhandled::new("materialized view", what)
}

impl Object for MaterializedView {
    fn common(&self) -> &Common {
        &self.view.common
    }

    fn kind(&self) -> &'static str {
        "MATERIALIZED VIEW"
    }

    fn target(&self) -> String {
        self.view.target()
    }

    fn tablespace(&self) -> Option<&str> {
        self.tablespace.as_deref()
    }

    fn occupies(&self) -> Option<String> {
        self.view.occupies()
    }

    fn create(&self, script: &mut Script) -> Result<(), Unhandled> {
        let plain = serde_json::json!({ "relpersistence": "p" });
        same_rest("materialized view", &plain, &self.view.rest)?;
        let using = match &self.method {
            Some(method) => format!(" USING {method}"),
            None => String::new(),
        };
        let tablespace = match &self.tablespace {
            Some(tablespace) => format!(" TABLESPACE {tablespace}"),
            None => String::new(),
        };
        script.push(
            "create",
            format!(
                "CREATE MATERIALIZED VIEW {}{using}{}{tablespace} AS\n {}\n WITH NO DATA",
                self.target(),
                with(&self.options()),
                self.view.definition("materialized view")?
            ),
        );
        self.set_replica_identity("d", script)?;
        for column in self.view.columns() {
            column.ensure_plain("materialized view")?;
            column.set_storage(None, &self.target(), script);
            column.describe(None, &self.target(), script);
        }
        Ok(())
    }

    fn rename(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        self.view.move_to(&to.view, self.kind(), script);
        Ok(())
    }

    fn alter(&self, to: &Self, script: &mut Script) -> Result<(), Unhandled> {
        same_rest("materialized view", &self.view.rest, &to.view.rest)?;
        let (old, new) = (self.view.columns(), to.view.columns());
        let is_same = |(old, new): (&view_column::Column, &view_column::Column)| {
            old.data_type == new.data_type && old.rest == new.rest
        };
        if old.len() != new.len() || !old.iter().zip(new).all(is_same) {
            return Err(unhandled("other columns"));
        }
        if self.view.tree != to.view.tree {
            return Err(unhandled("another query"));
        }
        let what = to.what();
        view_column::rename(to.kind(), &to.target(), old, new, script);
        if self.method != to.method {
            let method = to
                .method
                .as_deref()
                .ok_or_else(|| unhandled("no access method"))?;
            script.push("alter", format!("{what} SET ACCESS METHOD {method}"));
        }
        if self.tablespace != to.tablespace {
            let tablespace = to.tablespace.as_ref().or(to.usual_tablespace.as_ref());
            let tablespace = tablespace.ok_or_else(|| unhandled("tablespace"))?;
            script.push("alter", format!("{what} SET TABLESPACE {tablespace}"));
        }
        for clause in changes(&self.options(), &to.options()) {
            script.push("alter", format!("{what} {clause}"));
        }
        to.set_replica_identity(&self.replica_identity, script)?;
        if self.is_populated != to.is_populated {
            to.refresh(script);
        }
        for (old, new) in old.iter().zip(new) {
            new.set_storage(Some(old), &to.target(), script);
            new.describe(Some(old), &to.target(), script);
        }
        Ok(())
    }

    fn finish_parts(&self, before: Option<&Self>, script: &mut Script) {
        self.view
            .grant_columns(before.map(|before| &before.view), script);
    }

    /// A new one gets its rows after it has its owner, with whose privileges REFRESH runs the query.
    fn late(&self, before: Option<&Self>, script: &mut Script) -> Result<(), Unhandled> {
        if before.is_none() && self.is_populated {
            self.refresh(script);
        }
        Ok(())
    }

    /// Other materialized views that it reads get their rows first.
    fn late_needs(&self) -> Vec<Key> {
        let needs = self.common().needs().iter().copied();
        needs.filter(|need| need.class == catalog::CLASS).collect()
    }

    fn aliases(&self) -> Vec<Key> {
        self.view.other_keys()
    }

    fn grant_kind(&self) -> &'static str {
        "TABLE"
    }

    fn gets_default_privileges(&self) -> bool {
        true
    }
}
