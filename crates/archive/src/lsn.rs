//! A position in PostgreSQL's write-ahead log, and its two text forms in the archive.
//!
//! In comments and JSON an LSN has PostgreSQL's form (`0/15E0F88`); in file names it is 16 hex digits, so
//! that names sort in replay order. Both are formatted and parsed only here.

use std::fmt;
use std::str::FromStr;

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};

/// A byte position in the write-ahead log. "Commit LSN" means the end of the commit record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// The text is not an LSN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid LSN \"{0}\"")]
pub struct InvalidLsn(pub String);

impl Lsn {
    /// The form of file names: 16 upper-case hex digits.
    pub fn to_hex16(self) -> String {
        format!("{:016X}", self.0)
    }

    /// Parses the form of file names; exactly 16 upper-case hex digits.
    pub fn from_hex16(text: &str) -> Result<Lsn, InvalidLsn> {
        let is_hex16 =
            text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        match u64::from_str_radix(text, 16) {
            Ok(value) if is_hex16 => Ok(Lsn(value)),
            _ => Err(InvalidLsn(text.to_owned())),
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = InvalidLsn;

    /// Accepts what PostgreSQL's `pg_lsn` accepts: two hex numbers of one to eight digits.
    fn from_str(text: &str) -> Result<Lsn, InvalidLsn> {
        let half = |part: &str| {
            let is_hex =
                (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            u64::from_str_radix(part, 16).ok().filter(|_| is_hex)
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Lsn(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| InvalidLsn(text.to_owned()))
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lsn, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_go_there_and_back() {
        for value in [
            0,
            1,
            0x15E0F88,
            0xFFFF_FFFF,
            0x1_0000_0000,
            0x16_B374_D848,
            u64::MAX,
        ] {
            let lsn = Lsn(value);
            assert_eq!(lsn.to_string().parse(), Ok(lsn));
            assert_eq!(Lsn::from_hex16(&lsn.to_hex16()), Ok(lsn));
            let json = serde_json::to_string(&lsn).unwrap();
            assert_eq!(serde_json::from_str::<Lsn>(&json).unwrap(), lsn);
        }
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!(Lsn(0x15E0F88).to_hex16(), "00000000015E0F88");
        assert_eq!("0/015E0F88".parse(), Ok(Lsn(0x15E0F88)));
    }

    #[test]
    fn what_is_not_an_lsn_is_refused() {
        for text in [
            "",
            "/",
            "0",
            "0/",
            "/0",
            "0/+1",
            "0/123456789",
            "g/0",
            "0/0/0",
            " 0/0",
        ] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
        for text in [
            "",
            "15E0F88",
            "00000000015e0f88",
            "+0000000015E0F88",
            "00000000015E0F880",
        ] {
            assert!(Lsn::from_hex16(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn file_names_sort_in_replay_order() {
        let lsns = [0x9, 0x10, 0xFFFF_FFFF, 0x1_0000_0000, u64::MAX].map(|n| Lsn(n).to_hex16());
        assert!(lsns.is_sorted());
    }
}
