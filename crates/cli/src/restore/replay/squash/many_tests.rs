//! Random lines, collected many at once and one by one, by forms that are known and by the parser alone: the same net effect.

#![allow(clippy::unwrap_used)]

use super::super::definition::{Column, Definition, Key, KeyColumn};
use super::super::table::{Collected, Table, Taken};
use super::*;

const NAMES: [&str; 2] = ["public.a", "public.\"b (\""];

/// `id` and `part` are the key; `c` and `d` are others.
fn table(name: &str) -> Table {
    let column = |name: &str| Column {
        name: name.as_bytes().to_vec(),
        quoted: name.as_bytes().to_vec(),
        domain: None,
        is_generated: false,
        is_identity_always: false,
    };
    let part = |column| KeyColumn {
        column,
        operator: b"=".to_vec(),
    };
    let definition = Definition::Table {
        columns: ["id", "part", "c", "d"].map(column).into(),
        keys: vec![Key {
            columns: vec![part(0), part(1)],
            is_only: true,
        }],
        is_partition: false,
    };
    Table::new(name.as_bytes().to_vec(), definition)
}

/// Small and repeatable.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }

    /// Line `nth`; one of `odd` is not to be collected, or may not be.
    fn line(&mut self, nth: usize, odd: usize) -> String {
        let name = self.of(&NAMES);
        let is_odd = self.below(odd) == 0;
        let ids = [
            "1", "2", "3", "4", "5", "6", "-7", "'x y'", "E'a\\tb'", "'it''s'",
        ];
        let (id, fresh) = (self.of(&ids), 1000 + nth);
        let part = self.of(&["1", "1", "1", "'p'"]);
        let values = [
            "1",
            "null",
            "'a WHERE id = 1;'",
            "E'\\\\\\''",
            "B'01'",
            "true",
            "-1.5e-7",
            "''",
        ];
        let value = self.of(&values);
        let was = self.of(&["", "", "", " /* was c = 'x'' WHERE' */"]);
        let key = format!("id = {id} AND part = {part}");
        match self.below(if is_odd { 5 } else { 12 }) {
            0 if is_odd => {
                format!("INSERT INTO {name} (id, part, c) VALUES ({fresh}, 1, {value});")
            }
            1 if is_odd => format!("UPDATE {name} SET c = {value} WHERE id = {id};"),
            2 if is_odd => format!("UPDATE {name} SET c = f(x) WHERE {key};"),
            3 if is_odd => format!("DELETE FROM {name} WHERE id = null AND part = 1;"),
            4 if is_odd => format!("UPDATE {name} SET id = 1, part = 1 WHERE {key};"),
            0 => {
                format!("INSERT INTO {name} (id, part, c, d) VALUES ({fresh}, {part}, {value}, 1);")
            }
            1 => format!("DELETE FROM {name} WHERE {key};"),
            2 => format!("DELETE FROM ONLY {name} WHERE part = {part} AND id = {id}{was};"),
            3 => format!("UPDATE {name} SET id = {fresh}, part = {part} WHERE {key};"),
            4 | 5 => format!("UPDATE {name} SET d = {value} WHERE {key}{was};"),
            6 => format!("UPDATE {name} SET c = {value} WHERE {key}{was};"),
            _ => format!(
                "UPDATE {name} SET id = {id}, part = {part}, c = {value}, d = 'x' WHERE {key};"
            ),
        }
    }
}

/// What became of lines: nets that were taken, and lines that were given back, in their order for each table.
#[derive(Default, Debug, PartialEq)]
struct Became {
    done: [Vec<String>; 2],
    rows: [i64; 2],
}

impl Became {
    fn took(&mut self, nth: usize, table: &mut Table) {
        let bytes = table.bytes;
        match table.take() {
            Collected::Few(lines) => self.done[nth].push(format!("{lines:?}")),
            Collected::Net(net) => {
                let rows = net.into_rows().map(|row| {
                    let texts: Vec<_> = row.layers().map(|layer| shown(&layer.text)).collect();
                    let key = |key: &Option<super::super::key::Key>| key.as_deref().map(shown);
                    let place = (row.place.file, row.place.line);
                    format!(
                        "{:?} {:?} {texts:?} {place:?}",
                        key(&row.origin),
                        key(&row.key)
                    )
                });
                let mut rows: Vec<String> = rows.collect();
                rows.sort();
                self.done[nth].push(format!("{bytes} {}", rows.join("\n")));
            }
        }
    }

