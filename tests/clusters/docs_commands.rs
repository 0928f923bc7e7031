//! Every command in the documentation is run, in the order of its page, on a database like the one that
//! the pages speak of.
//!
//! A fenced block says what it is: `sql` goes to psql in the database `shop`, `sh` to a shell of the
//! server's user, `conf` into postgresql.conf; `text` is output. What stands there as an example (paths, a
//! time, an LSN) is replaced by what holds in the test. Not run here: what `make` does, which CI runs, and
//! the recipes of docs/offsite.md, which have tests of their own (offsite_recipes.rs).

use harness::{program_directory, run, Cluster};
use std::fs;
use std::path::PathBuf;

pub fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A fenced block of a page.
pub struct Block {
    line: usize,
    pub heading: String,
    pub language: String,
    pub text: String,
}

pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut heading = String::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block {
                    line: number + 1,
                    heading: heading.clone(),
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) if line.starts_with('#') => heading = line.to_owned(),
            (None, None) => {}
        }
    }
    blocks
}

/// The shop, backed up, and what the pages' examples are called here.
pub struct Shop {
    pub cluster: Cluster,
    pub examples: Vec<(&'static str, String)>,
}

impl Shop {
    pub fn new() -> Self {
        let c = Cluster::builder().database("shop").back_up();
        c.sql("CREATE TABLE orders (id int PRIMARY KEY, item text, amount int DEFAULT 1)");
        c.sql("CREATE TABLE stock (item text, left_over int)");
        c.sql("INSERT INTO stock VALUES ('tea', 11), ('mate', 5)");
        c.sql("CREATE TABLE prices (item text PRIMARY KEY, price numeric)");
        c.sql("CREATE VIEW open_orders AS SELECT * FROM orders WHERE amount > 0");
        let transaction = "INSERT INTO orders VALUES (1, 'tea') RETURNING pg_current_xact_id()";
        let xid = c.sql(transaction);
        c.sql("INSERT INTO orders VALUES (42, 'mate', 2), (43, 'tea', 1)");
        c.sql("SELECT incr_rotate()");
        let moment = c.sql("SELECT to_char(clock_timestamp(), 'YYYY-MM-DD HH24:MI:SS.USOF')");
        let lsn = c.flush();
        // What somebody did by mistake, and wants back.
        let deletion =
            "BEGIN; DELETE FROM orders WHERE id >= 42; SELECT pg_current_xact_id(); COMMIT";
        let deletion = c.sql(deletion);
        c.sql("UPDATE orders SET amount = 0; DELETE FROM stock WHERE item = 'mate'");
        c.sql("DROP TABLE prices");
        c.flush();
        let base = c.bases().remove(0);
        let base = base
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let root = c.root().display().to_string();
        let archive = c.archive_directory().display().to_string();
        let examples = vec![
            ("/var/backups/postgresql", archive),
            ("/run/postgresql", root),
            ("2026-11-21 14:29", moment),
            ("0/15E0F88", lsn),
            ("748", xid),
            ("9127", deletion),
            (
                "00000000015E0F88-20261120T020000Z",
                base.expect("it has a name"),
            ),
        ];
        Self {
            cluster: c,
            examples,
        }
    }

    pub fn with_examples(&self, text: &str) -> String {
        let replace = |text: String, (example, here): &(&str, String)| text.replace(example, here);
        self.examples.iter().fold(text.to_owned(), replace)
    }

    pub fn run(&self, block: &Block) {
        let text = self.with_examples(&block.text);
        let c = &self.cluster;
        match block.language.as_str() {
            "sql" => {
                c.sql(&text);
            }
            "sh" => {
                let mut shell = c.installation().command("sh");
                shell.env("PGHOST", c.root()).env("PGUSER", "postgres");
                // The program of this checkout, and the server's own ones behind it.
                let path = std::env::var("PATH").unwrap_or_default();
                let (own, servers) = (program_directory(), c.installation().bin());
                let path = format!("{}:{}:{path}", own.display(), servers.display());
                shell.env("PATH", path);
                run(shell.args(["-euc", &text]).current_dir(c.root()));
            }
            "conf" => {
                let lines = text
                    .lines()
                    .map(|line| line.split('#').next().unwrap_or(line));
                for (name, value) in lines.filter_map(|line| line.split_once('=')) {
                    c.set(name.trim(), value.trim());
                }
            }
            other => panic!("a block of {other} is nothing that can be run"),
        }
    }
}

/// Runs all blocks of a page. What a section restored is gone when the next one restores.
fn run_page(name: &str) -> Shop {
    let page = fs::read_to_string(checkout().join(name)).expect("the page is there");
    let blocks: Vec<Block> = blocks(&page);
    let is_run = |block: &&Block| {
        !matches!(block.language.as_str(), "text" | "rust" | "python")
            && !block.text.starts_with("make ")
    };
    let to_run = blocks.iter().filter(is_run);
    let shop = Shop::new();
    let mut heading = "";
    for block in to_run {
        if block.heading != heading && block.text.contains("--target") {
            heading = &block.heading;
            shop.cluster.sql_in(
                "postgres",
                "DROP DATABASE IF EXISTS shop_again WITH (FORCE)",
            );
        }
        eprintln!("{name}, line {}:\n{}", block.line, block.text);
        shop.run(block);
    }
    shop
}

/// A test for each page, named like its file.
macro_rules! pages {
    ($($page:ident)*) => {
        $(#[test]
        fn $page() {
            run_page(concat!("docs/", stringify!($page), ".md"));
        })*

        const PAGES: &[&str] = &[$(stringify!($page)),*];
    };
}

pages! {
    concepts development drill emergencies files follow functions history install limits monitoring offsite past plugins program restore retention
    security settings sizing statements uninstall upgrade
}

#[test]
fn a_deleted_row_is_back_after_five_minutes() {
    let shop = run_page("docs/five-minutes.md");
    let rows = shop
        .cluster
        .sql("SELECT id, item, amount FROM orders WHERE id >= 42 ORDER BY id");
    assert_eq!(rows, "42|mate|2\n43|tea|1");
    // What was done later is as it was.
    assert_eq!(
        shop.cluster.sql("SELECT amount FROM orders WHERE id = 1"),
        "0"
    );
}

#[test]
fn readme() {
    run_page("README.md");
}

#[test]
fn no_page_is_left_out() {
    for file in fs::read_dir(checkout().join("docs")).expect("the directory is there") {
        let name = file.expect("it can be read").file_name();
        let name = name.to_string_lossy();
        let page = name.strip_suffix(".md");
        assert!(
            page.is_none_or(|page| PAGES.contains(&page)
                || ["availability", "five-minutes", "moving"].contains(&page)),
            "nobody runs docs/{name}"
        );
    }
}
