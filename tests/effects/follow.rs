//! One database follows another by effects alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use effects::class::CLASSES;
use effects::common::default_grantees;
use effects::{compare, read, Context, Effect, Key, Model, Source, States, Tuples, Unhandled};
use harness::Cluster;

use crate::tuples::Sql;

/// A cluster with two databases of the same, empty, content.
pub struct Pair {
    pub cluster: Cluster,
    before: States,
}

const SOURCE: &str = "source";
const TARGET: &str = "target";

const COLUMNS: &str = "SELECT a.attrelid::pg_catalog.regclass, a.attname, a.atttypid::pg_catalog.regtype, a.atttypmod, a.attnotnull, \
     a.attislocal, a.attinhcount, a.attstorage, a.attcompression \
     FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
     WHERE c.relkind IN ('r', 'p', 'f') AND c.oid >= 16384 AND c.relnamespace <> 99 AND a.attnum > 0 AND NOT a.attisdropped";

struct Psql<'a>(&'a Cluster);

impl Source for Psql<'_> {
    type Error = String;

    fn read(&mut self, query: &'static str, oids: &[u32]) -> Result<Vec<(u32, String)>, String> {
        let list: Vec<String> = oids.iter().map(u32::to_string).collect();
        let list = format!("'{{{}}}'::pg_catalog.oid[]", list.join(","));
        let rows = crate::reader::query(self.0, SOURCE, &query.replace("$1", &list))?;
        let row = |line: &str| {
            let (oid, text) = line.split_once('\t')?;
            Some((oid.parse().ok()?, text.to_owned()))
        };
        Ok(rows.lines().filter_map(row).collect())
    }

    fn with_tuples<R>(
        &mut self,
        _objects: usize,
        mut look: impl FnMut(&mut dyn Tuples) -> Result<R, String>,
    ) -> Result<R, String> {
        look(&mut Sql::new(self.0, SOURCE))
    }
}

/// Runs commands one after the other in one session under a restore's settings.
fn psql(cluster: &Cluster, database: &str, commands: &[&str]) -> Result<String, String> {
    let mut psql = cluster.installation().command("psql");
    psql.args([
        "-X",
        "-q",
        "-A",
        "-t",
        "-F",
        "\t",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
    ]);
    psql.arg(cluster.conninfo(database));
    psql.args(["-c", "SET search_path = ''; SET check_function_bodies = off; SET client_min_messages = warning; SET jit = off"]);
    for command in commands {
        psql.args(["-c", command]);
    }
    let output = psql.output().expect("psql can be run");
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn keys(cluster: &Cluster) -> Vec<Key> {
    let catalogs: BTreeSet<u32> = CLASSES.iter().map(|class| class.catalog).collect();
    let list: Vec<String> = catalogs.iter().map(u32::to_string).collect();
    // What initdb made is there on both sides, but the schema that is the users'.
    let query = format!(
        "SELECT pg_catalog.string_agg(pg_catalog.format('SELECT %s, oid FROM pg_catalog.%I WHERE oid >= 16384 OR oid = 2200', \
         c.oid, c.relname), ' UNION ALL ') FROM pg_catalog.pg_class c WHERE c.oid IN ({})",
        list.join(", ")
    );
    static QUERY: OnceLock<String> = OnceLock::new();
    let query = QUERY
        .get_or_init(|| crate::reader::query(cluster, SOURCE, &query).expect("they have names"));
    let rows = crate::reader::query(cluster, SOURCE, query).expect("they can be read");
    let mut by_catalog: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (catalog, oid) in rows.lines().filter_map(|row| row.split_once('\t')) {
        let catalog = catalog.parse().expect("an OID");
        by_catalog.entry(catalog).or_default().push(oid);
    }
    let mut keys = Vec::new();
    for (catalog, oids) in by_catalog {
        let of_others = kinds_of_others(cluster, catalog, oids.join(","));
        let known = oids.iter().filter(|oid| !of_others.contains(**oid));
        keys.extend(known.map(|oid| Key::new(catalog, oid.parse().expect("an OID"))));
    }
    keys
}

/// Relations that no class is for; what is made of them by [`Pair::both`] is not followed.
fn kinds_of_others(cluster: &Cluster, catalog: u32, oids: String) -> BTreeSet<String> {
    if catalog != effects::key::catalog::CLASS {
        return BTreeSet::new();
    }
    let known: Vec<&str> = CLASSES
        .iter()
        .filter(|class| class.catalog == catalog)
        .flat_map(|class| class.kinds)
        .copied()
        .collect();
    let query = format!(
        "SELECT c.oid, c.relkind FROM pg_catalog.pg_class c WHERE c.oid = ANY ('{{{oids}}}'::pg_catalog.oid[])"
    );
    crate::reader::query(cluster, SOURCE, &query)
        .expect("they can be read")
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(_, kind)| !known.contains(kind))
        .map(|(oid, _)| oid.to_owned())
        .collect()
}

/// One statement, or several.
pub trait Statements {
    fn all(&self) -> Vec<&str>;
}

impl Statements for &str {
    fn all(&self) -> Vec<&str> {
        vec![self]
    }
}

