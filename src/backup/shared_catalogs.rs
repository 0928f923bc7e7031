//! A fingerprint of what `pg_dumpall --globals-only` reads, to know without running it that it would write the same.
//!
//! pg_dumpall starts a process and a session, and reads the shared catalogs in a dozen queries; the fingerprint is one query
//! of this session. Rows are in it as they are, with OIDs: whatever changes in them, also by a direct update, changes it. It
//! never says that something is unchanged which is not; that nothing is printed of a change is possible, and costs a dump.

use archive::globals::{self, Facts};
use archive::layout::GlobalsName;
use archive::ChainDir;

use crate::pg::failure::Failure;
use crate::pg::server::{self, query};
use crate::{settings, status, workers};

/// The shared catalogs that pg_dumpall.c reads for roles and tablespaces (dumpRoles, dumpRoleMembership, dumpRoleGUCPrivs,
/// dumpTablespaces, dumpUserConfig, buildShSecLabels), with the names of databases that settings of roles are for. Settings in
/// scratch databases are not written (`scratch_settings`). Names may be invalid in this database's encoding: textsend() does
/// not check them while client_encoding is that of the database (`session::be_neutral`).
const READ: &str = "SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.textsend( \
      pg_catalog.concat_ws(E'\\n', $1, pg_catalog.string_agg(line, E'\\n' ORDER BY part, line COLLATE \"C\")))), 'hex') \
    FROM (SELECT 1 AS part, a::text AS line FROM pg_catalog.pg_authid a \
      UNION ALL SELECT 2, m::text FROM pg_catalog.pg_auth_members m \
      UNION ALL SELECT 3, p::text FROM pg_catalog.pg_parameter_acl p \
      UNION ALL SELECT 4, pg_catalog.concat(t::text, ' ', pg_catalog.pg_tablespace_location(t.oid)) \
        FROM pg_catalog.pg_tablespace t \
      UNION ALL SELECT 5, pg_catalog.concat(s::text, ' ', d.datname) FROM pg_catalog.pg_db_role_setting s \
        LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase \
        WHERE s.setrole <> 0 AND (d.datname IS NULL OR NOT pg_catalog.starts_with(d.datname::text, $2)) \
      UNION ALL SELECT 6, c::text FROM pg_catalog.pg_shdescription c \
        WHERE c.classoid IN ('pg_catalog.pg_authid'::pg_catalog.regclass, 'pg_catalog.pg_tablespace'::pg_catalog.regclass) \
      UNION ALL SELECT 7, l::text FROM pg_catalog.pg_shseclabel l \
        WHERE l.classoid IN ('pg_catalog.pg_authid'::pg_catalog.regclass, 'pg_catalog.pg_tablespace'::pg_catalog.regclass) \
    ) AS lines";

/// As of now, in one snapshot, and of the programs by which it is written. Needs a transaction.
pub fn fingerprint() -> Result<String, Failure> {
    let by = format!(
        "{} {} {:?}",
        env!("CARGO_PKG_VERSION"),
        server::running_version(),
        settings::bin_directory()
    );
    let scratch = super::scratch_settings::SCRATCH_PREFIX;
    Ok(query::one::<String>(READ, &[by.into(), scratch.into()])?.unwrap_or_default())
}

/// `globals.sql` of the chain's newest set, if pg_dumpall would write the same of catalogs with this fingerprint. A set that
/// cannot be read, or that expires meanwhile, is none.
pub fn dumped(chain: &ChainDir, fingerprint: &str) -> Option<Vec<u8>> {
    let newest = chain.globals_sets().ok()?.pop()?;
    let facts = Facts::of(chain, newest).ok()?;
    let is_its_own = facts.shared_catalogs.as_deref() == Some(fingerprint);
    if !is_its_own && !is_noted_same(chain, newest, fingerprint) {
        return None;
    }
    globals::globals_sql(chain, newest).ok()?
}

/// A dump of catalogs with this fingerprint is what the set holds: what changed is not printed, or an earlier version wrote the
/// set. In memory: a set is written once.
pub fn note_same(chain: &ChainDir, set: GlobalsName, fingerprint: &str) {
    status::update_existing(workers::served_database(), |entry| {
        entry.globals.same_chain = chain.number;
        entry.globals.same_set = set.lsn.0;
        entry.globals.same_catalogs.set(fingerprint);
    });
}

fn is_noted_same(chain: &ChainDir, set: GlobalsName, fingerprint: &str) -> bool {
    let entry = status::read(workers::served_database()).unwrap_or_default();
    let globals = &entry.globals;
    globals.same_chain == chain.number
        && globals.same_set == set.lsn.0
        && globals.same_catalogs.get() == fingerprint
}
