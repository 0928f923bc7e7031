//! `metadata.json` of a base: facts about its source for a restore, and for a reader in ten years.
//!
//! Pretty-printed, one top-level key a line: `restore.sh` reads the flat ones with awk.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Result};
use crate::lsn::Lsn;
use crate::snapshot::Snapshot;
use crate::time::{self, Time};

/// The facts about a base; in the file, those about its database are beside the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub format: u32,
    pub tool_version: String,
    pub system_identifier: u64,
    pub timeline: u32,
    pub database_oid: u32,
    pub server_version_num: u32,
    /// Taken just after the snapshot.
    pub lsn: Lsn,
    pub snapshot: Snapshot,
    #[serde(with = "time::json")]
    pub taken_at: Time,
    pub duration_ms: u64,
    /// The dump's file or directory: `dump.sql`, `dump.sql.gz`, `dump`.
    pub dump: String,
    #[serde(flatten)]
    pub source: DatabaseFacts,
}

/// Facts that only the database itself can provide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    pub database: String,
    /// The result of `version()`.
    pub server_version: String,
    pub encoding: String,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    pub lc_collate: String,
    pub lc_ctype: String,
    /// `daticulocale` (15, 16) or `datlocale` (from 17).
    pub locale: Option<String>,
    pub icu_rules: Option<String>,
    /// `datcollversion`.
    pub collation_version: Option<String>,
    pub extensions: Vec<ExtensionFact>,
    /// Enums, composite types and domains.
    pub types: Vec<TypeFact>,
    /// Settings under which the data was created and that may change its meaning.
    pub settings: BTreeMap<String, String>,
    /// Roles that own something or have privileges.
    pub roles: Vec<String>,
    /// OID and name of every role of the cluster, as in a set of globals.
    #[serde(default)]
    pub roles_by_oid: Vec<String>,
    /// Tablespaces, other than the server's own two, that contain something of the database.
    #[serde(default)]
    pub tablespaces: Vec<String>,
    /// What is not in the dump because it needs this extension, as text; `left-out.sql` contains it.
    #[serde(default)]
    pub left_out: Vec<String>,
}

impl DatabaseFacts {
    /// What follows `CREATE DATABASE name`: an empty database with the encoding and the locale of the source.
    pub fn template(&self) -> String {
        let text = |value: &str| format!("'{}'", value.replace('\'', "''"));
        let locale = text(self.locale.as_deref().unwrap_or_default());
        let provider = match self.locale_provider.as_str() {
            "icu" => {
                let rules = self.icu_rules.as_deref().filter(|rules| !rules.is_empty());
                let rules =
                    rules.map_or(String::new(), |rules| format!(" ICU_RULES {}", text(rules)));
                format!("icu ICU_LOCALE {locale}{rules}")
            }
            "builtin" => format!("builtin BUILTIN_LOCALE {locale}"),
            _ => "libc".to_owned(),
        };
        format!(
            "TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {} LOCALE_PROVIDER {provider}",
            text(&self.encoding),
            text(&self.lc_collate),
            text(&self.lc_ctype),
        )
    }
}

/// An installed extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionFact {
    pub name: String,
    pub version: String,
    pub schema: String,
}

/// A user-defined type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeFact {
    /// Qualified and quoted.
    pub name: String,
    /// `enum`, `composite` or `domain`.
    pub kind: String,
    /// Labels, attributes or the base type, in SQL.
    pub definition: String,
}

impl Metadata {
    /// The file's content.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("plain fields always become JSON");
        json.push(b'\n');
        json
    }

    /// Reads the file.
    pub fn read(path: &Path) -> Result<Metadata> {
        Metadata::parse(&durable::read(path)?, path)
    }

    /// Its content; `path` is for the error.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Metadata> {
        serde_json::from_slice(bytes).map_err(|error| Error::damaged(path, 0, error.to_string()))
    }
}
