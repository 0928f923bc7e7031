//! A function that executes row changes of known shapes, many with one call, in their order.
//!
//! A statement by message costs a server three times what it costs within a function. The function is in the session's
//! temporary schema; it has each shape once, with an element of an array in the place of each value, and its plan is
//! made once. Its variables have random names, so that no column can have one of them.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::Client;

use super::rows::Line;
use super::shape::{self, Shape};
use crate::connection::Raw;

/// Shapes of one function.
const MOST_SHAPES: usize = 64;
/// Statements of a call, and bytes of their values.
const MOST_STATEMENTS: usize = 1000;
const MOST_BYTES: usize = 256 << 10;

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

/// Statements for one call.
#[derive(Default)]
pub struct Batch {
    /// The number of each one's shape.
    pub steps: Vec<i32>,
    pub values: Vec<Option<Vec<u8>>>,
    pub statements: Vec<Line>,
    bytes: usize,
}

impl Batch {
    pub fn add(&mut self, place: usize, shape: &Shape, statement: Line) {
        self.steps
            .push(i32::try_from(place).expect("there are few places"));
        let values = shape.values.iter();
        self.values
            .extend(values.map(|value| shape::bytes_of(&statement.1, value)));
        self.bytes += statement.1.len();
        self.statements.push(statement);
    }

    pub fn is_full(&self) -> bool {
        self.statements.len() >= MOST_STATEMENTS || self.bytes >= MOST_BYTES
    }

    pub fn len(&self) -> usize {
        self.statements.len()
    }
}

/// A shape in the function.
struct Learned {
    /// The statement in pieces, between which the values are.
    pieces: Vec<String>,
    /// The types of the values, in SQL.
    types: Vec<String>,
    exactly_one: bool,
}

/// The function of a session.
pub struct Function {
    shapes: Vec<Learned>,
    /// Of its name, and of those of its variables: for the whole session.
    random: String,
    /// It has these shapes.
    is_made: bool,
    /// Statements since it was made: plans that were made for small tables are not kept for large ones.
    executed: u64,
    remake_at: u64,
}

/// The types of values in SQL, and whether the cast of a text to each is nothing but its input function.
const TYPES: &str = "SELECT format_type(t, -1), NOT EXISTS (SELECT FROM pg_cast AS c, pg_type AS b \
        WHERE castsource = 'text'::regtype AND b.oid = t \
            AND casttarget = CASE WHEN b.typtype = 'd' THEN b.typbasetype ELSE t END \
            AND casttarget <> ALL ('{varchar,bpchar,name}'::regtype[])) \
        AND (SELECT typtype NOT IN ('p') AND NOT EXISTS (SELECT FROM pg_type AS b WHERE b.oid = t.typbasetype \
            AND b.typtype = 'd') FROM pg_type AS t WHERE t.oid = o.t) \
    FROM unnest($1) WITH ORDINALITY AS o (t, n) ORDER BY n";

impl Function {
    /// It is made when it is needed.
    pub fn new() -> Function {
        let random = archive::segment::Key::random();
        Function {
            shapes: Vec::new(),
            // A name that can be guessed is only one that a column could have, too.
            random: random.map_or_else(
                |_| "0123456789abcdef".to_owned(),
                |key| key.as_str().to_owned(),
            ),
            is_made: false,
            executed: 0,
            remake_at: 0,
        }
    }

    /// The shapes are not known any more.
    pub fn forget(&mut self) {
        self.shapes.clear();
        self.is_made = false;
    }

    pub fn is_full(&self) -> bool {
        self.shapes.len() >= MOST_SHAPES
    }

    /// Takes a shape into the function: its number; none if it cannot be executed so.
    pub async fn learn(&mut self, client: &Client, shape: &Shape) -> Result<Option<usize>> {
        let Ok(text) = std::str::from_utf8(&shape.text) else {
            return Ok(None);
        };
        // The client reads names of types, and labels, as UTF-8, whatever the session's encoding is.
        let statement = match client.prepare(text).await {
            Err(error) if error.as_db_error().is_none() && !client.is_closed() => return Ok(None),
            statement => statement?,
        };
        let types: Vec<u32> = statement.params().iter().map(Type::oid).collect();
        let rows = client
            .query_typed(TYPES, &[(&types, Type::OID_ARRAY)])
            .await?;
        if types.len() != shape.values.len() || !rows.iter().all(|row| row.get::<_, bool>(1)) {
            return Ok(None);
        }
        let types = rows.iter().map(|row| row.try_get(0));
        let Ok(types) = types.collect::<Result<Vec<String>>>() else {
            return Ok(None);
        };
        let mut pieces = Vec::new();
        let mut end = 0;
        for place in &shape.places {
            pieces.push(text[end..place.start].to_owned());
            end = place.end;
        }
        pieces.push(text[end..].to_owned());
        self.shapes.push(Learned {
            pieces,
            types,
            exactly_one: !text.starts_with("INSERT "),
        });
        self.is_made = false;
        Ok(Some(self.shapes.len() - 1))
    }

