//! The values that a block of a segment may contain: a Bloom filter, and its hash function.
//!
//! The hash is our own, and must not change: it is stored in files.

use super::literal::{plain_number, Value};

/// Bits for each value: a false positive rate of 0.3 percent.
const BITS: u64 = 12;
const PROBES: u64 = 8;

/// Hashes the value of a column of a table.
pub fn value_hash(schema: &[u8], table: &[u8], column: &[u8], value: &Value<'_>) -> u64 {
    of_value(column_hash(schema, table, column), value)
}

/// The part of [`value_hash`] that is the same for all values of a column.
pub fn column_hash(schema: &[u8], table: &[u8], column: &[u8]) -> u64 {
    [schema, table, column]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, part| {
            add(add(hash, part), &[0])
        })
}

/// The rest of it.
pub fn of_value(column: u64, value: &Value<'_>) -> u64 {
    mix(match value {
        Value::Null => add(column, &[1]),
        Value::Text(text) => add(add(column, &[2]), plain_number(text)),
    })
}

/// Hashes a name in the text of DDL.
pub fn ddl_hash(name: &[u8]) -> u64 {
    mix(add(add(0xcbf2_9ce4_8422_2325, b"ddl"), name))
}

/// FNV-1a.
fn add(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finalizer of splitmix64: every bit depends on every other.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The filter of these hashes, as bytes.
pub fn build(hashes: &mut Vec<u64>) -> Vec<u8> {
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.is_empty() {
        return Vec::new();
    }
    let bytes = (hashes.len() as u64 * BITS).div_ceil(8);
    let mut filter = vec![0; bytes as usize];
    for hash in hashes.iter() {
        for bit in probes(*hash, bytes * 8) {
            filter[(bit / 8) as usize] |= 1 << (bit % 8);
        }
    }
    filter
}

/// False if the filter certainly does not contain it.
pub fn may_hold(filter: &[u8], hash: u64) -> bool {
    let bits = filter.len() as u64 * 8;
    bits > 0 && probes(hash, bits).all(|bit| filter[(bit / 8) as usize] & (1 << (bit % 8)) != 0)
}

fn probes(hash: u64, bits: u64) -> impl Iterator<Item = u64> {
    let (start, step) = (hash >> 32, (hash & 0xffff_ffff) | 1);
    (0..PROBES).map(move |nth| start.wrapping_add(step.wrapping_mul(nth)) % bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        value_hash(b"public", b"t", b"id", &Value::text(&number.to_string()))
    }

    #[test]
    fn nothing_that_is_there_is_missed_and_little_else_is_found() {
        let mut hashes: Vec<u64> = (0..10_000).map(hash).collect();
        let filter = build(&mut hashes);
        assert!((0..10_000).all(|number| may_hold(&filter, hash(number))));
        let wrong = (10_000..110_000)
            .filter(|n| may_hold(&filter, hash(*n)))
            .count();
        assert!(wrong < 1000, "{wrong} of 100000");
        assert!(!may_hold(&build(&mut Vec::new()), hash(1)));
    }

    #[test]
    fn the_hash_stays_what_it_is() {
        assert_eq!(ddl_hash(b"orders"), 17_542_586_574_441_193_714);
        let null = value_hash(b"public", b"t", b"id", &Value::Null);
        assert_ne!(null, value_hash(b"public", b"t", b"id", &Value::text("")));
        let one = value_hash(b"public", b"t", b"id", &Value::text("1.00"));
        assert_eq!(one, value_hash(b"public", b"t", b"id", &Value::text("1")));
    }
}
