//! The schema of a database's extension, stored beside its chains.
//!
//! `DROP SCHEMA … CASCADE` drops the extension, and its name is lost; a process that re-creates it after a
//! restart of the server finds the name here. The name is percent-encoded, in the database's encoding.

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, Result};
use crate::layout::DatabaseDir;

const EXTENSION_JSON: &str = "extension.json";

#[derive(Serialize, Deserialize)]
struct Note {
    schema: String,
}

/// The stored schema; `None` if there never was one.
pub fn read(database: &DatabaseDir) -> Result<Option<String>> {
    let path = database.path().join(EXTENSION_JSON);
    match durable::read(&path) {
        Err(error) if error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound) => {
            Ok(None)
        }
        Err(error) => Err(error),
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(|note: Note| Some(note.schema))
            .map_err(|error| Error::damaged(&path, 0, error.to_string())),
    }
}

/// Stores the schema, unless it is unchanged; durable when this returns.
pub fn write(database: &DatabaseDir, schema: &str) -> Result<()> {
    if read(database).ok().flatten().as_deref() == Some(schema) {
        return Ok(());
    }
    let note = Note {
        schema: schema.to_owned(),
    };
    let mut json = serde_json::to_vec(&note).expect("plain fields always become JSON");
    json.push(b'\n');
    durable::write_atomically(&database.path().join(EXTENSION_JSON), &json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_comes_back_as_it_was_noted() {
        let root = tempfile::tempdir().expect("a directory can be made");
        let database = DatabaseDir::at(root.path()).expect("it is there");
        assert_eq!(read(&database).expect("nothing is no error"), None);
        for schema in ["public", "a%20b"] {
            write(&database, schema).expect("it can be written");
            assert_eq!(
                read(&database).expect("it is whole").as_deref(),
                Some(schema)
            );
        }
        std::fs::write(root.path().join(EXTENSION_JSON), "{").expect("it can be damaged");
        assert!(read(&database).is_err());
    }
}
