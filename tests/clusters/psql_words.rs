//! "One name, and my backup cannot be read." psql reads what is restored before the server does: it
//! counts `begin`, `case` and `end` in what begins like a function, takes `:NAME` for a variable of
//! its own, and a backslash for a command.

use fastrand::Rng;
use harness::Cluster;

/// Sends the statements as they are, in one message. (From its standard input psql would read them.)
fn send(c: &Cluster, sql: &str) -> Result<(), String> {
    let mut psql = c.installation().command("psql");
    psql.args(["-X", "-q", "-d", &c.conninfo("app"), "-c", sql]);
    let output = psql.output().expect("psql can be run");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(error)
}

#[test]
fn names_that_psql_counts_or_replaces_are_names() {
    let c = Cluster::backed_up();
    for statement in [
        "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE t (a int[], row_count int, prompt1 int, \"PORT\" int)",
        "INSERT INTO t VALUES ('{1,2,3}', 2, 1, 2)",
        "CREATE PROCEDURE \"case\"(\"end\" int) LANGUAGE sql BEGIN ATOMIC SELECT 1 AS end; END",
        "CREATE OR REPLACE FUNCTION \"end\"(a int[], row_count int) RETURNS int[] LANGUAGE sql RETURN a[1:ROW_COUNT]",
        "CREATE VIEW v AS SELECT a[1:ROW_COUNT] AS begin, a[1:PROMPT1] AS case, a[1:\"PORT\"] AS end FROM t",
        "ALTER TABLE t ADD CHECK (a[1:PROMPT1] IS NOT NULL), ALTER prompt1 SET DEFAULT ((ARRAY[1, 7])[1:1])[1]",
        "UPDATE t SET a = '{3}', prompt1 = DEFAULT",
    ] {
        send(&c, statement).unwrap_or_else(|error| panic!("{error}in: {statement}"));
    }
    let restored = c.assert_restores_both_ways();
    let value = c.sql_in(&restored.database, "SELECT \"case\", \"end\" FROM v");
    assert_eq!(value, "{3}|{3}");
}

#[test]
fn a_role_that_may_not_use_plpgsql_replays_too() {
    let c = Cluster::backed_up();
    c.sql(
        "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC; CREATE ROLE \"begin: PORT\";
         GRANT CREATE ON SCHEMA public TO \"begin: PORT\"",
    );
    c.sql("SET ROLE \"begin: PORT\"; CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    c.sql_error("SET ROLE \"begin: PORT\"; DO 'BEGIN END'");
    c.assert_restores_both_ways();
}

/// What psql knows as words, variables and signs of its own, and what ends a literal.
const WORDS: &[&str] = &[
    "begin",
    "end",
    "case",
    "atomic",
    "create",
    "function",
    "procedure",
    "or",
    "replace",
    "prompt1",
    "row_count",
    "PROMPT1",
    "ROW_COUNT",
    "VERBOSITY",
    "HISTSIZE",
    "DBNAME",
    "PORT",
    "USER",
    "ENCODING",
    "ON_ERROR_STOP",
    ":PORT",
    "a:PORT",
    ":'PORT'",
    ":\"PORT\"",
    "::PORT",
    ":{?PORT}",
    "it's",
    "a\"b",
    "a\\b",
    "\\!",
    "\\q",
    "\\;",
    "\\.",
    "$$",
    "$s$",
    "$r$",
    "$1",
    "a$b$c",
    ";",
    "--",
    "/*",
    "*/",
    "(",
    ")",
    "a\nb",
    "a\n;\nb",
    "COMMIT;",
    "é",
];

/// Those that SQL takes without quotes, as names of columns, tables and functions.
const BARE: &[&str] = &[
    "begin",
    "atomic",
    "procedure",
    "function",
    "replace",
    "PROMPT1",
    "row_count",
    "Port",
];

/// How many a seed makes at least, and how many of them the server has to take.
const STATEMENTS: u32 = 60;
const SUCCEEDED: u32 = 30;

struct Player {
    rng: Rng,
    /// Tables with the names of their columns: a number, and an array.
    tables: Vec<[String; 3]>,
    /// The one that the statement makes.
    made: Option<[String; 3]>,
    roles: Vec<String>,
}

