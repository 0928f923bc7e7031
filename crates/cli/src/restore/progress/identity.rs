//! Which restore it is. One that goes on must be of the same archive, to the same moment, with the same options.

use archive::layout::BaseName;
use archive::time::{iso, parse_iso};
use archive::Lsn;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::args::{OnError, Restore, Until};
use crate::error::{Error, Result};
use crate::restore::plan::{Moment, Plan, Seen, Wish};
use crate::restore::rights::{Options, Role};
use crate::restore::target::server::drop_statement;
use crate::restore::target::Found;

/// What tells restores apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The target's name in the end.
    pub database: String,
    pub system_identifier: u64,
    pub database_oid: u32,
    pub chain: u32,
    /// Where the chain's slot began: a directory may hold another chain of the same number.
    pub slot_start: String,
    pub base: String,
    /// The base is restored without segments.
    pub is_alone: bool,
    pub moment: Resolved,
    /// The options that decide what the target becomes, as they were given.
    pub options: Vec<String>,
    /// What the role could do: what it cannot is set aside, and is made again by one that cannot either.
    pub rights: String,
}

/// A moment that is the same whenever it is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolved {
    /// The last one that the archive has. An archive that has grown gives a later one.
    Newest,
    Time(String),
    Lsn(String),
    /// What a snapshot of the source saw, and an LSN behind that.
    Seen(String, String),
}

impl Identity {
    /// Of a plan. `moment` is that of the wish.
    pub fn of(
        options: &Restore,
        plan: &Plan,
        moment: &Moment,
        (database, role): (&str, &Role),
    ) -> Identity {
        let info = &plan.chain.info;
        let moment = match moment {
            Moment::Newest => match &plan.seen {
                Some(seen) => Resolved::Seen(seen.snapshot.to_string(), seen.lsn.to_string()),
                None => Resolved::Newest,
            },
            Moment::Time(time) => Resolved::Time(iso(*time)),
            Moment::Lsn(lsn) => Resolved::Lsn(lsn.to_string()),
            // A later look may find a newer change.
            _ => Resolved::Lsn(plan.upto.to_string()),
        };
        Identity {
            database: database.to_owned(),
            system_identifier: info.system_identifier,
            database_oid: info.database_oid,
            chain: plan.chain.number,
            slot_start: info.slot_start_lsn.to_string(),
            base: plan.base.name.to_string(),
            is_alone: plan.segments.is_empty(),
            moment,
            options: given(options),
            rights: role.rights().to_owned(),
        }
    }

    /// What to wish for, to go on with it.
    pub fn wish(&self, allow_earlier: bool) -> Result<Wish> {
        let odd = || Error::failed("the progress of an earlier restore could not be read", "");
        let moment = match &self.moment {
            Resolved::Newest | Resolved::Seen(..) => Moment::Newest,
            Resolved::Time(time) => Moment::Time(parse_iso(time).ok_or_else(odd)?),
            Resolved::Lsn(lsn) => Moment::Lsn(lsn.parse::<Lsn>().map_err(|_| odd())?),
        };
        let seen = match &self.moment {
            Resolved::Seen(snapshot, lsn) => Some(Seen::parse(snapshot, lsn)?),
            _ => None,
        };
        Ok(Wish {
            seen,
            moment,
            chain: Some(self.chain),
            base: Some(BaseName::parse(&self.base).ok_or_else(odd)?),
            allow_earlier,
            // A part is not gone on with: it begins again.
            is_part: false,
        })
    }

    /// Fails unless the command line is that of the restore that was begun in `database`.
    pub fn ensure_asked(&self, options: &Restore, found: &Found) -> Result<()> {
        let database = found.name();
        if self.database != found.final_name() {
            let why = format!("it was begun as \"{}\"", self.database);
            return Err(another(database, &why));
        }
        if self.options == given(options) {
            return Ok(());
        }
        let begun = match self.options.join(" ") {
            none if none.is_empty() => "without options".to_owned(),
            some => format!("with {some}"),
        };
        Err(another(database, &format!("it was begun {begun}")))
    }

