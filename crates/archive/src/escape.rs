//! Percent-encoding, so that any bytes fit into one word of a comment or into one file name.
//!
//! Comments keep `/` and `:` readable (LSNs and times need no escape); file names keep neither, and never
//! begin with a dot, so that no database name can refer to a path outside the archive.

/// Encodes a value of a structural comment; `[A-Za-z0-9._:/+-]` are unchanged.
pub fn percent_encode(bytes: &[u8]) -> String {
    encode(bytes, |_, byte| {
        is_plain(byte) || matches!(byte, b':' | b'/')
    })
}

/// The number of bytes of a value that take up to `most` bytes when they are encoded for a comment.
pub(crate) fn fitting(bytes: &[u8], most: usize) -> usize {
    let mut taken = 0;
    let fits = |byte: &&u8| {
        let stays = is_plain(**byte) || matches!(byte, b':' | b'/');
        taken += if stays { 1 } else { 3 };
        taken <= most
    };
    bytes.iter().take_while(fits).count()
}

/// Encodes a database's name for use as a directory name.
pub fn percent_encode_name(name: &str) -> String {
    encode(name.as_bytes(), |position, byte| {
        is_plain(byte) && !(position == 0 && byte == b'.')
    })
}

/// Reverses both encodings; `None` if a `%` is not followed by two hex digits.
pub fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    if memchr::memchr(b'%', text).is_none() {
        return Some(text.to_vec());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(*rest.next()?).to_digit(16)?;
        let low = char::from(*rest.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

fn encode(bytes: &[u8], stays: impl Fn(usize, u8) -> bool) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(bytes.len());
    for (position, &byte) in bytes.iter().enumerate() {
        if stays(position, byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_goes_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let encoded = percent_encode(&bytes);
        assert!(encoded.bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(percent_decode(encoded.as_bytes()), Some(bytes));
    }

    #[test]
    fn what_fits_is_encoded_within_the_limit() {
        let bytes = b"ab \n\xffcd";
        for most in 0..20 {
            let count = fitting(bytes, most);
            assert!(percent_encode(&bytes[..count]).len() <= most);
            let next = bytes.get(..=count);
            assert!(next.is_none_or(|next| percent_encode(next).len() > most));
        }
    }

    #[test]
    fn lsns_and_times_stay_readable() {
        assert_eq!(percent_encode(b"0/15E0F88"), "0/15E0F88");
        assert_eq!(
            percent_encode(b"2026-11-21T03:40:00.1Z"),
            "2026-11-21T03:40:00.1Z"
        );
        assert_eq!(percent_encode(b"CREATE TABLE"), "CREATE%20TABLE");
    }

    #[test]
    fn no_database_name_leaves_its_directory() {
        assert_eq!(percent_encode_name(".."), "%2E.");
        assert_eq!(percent_encode_name("../x"), "%2E.%2Fx");
        assert_eq!(percent_encode_name("a b\n"), "a%20b%0A");
        assert_eq!(percent_encode_name("bücher"), "b%C3%BCcher");
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["%", "%4", "%zz", "%+1", "a%2"] {
            assert_eq!(percent_decode(text.as_bytes()), None, "{text:?}");
        }
    }
}
