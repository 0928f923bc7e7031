//! "A text of mine is read as something else when it is restored."

use harness::{run, Cluster};

/// Runs each of these as one query string, as whoever holds no right but to connect.
fn as_nobody(c: &Cluster, strings: &[&str]) {
    let mut command = c.installation().command("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d"]);
    command.arg(c.conninfo(c.database()));
    for string in ["SET SESSION AUTHORIZATION nobody"].iter().chain(strings) {
        command.args(["-c", string]);
    }
    run(&mut command);
}

const PAYLOAD: &str =
    "; SET LOCAL ROLE NONE; ALTER ROLE nobody SUPERUSER; CREATE TABLE public.canary (); --";

fn attacked() -> Cluster {
    let c = Cluster::backed_up();
    c.sql("CREATE ROLE nobody LOGIN; CREATE SCHEMA his AUTHORIZATION nobody");
    c.sql("SET ROLE nobody; CREATE TABLE his.t (a int PRIMARY KEY)");
    c
}

/// The archive restores to the same, and nothing else has run; the attack did not end it either.
fn assert_harmless(c: &Cluster) {
    let restored = c.assert_restores();
    assert_eq!(
        c.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'nobody'"),
        "f",
        "the restore made the attacker a superuser"
    );
    let canary = "SELECT to_regclass('public.canary') IS NULL";
    assert_eq!(c.sql_in(&restored.database, canary), "t");
    let health = c.health();
    assert!(!health.contains("emergency"), "{health}");
}

#[test]
fn a_string_that_sets_how_strings_are_read_is_recorded_as_it_was_parsed() {
    let c = attacked();
    as_nobody(
        &c,
        &[&format!(
            "SET standard_conforming_strings = off; DROP FUNCTION IF EXISTS nonexist(t('a\\'\n')){PAYLOAD}'))"
        )],
    );
    assert_harmless(&c);
}

#[test]
fn a_comment_is_a_comment_under_either_setting() {
    let c = attacked();
    as_nobody(
        &c,
        &[&format!(
            "SET standard_conforming_strings = off; COMMENT ON TABLE his.t IS 'a\\'\n'{PAYLOAD}'"
        )],
    );
    assert_harmless(&c);
}

#[test]
fn what_was_parsed_while_a_backslash_escaped_is_recorded_while_it_does_not() {
    let c = attacked();
    as_nobody(
        &c,
        &[
            "SET standard_conforming_strings = off; SET backslash_quote = on; SET escape_string_warning = off",
            &format!("SET standard_conforming_strings = on; SET backslash_quote = off; COMMENT ON COLUMN his.t.a IS 'b\\'{PAYLOAD}'"),
            "SET backslash_quote = on",
            &format!("SET backslash_quote = off; SET standard_conforming_strings = off; COMMENT ON CONSTRAINT t_pkey ON his.t IS E'c\\'{PAYLOAD}'"),
            "SET standard_conforming_strings = on",
            &format!("SET standard_conforming_strings = off; DROP TABLE IF EXISTS his.nowhere; DROP FUNCTION IF EXISTS nonexist(t('a\\'\n')){PAYLOAD}'))"),
        ],
    );
    assert_harmless(&c);
}

#[test]
fn a_function_compiled_under_one_setting_is_called_under_the_other() {
    let c = attacked();
    as_nobody(
        &c,
        &[
            &format!(
                "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN
                    COMMENT ON TABLE his.t IS 'a\\'\n'{PAYLOAD}';
                    DROP FUNCTION IF EXISTS nonexist(t('a\\'\n')){PAYLOAD}'));
                 END $f$"
            ),
            "SELECT pg_temp.f(); SET standard_conforming_strings = off; SELECT pg_temp.f()",
            "SET standard_conforming_strings = on; SELECT pg_temp.f()",
        ],
    );
    assert_harmless(&c);
}

#[test]
fn the_query_shows_no_secret_whichever_way_its_text_is_read() {
    let c = attacked();
    c.sql("CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw; GRANT USAGE ON FOREIGN SERVER s TO nobody");
    as_nobody(
        &c,
        &["SET standard_conforming_strings = off; CREATE USER MAPPING FOR nobody SERVER s OPTIONS (user 'x\\', password 'hunter1\\'\n'hunter2')"],
    );
    let shown = "SELECT query FROM ddl_history WHERE ddl_command = 'CREATE USER MAPPING'";
    let shown = c.sql(shown);
    assert!(
        shown.contains("********") && !shown.contains("hunter"),
        "{shown}"
    );
    assert_harmless(&c);
}

