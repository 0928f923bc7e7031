//! How far the lanes of a restore are: kept in the target, by each lane in the transactions of its rows.
//!
//! The lanes of an earlier run may have ended at different transactions. The one that is least far says where reading
//! begins; each of the others passes over what it has done. That all are given the same rows as before follows from two
//! things: the division depends on nothing but the tables and the number of lanes, which is kept, and whenever a table may
//! change all lanes are at the same place.

use crate::connection::Session;
use crate::error::{Error, Result};
use crate::restore::progress::{sql, Place, Progress};

/// What the number of lanes is kept as.
const LANES: &str = "lanes";

/// A place in the segments, as it is compared: between two row changes.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Names of segments are in their order.
    segment: String,
    units: u64,
    items: u64,
}

impl Position {
    pub fn of(place: &Place) -> Position {
        Position {
            segment: place.segment.clone(),
            units: place.units,
            items: place.items,
        }
    }

    /// Behind one item more.
    pub fn next(self) -> Position {
        Position {
            items: self.items + 1,
            ..self
        }
    }
}

/// Where an earlier run has ended.
#[derive(Debug, Default)]
pub struct Reached {
    /// From here on something is to be done.
    pub place: Place,
    /// Up to here each lane has done it; empty if all are at the same place.
    pub lanes: Vec<Position>,
}

impl Reached {
    /// By the progress that is there, and by what the lanes have added to it.
    pub async fn read(session: &Session, begun: &Progress) -> Result<Reached> {
        let count = kept(begun)?;
        let own = begun.place.clone();
        if count < 2 {
            return Ok(Reached {
                place: own,
                lanes: Vec::new(),
            });
        }
        let rows = session.client.query_typed(sql::READ_LANES, &[]).await?;
        let mut places = vec![own; count];
        for row in rows {
            let (lane, place): (i32, String) = (row.get(0), row.get(1));
            let odd = |why: String| {
                Error::failed(
                    format!("the progress of an earlier restore could not be read: {why}"),
                    "Drop the database that it has begun, and start again.",
                )
            };
            let place: Place =
                serde_json::from_str(&place).map_err(|error| odd(error.to_string()))?;
            let lane = usize::try_from(lane).unwrap_or(usize::MAX);
            // Those of an earlier number of lanes are behind all that is.
            if let Some(known) = places.get_mut(lane) {
                if Position::of(&place) > Position::of(known) {
                    *known = place;
                }
            }
        }
        let positions: Vec<Position> = places.iter().map(Position::of).collect();
        let least = positions.iter().min().cloned().unwrap_or_default();
        let place = places
            .into_iter()
            .find(|place| Position::of(place) == least);
        // Within a transaction there is something to pass over, too.
        let is_even = least.items == 0 && positions.iter().all(|position| *position == least);
        Ok(Reached {
            place: place.unwrap_or_default(),
            lanes: if is_even { Vec::new() } else { positions },
        })
    }
}

/// The number of lanes of an earlier run; 0 if it had none.
pub fn kept(begun: &Progress) -> Result<usize> {
    begun.kept(LANES)
}

/// Keeps the number of lanes, before the first of them has anything to do. What lanes of another number have done up to
/// `place`, where all of them are, is the restore's own with it: none of the new lanes has done it.
pub async fn keep(session: &Session, count: usize, place: &Place) -> Result<()> {
    let (place, keep) = (sql::place(place), sql::keep(LANES, &count));
    let both = format!("BEGIN; {place}; {keep}; COMMIT");
    Ok(session.client.batch_execute(&both).await?)
}

/// A lane commits that it is there. `place`: see [`sql::constant`].
pub fn commit(lane: i32, place: &str) -> String {
    format!("{}; COMMIT", sql::lane(lane, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_in_the_order_of_changes() {
        let position = |segment: &str, units, items| Position {
            segment: segment.to_owned(),
            units,
            items,
        };
        let order = [
            Position::default(),
            position("00000000015E0F88-20261120T020000Z", 0, 1),
            position("00000000015E0F88-20261120T020000Z", 1, 0),
            position("00000000015E0F88-20261120T020000Z", 1, 7),
            position("00000000025E0F88-20261120T010000Z", 0, 0),
        ];
        assert!(order.windows(2).all(|two| two[0] < two[1]));
    }
}
