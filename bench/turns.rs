//! Everybody in turn, again and again, so that what disturbs the machine disturbs all of them.

/// Each round begins with another one; `take` gets the round, counted from 1, and whose turn it is.
pub fn alternate<T>(all: &mut [T], repeats: usize, mut take: impl FnMut(usize, &mut T)) {
    let count = all.len();
    for round in 0..repeats {
        for place in 0..count {
            take(round + 1, &mut all[(place + round) % count]);
        }
    }
}
