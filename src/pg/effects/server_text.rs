//! Conversion between text in the server's encoding and Rust strings, byte for byte.
//!
//! In a UTF-8 database it is used unchanged. In any other encoding each byte becomes the character with that
//! number: ASCII is preserved, and all other bytes only need to be converted back unchanged, whatever the
//! encoding, including SQL_ASCII.

use pgrx::prelude::*;

use crate::pg::failure::Failure;

/// Fails only for invalid UTF-8 in a UTF-8 database.
pub fn from_server_bytes(bytes: &[u8]) -> Result<String, Failure> {
    decode(bytes, is_utf8())
}

/// The bytes in the server's encoding of a string that consists of results of [`from_server_bytes`] and
/// ASCII.
pub fn to_server_bytes(text: &str) -> Vec<u8> {
    encode(text, is_utf8())
}

fn is_utf8() -> bool {
    // SAFETY: reads a variable of this process.
    unsafe { pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32 }
}

fn decode(bytes: &[u8], is_utf8: bool) -> Result<String, Failure> {
    if !is_utf8 {
        return Ok(bytes.iter().map(|byte| char::from(*byte)).collect());
    }
    String::from_utf8(bytes.to_vec()).map_err(|error| {
        let code = PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE;
        Failure::new(code, "a catalog holds text that is not valid UTF-8").detail(error.to_string())
    })
}

fn encode(text: &str, is_utf8: bool) -> Vec<u8> {
    if is_utf8 {
        return text.as_bytes().to_vec();
    }
    let byte = |character| u8::try_from(u32::from(character)).unwrap_or(b'?');
    text.chars().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn any_bytes_come_back_in_any_other_encoding() {
        let all: Vec<u8> = (0..=255).collect();
        let text = decode(&all, false).expect("every byte has a character");
        assert_eq!(encode(&text, false), all);
        assert_eq!(text.chars().count(), 256);
    }

    #[test]
    fn utf8_stays_as_it_is() {
        let text = decode("ä\u{1F418}".as_bytes(), true).expect("it is valid");
        assert_eq!(text, "ä\u{1F418}");
        assert_eq!(encode(&text, true), text.as_bytes());
        assert!(decode(b"\xE4", true).is_err());
    }
}
