//! The snapshot under which a base was dumped: it joins the base to the increments.
//!
//! Restore applies exactly the transactions that are not visible to the snapshot. The text form is that of
//! PostgreSQL's `pg_snapshot` (`740:751:745,748`), with 64-bit xids.

use std::fmt;
use std::str::FromStr;

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};

/// A snapshot: 64-bit xids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Every xid below was finished.
    pub xmin: u64,
    /// No xid from here on was finished.
    pub xmax: u64,
    /// The xids between that were in progress, ascending.
    pub xip: Vec<u64>,
}

/// The text is not a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid snapshot \"{0}\"")]
pub struct InvalidSnapshot(pub String);

impl Snapshot {
    /// True if a committed transaction is visible: the dump contains it, restore skips it.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && !self.xip.contains(&xid))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (position, xid) in self.xip.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

impl FromStr for Snapshot {
    type Err = InvalidSnapshot;

    fn from_str(text: &str) -> Result<Snapshot, InvalidSnapshot> {
        let parse = || {
            let mut parts = text.split(':');
            let xmin = parts.next()?.parse().ok()?;
            let xmax = parts.next()?.parse().ok()?;
            let list = parts.next()?;
            let xip: Vec<u64> = match list {
                "" => Vec::new(),
                _ => list
                    .split(',')
                    .map(|xid| xid.parse().ok())
                    .collect::<Option<_>>()?,
            };
            let is_sound = xmin <= xmax
                && xip.is_sorted()
                && xip.iter().all(|xid| (xmin..xmax).contains(xid))
                && parts.next().is_none();
            is_sound.then_some(Snapshot { xmin, xmax, xip })
        };
        parse().ok_or_else(|| InvalidSnapshot(text.to_owned()))
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Snapshot, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_there_and_back() {
        for text in [
            "740:751:745,748",
            "740:740:",
            "4294967300:4294967301:4294967300",
        ] {
            assert_eq!(
                text.parse::<Snapshot>().map(|s| s.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "", "1:2", "2:1:", "1:2:3", "1:9:5,4", "1:2::", "a:b:", "1:9:,",
        ] {
            assert!(text.parse::<Snapshot>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sees_what_was_finished_and_nothing_else() {
        let snapshot = Snapshot {
            xmin: 740,
            xmax: 751,
            xip: vec![745, 748],
        };
        let seen: Vec<u64> = (738..753).filter(|xid| snapshot.sees(*xid)).collect();
        assert_eq!(
            seen,
            [738, 739, 740, 741, 742, 743, 744, 746, 747, 749, 750]
        );
    }
}