#[test]
fn a_text_too_deep_to_be_compared_ends_nothing() {
    let c = attacked();
    let deep = vec!["1"; 60_000].join("+");
    c.sql(&format!(
        "SET ROLE nobody; DROP FUNCTION IF EXISTS nonexist(t({deep}));
         ALTER TABLE IF EXISTS his.nowhere ADD CHECK (0 < {deep});
         CREATE TABLE IF NOT EXISTS his.t (a int DEFAULT {deep})"
    ));
    assert_harmless(&c);
}

/// What a text may be made of.
const PIECES: [&str; 22] = [
    "\\", "\\", "'", "''", "\n", "\"", "$$", "$x$", "U&", "é", "/*", "*/", "--", ";", "%", ":a",
    "\t", "E", "n", "0041", "b", " ",
];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn text(&mut self) -> String {
        (0..1 + self.below(6))
            .map(|_| PIECES[self.below(PIECES.len())])
            .collect()
    }

    /// `text` as a string constant under this setting, in one of the ways to write it.
    fn constant(&mut self, text: &str, conforming: bool) -> String {
        let quoted = text.replace('\'', "''");
        let escaped = quoted.replace('\\', "\\\\");
        let plain = if conforming { &quoted } else { &escaped };
        match self.below(6) {
            0 => format!("'{plain}'"),
            1 => format!("E'{escaped}'"),
            2 if !text.ends_with('$') && !text.contains("$do_$") => format!("$do_${text}$do_$"),
            3 if conforming => format!("U&'{}'", unicode(text, '\\')),
            4 if conforming => format!("U&'{}' /* so */ UESCAPE '!'", unicode(text, '!')),
            5 => format!("/* ' */ '{plain}' -- '\n '{plain}'"),
            _ => format!("N'{plain}'"),
        }
    }

    fn name(&mut self, text: &str) -> String {
        match self.below(3) {
            0 => format!("U&\"{}\"", unicode(text, '\\')),
            1 => format!("U&\"{}\" UESCAPE '!'", unicode(text, '!')),
            _ => format!("\"{}\"", text.replace('"', "\"\"")),
        }
    }
}

/// Every character as an escape.
fn unicode(text: &str, escape: char) -> String {
    let code = |c: char| format!("{escape}{:04x}", c as u32);
    text.chars().map(code).collect()
}

#[test]
fn names_and_constants_mean_the_same_under_either_setting() {
    let c = Cluster::backed_up();
    let mut random = Random(20_261_128);
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    for conforming in [true, false] {
        let setting = if conforming { "on" } else { "off" };
        let mut sql = format!(
            "SET standard_conforming_strings = {setting}; SET escape_string_warning = off;\n"
        );
        for number in 0..40 {
            let text = random.text();
            let name = random.name(&format!("{conforming}{number}{text}"));
            let default = random.constant(&text, conforming);
            sql.push_str(&format!(
                "ALTER TABLE t ADD {name} text DEFAULT {default};\n"
            ));
            let comment = random.constant(&format!("{number}{text}"), conforming);
            // A comment is no expression, which alone may begin with N.
            let comment = comment.trim_start_matches('N');
            sql.push_str(&format!("COMMENT ON COLUMN t.{name} IS {comment};\n"));
        }
        sql.push_str(&format!(
            "ALTER TABLE t ADD bits_{setting} varbit DEFAULT b'10'\n'01', ADD hex_{setting} varbit DEFAULT X'1F' /* ' */, \
               ADD Ünquoted_{setting} text CHECK (Ünquoted_{setting}<>'\\\\'), ADD n_{setting} text DEFAULT n'x'||$$\\$$::text;
             CREATE VIEW v_{setting} AS SELECT 'a\\\\'AS a,-1 AS \"b\"\"c\", 1.5e3 AS d/* */, ARRAY['x'
             'y', E'\\x41\\u0042'] AS e;
             INSERT INTO t (a) VALUES ({});",
            u8::from(conforming)
        ));
        c.sql(&sql);
    }
    c.assert_restores();
    let health = c.health();
    assert!(!health.contains("emergency"), "{health}");
}
