//! `pins.json` of a chain: bases that are pinned, until when and why.
//!
//! It is stored with the bases, so that it is copied with them: a server that is set up again with the same
//! archive keeps the pins. It contains its own checksum, like `chain.json`. A file that cannot be read is an
//! error for retention, which then removes nothing.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::durable;
use crate::error::{Error, Result};
use crate::layout::{BaseName, ChainDir};
use crate::time::{self, Time};

/// The name of the file.
pub const PINS_JSON: &str = "pins.json";

/// A base that is kept whatever its age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The name of its directory.
    pub base: String,
    /// `None`: forever.
    #[serde(with = "time::json_option")]
    pub until: Option<Time>,
    pub note: String,
    #[serde(with = "time::json")]
    pub pinned_at: Time,
}

impl Pin {
    /// Whether it is still valid.
    pub fn is_valid(&self, now: Time) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    pins: Vec<Pin>,
    /// Of the list as JSON without white space.
    sha256: String,
}

/// All pins of a chain; empty if there are none.
pub fn read(chain: &ChainDir) -> Result<Vec<Pin>> {
    let path = chain.path.join(PINS_JSON);
    let bytes = match durable::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.io_error().map(std::io::Error::kind) == Some(ErrorKind::NotFound) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    parse(&bytes, &path)
}

/// The content of the file; `path` is for the error.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Vec<Pin>> {
    let file: File = serde_json::from_slice(bytes)
        .map_err(|error| Error::damaged(path, 0, error.to_string()))?;
    if to_json(&file.pins) != bytes {
        let why = "it was changed after it was written";
        return Err(Error::damaged(path, 0, why));
    }
    Ok(file.pins)
}

/// Pins a base, or changes its pin; the caller holds retention's lock.
pub fn set(chain: &ChainDir, base: BaseName, until: Option<Time>, note: &str) -> Result<()> {
    let base = base.to_string();
    let mut pins = read(chain)?;
    pins.retain(|pin| pin.base != base);
    pins.push(Pin {
        base,
        until,
        note: note.to_owned(),
        pinned_at: time::calendar(),
    });
    write(chain, &pins)
}

/// Removes the pins of these bases; true if there was one.
pub fn remove(chain: &ChainDir, bases: &[BaseName]) -> Result<bool> {
    let gone: Vec<String> = bases.iter().map(BaseName::to_string).collect();
    let mut pins = read(chain)?;
    let before = pins.len();
    pins.retain(|pin| !gone.contains(&pin.base));
    if pins.len() == before {
        return Ok(false);
    }
    write(chain, &pins)?;
    Ok(true)
}

fn write(chain: &ChainDir, pins: &[Pin]) -> Result<()> {
    durable::write_atomically(&chain.path.join(PINS_JSON), &to_json(pins))
}

fn to_json(pins: &[Pin]) -> Vec<u8> {
    let plain = serde_json::to_vec(pins).expect("plain fields always become JSON");
    let file = File {
        pins: pins.to_vec(),
        sha256: checksum::of_bytes(&plain),
    };
    let mut json = serde_json::to_vec_pretty(&file).expect("plain fields always become JSON");
    json.push(b'\n');
    json
}
