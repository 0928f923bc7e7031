//! The pictures of growth in `docs/`, drawn from the numbers in a result's JSON: for each sweep what
//! one change costs, and the worker's memory, with a transaction open all the time and without.
//! The font is compiled in, so that the same numbers give the same picture on every machine.

use crate::canvas::{picture, Panel, Series, AMBER, BLUE, GREY};
use crate::machine;
use serde_json::{Map, Value};

struct Picture {
    sweep: &'static str,
    title: &'static str,
    x_title: &'static str,
    cost_title: &'static str,
    /// What a change is divided by.
    per: fn(&Value) -> f64,
}

const PICTURES: [Picture; 3] = [
    Picture {
        sweep: "changes",
        title: "From one change to very many",
        x_title: "changes that wait to be read",
        cost_title: "CPU time of one change, µs",
        per: |_| 1.0,
    },
    Picture {
        sweep: "tables",
        title: "From few tables to very many",
        x_title: "tables that 100,000 changes meet in turn",
        cost_title: "CPU time of one change, µs",
        per: |_| 1.0,
    },
    Picture {
        sweep: "columns",
        title: "From narrow rows to very wide ones",
        x_title: "columns of a row",
        cost_title: "CPU time of one value, µs",
        per: |point| number(point, "size"),
    },
];

/// Draws `docs/growth-….png` from all of a result's numbers.
pub fn draw(result: &Map<String, Value>) {
    let fact = |name: &str| result["machine"][name].as_str().unwrap_or_default();
    let postgresql = fact("postgresql").replace("postgres (PostgreSQL)", "PostgreSQL");
    let version = postgresql.split(" (").next().unwrap_or_default();
    let subtitle = format!(
        "capture worker, {version}, {} cores, {}",
        fact("cores"),
        fact("date")
    );
    for picture in &PICTURES {
        let points = result["growth"][picture.sweep].as_array();
        picture.draw(points.expect("every sweep has points"), &subtitle);
    }
}

impl Picture {
    fn draw(&self, points: &[Value], subtitle: &str) {
        let file = format!("docs/growth-{}.png", self.sweep);
        let file = machine::checkout().join(file);
        let of = |is_open: bool, what: &dyn Fn(&Value) -> f64| -> Vec<(f64, f64)> {
            let points = points.iter().filter(|point| point["open"] == is_open);
            let pairs = points.map(|point| (number(point, "size"), what(point)));
            pairs.filter(|(_, y)| y.is_finite()).collect()
        };
        let cost = |point: &Value| number(point, "cpu_us_per_change") / (self.per)(point);
        let first = |point: &Value| match &point["first"] {
            Value::Null => f64::NAN,
            first => number(first, "cpu") * 1e6 / number(point, "changes") / (self.per)(point),
        };
        let own = |point: &Value| number(point, "own_megabytes");
        let pair = |what: &dyn Fn(&Value) -> f64| {
            vec![
                Series::new("a transaction open all the time", AMBER, of(true, what)).underneath(),
                Series::new("no transaction open", BLUE, of(false, what)),
            ]
        };
        let mut costs = pair(&cost);
        // The columns' tables are known after one row.
        if self.sweep == "tables" {
            let name = "none open, tables met for the first time";
            costs.insert(0, Series::new(name, GREY, of(false, &first)));
        }
        let memory = "the worker's own memory at most, MB";
        let owns = pair(&own);
        picture(&file, |canvas| {
            canvas.title(self.title, subtitle);
            canvas.legend(&costs);
            let left = Panel::left(self.cost_title, self.x_title);
            canvas.panel(left.logarithmic(), &costs);
            canvas.panel(Panel::right(memory, self.x_title), &owns);
        });
    }
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(f64::NAN)
}
