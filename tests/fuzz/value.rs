//! Random values of any type, edges among them, as SQL expressions.

use super::making::Making;

/// Built-in types that new columns have.
pub const TYPES: &[&str] = &[
    "integer",
    "integer",
    "text",
    "text",
    "bigint",
    "smallint",
    "boolean",
    "numeric",
    "numeric(10,2)",
    "real",
    "double precision",
    "character varying(20)",
    "character(6)",
    "bytea",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "time without time zone",
    "interval",
    "uuid",
    "json",
    "jsonb",
    "inet",
    "point",
    "bit varying",
    "int4range",
    "tsvector",
    "integer[]",
    "text[]",
    "numeric[]",
    "money",
    "xid",
    "\"char\"",
    "name",
    "box",
    "daterange",
    "int8multirange",
];

const TEXTS: &[&str] = &[
    "''",
    "'it''s'",
    r"E'a\\b'",
    r"E'two\nlines\r\tand a tab'",
    r"E'\nCOMMIT;\n\\! false\n'",
    "'-- @0123456789abcdef footer'",
    "'$$;$1 :name :\"q\" :''x'''",
    "'äöü 漢字 🐘'",
    "'NULL'",
    r"E'\\N'",
    r"E'\\.'",
    "' trailing '",
];

impl Making<'_> {
    /// A type for a new column: built in, or one of the session's own.
    pub fn column_type(&mut self) -> String {
        let own = &self.catalog.types;
        if !own.is_empty() && self.dice.percent(25) {
            let ty = &own[self.dice.below(own.len())];
            let array = if self.dice.percent(25) { "[]" } else { "" };
            return format!("{}{array}", ty.name);
        }
        self.dice.word(TYPES).to_string()
    }

    /// A value of the type, or NULL where that may be.
    pub fn value(&mut self, ty: &str, may_be_null: bool) -> String {
        if may_be_null && self.dice.percent(10) {
            return "NULL".into();
        }
        self.filled_value(ty)
    }

    /// A value with its type said, for where the place does not say it.
    pub fn typed_value(&mut self, ty: &str) -> String {
        format!("({})::{ty}", self.filled_value(ty))
    }

    fn filled_value(&mut self, ty: &str) -> String {
        if let Some(element) = ty.strip_suffix("[]") {
            return self.array(element);
        }
        if let Some(own) = self.catalog.find_type(ty).cloned() {
            return match own.kind {
                'e' => {
                    let label = self.dice.of(&own.labels).cloned();
                    label.unwrap_or_else(|| "NULL".into())
                }
                'd' => self.filled_value(&own.base),
                _ => {
                    let fields = own.attributes.iter();
                    let fields = fields.map(|f| {
                        let value = self.value(&f.ty, true);
                        format!("({value})::{}", f.ty)
                    });
                    let fields = fields.collect::<Vec<_>>().join(", ");
                    format!("ROW({fields})::{ty}")
                }
            };
        }
        let base = ty.split('(').next().unwrap_or(ty);
        self.built_in(base, ty)
    }

    fn array(&mut self, element: &str) -> String {
        let ty = format!("{element}[]");
        match self.dice.below(6) {
            0 => format!("'{{}}'::{ty}"),
            1 if element == "integer" => "'[-1:1]={7,NULL,9}'::integer[]".into(),
            2 if element == "integer" => "'{{1,2},{3,4}}'::integer[]".into(),
            _ => {
                let count = self.dice.below(3) + 1;
                let items: Vec<_> = (0..count).map(|_| self.value(element, true)).collect();
                format!("ARRAY[{}]::{ty}", items.join(", "))
            }
        }
    }

    fn text(&mut self) -> String {
        let n = self.dice.below(1000);
        match self.dice.below(20) {
            0..=8 => self.dice.word(TEXTS).to_string(),
            // Compressed, and out of line.
            9 => format!("repeat('long text {n} ', 3000)"),
            10 => format!(
                "(SELECT string_agg(md5((i * {n})::text), '') FROM generate_series(1, 250) i)"
            ),
            _ => format!("'text {n}'"),
        }
    }

    fn integer(&mut self, smallest: i64, largest: i64) -> String {
        match self.dice.below(12) {
            0 => format!("({smallest})"),
            1 => largest.to_string(),
            2 => "0".into(),
            3 => format!("({})", -self.dice.between(1, 30_000)),
            _ => self.dice.between(1, 3000).to_string(),
        }
    }

    fn built_in(&mut self, base: &str, ty: &str) -> String {
        let n = self.dice.below(3000);
        let small = self.dice.below(9);
        let one = |making: &mut Self, edges: &[&str], usual: String| {
            let edge = making.dice.percent(35);
            if edge {
                format!("'{}'", making.dice.word(edges))
            } else {
                usual
            }
        };
        match base {
            "smallint" => self.integer(-32_768, 32_767),
            "integer" => self.integer(-2_147_483_647, 2_147_483_647),
            "bigint" => self.integer(-9_223_372_036_854_775_807, i64::MAX),
            "numeric" if ty != "numeric" => format!("{n}.{small}5"),
            "numeric" => {
                let edges = ["NaN", "Infinity", "-0.000", "1e-30", "1e40"];
                one(self, &edges, format!("{n}.{small}00"))
            }
            "real" | "double precision" => {
                let edges = ["NaN", "-Infinity", "-0", "1e-37", "3.4e38"];
                one(self, &edges, format!("{n} / 7.0"))
            }
            "boolean" => self.dice.word(&["true", "false"]).into(),
            "money" => format!("'{n}.0{small}'"),
            "text" => self.text(),
            "character varying" => format!("'v {n} ''q'' '"),
            "character" => format!("'c{n}'"),
            "\"char\"" => self.dice.word(&["'x'", "''", "'\"'"]).into(),
            "name" => format!("'n \"{n}\"'"),
            "bytea" => {
                let edges = [r"\x", r"\x00ff5c270a", r"\xdeadbeef"];
                one(self, &edges, format!("decode(md5('{n}'), 'hex')"))
            }
            "date" | "timestamp without time zone" | "timestamp with time zone" => {
                let edges = ["infinity", "-infinity", "0044-03-15 BC", "2024-02-29"];
                let usual = format!("('2024-01-01'::date + {n})::{base}");
                one(self, &edges, usual)
            }
            "time without time zone" => one(self, &["24:00", "23:59:59.999999"], "'12:30'".into()),
            "interval" => one(
                self,
                &["1 mon -1 day +00:00:00.000001", "-178000000 years"],
                format!("'{n} min'"),
            ),
            "uuid" => format!("md5('{n}')::uuid"),
            "json" => format!(r#"'{{"b": {n},  "a": "it''s", "a": null}}'"#),
            "jsonb" => format!(r#"'{{"b": [{n}, {{}}], "a": "\" \\n"}}'"#),
            "inet" => format!("'10.1.{small}.3/8'"),
            "point" => one(self, &["(NaN,1)", "(-0,0)"], format!("'({n},{small})'")),
            "box" => format!("'({n},2),(0,0)'"),
            "bit varying" => one(self, &["", "0000000001"], "B'1011'".into()),
            "int4range" => one(self, &["empty", "(,)"], format!("'[{small},{})'", n + 10)),
            "daterange" => one(self, &["empty", "[2024-01-01,)"], "'[-infinity,)'".into()),
            "int8multirange" => one(self, &["{}"], format!("'{{[1,3),[5,{})}}'", n + 6)),
            "tsvector" => format!("'''it''''s'':1A fat:{n}B,3'"),
            "xid" => format!("'{n}'"),
            // A type that generated expressions and USING clauses made.
            _ => "NULL".into(),
        }
    }
}
