//! Chance, from one seed. Every statement has dice of its own, made from the run's seed, the
//! session, the transaction and its place in it: a statement that fails because another session
//! was faster changes nothing about the throws of later ones.

use fastrand::Rng;

pub struct Dice(Rng);

impl Dice {
    pub fn new(seed: u64, place: &[u64]) -> Self {
        let mix = |seed: u64, part: &u64| scattered(seed ^ scattered(*part));
        Self(Rng::with_seed(place.iter().fold(scattered(seed), mix)))
    }

    /// A number from 0 to `end`, without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(0..end.max(1))
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.i64(low..=high)
    }

    /// True in so many of a hundred throws.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        (!items.is_empty()).then(|| &items[self.below(items.len())])
    }

    /// One of a list that is not empty.
    pub fn word<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// The position of a weight, each as likely as it is heavy.
    pub fn weighted(&mut self, weights: impl Iterator<Item = usize> + Clone) -> usize {
        let total = weights.clone().sum();
        let mut left = self.below(total);
        let mut last = 0;
        for (position, weight) in weights.enumerate() {
            if left < weight {
                return position;
            }
            left -= weight;
            last = position;
        }
        last
    }
}

/// The finalizer of splitmix64: numbers that differ in one bit become numbers that differ in half
/// of them. Without it neighbouring statements would throw alike.
fn scattered(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