    /// The way of a single line, as far as it is without a server.
    fn one(&mut self, squash: &mut Squash, number: u64, text: &str) {
        let (operation, name) = statement::head(text.as_bytes()).unwrap();
        let at = squash.find(name).unwrap();
        let place = squash.place("f", number);
        let table = &mut squash.tables[at];
        self.rows[at] += match operation {
            Operation::Insert => 1,
            Operation::Update => 0,
            Operation::Delete => -1,
        };
        if let Taken::Not(text) = table.add(operation, place, text.as_bytes().to_vec()) {
            self.took(at, table);
            self.done[at].push(shown(&text));
        }
        squash.bytes = squash.tables.iter().map(|table| table.bytes).sum();
    }
}

fn shown(text: &[u8]) -> String {
    String::from_utf8(text.to_vec()).unwrap()
}

fn squash() -> Squash {
    let mut squash = Squash::new(1 << 30);
    for (nth, name) in NAMES.iter().enumerate() {
        squash.tables.push(table(name));
        squash.by_name.insert(name.as_bytes().to_vec(), nth);
    }
    squash
}

fn end(mut became: Became, mut squash: Squash) -> Became {
    for nth in 0..NAMES.len() {
        became.took(nth, &mut squash.tables[nth]);
    }
    became
}

/// The lines from this number on, many at once; how many of them came that way.
fn many(lines: &[String], became: &mut Became, squash: &mut Squash) -> u64 {
    let text = lines.join("\n") + "\n";
    let (mut rest, mut number, mut passed_over) = (&text[..], 1, 0);
    loop {
        let passed = squash.pass_known("f", number, rest.as_bytes());
        passed_over += passed.lines;
        number += passed.lines;
        rest = &rest[passed.bytes..];
        became.rows[passed.table] += passed.rows;
        let Some((line, behind)) = rest.split_once('\n') else {
            return passed_over;
        };
        became.one(squash, number, line);
        (rest, number) = (behind, number + 1);
    }
}

#[test]
fn many_lines_at_once_have_the_net_effect_of_each_by_itself() {
    let (mut passed, mut all) = (0, 0);
    for seed in 1..300_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Behind one that is executed as it is, what is collected begins again.
        let odd = [20, 200, 2000][dice.below(3)];
        let lines: Vec<String> = (0..400).map(|nth| dice.line(nth, odd)).collect();
        let (mut by_parser, mut one_by_one, mut at_once) =
            (Became::default(), Became::default(), Became::default());
        let (mut parsed, mut single, mut run) = (squash(), squash(), squash());
        for (line, number) in lines.iter().zip(1..) {
            parsed.tables.iter_mut().for_each(Table::forget_forms);
            by_parser.one(&mut parsed, number, line);
            one_by_one.one(&mut single, number, line);
        }
        passed += many(&lines, &mut at_once, &mut run);
        all += lines.len() as u64;
        assert_eq!(run.bytes, single.bytes, "seed {seed}");
        let by_parser = end(by_parser, parsed);
        assert_eq!(end(one_by_one, single), by_parser, "seed {seed}");
        assert_eq!(end(at_once, run), by_parser, "seed {seed}");
    }
    assert!(passed > all / 20, "{passed} of {all} lines at once");
}

#[test]
fn lines_are_collected_at_once_up_to_the_limit() {
    let line = |id: u32| format!("UPDATE public.a SET c = 1 WHERE id = {id} AND part = 1;");
    let lines: Vec<String> = (0..1000).map(line).collect();
    let (mut became, mut run) = (Became::default(), squash());
    run.most = 100_000;
    let text = lines.join("\n") + "\n";
    for (line, number) in lines.iter().zip(1..=65) {
        became.one(&mut run, number, line);
    }
    let passed = run.pass_known("f", 1, text.as_bytes());
    assert!(passed.lines > 65 && passed.lines < 1000);
    assert!(run.bytes >= run.most && run.bytes < run.most + 1000);
    assert_eq!(run.pass_known("f", 1, text.as_bytes()).lines, 0);
}
