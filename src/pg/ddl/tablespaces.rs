//! The tablespaces that a statement names: its text fails if one of them is missing.

use pgrx::prelude::*;

use super::catalog::with_bytes;
use super::identity::OwnPrivileges;
use super::node::Sql;

const TABLESPACES: &str =
    "SELECT bytes(spcname) FROM pg_tablespace WHERE oid >= 16384 ORDER BY spcname";

/// Those of the cluster's tablespaces that `text` or the settings (default_tablespace) may refer to. If a
/// name denotes something else there, a restore only creates an additional tablespace.
pub fn named_tablespaces(text: &[u8], settings: &[u8]) -> Vec<Sql> {
    let lower = text.to_ascii_lowercase();
    if !has_word(&lower, b"tablespace") && !has_word(settings, b"tablespace") {
        return Vec::new();
    }
    let own = OwnPrivileges::enter();
    let names = Spi::connect(|client| {
        let rows = client.select(&with_bytes(TABLESPACES), None, &[])?;
        rows.map(|row| Ok(row.get::<Sql>(1)?.unwrap_or_default()))
            .collect::<spi::Result<Vec<Sql>>>()
    });
    own.leave();
    let mut names = names.unwrap_or_else(|error| error!("{error}"));
    let texts = [text, &lower, settings];
    names.retain(|name| texts.iter().any(|text| has_word(text, name)));
    names
}

fn has_word(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}
