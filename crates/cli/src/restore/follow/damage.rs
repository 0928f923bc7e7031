//! Damage that may pass: a page that a network file system has not got yet, a file that is copied in place. What is still
//! there after a while does not.

use std::time::{Duration, Instant};

use archive::Lsn;

/// What was found last, and since when.
#[derive(Debug)]
pub struct Damage {
    /// So long it may pass.
    patience: Duration,
    found: Option<Found>,
    /// What fails now was looked at without an error: it is found when it is applied.
    pub is_in_round: bool,
}

#[derive(Debug)]
struct Found {
    text: String,
    /// Up to where all was applied.
    place: Option<Lsn>,
    since: Instant,
    is_in_round: bool,
}

impl Damage {
    pub fn new(patience: Duration) -> Damage {
        Damage {
            patience,
            found: None,
            is_in_round: false,
        }
    }

    /// It is found now; whether it is the same as before, and has been for so long that it does not pass.
    pub fn lasts(&mut self, text: &str, place: Option<Lsn>, now: Instant) -> bool {
        let is_same = |found: &&Found| found.text == text && found.place == place;
        if let Some(found) = self.found.as_ref().filter(is_same) {
            return now.duration_since(found.since) >= self.patience;
        }
        self.found = Some(Found {
            text: text.to_owned(),
            place,
            since: now,
            is_in_round: self.is_in_round,
        });
        false
    }

    /// A look has found none: what another one has found has passed. What is found when it is applied may be there still.
    pub fn has_looked(&mut self) {
        if self.found.as_ref().is_some_and(|it| !it.is_in_round) {
            self.found = None;
        }
    }

    /// All that was looked at is applied.
    pub fn has_applied(&mut self) {
        self.found = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_lasts_when_it_is_the_same_for_so_long_without_a_pause() {
        let second = Duration::from_secs;
        let begun = Instant::now();
        let at = |seconds| begun + second(seconds);
        let mut damage = Damage::new(second(30));
        assert!(!damage.lasts("a", None, at(0)));
        assert!(!damage.lasts("a", None, at(29)));
        assert!(damage.lasts("a", None, at(30)));
        // Another one, and another place.
        assert!(!damage.lasts("b", None, at(31)));
        assert!(!damage.lasts("b", Some(Lsn(1)), at(62)));
        // It has passed meanwhile.
        damage.has_looked();
        assert!(!damage.lasts("b", Some(Lsn(1)), at(100)));
        assert!(damage.lasts("b", Some(Lsn(1)), at(130)));
        // What a look does not see is only over when it is applied.
        damage.is_in_round = true;
        assert!(!damage.lasts("c", None, at(200)));
        damage.has_looked();
        assert!(damage.lasts("c", None, at(230)));
        damage.has_applied();
        assert!(!damage.lasts("c", None, at(300)));
    }
}
