//! Every reader of bytes takes any bytes: no panic, no hang; and what it accepts is what would be
//! written, so that no two texts mean the same file.

use std::fs;

use crate::support::{at, metadata, one_of_each, write_set, Place, SLOT_START};
use archive::escape::{percent_decode, percent_encode};
use archive::globals::Facts;
use archive::layout::names::{chain_name, parse_chain_name};
use archive::layout::{BaseName, GlobalsName, SegmentName};
use archive::manifest::{self, Entry};
use archive::metadata::Metadata;
use archive::segment::Summary;
use archive::snapshot::Snapshot;
use archive::{verify, ChainDir, Lsn};
use proptest::prelude::*;

/// Bytes near a valid text: cut, changed, doubled, mixed with noise.
fn mutated(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..5u8);
    prop::collection::vec(change, 1..6).prop_map(move |changes| {
        let mut bytes = good.clone();
        for (index, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                3 => bytes.truncate(at),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes
    })
}

fn good_segment() -> Vec<u8> {
    let place = Place::new();
    let mut appender = place.append();
    one_of_each(&mut appender, 0);
    fs::read(appender.rotate(14).unwrap().unwrap().path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn names_have_one_form_only(text in "([0-9A-Fa-f]{14,18}-[0-9]{6,9}T[0-9]{5,7}Z?(\\.sql(\\.gz|\\.zst|\\.partial)?)?|chain-[0-9+ -]{0,12}|\\PC*)") {
        if let Some((name, stored)) = SegmentName::parse(&text) {
            prop_assert_eq!(name.file(stored), text.clone());
        }
        if let Some(name) = BaseName::parse(&text) {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Some(name) = GlobalsName::parse(&text) {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Some(number) = parse_chain_name(&text) {
            prop_assert_eq!(chain_name(number), text);
        }
    }

    #[test]
    fn values_have_no_second_meaning(text in "([0-9A-Fa-f+ ]{0,9}/[0-9A-Fa-f+ ]{0,9}|[0-9+]{0,21}:[0-9+]{0,21}:[0-9,+]{0,40}|\\PC*)") {
        if let Ok(lsn) = text.parse::<Lsn>() {
            prop_assert_eq!(lsn.to_string().parse::<Lsn>().ok(), Some(lsn));
        }
        if let Ok(snapshot) = text.parse::<Snapshot>() {
            prop_assert_eq!(snapshot.to_string().parse::<Snapshot>().ok(), Some(snapshot));
        }
        if let Some(bytes) = percent_decode(text.as_bytes()) {
            prop_assert_eq!(percent_decode(percent_encode(&bytes).as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn noise_is_no_segment(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let summary = Summary::of(&bytes[..]).unwrap();
        prop_assert!(summary.footer.is_none() && summary.complete == 0);
    }

    #[test]
    fn a_changed_segment_is_taken_up_to_the_change(bytes in mutated(good_segment())) {
        let summary = Summary::of(&bytes[..]).unwrap();
        prop_assert!(summary.complete <= bytes.len() as u64);
        prop_assert!(summary.torn.is_none() || summary.footer.is_none());
    }
}

/// The JSON files of an archive, each with what reads it.
#[test]
fn changed_json_is_read_as_what_it_says_or_not_at_all() {
    let place = Place::new();
    place.database.ensure_restore_files().unwrap();
    let set = write_set(&place.chain, SLOT_START, at(0), "", "").join("metadata.json");
    let base = place.path().join("metadata.json");
    fs::write(&base, metadata(SLOT_START, "740:751:745,748").to_json()).unwrap();
    let chain = place.chain.path.join("chain.json");
    let manifest = place.chain.manifest();
    let good = [&set, &base, &chain, &manifest].map(|path| fs::read(path).unwrap());
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(300)
    };
    let [set_good, base_good, chain_good, manifest_good] = good.clone();
    let all = (
        mutated(set_good),
        mutated(base_good),
        mutated(chain_good),
        mutated(manifest_good),
    );
    proptest!(config, |((set_bytes, base_bytes, chain_bytes, manifest_bytes) in all)| {
        fs::write(&set, &set_bytes).unwrap();
        drop(Facts::read(&set));
        fs::write(&base, &base_bytes).unwrap();
        if let Ok(read) = Metadata::read(&base) {
            prop_assert!(!read.to_json().is_empty());
        }
        fs::write(&chain, &chain_bytes).unwrap();
        if let Ok(read) = ChainDir::open(place.database.path(), 1) {
            prop_assert!(read.is_as_written().unwrap() == (chain_bytes == good[2]));
        }
        fs::write(&manifest, &manifest_bytes).unwrap();
        let lines: Vec<Entry> = manifest::read(&place.chain).unwrap().entries;
        let strict = manifest::read_strictly::<archive::Error>(&place.chain, &mut || Ok(())).unwrap();
        let found = verify(&place.database, &mut || {}).unwrap();
        prop_assert!(manifest_bytes == good[3] || !strict.damaged.is_empty() || lines.is_empty()
            || !found.is_empty());
    });
}