impl Player {
    fn one<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.rng.usize(0..items.len())]
    }

    /// A name as SQL, of a word or of two.
    fn name(&mut self) -> String {
        if self.rng.u8(0..3) == 0 {
            return self.one(BARE).to_owned();
        }
        let mut name = self.one(WORDS).to_owned();
        if self.rng.bool() {
            name.push_str(self.one(WORDS));
        }
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    fn text(&mut self) -> String {
        let text = self.one(WORDS).to_owned() + self.one(WORDS);
        match self.rng.u8(0..3) {
            0 => format!("$t$ {text}$t$"),
            1 => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
            _ => format!("'{}'", text.replace('\'', "''")),
        }
    }

    fn statement(&mut self) -> String {
        let name = self.name();
        let column = self.name();
        if self.tables.is_empty() || self.rng.u8(0..6) == 0 {
            return self.table(name, column);
        }
        let [table, number, array] = self.tables[self.rng.usize(0..self.tables.len())].clone();
        let (slice, text) = (format!("{array}[1:{number}]"), self.text());
        match self.rng.u8(0..16) {
            0 => format!("CREATE FUNCTION {name}({column} int) RETURNS text LANGUAGE sql AS $f$SELECT {text}$f$"),
            1 => format!("CREATE OR REPLACE FUNCTION {name}() RETURNS SETOF int[] LANGUAGE sql BEGIN ATOMIC
                SELECT {slice} AS {column} FROM {table}; SELECT CASE WHEN true THEN {array} END AS end FROM {table}; END"),
            2 => format!("CREATE PROCEDURE {name}({column} int) LANGUAGE sql BEGIN ATOMIC SELECT {column} AS begin; END"),
            3 => format!("CREATE PROCEDURE {name}() LANGUAGE plpgsql AS $p$DECLARE {column} int; BEGIN PERFORM {text}; END$p$"),
            4 => format!("CREATE VIEW {name} AS SELECT {slice} AS {column}, {text}::text AS case FROM {table}"),
            5 => format!("ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({slice} IS NOT NULL) NOT VALID"),
            6 => format!("CREATE INDEX {name} ON {table} (({slice}))"),
            7 => format!("CREATE TYPE {name} AS ENUM ({text}, 'x')"),
            8 => format!("CREATE TYPE {name} AS ({column} int)"),
            9 => format!("COMMENT ON TABLE {table} IS {text}"),
            10 => format!("ALTER TABLE {table} ADD {column} text DEFAULT {text}"),
            11 => format!("INSERT INTO {table} VALUES ({}, '{{1,2,3}}')", self.rng.u8(0..4)),
            12 => format!("UPDATE {table} SET {number} = {number} + 1"),
            13 => format!("DELETE FROM {table} WHERE {number} = {}", self.rng.u8(0..4)),
            14 => format!("CREATE RULE {name} AS ON UPDATE TO {table} WHERE false DO ALSO SELECT NEW.{array}[1:NEW.{number}] AS {column}"),
            _ => format!("INSERT INTO {table} SELECT i % 4, ARRAY[i] FROM generate_series(1, 40) AS {name}(i)"),
        }
    }

    fn table(&mut self, name: String, number: String) -> String {
        let array = self.name();
        let make = format!(
            "CREATE TABLE {name} ({number} int, {array} int[] DEFAULT ('{{1,2}}'::int[])[1:1])"
        );
        self.made = Some([name, number, array]);
        make
    }

    /// In a role and a schema of such a name, now and then.
    fn framed(&mut self, statement: String) -> String {
        let role = self.roles[self.rng.usize(0..self.roles.len())].clone();
        match self.rng.u8(0..4) {
            0 => format!("SET ROLE {role}; {statement}"),
            1 => format!(
                "BEGIN; {statement}; SET LOCAL search_path = {role}, public; {}; COMMIT",
                self.statement()
            ),
            _ => statement,
        }
    }
}

fn words_restore(seed: u64) {
    println!("psql_words: seed {seed}");
    let c = Cluster::backed_up();
    let mut player = Player {
        rng: Rng::with_seed(seed),
        tables: Vec::new(),
        made: None,
        roles: Vec::new(),
    };
    while player.roles.len() < 3 {
        let role = player.name();
        let sql = format!(
            "CREATE ROLE {role} SUPERUSER; CREATE SCHEMA {role} AUTHORIZATION {role};
             GRANT CREATE ON SCHEMA public TO {role}"
        );
        let made = send(&c, &sql);
        player.roles.extend(made.is_ok().then_some(role));
    }
    // Names repeat, and what was made in a role's schema is seen by that role alone: how many fail is luck.
    let (mut made_up, mut succeeded) = (0, 0);
    while made_up < STATEMENTS || succeeded < SUCCEEDED {
        made_up += 1;
        assert!(
            made_up < 10 * STATEMENTS,
            "only {succeeded} of {made_up} statements succeeded"
        );
        let statement = player.statement();
        let made = player.made.take();
        let statement = player.framed(statement);
        if send(&c, &statement).is_ok() {
            succeeded += 1;
            player.tables.extend(made);
        }
    }
    c.assert_restores_both_ways();
}

#[test]
fn random_names_of_psqls_own_words_restore() {
    words_restore(1);
    let seed = std::env::var("FUZZ_SEED").ok();
    let seed = seed.map(|seed| seed.parse().expect("FUZZ_SEED is a number"));
    words_restore(seed.unwrap_or_else(|| fastrand::u64(2..1_000_000_000)));
}
