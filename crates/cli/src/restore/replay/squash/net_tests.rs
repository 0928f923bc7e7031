//! Random sequences of changes against a map of rows: what the net effect makes of the rows before is what the changes make
//! of them one by one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;

const COLUMNS: usize = 4;

/// A row's values; the lines of the test are values by columns, as `0=a 2=b`.
type Values = [u32; COLUMNS];

fn text(values: &[(usize, u32)]) -> Vec<u8> {
    let words: Vec<String> = values.iter().map(|(c, v)| format!("{c}={v}")).collect();
    words.join(" ").into_bytes()
}

fn put(values: &mut [Option<u32>; COLUMNS], text: &[u8]) {
    for word in std::str::from_utf8(text).unwrap().split(' ') {
        let (column, value) = word.split_once('=').unwrap();
        values[column.parse::<usize>().unwrap()] = Some(value.parse().unwrap());
    }
}

/// The net effect on the rows before: rows that change or go are taken out, then they and new ones are put in.
fn applied(net: Net, before: &BTreeMap<u32, Values>) -> BTreeMap<u32, Values> {
    let number = |key: &Key| std::str::from_utf8(key).unwrap().parse::<u32>().unwrap();
    let mut after = before.clone();
    let rows: Vec<Row> = net.into_rows().collect();
    let mut taken = Vec::new();
    for row in &rows {
        let origin = row.origin.as_ref().map(number);
        let old = origin.map(|origin| after.remove(&origin).expect("it is there, once"));
        taken.push(old);
    }
    for (row, old) in rows.iter().zip(taken) {
        let Some(key) = &row.key else {
            assert_eq!(row.layers().count(), 0);
            continue;
        };
        let mut values = [None; COLUMNS];
        if let Some(old) = old {
            values = old.map(Some);
        }
        for layer in row.layers() {
            put(&mut values, &layer.text);
        }
        let new = values.map(|value| value.expect("an INSERT sets all"));
        assert!(after.insert(number(key), new).is_none(), "it is there");
    }
    after
}

/// Small and repeatable: no crate of random numbers is among the dependencies.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap() % limit
    }
}

fn round(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut rows: BTreeMap<u32, Values> = (0..6).map(|key| (key, [key; COLUMNS])).collect();
    let before = rows.clone();
    let mut net = Net::default();
    let mut shapes: Vec<Rc<Columns>> = Vec::new();
    let all: Vec<usize> = (0..COLUMNS).collect();
    for step in 0..u64::from(dice.below(60)) {
        let place = Place {
            file: 0,
            line: step,
        };
        let value = 100 + u32::try_from(step).unwrap();
        let mut sets = |columns: &[usize]| {
            let known = shapes.iter().find(|shape| shape.order == columns);
            let shape = known.map_or_else(|| of(columns), Rc::clone);
            shapes.push(Rc::clone(&shape));
            shape
        };
        let key = dice.below(10);
        let written = key.to_string().into_bytes();
        let Some(mut values) = rows.get(&key).copied() else {
            let line: Vec<_> = all.iter().map(|column| (*column, value)).collect();
            net.insert(&written, &sets(&all), &text(&line), place);
            rows.insert(key, [value; COLUMNS]);
            continue;
        };
        if dice.below(4) == 0 {
            net.delete(&written, place);
            rows.remove(&key);
            continue;
        }
        let mut set: Vec<usize> = all.iter().copied().filter(|_| dice.below(2) == 0).collect();
        if set.is_empty() {
            set.push(1);
        }
        let other = dice.below(10);
        let new = (dice.below(3) == 0 && !rows.contains_key(&other)).then_some(other);
        let new_written = new.unwrap_or(key).to_string().into_bytes();
        let line: Vec<_> = set.iter().map(|column| (*column, value)).collect();
        net.update((&written, &new_written), &sets(&set), &text(&line), place);
        rows.remove(&key);
        set.iter().for_each(|column| values[*column] = value);
        rows.insert(new.unwrap_or(key), values);
    }
    assert_eq!(applied(net, &before), rows, "seed {seed}");
}

#[test]
fn the_net_effect_is_what_the_changes_make_one_by_one() {
    (0..20_000).for_each(round);
}

fn of(columns: &[usize]) -> Rc<Columns> {
    Rc::new(Columns::of(columns.to_vec()))
}

const PLACE: Place = Place { file: 0, line: 1 };

#[test]
fn fifty_updates_take_the_memory_of_one() {
    let (mut net, sets) = (Net::default(), of(&[0, 1]));
    net.update((b"1", b"1"), &sets, b"0=1 1=00", PLACE);
    let one = net.bytes();
    for value in 10..60 {
        let line = format!("0=1 1={value}").into_bytes();
        net.update((b"1", b"1"), &sets, &line, PLACE);
    }
    assert_eq!(net.bytes(), one);
    let rows: Vec<Row> = net.into_rows().collect();
    assert_eq!(rows.len(), 1);
    let texts: Vec<_> = rows[0].layers().map(|layer| &layer.text[..]).collect();
    assert_eq!(texts, [b"0=1 1=59"]);
}

/// A queue, whose jobs lose their payload when they are done.
#[test]
fn a_short_line_does_not_keep_the_room_of_a_long_one() {
    let (mut net, sets) = (Net::default(), of(&[0, 1]));
    let long = format!("0=1 1={}", "1".repeat(500_000)).into_bytes();
    for key in 0..100_u32 {
        let key = key.to_string().into_bytes();
        net.insert(&key, &sets, &long, PLACE);
        net.update((&key, &key), &sets, b"0=1 1=0", PLACE);
    }
    assert!(net.bytes() < 100 * 1000, "{}", net.bytes());
    let mut rows = net.into_rows();
    assert!(rows.all(|row| row.layers().all(|layer| layer.text.capacity() < 100)));
}

#[test]
fn a_row_that_comes_and_goes_leaves_nothing() {
    let (mut net, sets) = (Net::default(), of(&[0, 1]));
    for _ in 0..1000 {
        net.insert(b"1", &sets, b"0=1 1=2", PLACE);
        net.update((b"1", b"2"), &sets, b"0=2 1=2", PLACE);
        net.delete(b"2", PLACE);
    }
    assert_eq!((net.len(), net.bytes(), net.rows.len()), (0, 0, 1));
}

#[test]
fn columns_beyond_a_word_are_columns() {
    let (few, many) = (of(&[1, 70]), of(&[1, 2, 70, 1599]));
    assert!(many.covers(&few) && !few.covers(&many));
    assert!(many.has(1599) && !many.has(1598) && !few.has(1599));
}