    /// Fails unless it is what a plan leads to.
    pub fn ensure_same(&self, now: &Identity, database: &str) -> Result<()> {
        if self == now {
            return Ok(());
        }
        if self.rights != now.rights {
            let why = format!(
                "its role was {} then, and is {} now",
                self.rights, now.rights
            );
            return Err(another(database, &why));
        }
        let why = format!(
            "it was begun from base {} of chain-{} of the database with OID {} of the server with system identifier {}",
            self.base, self.chain, self.database_oid, self.system_identifier
        );
        Err(another(database, &why))
    }

    /// Fails unless it is that of [`Self::seal`].
    pub fn ensure_sealed(&self, seal: &str, database: &str) -> Result<()> {
        if self.seal() == seal {
            return Ok(());
        }
        Err(another(database, "its archive or its options are others"))
    }

    /// In a few characters, of what is the same before and after a plan is made.
    pub fn seal(&self) -> String {
        let text = serde_json::json!([
            self.database,
            self.system_identifier,
            self.database_oid,
            self.options
        ]);
        let sum = Sha256::digest(text.to_string());
        sum.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// An unfinished database is not that of this command line.
pub fn another(database: &str, why: &str) -> Error {
    let message = format!(
        "the database \"{database}\" holds an unfinished restore that is another one: {why}"
    );
    let hint = format!(
        "The same command line goes on with it. To begin anew: {}",
        drop_statement(database)
    );
    Error::failed(message, hint)
}

/// The options that decide what is made, as they were given. No `..` here: whoever adds an option decides.
fn given(options: &Restore) -> Vec<String> {
    let Restore {
        // The same archive may be elsewhere, the plan may be shown, and the target is where this stands.
        archive: _,
        target: _,
        dry_run: _,
        // As many sessions as the machine has room for today.
        jobs: _,
        // Whether to fail does not change what is made.
        allow_earlier: _,
        until,
        chain,
        base,
        globals,
        skip_check,
        rights,
        // A part is never gone on with: its scratch database is made anew.
        part: _,
        // The same is made in another way; one that goes on may take the other.
        squash: _,
        on_error,
        no_count,
        compare,
    } = options;
    let Until {
        until_time,
        until_lsn,
        until_xid,
        before_xid,
        before_ddl,
        until_mark,
    } = until;
    let mut given = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        given.extend(value.map(|value| format!("{name} {value}")));
    };
    add("--until-time", until_time.clone());
    add("--until-lsn", until_lsn.clone());
    add("--until-xid", until_xid.map(|xid| xid.to_string()));
    add("--before-xid", before_xid.map(|xid| xid.to_string()));
    add("--before-ddl", before_ddl.clone());
    add("--until-mark", until_mark.clone());
    add("--chain", chain.map(|chain| chain.to_string()));
    add("--base", base.map(|base| base.to_string()));
    for name in skip_check {
        add("--skip-check", Some(name.clone()));
    }
    let stop = (*on_error == OnError::Stop).then(|| "stop".to_owned());
    add("--on-error", stop);
    if compare.is_some() {
        given.push("--compare".to_owned());
    }
    let Options {
        no_owner,
        no_privileges,
        no_tablespaces,
        no_publications,
        no_subscriptions,
        no_comments,
        no_security_labels,
        roles,
        // The same may be written elsewhere.
        left_out: _,
    } = rights;
    for (old, new) in roles {
        given.push(format!("--role {old}={new}"));
    }
    let flags = [
        (globals, "--globals"),
        (no_count, "--no-count"),
        (no_owner, "--no-owner"),
        (no_privileges, "--no-privileges"),
        (no_tablespaces, "--no-tablespaces"),
        (no_publications, "--no-publications"),
        (no_subscriptions, "--no-subscriptions"),
        (no_comments, "--no-comments"),
        (no_security_labels, "--no-security-labels"),
    ];
    let flags = flags.into_iter().filter(|(is_given, _)| **is_given);
    given.extend(flags.map(|(_, name)| name.to_owned()));
    given
}