impl<const N: usize> Statements for &[&str; N] {
    fn all(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl Pair {
    pub fn new() -> Pair {
        let cluster = Cluster::builder()
            .without("shared_preload_libraries")
            .start();
        for name in [SOURCE, TARGET] {
            cluster.sql_in("postgres", &format!("CREATE DATABASE {name}"));
        }
        for role in ["alice", "bob", "\"Odd role\""] {
            cluster.sql_in("postgres", &format!("CREATE ROLE {role}"));
        }
        let mut pair = Pair {
            cluster,
            before: States::default(),
        };
        pair.before = pair.state();
        pair
    }

    fn state(&self) -> States {
        let keys = keys(&self.cluster);
        read(&mut Psql(&self.cluster), &keys)
    }

    /// Runs a statement on the source; gives its effects.
    fn effects_of(&mut self, statement: &str, touching: &[&str]) -> Result<Vec<Effect>, Unhandled> {
        psql(&self.cluster, SOURCE, &[statement])
            .unwrap_or_else(|error| panic!("{error}in {statement}"));
        let after = self.state();
        let grantees = default_grantees(&mut Psql(&self.cluster));
        let context = Context {
            default_grantees: grantees.expect("they can be read"),
            ..Context::default()
        };
        let mut before = std::mem::replace(&mut self.before, after);
        let mut after = self.before.clone();
        for states in [&mut before, &mut after] {
            let is_touched =
                |model: &Model| touching.is_empty() || touching.contains(&model.class());
            states.models.retain(|_, model| is_touched(model));
        }
        compare(&before, &after, &context)
    }

    /// Each statement on the source, its effects on the target, and both compared behind each.
    pub fn follow(&mut self, statements: &[&str]) {
        self.follow_touching(&[], statements);
    }

    /// The same of statements that change the catalog rows of these classes (`schema`, …) alone: others
    /// only read differently behind them (a new name of their schema). A decoder is told by the catalogs.
    pub fn follow_touching(&mut self, classes: &[&str], statements: &[&str]) {
        for statement in statements {
            let effects = self
                .effects_of(statement, classes)
                .unwrap_or_else(|unhandled| panic!("{unhandled} in {statement}"));
            self.apply(statement, &effects);
            self.assert_same(statement, &effects);
        }
    }

    /// A statement that fails at the source and still leaves something there: an index half built.
    pub fn fails(&mut self, statement: &str) {
        psql(&self.cluster, SOURCE, &[statement]).expect_err("it fails");
        let after = self.state();
        let before = std::mem::replace(&mut self.before, after);
        let effects = compare(&before, &self.before, &Context::default());
        assert_eq!(effects, Ok(Vec::new()));
        // pg_dump shows it.
        psql(&self.cluster, SOURCE, &["DROP INDEX public.half"]).expect("it goes");
        self.follow(&["SELECT 1"]);
    }

    /// The same of one that the source may refuse: false where it does.
    pub fn try_follow(&mut self, statement: &str) -> bool {
        let attempt = format!("BEGIN; {statement}; ROLLBACK");
        if psql(&self.cluster, SOURCE, &[&attempt]).is_err() {
            return false;
        }
        self.follow(&[statement]);
        true
    }

    /// What a query gives in both databases has to be the same.
    pub fn assert_same_result(&self, query: &str, behind: &str) {
        let [source, target] =
            [SOURCE, TARGET].map(|database| psql(&self.cluster, database, &[query]).expect(query));
        assert!(
            source == target,
            "after {behind}\nthe source has\n{source}the target\n{target}"
        );
    }

    /// Runs one statement or several in both databases as they are: what a test needs and is not about.
    pub fn both(&mut self, statements: impl Statements) {
        for database in [SOURCE, TARGET] {
            psql(&self.cluster, database, &statements.all())
                .unwrap_or_else(|error| panic!("{error}"));
        }
        self.before = self.state();
    }

    /// The statement has no wording: of this class.
    pub fn assert_unhandled(&mut self, statement: &str, class: &str) {
        match self.effects_of(statement, &[]) {
            Ok(effects) => panic!("{statement} became {effects:?}"),
            Err(unhandled) => assert_eq!(unhandled.class, class, "{unhandled}"),
        }
        // The target follows by the text.
        psql(&self.cluster, TARGET, &[statement]).expect("it runs there, too");
    }

    fn apply(&self, statement: &str, effects: &[Effect]) {
        for effect in effects {
            let grantor = effect
                .grantor
                .as_ref()
                .map(|role| format!("SET ROLE {role}"));
            let mut commands: Vec<&str> = grantor.as_deref().into_iter().collect();
            commands.push(&effect.sql);
            if let Err(error) = psql(&self.cluster, TARGET, &commands) {
                panic!(
                    "{error}in {}\nan effect of {statement}\nall: {}",
                    effect.sql,
                    listed(effects)
                );
            }
        }
    }

    fn assert_same(&self, statement: &str, effects: &[Effect]) {
        let [source, target] = [SOURCE, TARGET].map(|database| self.dump(database));
        let only = |a: &[String], b: &[String]| {
            a.iter()
                .filter(|line| !b.contains(line))
                .cloned()
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert!(
            source == target,
            "after {statement}\n{}\nonly in the source:\n{}\nonly in the target:\n{}",
            listed(effects),
            only(&source, &target),
            only(&target, &source)
        );
    }

    /// pg_dump's definitions, a line each, sorted.
    fn dump(&self, database: &str) -> Vec<String> {
        let mut dump = self.cluster.installation().command("pg_dump");
        dump.args(["-s", "-d"]).arg(self.cluster.conninfo(database));
        let output = dump.output().expect("pg_dump can be run");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_content =
            |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
        let mut lines: Vec<String> = text.lines().filter(is_content).map(str::to_owned).collect();
        // What pg_dump does not say of columns.
        let columns = psql(&self.cluster, database, &[COLUMNS]).expect("columns can be read");
        lines.extend(columns.lines().map(str::to_owned));
        lines.sort();
        lines
    }
}

fn listed(effects: &[Effect]) -> String {
    effects
        .iter()
        .map(|effect| format!("{};\n", effect.sql))
        .collect()
}
