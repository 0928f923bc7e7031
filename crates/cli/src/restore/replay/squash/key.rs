//! The values of a row's key. Most are short, and beside the row then: to compare one does not touch other memory.

use std::hash::Hasher;
use std::ops::Deref;

use rustc_hash::FxHasher;

/// A key of so many bytes has no memory of its own.
const SHORT: usize = 22;

/// The values of a key's columns, as the fields of a COPY row.
#[derive(Debug, Clone)]
pub enum Key {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl From<&[u8]> for Key {
    fn from(text: &[u8]) -> Key {
        match u8::try_from(text.len()) {
            Ok(length) if text.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..text.len()].copy_from_slice(text);
                Key::Short(length, bytes)
            }
            _ => Key::Long(Box::from(text)),
        }
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Key::Short(length, bytes) => &bytes[..usize::from(*length)],
            Key::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        **self == **other
    }
}

/// Whether two texts are the same. Keys, and what stands between values, are so short that a call to compare them takes
/// longer than to do it here.
#[inline]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    // The last bytes may be among those before them.
    if one.len() >= 8 {
        let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
        return words.into_iter().all(|(a, b)| a == b)
            && one.last_chunk::<8>() == other.last_chunk::<8>();
    }
    if one.len() >= 4 {
        return one.first_chunk::<4>() == other.first_chunk::<4>()
            && one.last_chunk::<4>() == other.last_chunk::<4>();
    }
    one.iter().eq(other)
}

/// A hash of these values.
pub fn hash_of(key: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(key);
    let hash = hasher.finish();
    // All bits of the one are in the other.
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_the_same_if_all_their_bytes_are() {
        for length in 0..70 {
            let text: Vec<u8> = (0..length).collect();
            assert!(is_same(&text, &text.clone()));
            assert!(!is_same(&text, &[&text[..], b"\0"].concat()));
            for at in 0..usize::from(length) {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!is_same(&text, &other), "{at} of {length}");
                assert!(!is_same(&text, &text[..at]));
            }
        }
    }

    #[test]
    fn a_key_is_the_bytes_that_it_was_made_of() {
        for length in [0, 1, SHORT - 1, SHORT, SHORT + 1, 255, 256, 300] {
            let text: Vec<u8> = (0..length).map(|nth| (nth % 251) as u8).collect();
            let key = Key::from(&text[..]);
            assert_eq!(*key, text[..]);
            assert_eq!(key, key.clone());
            assert_ne!(key, Key::from(&[&text[..], b"\0"].concat()[..]));
        }
        assert_eq!(size_of::<Option<Key>>(), 24);
    }
}
