//! The scanner takes any bytes: it never panics, never hangs, never needs more than bounded memory,
//! and never calls complete what is not.

use std::fs;
use std::io::{self, Read};

use crate::support::{effects, one_of_each, Place};
use archive::segment::{Event, Scanner, Summary};

/// A small generator of repeatable noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }
}

fn good_segment() -> Vec<u8> {
    let place = Place::new();
    let mut appender = place.append();
    one_of_each(&mut appender, 0);
    effects(&mut appender, 0);
    fs::read(appender.rotate(14).unwrap().unwrap().path).unwrap()
}

#[test]
fn any_change_of_a_byte_is_taken_without_panic() {
    let good = good_segment();
    for position in 0..good.len() {
        for flip in [1u8, 0x20, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[position] ^= flip;
            let summary = Summary::of(&bytes[..]).unwrap();
            assert!(summary.complete <= bytes.len() as u64);
        }
    }
}

#[test]
fn a_scanner_goes_on_wherever_another_one_stood() {
    let good = good_segment();
    let rest = |scanner: &mut Scanner<&[u8]>| -> Vec<(u64, Event)> {
        let next = || Some((scanner.number(), scanner.next_event().unwrap()?));
        std::iter::from_fn(next).collect()
    };
    let mut scanner = Scanner::new(&good[..]);
    let mut stood = 0;
    while scanner.next_event().unwrap().is_some() {
        let Some(standing) = scanner.standing() else {
            continue;
        };
        stood += 1;
        let offset = usize::try_from(standing.offset()).unwrap();
        let mut other = Scanner::going_on(&good[offset..], &standing);
        let mut same = Scanner::new(&good[..]);
        while same.offset() < standing.offset() {
            same.next_event().unwrap();
        }
        assert_eq!(rest(&mut other), rest(&mut same), "at byte {offset}");
        assert_eq!(other.complete_offset(), same.complete_offset());
    }
    assert!(stood > 3, "it stood {stood} times between transactions");
}

#[test]
fn noise_and_shuffled_lines_are_taken_without_panic() {
    let good = good_segment();
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    let mut noise = Noise(42);
    for _ in 0..2000 {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(lines[0]);
        bytes.extend_from_slice(lines[1]);
        bytes.extend_from_slice(lines[2]);
        for _ in 0..noise.next() % 40 {
            bytes.extend_from_slice(lines[noise.next() as usize % lines.len()]);
        }
        if noise.next().is_multiple_of(2) {
            let position = noise.next() as usize % bytes.len();
            bytes.truncate(position);
        }
        Summary::of(&bytes[..]).unwrap();
    }
    for length in 0..500 {
        let bytes: Vec<u8> = (0..length).map(|_| noise.next() as u8).collect();
        let summary = Summary::of(&bytes[..]).unwrap();
        assert_eq!((summary.complete, summary.torn.is_some()), (0, true));
    }
}

#[test]
fn what_poses_as_structure_is_content() {
    let summary = Summary::of(&good_segment()[..]).unwrap();
    assert_eq!(summary.torn, None);
    assert_eq!(summary.contradiction, None);
    assert_eq!(
        (summary.tally.transactions, summary.tally.statements),
        (5, 8)
    );
    assert_eq!(summary.footer, Some(summary.tally.footer()));
}

#[test]
fn a_footer_that_lies_is_a_contradiction() {
    let good = String::from_utf8(good_segment()).unwrap();
    let lie = good.replace("transactions=5", "transactions=6");
    let summary = Summary::of(lie.as_bytes()).unwrap();
    assert!(summary.contradiction.is_some());
}

#[test]
fn an_endless_line_needs_no_memory() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(self.0 as usize);
            buffer[..count].fill(b'x');
            self.0 -= count as u64;
            Ok(count)
        }
    }
    let start = good_segment();
    let end = start
        .windows(7)
        .position(|window| window == b"BEGIN;\n")
        .unwrap()
        + 7;
    let mut scanner = Scanner::new(start[..end].chain(Endless(256 << 20)));
    let mut last = None;
    while let Some(event) = scanner.next_event().unwrap() {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Torn { offset: 0, .. })));
}

#[test]
fn an_error_of_the_reader_is_an_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let start = good_segment();
    assert!(Summary::of(start[..200].chain(Broken)).is_err());
}
