//! Values of every type: the edges, written down; random ones, from a seed; and arrays of both.

use fastrand::Rng;
use harness::Cluster;

use super::type_edges::{EDGES, EXTENSIONS, PREPARATION};

/// How many random values each type gets beside its edges.
const RANDOM: usize = 6;

/// A type's name, and SQL expressions for values of it.
pub struct Type {
    pub name: String,
    pub values: Vec<String>,
}

/// Makes the types and extensions, and gives all types with the values that this server can make.
pub fn prepare(cluster: &Cluster) -> Vec<Type> {
    cluster.sql(PREPARATION);
    let seed = std::env::var("FUZZ_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("the random values come from FUZZ_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut types: Vec<Type> = EDGES
        .iter()
        .map(|(name, edges)| of(&mut rng, name, edges))
        .collect();
    if cluster.try_sql("SELECT '<a/>'::xml").is_ok() {
        types.push(of(&mut rng, "xml", XML));
    } else {
        harness::skipped_in_part("type xml: built without XML");
    }
    for (extension, name, edges) in EXTENSIONS {
        let create = format!("CREATE EXTENSION IF NOT EXISTS {extension} SCHEMA public");
        match cluster.try_sql(&create) {
            Ok(_) => types.push(of(&mut rng, name, edges)),
            Err(_) => harness::skipped_in_part(&format!("type {name}: no extension {extension}")),
        }
    }
    let arrays: Vec<Type> = types.iter().filter_map(array_of).collect();
    types.extend(arrays);
    types
}

const XML: &[&str] = &[
    "'<a b=\"c\">&amp;</a>'",
    "'text <b/>'",
    "'<!-- x --><z/>'",
    r#"'<?xml version="1.0" encoding="UTF-8"?><a>ä</a>'"#,
    "''",
];

fn of(rng: &mut Rng, name: &str, edges: &[&str]) -> Type {
    let random = (0..RANDOM).filter_map(|_| random(rng, name));
    let values = edges.iter().map(|edge| edge.to_string()).chain(random);
    Type {
        name: name.into(),
        values: values.collect(),
    }
}

/// Arrays of the type: empty, flat, of two dimensions, with lower bounds, with NULLs.
fn array_of(ty: &Type) -> Option<Type> {
    // These are arrays themselves, or too long to be had many times.
    if ty.name.ends_with("[]") || matches!(ty.name.as_str(), "text" | "bytea") {
        return None;
    }
    let name = format!("{}[]", ty.name);
    let value = |nth: usize| format!("({})::{}", ty.values[nth % ty.values.len()], ty.name);
    let (first, second) = (value(0), value(1));
    // PostgreSQL's own array of boxes has another delimiter, which its text shows.
    let flat = format!("ARRAY[{first}, NULL, {second}]::{name}");
    let values = vec![
        format!("'{{}}'::{name}"),
        format!("('[-2:0]=' || ({flat})::text)::{name}"),
        format!("ARRAY[ARRAY[{first}, {second}], ARRAY[NULL, {first}]]::{name}"),
        flat,
    ];
    Some(Type { name, values })
}

/// A random value of a type that has more values than its edges show.
fn random(rng: &mut Rng, name: &str) -> Option<String> {
    let any = rng.u64(..);
    // Of every size, not only the largest.
    let number = (rng.i64(..) >> rng.u32(0..63)).max(-i64::MAX);
    let small = number % 30_000;
    Some(match name {
        "smallint" => format!("({small})"),
        "integer" => format!("({})", number as i32),
        "bigint" => format!("({number})"),
        "oid" | "xid" | "cid" => format!("'{}'", any as u32),
        "xid8" => format!("'{any}'"),
        "numeric" => numeric(rng),
        "numeric(10,2)" => format!("{small}.{:02}", any % 100),
        "money" => format!("'{}.{:02}'", number / 100_000, any % 100),
        "real" => format!("'{:e}'", finite(|| f64::from(f32::from_bits(rng.u32(..))))),
        "double precision" => format!("'{:e}'", float(rng)),
        "text" => text(rng, 60),
        "varchar(5)" | "character(5)" => text(rng, 5),
        "name" => text(rng, 20),
        "bytea" => format!(r"'\x{}'", hex(rng, 30)),
        "bit(9)" => format!("B'{:09b}'", any % 512),
        "bit varying" => format!("B'{:b}'", any >> (any % 60)),
        "date" => format!("'2000-01-01'::date + ({})", number % 1_000_000),
        "time" => format!("'00:00'::time + '{} us'", any % 86_400_000_000),
        "timetz" => format!(
            "'12:{:02}:00.{:06}{:+03}:{:02}:{:02}'",
            any % 60,
            any % 1_000_000,
            small % 15,
            any % 60,
            any % 59
        ),
        "timestamp" | "timestamptz" => {
            format!(
                "'2000-01-01 00:00:00'::{name} + '{} us'",
                number % 60_000_000_000_000_000
            )
        }
        "interval" => format!(
            "'{small} mons {} days {} us'",
            number as i32,
            number % 1_000_000_000_000_000
        ),
        "uuid" => format!("'{any:016x}{:016x}'", rng.u64(..)),
        "inet" => format!("'{}.{}.0.{}/{}'", any % 256, any % 199, any % 99, any % 33),
        "macaddr" => format!("'{:012x}'", any >> 16),
        "macaddr8" => format!("'{any:016x}'"),
        "json" | "jsonb" => format!("to_{name}({}::text)", text(rng, 20)),
        "point" => format!("point({}, {})", sql_float(rng), sql_float(rng)),
        "lseg" | "box" => format!(
            "{name}(point({small}.1, {}), point(-0.1, {}))",
            sql_float(rng),
            sql_float(rng)
        ),
        "circle" => format!("circle(point({}, 1), {})", sql_float(rng), any % 1000),
        "int4range" => format!("int4range({small}, {}, '[]')", small + 5),
        "int8range" => format!("int8range({small}, NULL, '(]')"),
        "numrange" => format!("numrange({small}.10, {}.000, '(]')", small + 1),
        "daterange" => format!("daterange('2000-01-01'::date + {small}, NULL)"),
        "tsrange" => format!(
            "tsrange('2000-01-01', '2000-01-01'::timestamp + '{} us')",
            any >> 20
        ),
        "int8multirange" => format!("int8multirange(int8range({small}, NULL))"),
        "pg_lsn" => format!("'{:X}/{:X}'", any >> 32, any as u32),
        "tid" => format!("'({},{})'", any as u32, any % 60_000),
        "tsvector" => format!("array_to_tsvector(ARRAY[{}, {}])", word(rng), word(rng)),
        "tsquery" => format!(
            "{}::tsquery",
            quoted(&format!("'w{small}' & !'x{any}':*AB"))
        ),
        "cube" => format!("cube({}, {small})", sql_float(rng)),
        "hstore" => format!("hstore({}, {})", text(rng, 9), text(rng, 9)),
        "citext" => text(rng, 20),
        "seg" => format!("'{small}.{:02} .. 40000'", any % 100),
        "ltree" => format!("'a{any}.b'"),
        "edge.pair" => format!("ROW({small}, {})", text(rng, 9)),
        "edge.span" => format!("edge.span(NULL, {})", text(rng, 9)),
        _ => return None,
    })
}

fn float(rng: &mut Rng) -> f64 {
    finite(|| f64::from_bits(rng.u64(..)))
}

fn sql_float(rng: &mut Rng) -> String {
    format!("'{:e}'::float8", float(rng))
}

fn finite(mut next: impl FnMut() -> f64) -> f64 {
    loop {
        let number = next();
        if number.is_finite() {
            return number;
        }
    }
}

fn numeric(rng: &mut Rng) -> String {
    let digits = |rng: &mut Rng, most: usize| -> String {
        (0..rng.usize(1..most)).map(|_| rng.digit(10)).collect()
    };
    let sign = if rng.bool() { "-" } else { "" };
    format!("({sign}{}.{})", digits(rng, 40), digits(rng, 40))
}

fn hex(rng: &mut Rng, most: usize) -> String {
    let bytes = (0..rng.usize(0..most)).map(|_| format!("{:02x}", rng.u8(..)));
    bytes.collect()
}

/// Characters that some reader might trip over, among ordinary ones.
const CHARACTERS: [char; 24] = [
    'a', 'B', '0', ' ', '\'', '"', '\\', '\n', '\r', '\t', '$', ':', ';', '-', '{', '}', ',', '(',
    '\u{7f}', 'ä', '漢', '🐘', '\u{feff}', '\u{2028}',
];

fn text(rng: &mut Rng, most: usize) -> String {
    let length = rng.usize(0..=most);
    let text: String = (0..length)
        .map(|_| CHARACTERS[rng.usize(..CHARACTERS.len())])
        .collect();
    quoted(&text)
}

/// A lexeme, which is never empty.
fn word(rng: &mut Rng) -> String {
    let word = text(rng, 8);
    format!("'w' || {word}")
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('\'', "''");
    format!(
        "E'{}'",
        text.replace('\n', r"\n")
            .replace('\r', r"\r")
            .replace('\t', r"\t")
    )
}