    /// Makes it for the shapes that are known by now, and again as tables grow.
    pub async fn ensure_made(&mut self, client: &Client, count: usize) -> Result<()> {
        self.executed += count as u64;
        if self.is_made && self.executed < self.remake_at {
            return Ok(());
        }
        // The same OID: the server frees what it has compiled before.
        client.batch_execute(&self.definition()).await?;
        self.is_made = true;
        self.remake_at = (10 * self.executed).clamp(1000, self.executed + 100_000);
        Ok(())
    }

    fn name(&self) -> String {
        format!("pg_temp.pg_incrbackup_rows_{}", self.random)
    }

    fn definition(&self) -> String {
        let (name, random) = (self.name(), &self.random);
        let (steps, values) = (format!("s_{random}"), format!("v_{random}"));
        let (step, at, hit) = (
            format!("i_{random}"),
            format!("k_{random}"),
            format!("n_{random}"),
        );
        let mut body = format!(
            "DECLARE {step} integer; {at} integer := 1; {hit} bigint; BEGIN \
             FOREACH {step} IN ARRAY {steps} LOOP\n"
        );
        self.choose(
            &mut body,
            0..self.shapes.len(),
            &[&step, &values, &at, &hit],
        );
        body.push_str("END LOOP; END");
        format!(
            "CREATE OR REPLACE FUNCTION {name}({steps} integer[], {values} text[]) RETURNS void LANGUAGE plpgsql AS $f_{random}$\n\
             #variable_conflict use_column\n{body} $f_{random}$"
        )
    }

    /// A tree of IFs, since CASE would try one after the other.
    fn choose(&self, body: &mut String, shapes: std::ops::Range<usize>, names: &[&str; 4]) {
        let [step, ..] = names;
        if shapes.len() > 1 {
            let middle = shapes.start + shapes.len() / 2;
            let _ = writeln!(body, "IF {step} < {middle} THEN");
            self.choose(body, shapes.start..middle, names);
            body.push_str("ELSE\n");
            self.choose(body, middle..shapes.end, names);
            body.push_str("END IF;\n");
            return;
        }
        let Some(learned) = self.shapes.get(shapes.start) else {
            return;
        };
        self.execute(body, learned, names);
    }

    fn execute(&self, body: &mut String, learned: &Learned, [_, values, at, hit]: &[&str; 4]) {
        for (nth, piece) in learned.pieces.iter().enumerate() {
            body.push_str(piece);
            if let Some(of_type) = learned.types.get(nth) {
                let _ = write!(body, "{values}[{at} + {nth}]::{of_type}");
            }
        }
        body.push('\n');
        if learned.exactly_one {
            let _ = writeln!(
                body,
                "GET DIAGNOSTICS {hit} = ROW_COUNT; IF {hit} <> 1 THEN RAISE 'it hit % rows', {hit}; END IF;"
            );
        }
        let _ = writeln!(body, "{at} := {at} + {};", learned.types.len());
    }

    /// A call, between savepoints: [`undo`] goes back behind it.
    pub fn call(
        &self,
        client: Arc<Client>,
        steps: Vec<i32>,
        values: Vec<Option<Vec<u8>>>,
    ) -> impl Future<Output = Result<u64>> {
        let name = self.name();
        async move {
            let call = format!("SELECT {name}($1, $2)");
            let texts: Vec<Option<Raw>> = values
                .iter()
                .map(|value| value.as_deref().map(Raw))
                .collect();
            let begin = client.batch_execute(SAVEPOINT);
            let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                [(&steps, Type::INT4_ARRAY), (&texts, Type::TEXT_ARRAY)];
            let called = client.query_typed(&call, &parameters);
            let end = client.batch_execute(RELEASE);
            // Each is sent when it is first polled, in this order.
            let (begun, called, ended) = futures_util::join!(begin, called, end);
            begun
                .and(called.map(|_| 0))
                .and_then(|count| ended.map(|()| count))
        }
    }
}

const SAVEPOINT: &str = "SAVEPOINT pg_incrbackup_batch";
const RELEASE: &str = "RELEASE SAVEPOINT pg_incrbackup_batch";

/// Takes back the batch that failed.
pub async fn undo(client: &Client) -> Result<()> {
    client
        .batch_execute("ROLLBACK TO SAVEPOINT pg_incrbackup_batch")
        .await
}
